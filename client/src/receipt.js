/**
 * From the promise to the receipt (PROTOCOL §4.4). Loaded before sign.js, which hands
 * over the promised signature by the event "signed". Page's part: README.md.
 */
import { base64url } from "./bytes.js";
import { buildReceipt } from "./build.js";
import { download, formatPromise, PROMISE, promiseTerms, RECEIPT } from "./files.js";
import { leafOf } from "./leaf.js";
import { formatReceipt, parseReceipt } from "./proof.js";
import { ask } from "./remote.js";
import { show, showProgress, showTime } from "./show.js";
import { areProofs } from "./spine.js";

const form = /** @type {HTMLElement} */ (document.getElementById("sign"));
const { path, publishAfter, from, ticket } = form.dataset;

let leaf = "";
let nonce = "";
let w = "";
let promise = "";
let receipt = "";
let by = 0;
/** When to look again (ms since 1970). */
let due = 0;
let timer = 0;
/** Whether this page holds a ticket that was not used: its form is wanted again. */
let unused = Boolean(ticket);
form.addEventListener("submit", () => {
  unused = false;
});
const again = () => (unused ? "form" : "");

/** @param {number} ms */
function wait(ms) {
  show("signed");
  due = Date.now() + ms;
  tick();
}

/**
 * A timer holds 2^31 - 1 ms, 24.8 days; a longer one fires at once, and in danger mode
 * the promised time may be months away.
 */
function tick() {
  clearTimeout(timer);
  const left = due - Date.now();
  timer = window.setTimeout(onDue, Math.min(Math.max(left, 0), 2 ** 31 - 1));
}

/**
 * Only where the page gives a delay (standard mode) is the receipt asked for by itself:
 * the question tells a live observer which signature this device made.
 */
function onDue() {
  if (Date.now() < due) tick();
  else if (publishAfter) request("signed");
  else show("due");
}

/**
 * @param {string} word for the part of the page that stands meanwhile
 * @param {() => Promise<string>} make
 */
async function attempt(word, make) {
  show(word);
  const wanted = leaf;
  try {
    const made = await make();
    if (leaf !== wanted) return; // forgotten meanwhile
    receipt = made;
    show("receipt");
  } catch (error) {
    if (leaf !== wanted) return;
    // Not there yet, and the promised time has not come.
    if (error.wait && Date.now() < by) wait(error.wait * 1e3);
    else show("due", "error", error.code);
  }
}

/**
 * Ask the server, and take its answer only if it proves our own leaf, and its second
 * part, where there is one, the entry of the first part's checkpoint in the spine.
 */
const request = (word = "asking") =>
  attempt(word, async () => {
    const response = await ask(path + "/receipt", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ nonce: base64url(nonce) }),
    });
    const parts = parseReceipt(await response.text());
    if (!(await areProofs(parts, leaf))) throw { code: "receipt-wrong" };
    parts[0].extra = leaf + w;
    return formatReceipt(parts);
  });

const build = () =>
  attempt("building", () =>
    buildReceipt(path, leaf, w, Number(from || 0), showProgress),
  );

/** @type {Record<string, () => void>} */
const acts = {
  receipt: () => request(),
  tiles: build,
  promise: () => download(PROMISE, formatPromise(leaf + w, promise)),
  save() {
    download(RECEIPT, receipt);
    localStorage.removeItem("undersigned:" + path);
    show("saved", again());
  },
  // sign.js empties the storage.
  forget() {
    clearTimeout(timer);
    leaf = nonce = w = promise = receipt = "";
    setTimeout(() => show("done", again()));
  },
};

addEventListener("click", ({ target }) => {
  const name = /** @type {HTMLElement} */ (target).dataset.act;
  // An unfinished attempt is finished with the ticket of this page.
  if (name === "go") unused = false;
  const act = acts[name];
  if (act && leaf) act();
});

addEventListener("signed", (event) => {
  /** @type {Record<string, any>} */
  let body;
  [body, nonce, w, promise] = /** @type {CustomEvent} */ (event).detail;
  leaf = leafOf(body);
  by = promiseTerms(promise).by;
  showTime(by);
  const left = by - Date.now();
  wait(publishAfter ? Math.min(left, +publishAfter * 1e3) : left);
});
