/**
 * The check page: a receipt, or a promise that was kept, is looked at in this browser
 * and sent nowhere. Where the browser cannot, the page's form still can be submitted,
 * and the server says that it was the server. Page's part: README.md.
 */
import { buildReceipt } from "./build.js";
import { download, RECEIPT } from "./files.js";
import { canVerify } from "./note.js";
import { each, show, showProgress, showTime } from "./show.js";
import { checkPromise, checkReceipt, fateTiles, readFate } from "./verdict.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("check"));
const { host, from, scan } = form.dataset;

/** Tiles of entries (about 92 kB each) that are read without asking. */
const SCAN = Number(scan || 16);

/** @type {import("./verdict.js").Checked | null} */
let checked = null;
/** @type {{path: string, leaf: string, w: string} | null} */
let kept = null;
let built = "";

/** Show one finding: the element, and in it the words for this value. */
const say = (/** @type {string} */ name, /** @type {string} */ value) =>
  each(`[data-check=${name}]`, (e) => {
    e.hidden = false;
    e.dataset.result = value;
    e.querySelectorAll("[data-when]").forEach((child) => {
      /** @type {HTMLElement} */ (child).hidden = !child.matches(
        `[data-when~="${value}"]`,
      );
    });
  });

/** @param {Record<string, string>} facts */
function fill(facts) {
  for (const [name, text] of Object.entries(facts)) {
    each(`[data-slot=${name}]`, (e) => {
      e.textContent = text;
    });
  }
}

/** @param {string} tag @param {string} text that reads from left to right */
function make(tag, text) {
  const element = document.createElement(tag);
  element.dir = "ltr";
  element.textContent = text;
  return element;
}

/**
 * Name the witnesses that have cosigned, each with its time (UTC, as `showTime`).
 * @param {import("./verdict.js").Checked["signers"]} all
 */
function list(all) {
  const signers = all.filter(({ at }) => at >= 0);
  fill({ cosigned: String(signers.length), witnesses: String(all.length) });
  each("[data-list=witnesses]", (e) =>
    e.replaceChildren(
      ...signers.map(({ name, at }) => {
        const row = document.createElement("div");
        const time = new Date(at).toJSON().slice(0, 16).replace("T", " ");
        row.append(make("dt", name), make("dd", time + " UTC"));
        return row;
      }),
    ),
  );
}

/**
 * Lead the links to the log's own files, and to its campaign's page.
 * @param {string} path of the log
 */
function link(path) {
  each("[data-log]", (e) => e.setAttribute("href", path + "/" + e.dataset.log));
  // Later versions of a text have their logs below the campaign's page.
  const [campaign] = /^\/c\/[^/]+/.exec(path);
  each("[data-campaign]", (e) => e.setAttribute("href", campaign + "/"));
}

/** @param {() => Promise<void>} work */
async function attempt(work) {
  try {
    await work();
  } catch (error) {
    // A fault of ours has no code and shows as the general message.
    show("start", "local", "error", error.code);
  }
}

/** @param {Blob} file */
const read = (file) =>
  attempt(async () => {
    show("working");
    each("[data-check]", (e) => {
      e.hidden = true;
    });
    checked = kept = null;
    built = "";
    // A receipt has a few kB; nothing larger is looked at.
    if (file.size > 65536) throw { code: "not-a-receipt" };
    const text = await file.text();
    await (text.startsWith("extra ") ? readPromise(text) : readReceipt(text));
  });

/** @param {string} text */
async function readReceipt(text) {
  checked = await checkReceipt(text, host, say);
  fill(checked.facts);
  list(checked.signers);
  link(checked.path);
  show("checked");
  if (!checked.ok) return;
  const { count } = fateTiles(checked);
  fill({ tiles: String(count) });
  if (count > SCAN) say("state", "unread");
  else await readState();
}

async function readState() {
  say("state", "reading");
  try {
    say("state", await readFate(checked, showProgress));
  } catch {
    say("state", "unread");
  }
}

/** @param {string} text */
async function readPromise(text) {
  const { genuine, by, facts, ...rest } = await checkPromise(text, host);
  kept = rest;
  say("promise", genuine ? "yes" : "no");
  fill(facts);
  showTime(by);
  show("promise");
}

/** @type {Record<string, () => void>} */
const acts = {
  scan: () => checked && attempt(readState),
  tiles: () =>
    kept &&
    attempt(async () => {
      show("building");
      built = await buildReceipt(
        kept.path,
        kept.leaf,
        kept.w,
        Number(from || 0),
        showProgress,
      );
      show("receipt");
    }),
  save: () => built && download(RECEIPT, built),
};

async function start() {
  if (!(window.crypto && crypto.subtle && (await canVerify()))) {
    show("start", "fallback", "server");
    return;
  }
  show("start", "local", "server");
  const input = /** @type {HTMLInputElement} */ (form.querySelector("[type=file]"));
  input.addEventListener("change", () => input.files[0] && read(input.files[0]));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (input.files[0]) read(input.files[0]);
    else show("start", "local", "error", "no-file");
  });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    const [file] = event.dataTransfer.files;
    if (file) read(file);
  });
  addEventListener("click", ({ target }) => {
    const act = acts[/** @type {HTMLElement} */ (target).dataset.act];
    if (act) act();
  });
}

start();
