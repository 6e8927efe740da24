/** Files that the signer keeps. */

export const RECEIPT = "receipt.tlog-proof";
export const PROMISE = "promise.txt";

/** @param {string} name @param {string} text */
export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  link.download = name;
  link.click();
}

/**
 * A promise kept as a file: the leaf (and w if kept) that it is about, and the signed
 * note. From it a receipt can be built later on any device.
 * @param {string} extra
 * @param {string} promise
 */
export const formatPromise = (extra, promise) => `extra ${btoa(extra)}\n\n${promise}`;

/**
 * The lines of the promise's text.
 * @param {string} promise
 */
export function promiseTerms(promise) {
  const [title, origin, nonce, by] = promise.split("\n");
  return { title, origin, nonce, by: +by * 1e3 };
}
