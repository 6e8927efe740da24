import assert from "node:assert/strict";
import test from "node:test";
import { unutf8, utf8 } from "../src/bytes.js";
import { formatReceipt, parseReceipt } from "../src/proof.js";
import { areProofs } from "../src/spine.js";
import { cosignedAt, parseWitnesses } from "../src/witness.js";
import { parseNote } from "../src/note.js";
import {
  build,
  cosign,
  entry,
  flipSignature,
  HOST,
  judge,
  makeKey,
  makeLog,
  makeSpine,
  others,
  serve,
  vkeyOf,
  W,
} from "./campaign.mjs";
import { naiveRoot } from "./tree.mjs";

const log = await makeLog();
const root = await naiveRoot(log.leaves);
const own = entry(log.leaves.length, root);
const older = entry(120, "o".repeat(32));
const tiles = (asked) => asked.filter((url) => url.startsWith("/spine/tile/entries/"));

/** A receipt built against a spine of these leaves. */
async function buildWith(leaves, options) {
  log.spine = makeSpine(leaves, options);
  const asked = await serve(log);
  const parts = parseReceipt(await build(log, W));
  return { parts, asked };
}

test("the second part, built from tiles", async (context) => {
  await context.test("proves the first part's checkpoint in the spine", async () => {
    const { parts } = await buildWith([older, ...others(3), own, ...others(2)]);
    const [proof, second] = parts;
    assert.equal(second.extra, own);
    assert.equal(second.index, 4);
    assert.match(unutf8(utf8(second.checkpoint)), /^example\.org\/spine\n7\n/);
    assert.ok(await areProofs(parts, log.leaf));
    assert.equal(proof.extra, log.leaf + W);
  });
  await context.test("is found in an older tile", async () => {
    const { parts, asked } = await buildWith([older, own, ...others(600)]);
    assert.equal(parts[1].index, 1);
    assert.equal(tiles(asked).length, 3);
    assert.ok(await areProofs(parts, log.leaf));
  });
  await context.test("is found behind larger ones", async () => {
    const larger = entry(400, "l".repeat(32));
    const { parts } = await buildWith([older, own, ...others(300), larger]);
    assert.equal(parts[1].index, 1);
  });
  await context.test("is left out before the checkpoint is entered", async () => {
    const { parts, asked } = await buildWith([...others(600), older]);
    assert.equal(parts.length, 1);
    // A smaller size of the same log says that the search is over.
    assert.equal(tiles(asked).length, 1);
    const never = await buildWith(others(300));
    assert.equal(never.parts.length, 1);
  });
  await context.test("is left out where there is no spine", async () => {
    delete log.spine;
    await serve(log);
    assert.equal(parseReceipt(await build(log)).length, 1);
  });
  await context.test("never makes a receipt of what the spine doesn't prove", async () => {
    log.spine = makeSpine([own, ...others(9)]);
    await serve(log, (_files, site) =>
      site.set("/spine/tile/0/000.p/10", "z".repeat(320)),
    );
    await assert.rejects(build(log), { code: "receipt-wrong" });
  });
  await context.test("doesn't take a broken line for a missing spine", async () => {
    log.spine = makeSpine([own]);
    await serve(log);
    const answer = globalThis.fetch;
    globalThis.fetch = async (url) =>
      url.startsWith("/spine/") ? new Response("", { status: 503 }) : answer(url);
    await assert.rejects(build(log), { status: 503 });
  });
});

