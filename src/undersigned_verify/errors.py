"""The one error of the verifier: a named fault in something it was given.

``FAULTS`` is the whole list of codes. A code never changes its meaning; README.md
prints the same list and a test compares the two.
"""

from dataclasses import dataclass
from typing import Final

FAULTS: Final[dict[str, str]] = {
    # Forms that every file shares.
    "json-not-canonical": "JSON that is not the RFC 8785 form of what it says",
    "base64-not-canonical": "base64 that is not the one padded standard form",
    "file-missing": "a file that every log has is not there",
    "file-too-large": "a file is larger than its format allows",
    # Keys, notes, checkpoints.
    "vkey-form": "log.vkey is not one canonical Ed25519 verifier key and a line feed",
    "note-form": "a signed note does not have its exact form",
    "note-signature": "a note carries no valid signature of the log's key",
    "checkpoint-form": "a checkpoint's text is not origin, size and root hash",
    "checkpoint-origin": "a checkpoint, its key and the header name different logs",
    "checkpoint-size": "a kept checkpoint's size is not the one in its file name",
    "checkpoint-root": "a checkpoint's root hash is not the root of that prefix",
    "checkpoint-beyond": "a kept checkpoint is larger than the newest one",
    # Witnesses.
    "policy-form": "a policy does not have the form of a tlog-policy",
    "cosignature-form": "a cosignature does not have its exact length",
    "cosignature-invalid": "a cosignature does not verify under its witness's key",
    # Tiles and proofs.
    "tile-path": "a tile's path is not in canonical form",
    "tile-mismatch": "a hash tile differs from the entries below it",
    "tile-trailing": "a hash tile has more or fewer bytes than its width says",
    "entries-form": "an entry bundle cannot be cut into exactly its leaves",
    "entries-mismatch": "an entry differs from the hash that the log committed to",
    "proof-form": "a proof or receipt does not have its exact form",
    "proof-index": "an index or size that no tree can have",
    "proof-length": "a proof has too few or too many hashes",
    "proof-root": "a proof leads to another root hash",
    # Leaves, one by one.
    "leaf-length": "a leaf is too short, too long or not of its type's length",
    "leaf-version": "a leaf's version is not 1",
    "leaf-type": "a leaf's type is unknown",
    "leaf-members": "a JSON leaf lacks a listed member or has another",
    "leaf-value": "a member or field of a leaf has a value outside its range",
    "leaf-ranges": "target ranges are empty, unsorted, overlapping or reversed",
    "leaf-spki": "an issuer key is not byte for byte the RFC 9578 form of RSA-2048",
    # The order of leaves.
    "header-missing": "leaf 0 is not the header",
    "header-again": "a second header",
    "statement-form": "the statement is not UTF-8, NFC and LF only",
    "statement-mismatch": "the statement's digest is not the header's",
    "order-in-interval": "leaves of one publication interval are not in order",
    "close-not-alone": "the close leaf shares its interval with another leaf",
    "after-close": "a leaf that may not stand after the close leaf",
    # Keys and tokens.
    "key-class": "an issuer key's class is not among the header's",
    "key-index-again": "an issuer key index announced twice",
    "key-spki-again": "an issuer key announced twice",
    "key-class-again": "a second ordinary issuer key for one class",
    "key-quarantine-danger": "a quarantine key in danger mode",
    "key-quarantine-many": "more than eight quarantine keys",
    "key-unknown": "a signature under a key that was never announced",
    "key-too-new": "a key used in the interval that announces it",
    "token-invalid": "a signature's token does not verify under its key",
    "nonce-again": "two signatures with one nonce",
    # State changes.
    "target-absent": "a state change aims at something that is not an earlier leaf",
    "target-not-signature": "a state change aims at a leaf that is no signature",
    "target-state": "a state change that the target's state does not allow",
    "withdrawal-secret": "a withdrawal's secret does not open its target",
    "key-not-quarantine": "a key decision on a key that is not in quarantine",
    "key-decided": "a quarantine key decided twice",
    "approver-again": "an approver's id or key announced twice",
    "approval-unknown": "an approval by an id that no earlier leaf announces",
    "approval-signature": "an approval does not verify under its approver's key",
    "close-undecided": "a close leaf while a quarantine key is undecided",
    "close-totals": "a close leaf's totals differ from the recount",
    # The published count.
    "count-mismatch": "count.json differs from the recount",
    # The spine, leaf by leaf.
    "spine-host": "a spine's leaf names a log of another host",
    "spine-campaign": "a spine's leaf of a campaign not named before, or named again",
    "spine-retired": "a spine's leaf of a campaign that it has retired",
    "spine-size": "a campaign's checkpoints in the spine do not rise in size",
    "spine-key-again": "a spine has a key index of a campaign, or an issuer key, twice",
    "spine-key-unknown": "an issued total in the spine of a key that it does not have",
    "spine-issued": "issued totals of a key in the spine do not rise",
    # A campaign's log against the spine.
    "spine-absent": "a log, or a kept checkpoint of it, does not stand in the spine",
    "spine-header": "the spine has another header for a log than the log itself",
    "spine-keys": "the spine and a log do not announce the same issuer keys",
    "spine-fork": "the spine and a log have two root hashes for one size",
    "spine-unkept": "a log does not keep a checkpoint that stands in the spine",
    "spine-beyond": "a log is shown shorter than the spine says that it is",
    "spine-total": "more signatures under a key than the spine says were issued",
    # Across logs and receipts.
    "origin-path": "a log lies under another path than its origin says",
    "spki-shared": "one issuer key in two logs",
    "log-fork": "two signed states of one log contradict each other",
    "receipt-leaf": "a receipt does not carry a signature leaf",
    "receipt-secret": "a receipt's secret does not open its signature",
    "receipt-log": "a receipt and a log contradict each other",
    "receipt-spine": "a receipt's second proof is not of its checkpoint in the spine",
    "promise-form": "a promise does not have its exact form",
    "promise-leaf": "a promise is of another signature than the leaf kept with it",
    "promise-broken": "a promised signature is not in the log after its time",
    "log-keys": "one log is shown with two keys",
    "statement-characters": "a statement has control or direction characters",
}


