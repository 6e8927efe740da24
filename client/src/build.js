/**
 * Make a receipt from tiles, without telling the server which signature it is for: all
 * leaf hashes from an index on are fetched, and every tile above them. The part about
 * the spine depends on the checkpoint only.
 */
import { inclusionProof, leafHash } from "./merkle.js";
import { formatReceipt } from "./proof.js";
import { openLog } from "./remote.js";
import { areProofs, proveEntry } from "./spine.js";
import { WIDTH } from "./tile.js";

/**
 * @param {string} path of the log
 * @param {string} leaf
 * @param {string} w appended to the extra data; may be empty
 * @param {number} from first index to look at; where one starts tells the server a
 *   little, so 0 unless the log is very large
 * @param {(done: number) => void} progress from 0 to 1
 */
export async function buildReceipt(path, leaf, w, from, progress) {
  const { checkpoint, origin, size, root, log } = await openLog(path);
  const wanted = await leafHash(leaf);
  for (let level = 1; log.widthOf(level); level++) {
    for (let n = 0; n < log.count(level); n++) await log.tile(level, n);
  }
  const first = Math.floor(from / WIDTH);
  const count = log.count(0);
  let index = -1;
  // To the end even when found: where one stops would tell as well, and the right
  // edge belongs to the proof.
  for (let n = first; n < count; n++) {
    const tile = await log.tile(0, n);
    for (let at = 0; at < tile.length; at += 32) {
      if (tile.startsWith(wanted, at)) index = n * WIDTH + at / 32;
    }
    progress((n + 1 - first) / (count - first));
  }
  if (index < 0) throw { code: "receipt-not-ready" };
  const hashes = await inclusionProof(index, size, (level, n) => log.node(level, n));
  const proof = { extra: leaf + w, index, hashes, checkpoint };
  const parts = [proof, ...(await proveEntry({ origin, size, root }))];
  if (!(await areProofs(parts, leaf))) throw { code: "receipt-wrong" };
  return formatReceipt(parts);
}