test("parts that don't belong together", async (context) => {
  const { parts } = await buildWith([older, own]);
  const [proof, second] = parts;
  for (const [what, extra] of [
    ["another size", own.replace(":300}", ":301}")],
    ["another root", entry(300, "r".repeat(32))],
    ["another log", entry(300, root, "example.org/c/other")],
    ["a blank more", own.replace(",", ", ")],
    ["nothing", ""],
  ]) {
    await context.test(what, async () => {
      assert.ok(!(await areProofs([proof, { ...second, extra }], log.leaf)));
      const { found } = await judge(formatReceipt([proof, { ...second, extra }]));
      assert.equal(found.spine, "no");
      assert.equal(found.verdict, "no");
      assert.equal(found.inclusion, "yes", "the first part stays as good as it was");
    });
  }
  await context.test("another place in the spine", async () => {
    const moved = [proof, { ...second, index: 0 }];
    assert.ok(!(await areProofs(moved, log.leaf)));
    assert.equal((await judge(formatReceipt(moved))).found.spine, "no");
  });
  await context.test("the other order, or one too many", async () => {
    await assert.rejects(judge(formatReceipt([second, proof])), {
      code: "not-a-signature",
    });
    assert.throws(() => parseReceipt(formatReceipt([...parts, second])), {
      code: "not-a-receipt",
    });
  });
});

test("the check of the second part", async (context) => {
  const { parts } = await buildWith([older, own, ...others(2)]);
  const receipt = formatReceipt(parts);
  const finds = async (expected, text, change) => {
    await serve(log, change);
    const { found } = await judge(text);
    const { spine, "spine-growth": growth, witnesses, verdict } = found;
    assert.deepEqual({ spine, growth, witnesses, verdict }, expected);
  };
  const bad = { witnesses: undefined, verdict: "no" };
  const { leaves } = log.spine;

  await context.test("finds nothing wrong, also when the spine has grown", async () => {
    const good = { spine: "yes", growth: "yes", witnesses: "unnamed", verdict: "yes" };
    await finds(good, receipt);
    log.spine.leaves = [...leaves, ...others(300)];
    await finds(good, receipt);
    assert.equal((await judge(receipt)).checked.facts.spine, "4");
  });
  await context.test("names a spine that went back", () => {
    log.spine.leaves = leaves.slice(0, 3);
    return finds({ ...bad, spine: "yes", growth: "no" }, receipt);
  });
  await context.test("names a spine that was rewritten", () => {
    log.spine.leaves = [...others(2), ...leaves.slice(2), ...others(1)];
    return finds({ ...bad, spine: "yes", growth: "no" }, receipt);
  });
  await context.test("names a spine that is gone", () => {
    log.spine.leaves = leaves;
    return finds({ ...bad, spine: "no", growth: "no" }, receipt, (_files, site) =>
      site.clear(),
    );
  });
  await context.test("names a newest checkpoint of another key", () =>
    finds({ ...bad, spine: "yes", growth: "no" }, receipt, (_files, site) => {
      const note = unutf8(site.get("/spine/checkpoint"));
      site.set("/spine/checkpoint", utf8(flipSignature(note)));
    }),
  );
  await context.test("names a checkpoint that the spine's key did not sign", () => {
    const checkpoint = flipSignature(parts[1].checkpoint);
    const text = formatReceipt([parts[0], { ...parts[1], checkpoint }]);
    return finds({ ...bad, spine: "no", growth: "yes" }, text);
  });
  await context.test("takes no other log of this site for its spine", async () => {
    const { spine } = log;
    log.spine = makeSpine(leaves);
    log.spine.origin = HOST + "/c/spine";
    await serve(log);
    const made = await build(log);
    log.spine = spine;
    await finds({ ...bad, spine: "no", growth: "yes" }, made);
  });
});

