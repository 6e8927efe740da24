/**
 * The page of the open class: solves the puzzle when the signer asks for it, then
 * submits the form. Without scripts the form goes without a solution, and the server
 * gives a waiting ticket in place of work. Page's part: README.md.
 */
import { solve } from "./puzzle.js";
import { show, showProgress } from "./show.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("puzzle"));
const { token, bits } = form.dataset;

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  show("solving");
  const field = /** @type {HTMLInputElement} */ (form.elements.namedItem("solution"));
  field.value = await solve(token, Number(bits), (tried) => {
    // Work has no end known beforehand: after `expected` tries 63 % are done.
    showProgress(1 - Math.exp(-tried / 2 ** Number(bits)));
    return new Promise((resolve) => setTimeout(resolve));
  });
  form.submit();
});
show("puzzle");
