import assert from "node:assert/strict";
import test from "node:test";
import { hex, u16 } from "../src/bytes.js";
import { buildReceipt } from "../src/build.js";
import { formatPromise } from "../src/files.js";
import { formatProof, parseReceipt } from "../src/proof.js";
import { checkPromise, checkReceipt, readFate } from "../src/verdict.js";
import {
  build,
  flipSignature,
  HOST,
  judge,
  makeLog,
  ORIGIN,
  serve,
  signNote,
  W,
} from "./campaign.mjs";

test("receipts built from tiles", async (context) => {
  const log = await makeLog();
  const asked = await serve(log);
  const receipt = await build(log, W);

  await context.test("ask for the same tiles whichever signature it is", async () => {
    const again = await serve(log);
    await buildReceipt("/c/demo", log.leaves[280], "", 0, () => {});
    assert.deepEqual(asked, again);
  });
  await context.test("are good in every respect", async () => {
    const { found, checked } = await judge(receipt);
    const { verdict, stance, spine, ...rest } = found;
    assert.equal(verdict, "yes");
    assert.equal(stance, "0");
    assert.equal(spine, "absent");
    const names = "checkpoint inclusion newest consistency statement token withdraw";
    assert.deepEqual(Object.keys(rest).sort(), names.split(" ").sort());
    assert.ok(Object.values(rest).every((value) => value === "yes"));
    assert.equal(checked.facts.index, "2");
    assert.equal(await readFate(checked, () => {}), "standing");
  });
  await context.test("stay good when the log grows, and show what became", async () => {
    const content = { targets: [[2, 2]], reason: "x", case_sha256: "", approvals: [] };
    log.leaves.push(u16(0x0105) + JSON.stringify(content));
    await serve(log);
    const { found, checked } = await judge(receipt);
    assert.equal(found.verdict, "yes");
    assert.equal(await readFate(checked, () => {}), "removed");
    log.leaves.pop();
  });
  await context.test("are not there before publication", async () => {
    await serve(log);
    const other = { leaf: u16(0x0101) + "?".repeat(355) };
    await assert.rejects(build(other), { code: "receipt-not-ready" });
  });
});

test("what does not hold is named", async (context) => {
  const log = await makeLog();
  await serve(log);
  const receipt = await build(log, W);
  const [proof] = parseReceipt(receipt);
  const finds = async (name, text, change) => {
    await serve(log, change);
    const { found } = await judge(text);
    assert.equal(found[name], "no");
    assert.equal(found.verdict, "no");
  };
  const flip = (x, at) =>
    x.slice(0, at) + String.fromCharCode(x.charCodeAt(at) ^ 1) + x.slice(at + 1);
  const changed = (changes) => formatProof({ ...proof, ...changes });

  await context.test("a flipped bit in the leaf", async () => {
    await finds("inclusion", changed({ extra: flip(proof.extra, 200) }));
    await finds("token", changed({ extra: flip(proof.extra, 200) }));
  });
  await context.test("another w", () =>
    finds("withdraw", changed({ extra: flip(proof.extra, 380) })),
  );
  await context.test("another index", () => finds("inclusion", changed({ index: 3 })));
  await context.test("a checkpoint that the log's key did not sign", async () => {
    const text = proof.checkpoint.replace("\n300\n", "\n301\n");
    await finds("checkpoint", changed({ checkpoint: text }));
  });
  await context.test("a newest checkpoint of another key", () =>
    finds("newest", receipt, (files) =>
      files.set("checkpoint", flipSignature(files.get("checkpoint"))),
    ),
  );
  await context.test("a log that was rewritten", async () => {
    const { leaves } = log;
    log.leaves = [...leaves.slice(0, 250), u16(0x0101) + "!".repeat(355)];
    log.leaves.push(...leaves.slice(251), u16(0x0101) + "more".padEnd(355));
    await finds("consistency", receipt);
    log.leaves = leaves;
  });
  await context.test("a log that went back", async () => {
    const { leaves } = log;
    log.leaves = leaves.slice(0, 299);
    await finds("consistency", receipt);
    log.leaves = leaves;
  });
  await context.test("another statement", () =>
    finds("statement", receipt, (files) => files.set("statement", "Something else.\n")),
  );
  await context.test("a receipt of another site", async () => {
    await serve(log);
    await assert.rejects(
      checkReceipt(receipt, "other.org", () => {}),
      {
        code: "other-site",
      },
    );
  });
});

test("promises", async (context) => {
  const log = await makeLog();
  await serve(log);
  const digits = hex(log.nonce);
  const promise = (nonce, name) =>
    signNote(`undersigned promise v1\n${ORIGIN}\n${nonce}\n1763712000\n`, name);
  const genuine = async (nonce, name) => {
    const text = formatPromise(log.leaf + W, await promise(nonce, name));
    return checkPromise(text, HOST);
  };

  await context.test("of the log, for the leaf in the file", async () => {
    const found = await genuine(digits, ORIGIN + "/promise");
    assert.ok(found.genuine);
    assert.equal(found.by, 1763712000000);
    assert.equal(found.leaf, log.leaf);
    assert.equal(found.w, W);
  });
  await context.test("for another nonce or under another name are not", async () => {
    assert.ok(!(await genuine("00" + digits.slice(2), ORIGIN + "/promise")).genuine);
    assert.ok(!(await genuine(digits, ORIGIN)).genuine);
  });
  await context.test("that are no files of ours are refused", async () => {
    await assert.rejects(checkPromise("extra AAAA\n", HOST), { code: "not-a-receipt" });
  });
});
