import assert from "node:assert/strict";
import { generateKeyPairSync, sign } from "node:crypto";
import test from "node:test";
import { hex, raw, str, utf8 } from "../src/bytes.js";
import * as m from "../src/merkle.js";
import * as note from "../src/note.js";
import { formatProof, isIncluded, parseProof, parseReceipt } from "../src/proof.js";
import { leavesOf, Log, tilePath } from "../src/tile.js";
import { makeLeaves, naiveRoot, openFiles, publish } from "./tree.mjs";
import { absent, listFiles, readBytes, readJSON } from "./vectors.mjs";

test("tile paths", () => {
  assert.equal(tilePath(0, 0), "tile/0/000");
  assert.equal(tilePath(0, 0, 12), "tile/0/000.p/12");
  assert.equal(tilePath("entries", 1234067, 5), "tile/entries/x001/x234/067.p/5");
  assert.equal(tilePath(2, 1000), "tile/2/x001/000");
});

test("entry bundles", () => {
  assert.deepEqual(leavesOf("\0\x03one\0\x03two\0\0"), ["one", "two", ""]);
  for (const cut of ["\0", "\0\x03on", "\0\x03one\0"]) {
    assert.throws(() => leavesOf(cut), { code: "tile-malformed" });
  }
});

test("proofs from tiles agree with a naive tree", async (context) => {
  for (const size of [1, 2, 3, 7, 8, 255, 256, 257, 511, 513, 700]) {
    await context.test(`size ${size}`, async () => {
      const leaves = makeLeaves(size);
      const log = openFiles(size, await publish(leaves));
      const readNode = log.node.bind(log);
      const root = await naiveRoot(leaves);
      assert.equal(await m.rootOf(size, readNode), root);
      for (const index of new Set([0, 1, size >> 1, size - 2, size - 1])) {
        if (index < 0 || index >= size) continue;
        const proof = await m.inclusionProof(index, size, readNode);
        const hash = await m.leafHash(leaves[index]);
        assert.equal(await m.rootFromInclusion(hash, index, size, proof), root);
        const longer = [...proof, root];
        assert.notEqual(await m.rootFromInclusion(hash, index, size, longer), root);
        assert.notEqual(
          await m.rootFromInclusion(hash, index, size, proof.slice(1)),
          proof.length ? root : "",
        );
      }
      for (const old of new Set([1, 2, size >> 1, size - 1])) {
        if (old < 1 || old >= size) continue;
        const oldRoot = await naiveRoot(leaves.slice(0, old));
        const proof = await m.consistencyProof(old, size, readNode);
        assert.ok(await m.isConsistent(old, oldRoot, size, root, proof));
        assert.ok(!(await m.isConsistent(old, root, size, root, proof)));
        assert.ok(!(await m.isConsistent(old, oldRoot, size, oldRoot, proof)));
        assert.ok(!(await m.isConsistent(old, oldRoot, size, root, [...proof, root])));
      }
    });
  }
});

test("a vanished partial tile is read from the full one", async () => {
  const leaves = makeLeaves(256);
  const files = await publish(leaves);
  const log = openFiles(200, files);
  assert.equal(
    await m.rootOf(200, log.node.bind(log)),
    await naiveRoot(leaves.slice(0, 200)),
  );
  assert.deepEqual(await log.leaves(0), leaves.slice(0, 200));
});

test("inclusion vectors of transparency-dev", absent("merkle-proofs"), async () => {
  let count = 0;
  for (const path of listFiles("merkle-proofs/inclusion", ".json")) {
    const v = readJSON(path);
    const proof = (v.proof || []).map(atob);
    const found = await m.rootFromInclusion(
      atob(v.leafHash || ""),
      v.leafIdx,
      v.treeSize,
      proof,
    );
    assert.equal(
      found !== "" && found === atob(v.root || ""),
      !v.wantErr,
      `${path}: ${v.desc}`,
    );
    count++;
  }
  assert.ok(count > 50);
});

test("consistency vectors of transparency-dev", absent("merkle-proofs"), async () => {
  let count = 0;
  for (const path of listFiles("merkle-proofs/consistency", ".json")) {
    const v = readJSON(path);
    const [one, two] = [atob(v.root1 || ""), atob(v.root2 || "")];
    const proof = (v.proof || []).map(atob);
    const found = await m.isConsistent(v.size1, one, v.size2, two, proof);
    assert.equal(found, !v.wantErr, `${path}: ${v.desc}`);
    count++;
  }
  assert.ok(count > 50);
});

