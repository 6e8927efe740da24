/** A campaign's log with one true signature, and what a site would serve of it. */
import { constants, createHash, generateKeyPairSync, sign } from "node:crypto";
import { hex, raw, str, u16, unhex, utf8 } from "../src/bytes.js";
import { buildReceipt } from "../src/build.js";
import { keyIdOf } from "../src/note.js";
import { tagged } from "../src/token.js";
import { checkReceipt } from "../src/verdict.js";
import { naiveRoot, publish } from "./tree.mjs";

export const HOST = "example.org";
export const ORIGIN = "example.org/c/demo";
const STATEMENT = "We ask.\n";
const SPKI_HEAD = unhex(
  "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a3018" +
    "06092a864886f70d010108300b0609608648016503040202a2030201300382010f003082010a" +
    "0282010100",
);
export const W = "w".repeat(32);
const hash = (...parts) => {
  const digest = createHash("sha256");
  parts.forEach((part) => digest.update(raw(part)));
  return str(digest.digest());
};

export function makeKey() {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const whole = publicKey.export({ format: "der", type: "spki" });
  return { privateKey, publicKey: str(whole.subarray(12)) };
}

export const logKey = makeKey();
const issuer = generateKeyPairSync("rsa", { modulusLength: 2048 });
const modulus = Buffer.from(
  issuer.publicKey.export({ format: "jwk" }).n,
  "base64url",
).toString("latin1");
const spki = SPKI_HEAD + modulus + "\x02\x03\x01\0\x01";
const keyLeaf = u16(0x0102) + u16(1) + "\x01\0" + spki;

export const signNote = async (text, name, { privateKey, publicKey } = logKey) => {
  const signature = str(sign(null, raw(utf8(text)), privateKey));
  return `${text}\n\u2014 ${name} ${btoa((await keyIdOf(name, publicKey)) + signature)}\n`;
};

export async function vkeyOf(name, { publicKey }, algorithm = "\x01") {
  const id = hex(await keyIdOf(name, publicKey, algorithm));
  return `${name}+${id}+${btoa(algorithm + publicKey)}`;
}

/** What a log publishes: its tiles, and a checkpoint under its key. */
export async function publishLog(leaves, origin, key) {
  const files = await publish(leaves);
  const text = `${origin}\n${leaves.length}\n${btoa(await naiveRoot(leaves))}\n`;
  files.set("checkpoint", utf8(await signNote(text, origin, key)));
  files.set("log.vkey", (await vkeyOf(origin, key)) + "\n");
  return files;
}

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
export async function makeLog() {
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
    const files = await publishLog(log.leaves, ORIGIN, logKey);
    return files.set("statement", utf8(STATEMENT));
  };
  return log;
}

/**
 * Serve a log's files, and a spine's where there is one, to the code under test, and
 * note what it asked for. `change` gets the log's files, and the site's by their path.
 */
export async function serve(log, change = () => {}) {
  const files = await log.files();
  const site = log.spine ? await log.spine.files() : new Map();
  change(files, site);
  for (const [name, file] of files) site.set("/c/demo/" + name, file);
  const asked = [];
  globalThis.fetch = async (url) => {
    asked.push(url);
    const file = site.get(url);
    return new Response(file === undefined ? "no" : raw(file), {
      status: file === undefined ? 404 : 200,
    });
  };
  return asked;
}

/** The spine's leaf for a checkpoint, written out by hand. */
export const entry = (size, root, origin = ORIGIN) =>
  `{"kind":"checkpoint","origin":"${origin}","root":"${hex(root)}","size":${size}}`;

/** What a busy instance enters beside it. */
export const others = (count) =>
  Array.from({ length: count }, (_, i) =>
    entry(i + 1, "x".repeat(32), "example.org/c/other"),
  );

/**
 * A spine of these leaves. `lines`: signature lines of witnesses behind its newest
 * checkpoint; `policy`: the site's.
 */
export function makeSpine(leaves, { lines = "", policy = "" } = {}) {
  const spine = { leaves, lines, policy, origin: HOST + "/spine", key: makeKey() };
  spine.files = async () => {
    const site = new Map();
    const files = await publishLog(spine.leaves, spine.origin, spine.key);
    files.set("checkpoint", files.get("checkpoint") + utf8(spine.lines));
    for (const [name, file] of files) site.set("/spine/" + name, file);
    return spine.policy ? site.set("/policy.txt", utf8(spine.policy)) : site;
  };
  return spine;
}

/** A witness's line under a checkpoint's text. */
export async function cosign(text, time, { name, privateKey, publicKey }) {
  const message = utf8(`cosignature/v1\ntime ${time}\n${text}`);
  const seconds = unhex(time.toString(16).padStart(16, "0"));
  const signature = str(sign(null, raw(message), privateKey));
  const blob = (await keyIdOf(name, publicKey, "\x04")) + seconds + signature;
  return `\u2014 ${name} ${btoa(blob)}\n`;
}

/** The findings on a receipt. */
export async function judge(text) {
  const found = {};
  const checked = await checkReceipt(
    text,
    HOST,
    (name, value) => (found[name] = value),
  );
  return { found, checked };
}

export const build = (log, w = "") => buildReceipt("/c/demo", log.leaf, w, 0, () => {});

/** The note with its last signature spoilt. */
export const flipSignature = (note) => {
  const [head, blob] = note.trimEnd().split(/ (?=\S+$)/);
  const bytes = atob(blob);
  const last = String.fromCharCode(bytes.charCodeAt(20) ^ 1);
  return `${head} ${btoa(bytes.slice(0, 20) + last + bytes.slice(21))}\n`;
};
