/**
 * Waiting in line, where more people come than the server can take at once. It asks
 * again after as long as the server says, shows the place meanwhile, and goes on by
 * itself: on the waiting page by sending the form that the page holds, on the signing
 * form by what the button "go" does, with the same bytes. Page's part: README.md.
 */
import { each, show } from "./show.js";

/** When nobody answers: a restart takes some seconds. */
const AWAY = 10;

const digits = new Intl.NumberFormat(document.documentElement.lang);
const line = /** @type {HTMLFormElement} */ (document.getElementById("line"));
const sign = document.getElementById("sign");
let waiting = false;

/** @param {() => void} act @param {number} seconds */
const later = (act, seconds) =>
  // At uneven times: after a restart everybody would come in step.
  setTimeout(act, seconds * 1e3 * (1 + 0.2 * Math.random()));

/** @param {string} selector @param {number} value */
const fill = (selector, value) =>
  each(selector, (e) => {
    const text = digits.format(value);
    if (e.textContent != text) e.textContent = text;
  });

/** Say how long yet. @param {any} wait */
function tell({ before, seconds, reason }) {
  const words = [reason];
  if (before != null) words.push("before");
  words.push(seconds == null ? "unknown" : seconds < 60 ? "soon" : "minutes");
  fill("[data-before]", before);
  fill("[data-minutes]", Math.ceil(seconds / 60));
  each("[data-wait]", (e) => (e.hidden = !words.includes(e.dataset.wait)));
}

async function ask() {
  const { turn } = /** @type {any} */ (line.elements);
  try {
    const response = await fetch("/wait/" + turn.value, {
      cache: "no-store",
      credentials: "omit",
      referrerPolicy: "no-referrer",
    });
    // A server behind this one that is away answers too, and tells no place.
    if (!response.ok) throw response;
    const wait = await response.json();
    if (wait.called) return line.submit();
    tell(wait);
    later(ask, wait.retry_after);
  } catch {
    later(ask, AWAY);
  }
}

if (line) {
  show("scripted");
  later(ask, +line.dataset.again);
}

addEventListener("failed", (/** @type {any} */ { detail }) => {
  // While the server is away there is no code, or that of a web node before it.
  const away = waiting && (!detail.code || detail.code == "issuer-away");
  waiting = away || detail.code == "please-wait";
  if (!waiting) return;
  if (!away) {
    tell(detail);
    // The script that signs sends it along until it is used: never with what follows.
    sign.dataset.turn = detail.turn;
  }
  show("waiting");
  /** @type {HTMLElement} */
  const go = document.querySelector("[data-act=go]");
  later(() => go.click(), away ? AWAY : detail.retry_after);
});