test("witnesses", async (context) => {
  const named = (name) => ({ name, ...makeKey() });
  const asha = named("asha.example/witness");
  const omar = named("omar.example/witness");
  const line = async (key) =>
    `witness ${key.name}\t${await vkeyOf(key.name, key, "\x04")} https://${key.name}`;
  const policy = [
    "# ours",
    "",
    `log ${await vkeyOf(HOST + "/spine", makeKey())}`,
    await line(asha),
    "  " + (await line(omar)),
    `group both 2 ${asha.name} ${omar.name}`,
    "quorum both\n",
  ].join("\n");
  const { parts } = await buildWith([older, own], { policy });
  const [proof, second] = parts;
  const text = parseNote(second.checkpoint).text;
  const judgeWith = async (lines, change) => {
    await serve(log, change);
    const checkpoint = second.checkpoint + lines;
    const judged = await judge(formatReceipt([proof, { ...second, checkpoint }]));
    assert.equal(judged.found.verdict, "yes", "witnesses are no part of the verdict");
    return judged;
  };

  await context.test("are read from the policy, in its order", async () => {
    const keys = await parseWitnesses(policy);
    assert.deepEqual(
      keys.map(({ name }) => name),
      [asha.name, omar.name],
    );
    assert.equal(keys[0].key, asha.publicKey);
    for (const vkey of ["", await vkeyOf(asha.name, asha), "nonsense"]) {
      await assert.rejects(parseWitnesses(`witness a ${vkey}\n`), {
        code: "vkey-malformed",
      });
    }
  });
  await context.test("are shown by name and time", async () => {
    const { found, checked } = await judgeWith(await cosign(text, 1763712000, omar));
    assert.equal(found.witnesses, "some");
    assert.deepEqual(checked.signers, [
      { name: asha.name, at: NaN },
      { name: omar.name, at: 1763712000000 },
    ]);
  });
  await context.test("are told to be silent where they are", async () => {
    assert.equal((await judgeWith("")).found.witnesses, "none");
  });
  await context.test("count also on a newer checkpoint of the same spine", async () => {
    log.spine.leaves = [older, own, ...others(1)];
    const files = await log.spine.files();
    const newest = parseNote(unutf8(files.get("/spine/checkpoint"))).text;
    log.spine.lines = await cosign(newest, 1763712000, asha);
    const { checked } = await judgeWith(await cosign(text, 1763715600, omar));
    assert.deepEqual(
      checked.signers.map(({ at }) => at),
      [1763712000000, 1763715600000],
    );
    log.spine.leaves = [older, own];
    log.spine.lines = "";
  });
  await context.test("that are not named count for nothing", async () => {
    const lines = await cosign(text, 1763712000, named("mallory.example/witness"));
    assert.equal((await judgeWith(lines)).found.witnesses, "none");
  });
  await context.test("don't vouch for a spine that was rewritten", async () => {
    const { leaves } = log.spine;
    log.spine.leaves = [...others(2), ...leaves];
    await serve(log);
    const checkpoint = second.checkpoint + (await cosign(text, 1763712000, asha));
    const { found } = await judge(formatReceipt([proof, { ...second, checkpoint }]));
    assert.equal(found.witnesses, undefined);
    assert.equal(found.verdict, "no");
    log.spine.leaves = leaves;
  });
  await context.test("of a policy that can't be read are not made up", async () => {
    const { found } = await judgeWith("", (_files, site) =>
      site.set("/policy.txt", "witness a b\n"),
    );
    assert.equal(found.witnesses, "unread");
  });
  await context.test("are not believed when the line is false", async () => {
    const key = (await parseWitnesses(policy))[0];
    const at = async (note) => cosignedAt(parseNote(second.checkpoint + note), key);
    assert.equal(await at(await cosign(text, 7, asha)), 7000);
    assert.equal(await at(await cosign(text, 0, asha)), 0);
    const forged = { ...makeKey(), name: asha.name };
    const true_ = await cosign(text, 7, asha);
    const [head, blob] = true_.trimEnd().split(/ (?=\S+$)/);
    const other = (bytes) => `${head} ${btoa(bytes)}\n`;
    const bytes = atob(blob);
    for (const line of [
      await cosign(text, 7, forged),
      await cosign(text + "x", 7, asha),
      other(bytes.slice(0, 11) + "\x08" + bytes.slice(12)),
      other(bytes.slice(0, -1)),
      other(bytes + "\0"),
      other(bytes.slice(0, 5)),
      // Signed well, and no date: the page must not stumble over it.
      await cosign(text, 2 ** 52, asha),
    ]) {
      assert.ok(Number.isNaN(await at(line)), line);
    }
  });
});
