/**
 * Checking a receipt in the browser, against the log it names. Every function reports
 * by `say(name, value)`, where value is "yes", "no" or another word of README.md.
 */
import { base64url, hex, raw, sha, unhex, unutf8 } from "./bytes.js";
import { checkEntry } from "./entered.js";
import { Fate, parseJSON } from "./fate.js";
import { promiseTerms } from "./files.js";
import { LENGTH, parseLeaf } from "./leaf.js";
import { hasGrown } from "./merkle.js";
import { isSignedBy, keyIdOf, parseCheckpoint, parseNote, unbase64 } from "./note.js";
import { isIncluded, parseReceipt } from "./proof.js";
import { openLog, reader, readKey } from "./remote.js";
import { WIDTH } from "./tile.js";
import { challengeDigest, KEY_LEAF, tagged, tokenInput } from "./token.js";

/** @typedef {(name: string, value: string) => void} Say */
/** @typedef {Awaited<ReturnType<typeof checkReceipt>>} Checked */

/** @param {boolean} ok */
const word = (ok) => (ok ? "yes" : "no");

/**
 * The path of a log on this site. A receipt names its log itself, and the file may come
 * from anywhere, so only a plain path below this instance's name is accepted.
 * @param {string} origin
 * @param {string} host the instance's name
 */
export function pathOf(origin, host) {
  const path = origin.slice(host.length);
  if (!origin.startsWith(host) || !/^\/c\/[A-Za-z0-9_-]+(\/[0-9]+)?$/.test(path)) {
    throw { code: "other-site" };
  }
  return path;
}

/**
 * Form, log signature, inclusion, consistency with the newest checkpoint, the token,
 * and the part about the spine. Throws {code} where there is nothing to check.
 * @param {string} text of the file
 * @param {string} host
 * @param {Say} say
 */
export async function checkReceipt(text, host, say) {
  const [proof, second] = parseReceipt(text);
  const leaf = proof.extra.slice(0, LENGTH);
  const w = proof.extra.slice(LENGTH);
  const signature = parseLeaf(leaf);
  if (w && w.length !== 32) throw { code: "not-a-receipt" };
  const note = parseNote(proof.checkpoint);
  const old = parseCheckpoint(note.text);
  const path = pathOf(old.origin, host);
  const { vkey, key } = await readKey(path, old.origin);
  /** @type {boolean[]} */
  const answers = [];
  /** @param {string} name @param {boolean} ok */
  const judge = (name, ok) => {
    answers.push(ok);
    say(name, word(ok));
    return ok;
  };

  judge("checkpoint", await isSignedBy(note, key));
  judge("inclusion", await isIncluded(proof, leaf));

  const newest = await openLog(path);
  const { checkpoint, origin, size, log } = newest;
  const genuine =
    origin === old.origin && (await isSignedBy(parseNote(checkpoint), key));
  judge("newest", genuine);
  judge("consistency", await hasGrown(old, newest));

  const { challenge, digest } = await readHeader(log, origin);
  const statement = await reader(path)("statement");
  const isText = (await sha(256, statement)) === digest;
  judge("statement", isText);
  const nonce = await signature.nonce(challenge);
  const announced = await findKey(log, signature.keyIndex, proof.index);
  judge(
    "token",
    !!announced && (await verifyToken(announced.leaf, nonce, challenge, signature)),
  );
  if (w) judge("withdraw", (await tagged("withdraw", w)) === signature.withdrawHash);
  say("stance", String(signature.stance));
  const entry = second && (await checkEntry(second, old, host, judge, say));
  if (!entry) say("spine", "absent");
  say("verdict", word(answers.every(Boolean)));
  return {
    ok: answers.every(Boolean),
    log,
    index: proof.index,
    announced,
    signature,
    path,
    facts: {
      // A statement begins with its title, on a line of its own.
      title: isText ? unutf8(statement).split("\n")[0] : origin,
      origin,
      vkey,
      index: String(proof.index),
      size: String(old.size),
      newest: String(size),
      nonce: hex(nonce),
      key: String(signature.keyIndex),
      spine: entry ? String(entry.size) : "",
    },
    signers: entry ? entry.signers : [],
  };
}

