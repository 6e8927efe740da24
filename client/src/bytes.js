/**
 * Byte strings. In this client a run of bytes is a JavaScript string whose characters
 * are all U+0000 to U+00FF, one per byte: `+` joins, `===` compares, `slice` cuts, and
 * JSON stores it. Only the edges (WebCrypto, fetch) see typed arrays.
 *
 * No BigInt literal (`1n`) stands anywhere: a browser without BigInt must still parse
 * the file, so that it can show the page's explanation instead of dying silently.
 */

/** @type {(...codes: number[]) => string} */
export const bytes = String.fromCharCode;

/** Two big-endian bytes. @param {number} n */
export const u16 = (n) => bytes(n >> 8, n & 255);

/** @param {number} size */
export const zeros = (size) => "\0".repeat(size);

/** Byte string to typed array. @param {string} x */
export const raw = (x) => Uint8Array.from(x, (c) => c.charCodeAt(0));

/**
 * Buffer to byte string. Not `bytes(...array)`: a tile has more bytes than some
 * engines take arguments.
 * @param {ArrayBuffer | Uint8Array} buffer
 */
export const str = (buffer) =>
  new Uint8Array(buffer).reduce((x, byte) => x + bytes(byte), "");

/** The UTF-8 bytes of a text. @param {string} text */
export const utf8 = (text) => str(new TextEncoder().encode(text));

/** The text of UTF-8 bytes. @param {string} x */
export const unutf8 = (x) => new TextDecoder().decode(raw(x));

/** @param {string} x */
export const hex = (x) =>
  raw(x).reduce((digits, byte) => digits + (256 + byte).toString(16).slice(1), "");

/** @param {string} digits */
export const unhex = (digits) =>
  digits.replace(/../g, (pair) => bytes(parseInt(pair, 16)));

/** Unpadded URL-safe base64, as the wire format has it. @param {string} x */
export const base64url = (x) =>
  btoa(x).replace(/[+/=]/g, (c) => "-_"["+/".indexOf(c)] || "");

/** @param {string} text */
export const unbase64url = (text) => atob(text.replace(/-/g, "+").replace(/_/g, "/"));

/** @param {number} size */
export const random = (size) => str(crypto.getRandomValues(new Uint8Array(size)));

/**
 * SHA-256 or SHA-384 of a byte string.
 * @param {256 | 384} bits
 * @param {string} x
 */
export const sha = async (bits, x) =>
  str(await crypto.subtle.digest("SHA-" + bits, raw(x)));

/** Big-endian bytes to integer. @param {string} x */
export const integer = (x) => BigInt("0x" + hex(x));

/** Integer below 2^2048 to 256 big-endian bytes. @param {bigint} n */
export const octets = (n) =>
  n
    .toString(16)
    .padStart(512, "0")
    .replace(/../g, (pair) => bytes(+("0x" + pair)));
