/** Reading a published log, without cookies or referrer. */
import { str } from "./bytes.js";
import { parseCheckpoint, parseNote, parseVerifierKey } from "./note.js";
import { Log } from "./tile.js";

/** @param {string} url @param {RequestInit} [init] */
export async function ask(url, init) {
  const response = await fetch(url, {
    ...init,
    credentials: "omit",
    referrerPolicy: "no-referrer",
  });
  if (response.ok) return response;
  // A static host answers in its own words; then there is no code.
  const problem = await response.json().catch(() => ({}));
  const { status, headers } = response;
  throw { ...problem, status, wait: Number(headers.get("retry-after")) };
}

/**
 * What was asked for, or undefined where there is no such file.
 * @template T
 * @param {Promise<T>} asked
 * @returns {Promise<T | undefined>}
 */
export async function ifThere(asked) {
  try {
    return await asked;
  } catch (error) {
    if (error.status === 404) return undefined;
    throw error;
  }
}

/** @param {string} path of the log, such as "/c/ID" */
export const reader = (path) => async (/** @type {string} */ name) =>
  str(await (await ask(path + "/" + name)).arrayBuffer());

/** The newest checkpoint, and the log as it stands there. @param {string} path */
export async function openLog(path) {
  const response = await ask(path + "/checkpoint", { cache: "no-store" });
  const checkpoint = await response.text();
  const { origin, size, root } = parseCheckpoint(parseNote(checkpoint).text);
  return { checkpoint, origin, size, root, log: new Log(size, reader(path)) };
}

/** The key of the log at a path, which must bear this name. @param {string} path @param {string} origin */
export async function readKey(path, origin) {
  const vkey = (await reader(path)("log.vkey")).trim();
  const key = await parseVerifierKey(vkey);
  if (key.name !== origin) throw { code: "vkey-malformed" };
  return { vkey, key };
}
