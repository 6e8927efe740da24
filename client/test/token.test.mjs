import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { RSABSSA } from "@cloudflare/blindrsa-ts";
import * as b from "../src/bytes.js";
import * as t from "../src/token.js";
import { handle, importKey } from "../interop.mjs";
import { absent, readJSON } from "./vectors.mjs";

const { hex, integer, raw, str, unhex } = b;
const suite = RSABSSA.SHA384.PSS.Deterministic();

/** An issuer: its key in RFC 9578 form, and the blind signature by plain arithmetic. */
async function makeIssuer() {
  const pair = await suite.generateKey({
    publicExponent: Uint8Array.from([1, 0, 1]),
    modulusLength: 2048,
  });
  const { n, d } = await crypto.subtle.exportKey("jwk", pair.privateKey);
  const modulus = b.unbase64url(n);
  return { pair, spki: SPKI_HEAD + modulus + "\x02\x03\x01\0\x01", n: modulus, d };
}

const SPKI_HEAD = unhex(
  "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a3018" +
    "06092a864886f70d010108300b0609608648016503040202a2030201300382010f003082010a" +
    "0282010100",
);

const wrap = (spki) => b.u16(0x0102) + b.u16(1) + "\x01\0" + spki;

test("the key form", async (context) => {
  const { spki } = await makeIssuer();
  const accepts = (leaf) => t.KEY_LEAF.test(btoa(leaf));
  const replace = (x, at, byte) => x.slice(0, at) + byte + x.slice(at + 1);
  await context.test("accepts the exact form with any index, class and flags", () => {
    assert.ok(accepts(wrap(spki)));
    assert.ok(accepts(b.u16(0x0102) + b.u16(300) + "\x04\x01" + spki));
  });
  await context.test("refuses a change of any byte that is not the modulus", () => {
    const leaf = wrap(spki);
    const fixed = [0, 1, ...Array.from({ length: 81 }, (_, i) => 6 + i), 343, 344, 345];
    for (const at of [...fixed, 346, 347]) {
      const byte = b.bytes(leaf.charCodeAt(at) ^ 1);
      assert.ok(!accepts(replace(leaf, at, byte)), `byte ${at}`);
    }
  });
  await context.test(
    "refuses a modulus of 2047 bits, an even one, a wrong length",
    () => {
      const leaf = wrap(spki);
      assert.ok(!accepts(replace(leaf, 87, "\x7f")));
      assert.ok(!accepts(replace(leaf, 342, b.bytes(leaf.charCodeAt(342) & 254))));
      assert.ok(!accepts(leaf + "\0\0\0"));
      assert.ok(!accepts(leaf.slice(0, -1)));
    },
  );
});

test("RFC 9578 type 2 vectors", absent("rfc9578"), async (context) => {
  for (const [i, v] of readJSON("rfc9578/type-2.json").entries()) {
    await context.test(`vector ${i}`, async () => {
      const spki = unhex(v.pkS);
      assert.ok(t.KEY_LEAF.test(btoa(wrap(spki))));
      const keyId = await b.sha(256, spki);
      const challenge = await b.sha(256, unhex(v.token_challenge));
      const input = t.tokenInput(unhex(v.nonce), challenge, keyId);
      const n = integer(spki.slice(81, 337));
      const m = integer(await t.encode(input, unhex(v.salt), 256));
      const [blinded, inverse] = t.blind(m, n, integer(unhex(v.blind)));
      const request = b.u16(2) + keyId[31] + b.octets(blinded);
      assert.equal(hex(request), v.token_request);
      const secrets = [`${n}`, `${m}`, `${inverse}`];
      const authenticator = t.open(secrets, unhex(v.token_response));
      assert.equal(hex(input + authenticator), v.token);
    });
  }
});

test("RFC 9474 deterministic vector", absent("rfc9474"), async () => {
  // Keys there have 4096 bits; everything but the final width is the same.
  const [v] = readJSON("rfc9474/appendix-a.json").filter(
    ({ name }) => name === "RSABSSA-SHA384-PSS-Deterministic",
  );
  const n = integer(unhex(v.n));
  const encoded = await t.encode(unhex(v.prepared_msg), unhex(v.salt), 512);
  assert.equal(hex(encoded), v.encoded_msg);
  // The vector gives the inverse of r: the inverse of that is r.
  const [, r] = t.blind(integer(encoded), n, integer(unhex(v.inv)));
  const [blinded, inverse] = t.blind(integer(encoded), n, r);
  assert.equal(blinded, integer(unhex(v.blinded_msg)));
  assert.equal(inverse, integer(unhex(v.inv)));
  const signature = (integer(unhex(v.blind_sig)) * inverse) % n;
  assert.equal(signature, integer(unhex(v.sig)));
  assert.equal(t.power(signature, n), integer(encoded));
});