/**
 * A promise kept as a file (files.js): whether the log's key signed it, for the
 * signature that the file holds.
 * @param {string} text
 * @param {string} host
 */
export async function checkPromise(text, host) {
  const [, extra, promise] = /^extra (\S+)\n\n([^]+)$/.exec(text) || [];
  if (!promise) throw { code: "not-a-receipt" };
  const kept = unbase64(extra);
  const leaf = kept.slice(0, LENGTH);
  const note = parseNote(promise);
  const terms = promiseTerms(note.text);
  const path = pathOf(terms.origin, host);
  const { vkey, key } = await readKey(path, terms.origin);
  const name = terms.origin + "/promise";
  const keyId = await keyIdOf(name, key.key);
  const { log } = await openLog(path);
  const { challenge } = await readHeader(log, terms.origin);
  const nonce = hex(await parseLeaf(leaf).nonce(challenge));
  return {
    genuine:
      terms.title === "undersigned promise v1" &&
      terms.nonce === nonce &&
      (await isSignedBy(note, { name, keyId, key: key.key })),
    by: terms.by,
    facts: { origin: terms.origin, vkey, nonce },
    path,
    leaf,
    w: kept.slice(LENGTH),
  };
}

/**
 * What leaf 0 says: the digest of the statement, and the challenge that follows.
 * @param {import("./tile.js").Log} log
 * @param {string} origin
 */
async function readHeader(log, origin) {
  const [header] = await log.leaves(0);
  const { issuer_name, statement_sha256 } = parseJSON(header.slice(2));
  const digest = unhex(statement_sha256);
  return { digest, challenge: await challengeDigest(issuer_name, origin, digest) };
}

/**
 * The leaf that announces a key, before the signature's index.
 * @param {import("./tile.js").Log} log
 * @param {number} keyIndex
 * @param {number} before
 */
async function findKey(log, keyIndex, before) {
  for (let n = 0; n * WIDTH < before; n++) {
    for (const [at, leaf] of (await log.leaves(n)).entries()) {
      const index = leaf.charCodeAt(2) * 256 + leaf.charCodeAt(3);
      if (KEY_LEAF.test(btoa(leaf)) && index === keyIndex && n * WIDTH + at < before) {
        return { leaf, at: n * WIDTH + at };
      }
    }
  }
}

/**
 * RSASSA-PSS over the token, by the browser's own implementation.
 * @param {string} keyLeaf
 * @param {string} nonce
 * @param {string} challenge
 * @param {{authenticator: string}} signature
 */
async function verifyToken(keyLeaf, nonce, challenge, { authenticator }) {
  const input = tokenInput(nonce, challenge, await sha(256, keyLeaf.slice(6)));
  const key = await crypto.subtle.importKey(
    "jwk",
    { kty: "RSA", n: base64url(keyLeaf.slice(87, 343)), e: "AQAB" },
    { name: "RSA-PSS", hash: "SHA-384" },
    false,
    ["verify"],
  );
  return crypto.subtle.verify(
    { name: "RSA-PSS", saltLength: 48 },
    key,
    raw(authenticator),
    raw(input),
  );
}

/**
 * How many tiles of entries `readFate` must read: from the signature on, or from its
 * key on where that was announced in quarantine.
 * @param {Checked} checked
 */
export function fateTiles({ log, index, announced }) {
  const first = Math.floor((isQuarantine(announced) ? announced.at : index) / WIDTH);
  return { first, count: log.count("entries") - first };
}

/** @param {Checked["announced"]} announced */
const isQuarantine = (announced) => !!announced && announced.leaf[5] === "\x01";

/**
 * @param {Checked} checked
 * @param {(done: number) => void} progress
 */
export async function readFate(checked, progress) {
  const { log, index, announced, signature } = checked;
  const { first, count } = fateTiles(checked);
  const { keyIndex, withdrawHash } = signature;
  const fate = new Fate(index, keyIndex, withdrawHash, isQuarantine(announced));
  for (let n = first; n < first + count; n++) {
    for (const [at, leaf] of (await log.leaves(n)).entries()) {
      await fate.apply(n * WIDTH + at, leaf);
    }
    progress((n + 1 - first) / count);
  }
  return fate.state;
}
