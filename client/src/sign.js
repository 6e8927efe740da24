/**
 * The signing form, up to the server's promise (PROTOCOL §4.3); what follows is
 * receipt.js. `run` does whatever comes next for the signature in hand and can be
 * called again after any failure: what was prepared is always sent with the same
 * bytes. The page's part is in README.md.
 */
import { base64url, hex, raw, sha, str, u16, utf8 } from "./bytes.js";
import { show, showTime } from "./show.js";
import { challengeDigest, KEY_LEAF, makeSignature, open } from "./token.js";

const form = /** @type {HTMLFormElement} */ (document.getElementById("sign"));
const data = form.dataset;
const key = "undersigned:" + data.path;

/** @type {Storage} */
let store;

// The signature in hand, stored as an array in this order.
/** @type {Record<string, any> | undefined} Body of the sign request. */
let body;
/** @type {string[] | 0} Until issued: see makeSignature; then the ticket. */
let attempt;
/** @type {string} */
let nonce;
/** The secret that withdraws; empty when the signer gave up that power. @type {string} */
let w;
/** Not to be sent before (ms since 1970). @type {number} */
let due;
/** The server's signed promise. @type {string} */
let promise;

const load = () =>
  ([body, attempt, nonce, w, due, promise] = JSON.parse(store[key] || "[]"))[0];

const save = () =>
  // In danger mode nothing is ever written to the device.
  data.mode != "danger" &&
  (store[key] = JSON.stringify([body, attempt, nonce, w, due, promise]));

/** Fail with a problem code of our own. @param {unknown} ok @param {string} code */
const must = (ok, code) => {
  if (!ok) throw { code };
};

/** For the other scripts. @param {string} name @param {any} detail */
const tell = (name, detail) => dispatchEvent(new CustomEvent(name, { detail }));

/**
 * Without cookies or referrer. `mode` stays at its default: with "same-origin" the
 * browser would send `Origin: null`, which the server refuses.
 * @param {string} path
 * @param {BodyInit} [content] sent by POST
 * @param {Record<string, string>} [headers]
 * @param {"json" | "arrayBuffer"} kind of answer
 */
const call = async (path, content, headers, kind = "arrayBuffer") => {
  const response = await fetch(data.path + path, {
    method: content && "POST",
    body: content,
    // A place in line (wait.js): for this request alone.
    headers: { ...headers, turn: data.turn },
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  if (response.ok) {
    data.turn = "";
    return response[kind]();
  }
  throw await response.json();
};

const fetchKeyTile = async () => str(await call("/tile/entries/" + data.keyTile));

/** @type {Promise<string>} Asked for at once: a partial tile is soon replaced. */
let keyTile;

/** Read the form, check text and key, and make everything secret. */
const prepare = async () => {
  /** @type {any} */
  const fields = form.elements;
  /** @param {string} name */
  const text = (name) =>
    // As the server normalises: it refuses what differs from the committed bytes.
    ((fields[name] || 0).value || "").normalize().trim();

  // What is signed is the text on the page. It may differ from the published one, for
  // instance where an add-on translated it; the token would be spent for nothing.
  const digest = await sha(
    256,
    utf8(document.getElementById("statement").textContent),
  );
  must(hex(digest) == data.digest, "text-changed");

  const keyLeaf = atob(data.key);
  const tile = (await keyTile) || (await fetchKeyTile());
  // Its length stands before it. No other place of a valid log can hold these bytes:
  // what the author of a leaf chooses freely is shorter, or JSON.
  const published = tile.includes(u16(348) + keyLeaf);
  must(KEY_LEAF.test(data.key) && published, "key-not-published");

  const challenge = await challengeDigest(data.issuer, data.origin, digest);
  [body, attempt, nonce, w] = await makeSignature(keyLeaf, challenge, +text("stance"), {
    comment: text("comment"),
    name: text("name"),
    place: text("place"),
  });
  attempt.push(data.ticket);
  if (!(fields.keep_w || 0).checked) w = "";
  due = Date.now() + text("when") * 36e5;
  save();
};

/** Have the token signed. @param {string[]} secrets */
const issue = async (secrets) => {
  const [, , , request, ticket] = secrets;
  const answer = await call("/issue", raw(request), {
    "content-type": "application/private-token-request",
    // A ticket on the page is newer than the one of an unfinished attempt.
    authorization: "Ticket " + (data.ticket || ticket),
  });
  const authenticator = open(secrets, str(answer));
  must(authenticator, "token-wrong");
  body.authenticator = base64url(authenticator);
  attempt = 0;
  save();
};

/** Hand the signature in. */
const send = async () => {
  const type = { "content-type": "application/json" };
  const answer = await call("/sign", JSON.stringify(body), type, "json");
  const [, origin, digits] = answer.promise.split("\n");
  must(origin + digits == data.origin + hex(nonce), "promise-wrong");
  promise = answer.promise;
  body.public = body.salt = null;
  save();
};

/** Do what comes next; `fresh` allows a new signature to be made from the form. */
const run = async (fresh = false) => {
  try {
    show("working");
    // Another tab may have begun meanwhile: its token must not be lost.
    if (fresh && !load()) await prepare();
    if (attempt) await issue(attempt);
    if (!promise) {
      showTime(due);
      if (due > Date.now()) return show("later");
      await send();
    }
    show("signed");
    tell("signed", [body, nonce, w, promise]);
  } catch (error) {
    show(body ? "failed" : "form", "error", error.code);
    tell("failed", error);
  }
};

/** What a button does, by its data-act. @type {Record<string, () => void>} */
const acts = {
  go: run,
  accept: () => run(true),
  now() {
    due = 0;
    run();
  },
  // Where the server refuses what was to be shown: the token is bound to its hash
  // already, so the only way left to use it is to show nothing.
  bare() {
    body.public = body.salt = null;
    run();
  },
  forget() {
    delete store[key];
    show(promise ? "done" : "form");
    load();
  },
};

try {
  // Plain HTTP on a local network has no WebCrypto, and storage may be blocked.
  BigInt(crypto.subtle.digest.length);
  store = localStorage;
  if (load()) {
    if (attempt) show("failed");
    else run();
  } else show("form");
  if (data.key) keyTile = fetchKeyTile().catch(() => "");
  onclick = ({ target }) => {
    const act = acts[/** @type {HTMLElement} */ (target).dataset.act];
    if (act) act();
  };
  form.onsubmit = (event) => {
    event.preventDefault();
    // The flags of the key leaf: 1 is a quarantine key, and the page names its crowd.
    if (atob(data.key)[5] > "\0") show("quarantine");
    else run(true);
  };
} catch {
  show("form", "fallback");
}
