/**
 * RFC 6962 tree hashes and the proofs of RFC 9162 §2.1, over byte strings. Sizes and
 * indexes are plain numbers, so at most 2^53 - 1.
 */
import { sha } from "./bytes.js";

/** @param {string} leaf */
export const leafHash = (leaf) => sha(256, "\0" + leaf);

/** @param {string} left @param {string} right */
export const nodeHash = (left, right) => sha(256, "\x01" + left + right);

/**
 * The hash of the complete subtree over leaves [n * 2^level, (n + 1) * 2^level).
 * @typedef {(level: number, n: number) => Promise<string>} ReadNode
 */

/** The largest power of two below `n`, for n > 1. @param {number} n */
function split(n) {
  let k = 1;
  while (k * 2 < n) k *= 2;
  return k;
}

/**
 * The hash over leaves [first, end). `first` is a multiple of the largest power of two
 * in the range, as in every range that a proof names.
 * @param {number} first
 * @param {number} end
 * @param {ReadNode} readNode
 * @returns {Promise<string>}
 */
async function rangeHash(first, end, readNode) {
  const size = end - first;
  const level = Math.round(Math.log2(size));
  if (2 ** level === size) return readNode(level, first / size);
  const middle = first + split(size);
  return nodeHash(
    await rangeHash(first, middle, readNode),
    await rangeHash(middle, end, readNode),
  );
}

/** The root of the first `size` leaves. @param {number} size @param {ReadNode} readNode */
export const rootOf = (size, readNode) =>
  size ? rangeHash(0, size, readNode) : sha(256, "");

/**
 * From the leaf's sibling up to the root's child.
 * @param {number} index
 * @param {number} size
 * @param {ReadNode} readNode
 */
export async function inclusionProof(index, size, readNode) {
  const proof = [];
  for (let first = 0, end = size; end - first > 1;) {
    const middle = first + split(end - first);
    const left = index < middle;
    proof.unshift(
      await (left
        ? rangeHash(middle, end, readNode)
        : rangeHash(first, middle, readNode)),
    );
    if (left) end = middle;
    else first = middle;
  }
  return proof;
}

/**
 * That the first `oldSize` of `newSize` leaves are unchanged (0 < oldSize < newSize).
 * @param {number} oldSize
 * @param {number} newSize
 * @param {ReadNode} readNode
 */
export async function consistencyProof(oldSize, newSize, readNode) {
  const proof = [];
  let first = 0;
  let end = newSize;
  while (end !== oldSize) {
    const middle = first + split(end - first);
    const left = oldSize <= middle;
    proof.unshift(
      await (left
        ? rangeHash(middle, end, readNode)
        : rangeHash(first, middle, readNode)),
    );
    if (left) end = middle;
    else first = middle;
  }
  if (first) proof.unshift(await rangeHash(first, end, readNode));
  return proof;
}

/**
 * The root that an inclusion proof leads to, or "" where its length is wrong.
 * @param {string} hash of the leaf
 * @param {number} index
 * @param {number} size
 * @param {string[]} proof
 */
export async function rootFromInclusion(hash, index, size, proof) {
  if (!(index >= 0 && index < size)) return "";
  let node = index;
  let last = size - 1;
  for (const sibling of proof) {
    if (!last) return "";
    if (node % 2 || node === last) {
      hash = await nodeHash(sibling, hash);
      for (; !(node % 2) && node; last = Math.floor(last / 2)) node /= 2;
    } else {
      hash = await nodeHash(hash, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return last ? "" : hash;
}

/**
 * Whether a proof shows that a tree of `newSize` begins with one of `oldSize`.
 * @param {number} oldSize
 * @param {string} oldRoot
 * @param {number} newSize
 * @param {string} newRoot
 * @param {string[]} proof
 */
export async function isConsistent(oldSize, oldRoot, newSize, newRoot, proof) {
  if (!(oldSize > 0 && oldSize <= newSize)) return false;
  if (oldSize === newSize) return oldRoot === newRoot && !proof.length;
  if (!proof.length) return false;
  let node = oldSize - 1;
  let last = newSize - 1;
  for (; node % 2; last = Math.floor(last / 2)) node = Math.floor(node / 2);
  // An old tree that is one complete subtree is not repeated in the proof.
  const hashes = node ? proof : [oldRoot, ...proof];
  let [older] = hashes;
  let newer = older;
  for (const sibling of hashes.slice(1)) {
    if (!last) return false;
    if (node % 2 || node === last) {
      older = await nodeHash(sibling, older);
      newer = await nodeHash(sibling, newer);
      for (; !(node % 2) && node; last = Math.floor(last / 2)) node /= 2;
    } else {
      newer = await nodeHash(newer, sibling);
    }
    node = Math.floor(node / 2);
    last = Math.floor(last / 2);
  }
  return !last && older === oldRoot && newer === newRoot;
}

/**
 * Whether a log that has these tiles begins with an earlier state of it.
 * @param {{size: number, root: string}} old
 * @param {{size: number, root: string, log: {node: ReadNode}}} now
 */
export async function hasGrown(old, { size, root, log }) {
  const proof =
    old.size < size
      ? await consistencyProof(old.size, size, (level, n) => log.node(level, n))
      : [];
  return isConsistent(old.size, old.root, size, root, proof);
}
