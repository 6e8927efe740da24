/**
 * The spine: the log in which an instance enters every checkpoint of its other logs
 * (PROTOCOL §8), and the second part of a receipt, which proves such an entry.
 */
import { hex, utf8 } from "./bytes.js";
import { inclusionProof } from "./merkle.js";
import { parseCheckpoint, parseNote } from "./note.js";
import { isIncluded } from "./proof.js";
import { ifThere, openLog } from "./remote.js";
import { WIDTH } from "./tile.js";

export const SPINE = "/spine";

/**
 * The leaf that enters a checkpoint: RFC 8785 JSON, so its members in this order.
 * @param {import("./note.js").Checkpoint} checkpoint
 */
export const entryOf = ({ origin, size, root }) =>
  utf8(JSON.stringify({ kind: "checkpoint", origin, root: hex(root), size }));

/** @param {string} note */
export const readCheckpoint = (note) => parseCheckpoint(parseNote(note).text);

/**
 * Whether a receipt's parts lead from this leaf to a checkpoint, and from that
 * checkpoint's entry to one of the spine. Signatures are not checked.
 * @param {import("./proof.js").Proof[]} parts
 * @param {string} leaf
 */
export async function areProofs([proof, second], leaf) {
  if (!(await isIncluded(proof, leaf))) return false;
  if (!second) return true;
  const entry = entryOf(readCheckpoint(proof.checkpoint));
  return second.extra === entry && isIncluded(second, entry);
}

/**
 * The second part for a checkpoint, in a list; empty where there is no spine, or where
 * the checkpoint is not entered yet.
 * @param {import("./note.js").Checkpoint} about
 */
export async function proveEntry(about) {
  const spine = await ifThere(openLog(SPINE));
  if (!spine) return [];
  const { checkpoint, size, log } = spine;
  const extra = entryOf(about);
  // The size is the last member, behind a root of fixed length.
  const digits = extra.lastIndexOf(":") + 1;
  const head = extra.slice(0, extra.indexOf('"root"'));
  for (let n = log.count("entries"); n--;) {
    const leaves = await log.leaves(n);
    const at = leaves.lastIndexOf(extra);
    if (at >= 0) {
      const index = n * WIDTH + at;
      const readNode = log.node.bind(log);
      const hashes = await inclusionProof(index, size, readNode);
      return [{ extra, index, hashes, checkpoint }];
    }
    // Sizes of one log rise: behind a smaller one there is nothing to be found.
    const isOlder = (/** @type {string} */ leaf) =>
      leaf.startsWith(head) && parseInt(leaf.slice(digits)) < about.size;
    if (leaves.some(isOlder)) break;
  }
  return [];
}