test("tokens live with blindrsa-ts", async (context) => {
  const { pair, spki } = await makeIssuer();
  const challenge = await t.challengeDigest(
    "example.org",
    "example.org/c/demo",
    "\x07".repeat(32),
  );
  const key = await importKey(spki);

  for (const lib of ["undersigned", "blindrsa"]) {
    await context.test(`prepared and finalised by ${lib}`, async () => {
      const prepared = await handle({
        op: "prepare",
        lib,
        spki: btoa(spki),
        challenge_digest: hex(challenge),
        stance: 1,
        shown: { name: "Asha" },
      });
      const signed = await suite.blindSign(
        pair.privateKey,
        raw(atob(prepared.blinded)),
      );
      const done = await handle({
        op: "finalize",
        // Through JSON, as another process would hold it.
        state: JSON.parse(JSON.stringify(prepared.state)),
        blind_sig: btoa(str(signed)),
      });
      const input = raw(unhex(done.token_input));
      assert.equal(input.length, 98);
      assert.ok(await suite.verify(key, raw(atob(done.authenticator)), input));
      assert.equal(done.leaf.length, 2 * 357);
    });
  }

  await context.test("an answer that signs something else is not used", async () => {
    const [, secrets] = await t.makeSignature(wrap(spki), challenge, 0, {
      comment: "",
      name: "",
      place: "",
    });
    const signed = str(
      await suite.blindSign(pair.privateKey, raw(secrets[3].slice(3))),
    );
    assert.equal(t.open(secrets, signed).length, 256);
    const flipped = signed.slice(0, 255) + b.bytes(signed.charCodeAt(255) ^ 1);
    assert.equal(t.open(secrets, flipped), false);
    assert.throws(() => t.open(secrets, ""));
  });

  await context.test("two preparations share nothing", async () => {
    const make = () =>
      t.makeSignature(wrap(spki), challenge, 0, {
        comment: "",
        name: "",
        place: "",
      });
    const [[, one, nonceOne, wOne], [, two, nonceTwo, wTwo]] = [
      await make(),
      await make(),
    ];
    assert.notEqual(one[3], two[3]);
    assert.notEqual(nonceOne, nonceTwo);
    assert.notEqual(wOne, wTwo);
  });
});

test("commitments", async (context) => {
  const { spki } = await makeIssuer();
  const digest = (...parts) =>
    createHash("sha256")
      .update(Buffer.concat(parts.map((x) => Buffer.from(x))))
      .digest();
  const challenge = "\x09".repeat(32);

  await context.test("follow PROTOCOL §2 byte for byte", async () => {
    const shown = { comment: "“Yes”\n\u0007 \u2028", name: "Asha", place: "河" };
    const [body, , nonce, w] = await t.makeSignature(wrap(spki), challenge, 2, shown);
    const canonical = '{"comment":"“Yes”\\n\\u0007 \u2028","name":"Asha","place":"河"}';
    const publicHash = digest(
      "undersigned/public/v1\0",
      Buffer.from(body.salt, "base64url"),
      canonical,
    );
    assert.equal(body.public_hash, publicHash.toString("base64url"));
    const withdrawHash = digest("undersigned/withdraw/v1\0", raw(w));
    assert.equal(body.withdraw_hash, withdrawHash.toString("base64url"));
    const r = Buffer.from(body.r, "base64url");
    const all = [
      "undersigned/nonce/v1\0",
      raw(challenge),
      [2],
      publicHash,
      withdrawHash,
      r,
    ];
    assert.equal(hex(nonce), digest(...all).toString("hex"));
    assert.deepEqual(body.public, shown);
    assert.equal(body.key_index, 1);
    assert.equal(body.stance, 2);
  });

  await context.test("are zero where nothing is shown", async () => {
    const nothing = { comment: "", name: "", place: "" };
    const [body] = await t.makeSignature(wrap(spki), challenge, 0, nothing);
    assert.equal(body.public_hash, Buffer.alloc(32).toString("base64url"));
    assert.equal(body.public, null);
    assert.equal(body.salt, null);
  });

  await context.test("the challenge is RFC 9578's TokenChallenge", async () => {
    const origin = "example.org/c/demo";
    const statement = digest("text");
    const context_ = digest("undersigned/campaign/v1\0", origin, [0], statement);
    const sized = (x) => Buffer.concat([Buffer.from([0, x.length]), Buffer.from(x)]);
    const whole = [[0, 2], sized("example.org"), [32], context_, sized(origin)];
    assert.equal(
      hex(await t.challengeDigest("example.org", origin, str(statement))),
      digest(...whole).toString("hex"),
    );
  });
});

test("byte strings", () => {
  const all = b.bytes(...Array(256).keys());
  assert.equal(str(raw(all)), all);
  assert.equal(unhex(hex(all)), all);
  assert.equal(b.base64url(all), Buffer.from(raw(all)).toString("base64url"));
  assert.equal(b.unbase64url(b.base64url(all)), all);
  assert.equal(b.utf8("€"), "\xe2\x82\xac");
  assert.equal(b.octets(BigInt(258)), "\0".repeat(254) + "\x01\x02");
});
