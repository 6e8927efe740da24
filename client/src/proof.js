/** Receipts: C2SP tlog-proof files whose extra data is the leaf, then w if kept. */
import { leafHash, rootFromInclusion } from "./merkle.js";
import { parseCheckpoint, parseNote, unbase64 } from "./note.js";

const HEAD = "c2sp.org/tlog-proof@v1\n";

/**
 * @typedef {{extra: string, index: number, hashes: string[], checkpoint: string}} Proof
 *   byte strings, and the checkpoint's signed note as text
 */

/** @param {Proof} proof */
export const formatProof = ({ extra, index, hashes, checkpoint }) =>
  `${HEAD}extra ${btoa(extra)}\nindex ${index}\n` +
  hashes.map((hash) => btoa(hash) + "\n").join("") +
  "\n" +
  checkpoint;

/** @param {string} text @returns {Proof} */
export function parseProof(text) {
  const [, extra, digits, hashes, checkpoint] =
    /^c2sp\.org\/tlog-proof@v1\n(?:extra ([^\n]*)\n)?index (0|[1-9][0-9]{0,15})\n((?:[^\n]+\n)*)\n([^]+)$/.exec(
      text,
    ) || [];
  if (!checkpoint || !Number.isSafeInteger(+digits)) throw { code: "not-a-receipt" };
  const lines = hashes.split("\n").slice(0, -1).map(unbase64);
  if (lines.some((hash) => hash.length !== 32)) throw { code: "not-a-receipt" };
  return {
    extra: extra ? unbase64(extra) : "",
    index: +digits,
    hashes: lines,
    checkpoint,
  };
}

/**
 * A receipt is one proof, for the campaign's log; where the instance has a spine, a
 * second one follows, for that log's checkpoint in the spine.
 * @param {string} text
 */
export function parseReceipt(text) {
  if (!text.startsWith(HEAD)) throw { code: "not-a-receipt" };
  const parts = text.split(HEAD).slice(1);
  if (parts.length > 2) throw { code: "not-a-receipt" };
  return parts.map((part) => parseProof(HEAD + part));
}

/** @param {Proof[]} parts */
export const formatReceipt = (parts) => parts.map(formatProof).join("");

/** Whether the proof leads from this leaf to its own checkpoint. @param {Proof} proof @param {string} leaf */
export async function isIncluded({ index, hashes, checkpoint }, leaf) {
  const { size, root } = parseCheckpoint(parseNote(checkpoint).text);
  return (await rootFromInclusion(await leafHash(leaf), index, size, hashes)) === root;
}
