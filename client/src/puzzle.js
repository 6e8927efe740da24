/**
 * The work of the open class: find a decimal number s so that SHA-256(token ‖ ":" ‖ s)
 * begins with `bits` zero bits.
 */
import { compress, INITIAL, pad } from "./sha256.js";

/**
 * Try 0, 1, 2… until one fits.
 * @param {string} token ASCII
 * @param {number} bits at most 32
 * @param {(tried: number) => Promise<void>} rest called now and then, so that the page
 *   stays alive
 */
export async function solve(token, bits, rest) {
  const head = new TextEncoder().encode(token + ":");
  // Whole blocks of the head are hashed once.
  const start = Int32Array.from(INITIAL);
  let whole = 0;
  for (; whole + 64 <= head.length; whole += 64) compress(start, head, whole, start);

  const state = new Int32Array(8);
  let pause = Date.now() + 50;
  for (let digits = 1, s = 0; ; digits++) {
    const message = pad(head, head.length + digits);
    for (; s < 10 ** digits; s++) {
      for (let i = digits, left = s; i--; left = Math.floor(left / 10)) {
        message[head.length + i] = 48 + (left % 10);
      }
      compress(start, message, whole, state);
      for (let at = whole + 64; at < message.length; at += 64) {
        compress(state, message, at, state);
      }
      if (Math.clz32(state[0]) >= bits) return String(s);
      if (s % 1024 === 0 && Date.now() > pause) {
        await rest(s);
        pause = Date.now() + 50;
      }
    }
  }
}
