/** Signature leaves (PROTOCOL §3, type 1; 357 bytes) as byte strings. */
import { bytes, u16, unbase64url } from "./bytes.js";
import { tagged } from "./token.js";

export const LENGTH = 357;

/** The leaf that a sign request becomes. @param {Record<string, any>} body */
export const leafOf = (body) =>
  u16(0x0101) +
  u16(body.key_index) +
  bytes(body.stance) +
  [body.public_hash, body.withdraw_hash, body.r, body.authenticator]
    .map(unbase64url)
    .join("");

/** @param {string} leaf */
export function parseLeaf(leaf) {
  if (leaf.length !== LENGTH || leaf.slice(0, 2) !== u16(0x0101)) {
    throw { code: "not-a-signature" };
  }
  return {
    keyIndex: leaf.charCodeAt(2) * 256 + leaf.charCodeAt(3),
    stance: leaf.charCodeAt(4),
    withdrawHash: leaf.slice(37, 69),
    authenticator: leaf.slice(101),
    /** The nonce under a challenge: what the token was made over. */
    nonce: (/** @type {string} */ challenge) =>
      tagged("nonce", challenge + leaf.slice(4, 101)),
  };
}