test("tlog-tiles log of tessera", absent("tlog-tiles"), async () => {
  const key = await note.parseVerifierKey(
    "example.com/log/testdata+33d7b496+AeHTu4Q3hEIMHNqc6fASMsq3rKNx280NI+oO5xCFkkSx",
  );
  for (let size = 1; size <= 15; size++) {
    const signed = note.parseNote(
      readBytes(`tlog-tiles/checkpoint.${size}`).toString(),
    );
    assert.ok(await note.isSignedBy(signed, key));
    const checkpoint = note.parseCheckpoint(signed.text);
    assert.equal(checkpoint.size, size);
    const log = new Log(size, async (path) => str(readBytes(`tlog-tiles/${path}`)));
    assert.equal(await m.rootOf(size, log.node.bind(log)), checkpoint.root);
    assert.equal(await naiveRoot(await log.leaves(0)), checkpoint.root);
  }
});

test("signed notes", async (context) => {
  const text =
    "If you think cryptography is the answer to your problem,\n" +
    "then you don't know what your problem is.\n";
  const whole =
    text +
    "\n— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n" +
    "— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=\n";
  const peter = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
  const enoch = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop";

  await context.test("verify under both keys of the Go documentation", async () => {
    for (const vkey of [peter, enoch]) {
      assert.ok(
        await note.isSignedBy(note.parseNote(whole), await note.parseVerifierKey(vkey)),
      );
    }
  });
  await context.test(
    "fail when the text differs or the key is not among them",
    async () => {
      const changed = note.parseNote(whole.replace("answer", "Answer"));
      assert.ok(!(await note.isSignedBy(changed, await note.parseVerifierKey(peter))));
      const other = await note.parseVerifierKey(
        "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
      );
      assert.ok(!(await note.isSignedBy(note.parseNote(whole), other)));
    },
  );
  await context.test("refuse what is not canonical", async () => {
    for (const bad of [
      text,
      whole.slice(0, -1),
      whole.replace("JnAM=", "JnAN="),
      whole.replace("— Enoch", "- Enoch"),
      whole + "\n",
    ]) {
      assert.throws(() => note.parseNote(bad));
    }
    await assert.rejects(note.parseVerifierKey(peter.replace("c74f20a3", "c74f20a4")));
    await assert.rejects(note.parseVerifierKey("nonsense"));
  });
  await context.test("a checkpoint has exactly three lines", () => {
    const root = btoa("\x05".repeat(32));
    assert.equal(note.parseCheckpoint(`a.b/c\n7\n${root}\n`).size, 7);
    for (const bad of [
      `a\n07\n${root}\n`,
      `a\n7\n${root}`,
      `a\n7\n${root}\nmore\n`,
      "a\n7\nAAAA\n",
    ]) {
      assert.throws(() => note.parseCheckpoint(bad));
    }
  });
});

test("receipts", async (context) => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  const key = str(publicKey.export({ format: "der", type: "spki" }).subarray(12));
  const origin = "example.org/c/demo";
  const keyId = await note.keyIdOf(origin, key);
  const leaves = makeLeaves(300);
  const log = openFiles(300, await publish(leaves));
  const text = `${origin}\n300\n${btoa(await naiveRoot(leaves))}\n`;
  const signature = str(sign(null, raw(utf8(text)), privateKey));
  const checkpoint = `${text}\n\u2014 ${origin} ${btoa(keyId + signature)}\n`;
  const proof = {
    extra: leaves[260],
    index: 260,
    hashes: await m.inclusionProof(260, 300, log.node.bind(log)),
    checkpoint,
  };

  await context.test("survive being written and read", () => {
    assert.deepEqual(parseProof(formatProof(proof)), proof);
    assert.deepEqual(parseReceipt(formatProof(proof) + formatProof(proof)), [
      proof,
      proof,
    ]);
  });
  await context.test("lead from their leaf to the signed checkpoint", async () => {
    assert.ok(await isIncluded(proof, leaves[260]));
    assert.ok(!(await isIncluded(proof, leaves[261])));
    const vkey = { name: origin, keyId, key };
    assert.ok(await note.isSignedBy(note.parseNote(checkpoint), vkey));
  });
  await context.test("are refused when malformed", () => {
    const whole = formatProof(proof);
    for (const bad of [
      "",
      "extra AAAA\n",
      whole.replace("index 260", "index 0260"),
      whole.replace("index 260\n", ""),
      whole.replace("index 260\n", "index 260\nAAAA\n"),
      whole.replace("@v1", "@v2"),
      whole.replace(/extra \w/, "extra *"),
    ]) {
      assert.throws(
        () => parseReceipt(bad),
        (error) => Boolean(error.code),
        bad.slice(0, 60),
      );
    }
  });
  assert.equal(hex(keyId).length, 8);
});
