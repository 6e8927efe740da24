/** Logs for tests: a tree by definition, and the files a server would publish. */
import { leafHash, nodeHash } from "../src/merkle.js";
import { sha, u16 } from "../src/bytes.js";
import { Log, tilePath } from "../src/tile.js";

/** RFC 6962 §2.1 as it is written, sharing nothing with the code under test. */
export async function naiveRoot(leaves) {
  if (!leaves.length) return sha(256, "");
  if (leaves.length === 1) return sha(256, "\0" + leaves[0]);
  let k = 1;
  while (k * 2 < leaves.length) k *= 2;
  const left = await naiveRoot(leaves.slice(0, k));
  return sha(256, "\x01" + left + (await naiveRoot(leaves.slice(k))));
}

export const makeLeaves = (size) => Array.from({ length: size }, (_, i) => `leaf ${i}`);

const halve = (row) =>
  Promise.all(
    Array.from({ length: row.length / 2 }, (_, i) =>
      nodeHash(row[2 * i], row[2 * i + 1]),
    ),
  );

/** Tiles and bundles by path. */
export async function publish(leaves) {
  const files = new Map();
  for (let n = 0; n * 256 < leaves.length; n++) {
    const part = leaves.slice(n * 256, (n + 1) * 256);
    const bundle = part.map((leaf) => u16(leaf.length) + leaf).join("");
    files.set(tilePath("entries", n, part.length), bundle);
  }
  let hashes = await Promise.all(leaves.map(leafHash));
  for (let level = 0; hashes.length; level++) {
    const above = [];
    for (let n = 0; n * 256 < hashes.length; n++) {
      let row = hashes.slice(n * 256, (n + 1) * 256);
      files.set(tilePath(level, n, row.length), row.join(""));
      if (row.length < 256) continue;
      while (row.length > 1) row = await halve(row);
      above.push(row[0]);
    }
    hashes = above;
  }
  return files;
}

export const openFiles = (size, files) =>
  new Log(size, async (path) => {
    if (!files.has(path)) throw new Error(`no file ${path}`);
    return files.get(path);
  });
