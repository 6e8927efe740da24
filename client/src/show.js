/** How the scripts change a page: they show and hide parts of it, and fill in times. */

/**
 * @param {string} selector
 * @param {(each: HTMLElement) => void} change
 */
export const each = (selector, change) =>
  /** @type {NodeListOf<HTMLElement>} */ (document.querySelectorAll(selector)).forEach(
    change,
  );

/**
 * Show the parts of the page that carry one of these words, hide those that carry
 * others.
 * @param {...string} words
 */
export const show = (...words) =>
  each(
    "[data-show]",
    (e) =>
      (e.hidden = !words.some((word) => e.matches(`[data-show~="${word}"]`))),
  );

/**
 * In UTC, which the page says, and in digits that read the same in every language: the
 * browser's own format would be neither the page's language nor a named zone.
 * @param {number} at ms since 1970
 */
export const showTime = (at) =>
  each(
    "[data-due]",
    (e) =>
      (e.textContent = new Date(at).toJSON().slice(0, 16).replace("T", " ")),
  );

/** @param {number} done from 0 to 1, on every progress element so marked */
export const showProgress = (done) =>
  each("[data-progress]", (e) => e.setAttribute("value", String(done)));