@dataclass(frozen=True)
class Evidence:
    """One of the texts that contradict each other; anybody can check them again."""

    name: str  # where it was found
    data: bytes  # UTF-8, whole and unchanged

    def as_json(self) -> dict[str, object]:
        """Return it as plain values; the text is what was signed, to the byte."""
        return {"name": self.name, "text": self.data.decode(errors="replace")}


class Fault(Exception):
    """Something given to the verifier breaks a rule of the protocol.

    ``code``: a key of ``FAULTS``. ``index``: the leaf at fault, None where no single
    leaf is. ``path``: the file at fault, relative to the log's folder, None where the
    caller has no files. ``detail``: one English sentence. ``evidence``: where signed
    states contradict each other, both of them, whole.
    """

    def __init__(
        self,
        code: str,
        detail: str = "",
        *,
        index: int | None = None,
        path: str | None = None,
        evidence: tuple[Evidence, ...] = (),
    ) -> None:
        super().__init__(code, detail, index, path)
        self.code = code
        self.detail = detail or FAULTS[code][0].upper() + FAULTS[code][1:] + "."
        self.index = index
        self.path = path
        self.evidence = evidence

    def at(self, index: int | None = None, path: str | None = None) -> "Fault":
        """Return the same fault placed at a leaf or file, keeping what is known."""
        return Fault(
            self.code,
            self.detail,
            index=self.index if self.index is not None else index,
            path=self.path if self.path is not None else path,
            evidence=self.evidence,
        )

    def within(self, folder: str) -> "Fault":
        """Return the same fault with its file named from further up."""
        path = folder if self.path is None else f"{folder}/{self.path}"
        return Fault(
            self.code, self.detail, index=self.index, path=path, evidence=self.evidence
        )

    def proven_by(self, *evidence: Evidence) -> "Fault":
        """Return the same fault with what shows it to anybody else."""
        return Fault(
            self.code,
            self.detail,
            index=self.index,
            path=self.path,
            evidence=evidence,
        )

    def as_json(self) -> dict[str, object]:
        """Return the fault as plain values, for ``--json``."""
        return {
            "code": self.code,
            "index": self.index,
            "path": self.path,
            "detail": self.detail,
            "evidence": [item.as_json() for item in self.evidence],
        }

    def __reduce__(self) -> tuple[object, ...]:
        # Faults travel from worker processes; the default would lose the place.
        place = self.index, self.path, self.evidence
        return _make, (self.code, self.detail, *place)

    def __str__(self) -> str:
        where = [f"leaf {self.index}"] if self.index is not None else []
        where += [self.path] if self.path is not None else []
        place = f" ({', '.join(where)})" if where else ""
        return f"{self.code}{place}: {self.detail}"


def _make(
    code: str,
    detail: str,
    index: int | None,
    path: str | None,
    evidence: tuple[Evidence, ...],
) -> Fault:
    return Fault(code, detail, index=index, path=path, evidence=evidence)


class Unreadable(Exception):
    """The input cannot be read at all: no such folder, no network, no log in it.

    Says nothing about the log: exit status 2, never 1.
    """
