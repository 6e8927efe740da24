/**
 * Blind tokens: RFC 9578 type 0x0002, that is RFC 9474
 * RSABSSA-SHA384-PSS-Deterministic with RSA-2048 and e = 65537; challenge, nonce and
 * commitments as PROTOCOL §2. Byte values are byte strings (bytes.js).
 */
import { base64url, bytes, integer, octets, random } from "./bytes.js";
import { raw, sha, str, u16, utf8, zeros } from "./bytes.js";

/**
 * The exact form of a key leaf (PROTOCOL §3, type 2; 348 bytes), on its base64. Six
 * bytes (version 1, type 2, key index, class, flags) stand before the 342-byte key in
 * the RFC 9578 form, whose fixed head has 81. All these are whole groups of three
 * bytes, so every part can be compared as text: the heads; a modulus whose top bit
 * (exactly 2048 bits) and last bit (odd) are set; then the integer 65537.
 */
export const KEY_LEAF =
  /^AQI.{5}MIIBUjA9BgkqhkiG9w0BAQowMKANMAsGCWCGSAFlAwQCAqEaMBgGCSqGSIb3DQEBCDALBglghkgBZQMEAgKiAwIBMAOCAQ8AMIIBCgKCAQEA[g-z0-9+/][\w+/]{340}[Qw]IDAQAB$/;

/**
 * One of the protocol's hashes: SHA-256 under its own label.
 * @param {string} label
 * @param {string} x
 */
export const tagged = (label, x) => sha(256, `undersigned/${label}/v1\0` + x);

/** @param {string} x */
const prefixed = (x) => u16(x.length) + x;

/**
 * SHA-256 of the TokenChallenge for one statement in one log.
 * @param {string} issuer
 * @param {string} origin
 * @param {string} statementDigest 32 bytes
 */
export const challengeDigest = async (issuer, origin, statementDigest) =>
  sha(
    256,
    u16(2) + // token type
      prefixed(issuer) +
      " " + // 0x20: the redemption context has 32 bytes
      (await tagged("campaign", origin + "\0" + statementDigest)) +
      prefixed(origin),
  );

/**
 * What is signed, 98 bytes.
 * @param {string} nonce
 * @param {string} challenge
 * @param {string} keyId SHA-256 of the key's SPKI
 */
export const tokenInput = (nonce, challenge, keyId) =>
  u16(2) + nonce + challenge + keyId;

/**
 * EMSA-PSS-ENCODE with SHA-384, MGF1-SHA-384 and a 48-byte salt, for a modulus of
 * exactly `size` whole bytes (RFC 8017 §9.1.1).
 * @param {string} message
 * @param {string} salt 48 bytes
 * @param {number} size
 */
export async function encode(message, salt, size) {
  const h = await sha(384, zeros(8) + (await sha(384, message)) + salt);
  const block = raw(zeros(size - 98) + "\x01" + salt);
  let mask = "";
  for (let i = 0; mask.length < size;) mask += await sha(384, h + "\0\0" + u16(i++));
  const masked = raw(mask).map((byte, i) => byte ^ block[i]);
  // The encoded message has one bit less than the modulus.
  masked[0] &= 127;
  return str(masked.slice(0, size - 49)) + h + "\xbc";
}

/**
 * x ** 65537 mod n.
 * @param {bigint} x
 * @param {bigint} n
 */
export const power = (x, n) => {
  let y = x;
  for (let i = 16; i--;) y = (y * y) % n;
  return (y * x) % n;
};

/**
 * Blind the encoded message `m` with the factor `r`: what the issuer signs, and the
 * inverse that undoes it.
 * @param {bigint} m
 * @param {bigint} n
 * @param {bigint} r
 */
export const blind = (m, n, r) => {
  // Euclid: at the end x * r = 1 mod n.
  let [a, b, x, y] = [r, n, BigInt(1), BigInt(0)];
  while (b) [a, b, x, y] = [b, a % b, y, x - (a / b) * y];
  return [(m * power(r, n)) % n, ((x % n) + n) % n];
};

/**
 * Make everything secret for one signature: [body of the sign request, without its
 * authenticator; what the issuer's answer is opened with; nonce; w]. What is opened
 * with: [n, m and the inverse in decimal, the request to the issuer].
 * @param {string} keyLeaf of the form KEY_LEAF
 * @param {string} challenge digest
 * @param {number} stance
 * @param {{comment: string, name: string, place: string}} shown members in this order,
 *   in which JSON.stringify writes what RFC 8785 wants; all empty: nothing is shown
 * @returns {Promise<[Record<string, any>, string[], string, string]>}
 */
export async function makeSignature(keyLeaf, challenge, stance, shown) {
  const w = random(32);
  const r = random(32);
  const salt = random(32);
  const any = shown.comment + shown.name + shown.place;
  const publicHash = any
    ? await tagged("public", salt + utf8(JSON.stringify(shown)))
    : zeros(32);
  const withdrawHash = await tagged("withdraw", w);
  const committed = bytes(stance) + publicHash + withdrawHash + r;
  const nonce = await tagged("nonce", challenge + committed);

  const keyId = await sha(256, keyLeaf.slice(6));
  const n = integer(keyLeaf.slice(87, 343));
  const m = integer(await encode(tokenInput(nonce, challenge, keyId), random(48), 256));
  // 16 bytes more than n has, so that the remainder is uniform to within 2^-128.
  const [blinded, inverse] = blind(m, n, integer(random(272)) % n);
  return [
    {
      key_index: Number(integer(keyLeaf.slice(2, 4))),
      stance,
      public_hash: base64url(publicHash),
      withdraw_hash: base64url(withdrawHash),
      r: base64url(r),
      public: any ? shown : null,
      salt: any ? base64url(salt) : null,
    },
    [`${n}`, `${m}`, `${inverse}`, u16(2) + keyId[31] + octets(blinded)],
    nonce,
    w,
  ];
}

/**
 * Undo the blinding of the issuer's answer, and give the authenticator only if it
 * signs what was encoded, else nothing. The check is also what stops an issuer with a
 * malformed key from marking the tokens it signs.
 * @param {string[]} secrets
 * @param {string} answer
 */
export const open = (secrets, answer) => {
  const [n, m, inverse] = secrets.slice(0, 3).map(BigInt);
  const s = (integer(answer) * inverse) % n;
  return power(s, n) == m && octets(s);
};
