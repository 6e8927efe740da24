/** C2SP signed notes, verifier keys and checkpoints. Texts are ordinary strings. */
import { raw, sha, unhex, utf8 } from "./bytes.js";

/**
 * @typedef {{name: string, keyId: string, key: string}} VerifierKey byte strings of 4
 *   and 32 bytes
 * @typedef {{text: string, signatures: {name: string, keyId: string,
 *   signature: string}[]}} Note
 * @typedef {{origin: string, size: number, root: string}} Checkpoint
 */

/** @param {string} code @returns {never} */
const stop = (code) => {
  throw { code };
};

/** Canonical base64 only. @param {string} text */
export function unbase64(text) {
  let x = "";
  try {
    x = atob(text);
  } catch {
    stop("base64-malformed");
  }
  return btoa(x) === text ? x : stop("base64-malformed");
}

/**
 * @param {string} name
 * @param {string} key 32 bytes, Ed25519
 * @param {string} algorithm 1 signs notes, 4 cosigns them
 */
export const keyIdOf = async (name, key, algorithm = "\x01") =>
  (await sha(256, utf8(name) + "\n" + algorithm + key)).slice(0, 4);

/**
 * @param {string} text "name+hash+base64"
 * @param {string} algorithm
 * @returns {Promise<VerifierKey>}
 */
export async function parseVerifierKey(text, algorithm = "\x01") {
  const [, name, hash, rest] = /^([^+\s]+)\+([0-9a-f]{8})\+(\S+)$/.exec(text) || [];
  const typed = unbase64(rest || stop("vkey-malformed"));
  if (typed.length !== 33 || typed[0] !== algorithm) stop("vkey-malformed");
  const key = typed.slice(1);
  const keyId = await keyIdOf(name, key, algorithm);
  if (keyId !== unhex(hash)) stop("vkey-malformed");
  return { name, keyId, key };
}

/** @param {string} note @returns {Note} */
export function parseNote(note) {
  const end = note.lastIndexOf("\n\n");
  const lines = note.slice(end + 2).split("\n");
  if (end < 1 || lines.pop() !== "" || !lines.length) stop("note-malformed");
  const signatures = lines.map((line) => {
    const [, name, blob] = /^\u2014 ([^+\s]+) (\S+)$/.exec(line) || [];
    const signature = unbase64(blob || stop("note-malformed"));
    if (signature.length < 5) stop("note-malformed");
    return { name, keyId: signature.slice(0, 4), signature: signature.slice(4) };
  });
  return { text: note.slice(0, end + 1), signatures };
}

/** Whether this browser can check Ed25519 signatures at all. */
export async function canVerify() {
  try {
    // Any 32 bytes can be imported; a browser without Ed25519 refuses the name.
    await importKey("\x01".repeat(32));
    return true;
  } catch {
    return false;
  }
}

/** @param {string} key */
const importKey = (key) =>
  crypto.subtle.importKey("raw", raw(key), "Ed25519", false, ["verify"]);

/** Whether the note carries this key's signature. @param {Note} note @param {VerifierKey} key */
export async function isSignedBy(note, key) {
  const found = note.signatures.filter(
    ({ name, keyId }) => name === key.name && keyId === key.keyId,
  );
  return found.length === 1 && isSigned(utf8(note.text), found[0].signature, key.key);
}

/** @param {string} message @param {string} signature @param {string} key */
export const isSigned = async (message, signature, key) =>
  crypto.subtle.verify("Ed25519", await importKey(key), raw(signature), raw(message));

/** @param {string} text of a note @returns {Checkpoint} */
export function parseCheckpoint(text) {
  const [, origin, digits, hash] =
    /^([^\n]+)\n(0|[1-9][0-9]{0,15})\n([^\n]+)\n$/.exec(text) || [];
  const size = Number(digits);
  const root = unbase64(hash || stop("checkpoint-malformed"));
  if (!Number.isSafeInteger(size) || root.length !== 32) stop("checkpoint-malformed");
  return { origin, size, root };
}
