import assert from "node:assert/strict";
import { constants, createHash, generateKeyPairSync, sign } from "node:crypto";
import test from "node:test";
import { raw, str, u16, unhex, utf8 } from "../src/bytes.js";
import { buildReceipt } from "../src/build.js";
import { formatPromise } from "../src/files.js";
import { keyIdOf } from "../src/note.js";
import { formatProof, parseReceipt } from "../src/proof.js";
import { tagged } from "../src/token.js";
import { checkPromise, checkReceipt, readFate } from "../src/verdict.js";
import { naiveRoot, publish } from "./tree.mjs";

const HOST = "example.org";
const ORIGIN = "example.org/c/demo";
const STATEMENT = "We ask.\n";
const SPKI_HEAD = unhex(
  "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a3018" +
    "06092a864886f70d010108300b0609608648016503040202a2030201300382010f003082010a" +
    "0282010100",
);
const W = "w".repeat(32);
const hash = (...parts) => {
  const digest = createHash("sha256");
  parts.forEach((part) => digest.update(raw(part)));
  return str(digest.digest());
};

const logKey = generateKeyPairSync("ed25519");
const publicKey = str(
  logKey.publicKey.export({ format: "der", type: "spki" }).subarray(12),
);
const issuer = generateKeyPairSync("rsa", { modulusLength: 2048 });
const modulus = Buffer.from(
  issuer.publicKey.export({ format: "jwk" }).n,
  "base64url",
).toString("latin1");
const spki = SPKI_HEAD + modulus + "\x02\x03\x01\0\x01";
const keyLeaf = u16(0x0102) + u16(1) + "\x01\0" + spki;

const signNote = async (text, name) => {
  const signature = str(sign(null, raw(utf8(text)), logKey.privateKey));
  return `${text}\n\u2014 ${name} ${btoa((await keyIdOf(name, publicKey)) + signature)}\n`;
};

/** Signed directly with the issuer's key: a blind signature is this, unblinded. */
async function makeSignature(challenge) {
  const committed =
    "\0" + "\0".repeat(32) + (await tagged("withdraw", W)) + "r".repeat(32);
  const nonce = hash("undersigned/nonce/v1\0", challenge, committed);
  const input = u16(2) + nonce + challenge + hash(spki);
  const padding = constants.RSA_PKCS1_PSS_PADDING;
  const options = { key: issuer.privateKey, padding, saltLength: 48 };
  const authenticator = str(sign("sha384", raw(input), options));
  return { leaf: u16(0x0101) + u16(1) + committed + authenticator, nonce };
}

/** A log of 300 leaves with one true signature at index 2, served by `fetch`. */
async function makeLog() {
  const digest = hash(utf8(STATEMENT));
  const context = hash(`undersigned/campaign/v1\0${ORIGIN}\0`, digest);
  const sized = (text) => u16(text.length) + text;
  const challenge = hash(u16(2), sized(HOST), " ", context, sized(ORIGIN));
  const { leaf, nonce } = await makeSignature(challenge);
  const header = JSON.stringify({
    issuer_name: HOST,
    origin: ORIGIN,
    statement_sha256: Buffer.from(raw(digest)).toString("hex"),
  });
  const filler = Array.from(
    { length: 297 },
    (_, i) => u16(0x0101) + `${i}`.padEnd(355),
  );
  const log = { leaves: ["\x01\0" + header, keyLeaf, leaf, ...filler], leaf, nonce };
  log.files = async () => {
    const files = await publish(log.leaves);
    const { length } = log.leaves;
    const text = `${ORIGIN}\n${length}\n${btoa(await naiveRoot(log.leaves))}\n`;
    files.set("checkpoint", utf8(await signNote(text, ORIGIN)));
    files.set("statement", utf8(STATEMENT));
    const id = Buffer.from(raw(await keyIdOf(ORIGIN, publicKey))).toString("hex");
    files.set("log.vkey", `${ORIGIN}+${id}+${btoa("\x01" + publicKey)}\n`);
    return files;
  };
  return log;
}

/** Serve a log's files to the code under test, and note what it asked for. */
async function serve(log, change = () => {}) {
  const files = await log.files();
  change(files);
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url);
    const file = files.get(url.slice("/c/demo/".length));
    return new Response(file === undefined ? "no" : raw(file), {
      status: file === undefined ? 404 : 200,
    });
  };
  return asked;
}

/** The findings on a receipt. */
async function judge(text) {
  const found = {};
  const checked = await checkReceipt(
    text,
    HOST,
    (name, value) => (found[name] = value),
  );
  return { found, checked };
}

const build = (log, w = "") => buildReceipt("/c/demo", log.leaf, w, 0, () => {});

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
    const { verdict, stance, ...rest } = found;
    assert.equal(verdict, "yes");
    assert.equal(stance, "0");
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

const flipSignature = (note) => {
  const [head, blob] = note.trimEnd().split(/ (?=\S+$)/);
  const bytes = atob(blob);
  const last = String.fromCharCode(bytes.charCodeAt(20) ^ 1);
  return `${head} ${btoa(bytes.slice(0, 20) + last + bytes.slice(21))}\n`;
};

test("promises", async (context) => {
  const log = await makeLog();
  await serve(log);
  const digits = Buffer.from(raw(log.nonce)).toString("hex");
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
