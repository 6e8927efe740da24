/**
 * Checking the second part of a receipt: that the spine holds the first part's
 * checkpoint, and who has cosigned the spine.
 */
import { hasGrown } from "./merkle.js";
import { isSignedBy, parseCheckpoint, parseNote } from "./note.js";
import { isIncluded } from "./proof.js";
import { ifThere, openLog, reader, readKey } from "./remote.js";
import { entryOf, SPINE } from "./spine.js";
import { cosignedAt, parseWitnesses } from "./witness.js";

/**
 * @param {import("./proof.js").Proof} proof
 * @param {import("./note.js").Checkpoint} about what must be entered
 * @param {string} host
 * @param {(name: string, ok: boolean) => boolean} judge
 * @param {import("./verdict.js").Say} say
 */
export async function checkEntry(proof, about, host, judge, say) {
  const origin = host + SPINE;
  const note = parseNote(proof.checkpoint);
  const old = parseCheckpoint(note.text);
  const entry = entryOf(about);
  // A spine that is not there any more is a fault of this site's, not of the line.
  const published = await ifThere(readKey(SPINE, origin));
  const entered = judge(
    "spine",
    !!published &&
      old.origin === origin &&
      proof.extra === entry &&
      (await isSignedBy(note, published.key)) &&
      (await isIncluded(proof, entry)),
  );

  const newest = await ifThere(openLog(SPINE));
  const notes = [note];
  if (newest) notes.push(parseNote(newest.checkpoint));
  const grown = judge(
    "spine-growth",
    !!published &&
      !!newest &&
      newest.origin === origin &&
      (await isSignedBy(notes[1], published.key)) &&
      (await hasGrown(old, newest)),
  );
  // What was said of the newest holds for all that it begins with.
  const signers = entered && grown ? await listCosigners(notes, say) : [];
  return { size: old.size, signers };
}

/**
 * Each of the site's witnesses, and when it has cosigned one of these notes: NaN where
 * it has not.
 * @param {import("./note.js").Note[]} notes in order of preference
 * @param {import("./verdict.js").Say} say
 */
async function listCosigners(notes, say) {
  try {
    const policy = (await ifThere(reader("")("policy.txt"))) || "";
    const signers = [];
    for (const key of await parseWitnesses(policy)) {
      const times = await Promise.all(notes.map((note) => cosignedAt(note, key)));
      const [at = NaN] = times.filter((time) => time >= 0);
      signers.push({ name: key.name, at });
    }
    const some = signers.some(({ at }) => at >= 0);
    say("witnesses", !signers.length ? "unnamed" : some ? "some" : "none");
    return signers;
  } catch {
    say("witnesses", "unread");
    return [];
  }
}
