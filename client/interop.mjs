/**
 * A signer for tests in other languages: one JSON object a line on standard input, one
 * answer a line on standard output. The Python drill issues what is prepared here and
 * verifies what is finalised here.
 *
 *   {"op":"prepare","spki":B64,"challenge_digest":HEX,"stance":0,"shown":null|{…},
 *    "key_index":1,"lib":"undersigned"|"blindrsa"}
 *     -> {"blinded":B64,"request":B64,"state":{…}}
 *   {"op":"finalize","state":{…},"blind_sig":B64}
 *     -> {"authenticator":B64,"nonce":HEX,"token_input":HEX,"leaf":HEX,"body":{…},
 *         "w":HEX}
 *   {"op":"challenge","issuer_name":…,"origin":…,"statement_sha256":HEX}
 *     -> {"challenge_digest":HEX}
 *
 * With "lib":"blindrsa" the blinding, unblinding and encoding are those of
 * @cloudflare/blindrsa-ts; commitments and nonce are ours either way. `body` is that of
 * `POST c/ID/sign`, `leaf` the signature leaf. A fault answers {"error":…}.
 */
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { RSABSSA } from "@cloudflare/blindrsa-ts";
import { base64url, hex, raw, sha, str, u16, unhex } from "./src/bytes.js";
import { leafOf } from "./src/leaf.js";
import {
  challengeDigest,
  KEY_LEAF,
  makeSignature,
  open,
  tokenInput,
} from "./src/token.js";

const suite = RSABSSA.SHA384.PSS.Deterministic();

/** A key with the library's own name for it: WebCrypto has no RSASSA-PSS SPKI. */
export const importKey = (/** @type {string} */ spki) =>
  crypto.subtle.importKey(
    "jwk",
    { kty: "RSA", n: base64url(spki.slice(81, 337)), e: "AQAB" },
    { name: "RSA-PSS", hash: "SHA-384" },
    true,
    ["verify"],
  );

async function prepare({
  spki: encoded,
  challenge_digest,
  stance,
  shown,
  key_index,
  lib,
}) {
  const spki = atob(encoded);
  const keyLeaf = u16(0x0102) + u16(key_index ?? 1) + "\x01\0" + spki;
  if (!KEY_LEAF.test(btoa(keyLeaf))) throw new Error("key-malformed");
  const nothing = { comment: "", name: "", place: "" };
  const { comment, name, place } = { ...nothing, ...shown };
  const [body, secrets, nonce, w] = await makeSignature(
    keyLeaf,
    unhex(challenge_digest),
    stance,
    { comment, name, place },
  );
  const input = tokenInput(nonce, unhex(challenge_digest), await sha(256, spki));
  const state = {
    lib,
    body,
    secrets,
    nonce: hex(nonce),
    w: hex(w),
    input: hex(input),
  };
  let blinded = secrets[3].slice(3);
  if (lib === "blindrsa") {
    const key = await importKey(spki);
    const made = await suite.blind(key, suite.prepare(raw(input)));
    blinded = str(made.blindedMsg);
    Object.assign(state, { spki: encoded, inverse: hex(str(made.inv)) });
  }
  const request = secrets[3].slice(0, 3) + blinded;
  const text = { ...state, secrets: secrets.map((x) => btoa(x)) };
  return { blinded: btoa(blinded), request: btoa(request), state: text };
}

async function finalize({ state, blind_sig }) {
  const answer = atob(blind_sig);
  let authenticator = "";
  if (state.lib === "blindrsa") {
    const key = await importKey(atob(state.spki));
    const inverse = raw(unhex(state.inverse));
    const input = raw(unhex(state.input));
    authenticator = str(await suite.finalize(key, input, raw(answer), inverse));
  } else {
    authenticator = open(state.secrets.map(atob), answer) || "";
    if (!authenticator) throw new Error("token-wrong");
  }
  const body = { ...state.body, authenticator: base64url(authenticator) };
  return {
    authenticator: btoa(authenticator),
    nonce: state.nonce,
    token_input: state.input,
    leaf: hex(leafOf(body)),
    body,
    w: state.w,
  };
}

const operations = {
  prepare,
  finalize,
  challenge: async ({ issuer_name, origin, statement_sha256 }) => ({
    challenge_digest: hex(
      await challengeDigest(issuer_name, origin, unhex(statement_sha256)),
    ),
  }),
};

/** Answer one request. @param {Record<string, any>} request */
export const handle = (request) => {
  const operation = operations[request.op];
  if (!operation) throw new Error(`unknown op: ${request.op}`);
  return operation(request);
};

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  for await (const line of createInterface({ input: process.stdin })) {
    if (!line.trim()) continue;
    let answer;
    try {
      answer = await handle(JSON.parse(line));
    } catch (error) {
      answer = { error: String(error.message || error.code || error) };
    }
    process.stdout.write(JSON.stringify(answer) + "\n");
  }
}
