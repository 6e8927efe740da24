/**
 * Keeps the count on an open campaign page fresh: one small conditional request every
 * ten seconds while somebody looks. Without this script the page stays as it was made.
 *
 * It asks later and later while nobody answers, never while the page is hidden or the
 * visitor wants to save data, and at uneven times, so that readers do not come in step.
 * A number is only ever replaced by that of a larger checkpoint, which stands beside it.
 */

const EVERY = 10e3;
const LONGEST = 300e3;
/** A screen reader is told at most this often; the numbers change in silence. */
const SPEAK = 300e3;

const section = /** @type {HTMLElement} */ (document.querySelector("[data-poll]"));
const language = document.documentElement.lang;
const digits = new Intl.NumberFormat(language);

let size = Number(section.dataset.size);
let wait = EVERY;
let asked = Date.now();
let spoken = -SPEAK;
let timer = 0;
let busy = false;

/** @param {string} selector @param {(each: HTMLElement) => void} change */
const each = (selector, change) =>
  /** @type {NodeListOf<HTMLElement>} */ (section.querySelectorAll(selector)).forEach(
    change,
  );

/** @param {any} count @param {string} name such as "by_class.email" */
function pick(count, name) {
  const found = name.split(".").reduce((part, member) => part[member], count);
  if (!Number.isInteger(found)) throw name;
  return found;
}

/** @param {any} count the members of count.json; one that is none changes nothing */
function show(count) {
  /** @type {[HTMLElement, string][]} */
  const texts = [];
  each("[data-count]", (e) =>
    texts.push([e, digits.format(pick(count, e.dataset.count))]),
  );
  each("[data-taken] bdi", (e) => {
    const taken = pick(count, e.parentElement.dataset.taken);
    texts.push([e, (taken ? "\u2212 " : "") + digits.format(taken)]);
  });
  texts.forEach(([e, text]) => (e.textContent = text));
  each("[data-noun]", (e) => {
    const form = new Intl.PluralRules(language).select(count.net);
    e.textContent = e.dataset[form] || e.dataset.other;
  });
  each("[data-then]", (e) => (e.hidden = true));
  each("[data-now]", (e) => (e.hidden = false));
  if (Date.now() - spoken < SPEAK) return;
  spoken = Date.now();
  // In the page's own words: the sentence with the number, then its checkpoint.
  const said = ["p.net", "[data-now] span"].map(
    (selector) => section.querySelector(selector).textContent,
  );
  each("[data-say]", (e) => (e.textContent = said.join(" ")));
}

async function ask() {
  busy = true;
  asked = Date.now();
  try {
    const response = await fetch(section.dataset.poll, {
      // Always asked, and mostly answered by "not modified", without a body.
      cache: "no-cache",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    if (!response.ok) throw response.status;
    const count = await response.json();
    if (count.tree_size > size) {
      show(count);
      size = count.tree_size;
    }
    wait = EVERY;
  } catch {
    wait = Math.min(2 * wait, LONGEST);
  }
  busy = false;
  plan();
}

/** Whether the visitor asks to be spared what is not needed. */
const spares = () =>
  /** @type {any} */ (navigator).connection?.saveData ||
  matchMedia("(prefers-reduced-data: reduce)").matches;

function plan() {
  clearTimeout(timer);
  if (busy || document.hidden || spares()) return;
  const due = asked + wait * (0.8 + 0.4 * Math.random()) - Date.now();
  // Who comes back after a while is not the first to ask either.
  timer = setTimeout(ask, Math.max(due, 2e3 * Math.random()));
}

document.addEventListener("visibilitychange", plan);
plan();
