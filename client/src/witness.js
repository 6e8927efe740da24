/**
 * What witnesses have said of a checkpoint: C2SP tlog-cosignature v1, by the witnesses
 * of a tlog-policy. Whether they make a quorum is the verifier's to judge.
 */
import { hex, utf8 } from "./bytes.js";
import { isSigned, parseVerifierKey } from "./note.js";

/** Larger times (seconds) are no date to JavaScript. */
const LAST = 8e12;

/** The keys of the witnesses that a policy names. @param {string} policy */
export const parseWitnesses = (policy) =>
  Promise.all(
    policy
      .split("\n")
      .map((line) => line.trim().split(/[ \t]+/))
      .filter(([word]) => word === "witness")
      .map(([, , vkey]) => parseVerifierKey(vkey, "\x04")),
  );

/**
 * When this witness has cosigned the note (ms since 1970, by its own clock), or NaN.
 * @param {import("./note.js").Note} note
 * @param {import("./note.js").VerifierKey} key
 */
export async function cosignedAt({ text, signatures }, { name, keyId, key }) {
  const [line] = signatures.filter((one) => one.name === name && one.keyId === keyId);
  const blob = line ? line.signature : "";
  const time = parseInt(hex(blob.slice(0, 8)), 16);
  const message = `cosignature/v1\ntime ${time}\n${text}`;
  const holds =
    blob.length === 72 &&
    time < LAST &&
    (await isSigned(utf8(message), blob.slice(8), key));
  return holds ? time * 1e3 : NaN;
}
