import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import test from "node:test";
import { raw, u16, utf8 } from "../src/bytes.js";
import { Fate } from "../src/fate.js";
import { formatPromise, promiseTerms } from "../src/files.js";
import { leafOf, parseLeaf } from "../src/leaf.js";
import { solve } from "../src/puzzle.js";
import { tagged } from "../src/token.js";
import { pathOf } from "../src/verdict.js";

const W = "w".repeat(32);
const control = (type, content) => u16(0x0100 + type) + utf8(JSON.stringify(content));
const withdrawal = (target, w) =>
  u16(0x0103) + "\0".repeat(7) + String.fromCharCode(target) + w;
const SIGNATURE = u16(0x0101) + "x".repeat(355);

/** The state of signature 10 (key 3) after leaves, of which "" is the signature. */
async function fateOf({ quarantine = false }, ...leaves) {
  const fate = new Fate(10, 3, await tagged("withdraw", W), quarantine);
  const own = leaves.indexOf("");
  for (const [i, leaf] of leaves.entries())
    await fate.apply(10 + i - own, leaf || SIGNATURE);
  return fate.state;
}

test("the fate of a signature (PROTOCOL §3)", async (context) => {
  const cover = {
    targets: [
      [2, 4],
      [9, 12],
    ],
  };
  const other = {
    targets: [
      [2, 4],
      [11, 12],
    ],
  };
  const cases = [
    ["standing", {}, "", SIGNATURE],
    ["held", { quarantine: true }, ""],
    ["standing", { quarantine: true }, "", control(8, { release_key: 3 })],
    ["standing", { quarantine: true }, control(8, { release_key: 3 }), ""],
    ["removed", { quarantine: true }, "", control(5, { remove_key: 3 })],
    ["removed", { quarantine: true }, control(5, { remove_key: 3 }), ""],
    ["held", { quarantine: true }, "", control(5, { remove_key: 4 })],
    ["removed", {}, "", control(5, cover)],
    ["standing", {}, "", control(5, other)],
    ["standing", {}, "", control(5, cover), control(8, cover)],
    ["held", { quarantine: true }, "", control(5, cover), control(8, cover)],
    ["removed", {}, "", control(5, cover), control(8, other)],
    ["withdrawn", {}, "", withdrawal(10, W)],
    ["withdrawn", {}, "", control(5, cover), withdrawal(10, W), control(8, cover)],
    ["withdrawn", {}, "", withdrawal(10, W), control(5, cover)],
    ["standing", {}, "", withdrawal(11, W), withdrawal(10, "v".repeat(32))],
  ];
  for (const [state, options, ...leaves] of cases) {
    await context.test(`${state} after ${leaves.length - 1} other leaves`, async () => {
      assert.equal(await fateOf(options, ...leaves), state);
    });
  }
});

test("signature leaves", async () => {
  const part = (x, n) => Buffer.alloc(n, x).toString("base64url");
  const leaf = leafOf({
    key_index: 258,
    stance: 2,
    public_hash: part(1, 32),
    withdraw_hash: part(2, 32),
    r: part(3, 32),
    authenticator: part(4, 256),
  });
  assert.equal(leaf.length, 357);
  const parsed = parseLeaf(leaf);
  assert.equal(parsed.keyIndex, 258);
  assert.equal(parsed.stance, 2);
  assert.equal(parsed.withdrawHash, "\x02".repeat(32));
  assert.equal(parsed.authenticator, "\x04".repeat(256));
  const hash = createHash("sha256")
    .update("undersigned/nonce/v1\0")
    .update("c".repeat(32));
  hash.update(raw(leaf.slice(4, 101)));
  assert.equal(
    Buffer.from(raw(await parsed.nonce("c".repeat(32)))).compare(hash.digest()),
    0,
  );
  for (const bad of [leaf + "\0", leaf.slice(1), "\x01\x02" + leaf.slice(2)]) {
    assert.throws(() => parseLeaf(bad), { code: "not-a-signature" });
  }
});

test("promises kept as files", () => {
  const promise =
    "undersigned promise v1\nexample.org/c/demo\nab12\n1763712000\n\n— x y\n";
  assert.equal(formatPromise("\x01\x02\x03", promise), "extra AQID\n\n" + promise);
  const { origin, nonce, by } = promiseTerms(promise);
  assert.deepEqual([origin, nonce, by], ["example.org/c/demo", "ab12", 1763712000000]);
});

test("a receipt names a log of this site only", () => {
  assert.equal(pathOf("localhost:8000/c/demo", "localhost:8000"), "/c/demo");
  assert.equal(pathOf("example.org/c/demo/2", "example.org"), "/c/demo/2");
  for (const origin of [
    "example.org.evil.net/c/demo",
    "evil.net/c/demo",
    "example.org/c/../admin",
    "example.org/c/demo?x",
    "example.org//evil.net/c/demo",
    "example.org/spine",
  ]) {
    assert.throws(() => pathOf(origin, "example.org"), { code: "other-site" });
  }
});

test("the puzzle of the open class", async () => {
  for (const token of ["t", "x".repeat(63), "y".repeat(64), "z".repeat(150)]) {
    let rests = 0;
    const solution = await solve(token, 12, async () => {
      rests++;
    });
    assert.match(solution, /^\d{1,20}$/);
    const digest = createHash("sha256").update(`${token}:${solution}`).digest();
    assert.equal(digest.readUInt32BE() >>> 20, 0);
    assert.ok(rests < 1000);
  }
});
