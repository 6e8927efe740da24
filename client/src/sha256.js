/**
 * SHA-256 one block at a time (FIPS 180-4). WebCrypto is slower for millions of tiny
 * messages, since each call is a promise, and is missing over plain HTTP.
 */

/** The first 32 bits of the fractional part. @param {number} x */
const fraction = (x) => (x - Math.floor(x)) * 2 ** 32;

/** @type {number[]} */
const primes = [];
for (let n = 2; primes.length < 64; n++) {
  if (primes.every((p) => n % p)) primes.push(n);
}
const K = Int32Array.from(primes, (p) => fraction(Math.cbrt(p)) | 0);

/** The state before the first block. */
export const INITIAL = Int32Array.from(
  primes.slice(0, 8),
  (p) => fraction(Math.sqrt(p)) | 0,
);

const w = new Int32Array(64);

/**
 * The state after one more block.
 * @param {Int32Array} state eight words; left as it is
 * @param {Uint8Array} message the block is 64 bytes of it
 * @param {number} at
 * @param {Int32Array} out eight words; may be `state`
 */
export function compress(state, message, at, out) {
  for (let i = 0; i < 16; i++, at += 4) {
    w[i] =
      (message[at] << 24) |
      (message[at + 1] << 16) |
      (message[at + 2] << 8) |
      message[at + 3];
  }
  for (let i = 16; i < 64; i++) {
    const x = w[i - 15];
    const y = w[i - 2];
    const s0 = ((x >>> 7) | (x << 25)) ^ ((x >>> 18) | (x << 14)) ^ (x >>> 3);
    const s1 = ((y >>> 17) | (y << 15)) ^ ((y >>> 19) | (y << 13)) ^ (y >>> 10);
    w[i] = w[i - 16] + s0 + w[i - 7] + s1;
  }
  let a = state[0];
  let b = state[1];
  let c = state[2];
  let d = state[3];
  let e = state[4];
  let f = state[5];
  let g = state[6];
  let h = state[7];
  for (let i = 0; i < 64; i++) {
    const s1 =
      ((e >>> 6) | (e << 26)) ^ ((e >>> 11) | (e << 21)) ^ ((e >>> 25) | (e << 7));
    const t1 = (h + s1 + ((e & f) ^ (~e & g)) + K[i] + w[i]) | 0;
    const s0 =
      ((a >>> 2) | (a << 30)) ^ ((a >>> 13) | (a << 19)) ^ ((a >>> 22) | (a << 10));
    const t2 = (s0 + ((a & b) ^ (a & c) ^ (b & c))) | 0;
    h = g;
    g = f;
    f = e;
    e = (d + t1) | 0;
    d = c;
    c = b;
    b = a;
    a = (t1 + t2) | 0;
  }
  out[0] = state[0] + a;
  out[1] = state[1] + b;
  out[2] = state[2] + c;
  out[3] = state[3] + d;
  out[4] = state[4] + e;
  out[5] = state[5] + f;
  out[6] = state[6] + g;
  out[7] = state[7] + h;
}

/**
 * A message of `length` bytes, of which `start` are written, with its padding.
 * @param {Uint8Array} start
 * @param {number} length
 */
export function pad(start, length) {
  const padded = new Uint8Array(Math.ceil((length + 9) / 64) * 64);
  padded.set(start);
  padded[length] = 128;
  new DataView(padded.buffer).setUint32(padded.length - 4, length * 8);
  return padded;
}
