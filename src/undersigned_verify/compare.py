"""Two copies of a log, checkpoints or receipts: does one continue the other?

Each side is read into signed states. Two states of one log either have one history, or
its key signed two, and then both notes are the proof. Nothing is recounted here.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.errors import Evidence, Fault, Unreadable
from undersigned_verify.fork import check_prefix
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.opening import open_key, open_nodes, open_state
from undersigned_verify.proof import MAGIC, MAX_RECEIPT, parse_receipt
from undersigned_verify.source import Source, find_instance, is_url

SAME: Final = "the same state"
CONSISTENT: Final = "consistent"
FORK: Final = "fork"
NOT_CHECKED: Final = "not checked"


@dataclass(frozen=True)
class SignedState:
    """One signed state of a log, verified under its key by ``compare``."""

    name: str  # where it was found
    checkpoint: Checkpoint
    note: bytes
    source: Source | None  # the log whose newest state it is; None: no tiles here
    key: VerifierKey | None  # as published beside it; None: nothing is


@dataclass(frozen=True)
class Comparison:
    """Two states of one log. ``older`` has at most as many leaves as ``newer``."""

    origin: str
    older: SignedState
    newer: SignedState
    verdict: str  # SAME, CONSISTENT, FORK or NOT_CHECKED
    fault: Fault | None = None  # FORK: with both notes
    reason: str = ""  # NOT_CHECKED: why

    def as_json(self) -> dict[str, object]:
        """Return it as plain values, for ``--json``."""
        return {
            "origin": self.origin,
            "verdict": self.verdict,
            "older": _state_json(self.older),
            "newer": _state_json(self.newer),
            "fault": self.fault.as_json() if self.fault is not None else None,
            "reason": self.reason,
        }


def _state_json(state: SignedState) -> dict[str, object]:
    return {
        "name": state.name,
        "size": state.checkpoint.size,
        "root_hash": state.checkpoint.root.hex(),
    }


def read_states(target: str) -> list[SignedState]:
    """Return the signed states at a folder, address or file; nothing is verified.

    Raises Unreadable, or a Fault where a file is neither a checkpoint nor a receipt,
    or a log cannot be opened.
    """
    if is_url(target) or Path(target).is_dir():
        logs, spine = find_instance(target)
        return [_open_source(item) for item in (*logs, *([spine] if spine else []))]
    try:
        with Path(target).open("rb") as file:
            data = file.read(MAX_RECEIPT + 1)
    except OSError as error:
        raise Unreadable(f"{target}: {error.strerror}") from error
    notes = [data]
    if data.startswith(f"{MAGIC}\n".encode()):
        notes = [proof.checkpoint for proof in parse_receipt(data)]
    return [
        SignedState(target, Checkpoint.parse(parse_note(note).text), note, None, None)
        for note in notes
    ]


def _open_source(source: Source) -> SignedState:
    try:
        key = open_key(source)
        newest, note = open_state(source, key)
    except Fault as fault:
        raise fault.within(source.name) from fault
    return SignedState(f"{source.name}/checkpoint", newest, note, source, key)


def compare(
    left: Sequence[SignedState],
    right: Sequence[SignedState],
    keys: Sequence[VerifierKey] = (),
) -> list[Comparison]:
    """Compare the states of each log that both sides have.

    ``keys``: what is known of logs' keys beside what is published. Raises a Fault
    where a note is not signed by its log's key or a log has two keys, and Unreadable
    where a key is not known.
    """
    found = []
    for one in left:
        for other in right:
            origin = one.checkpoint.origin
            if other.checkpoint.origin == origin:
                key = _find_key(origin, (one, other), keys)
                found.append(_compare(_verified(one, key), _verified(other, key)))
    return found


def _find_key(
    origin: str, states: Sequence[SignedState], keys: Sequence[VerifierKey]
) -> VerifierKey:
    known = [key for key in keys if key.name == origin]
    known += [state.key for state in states if state.key is not None]
    if not known:
        raise Unreadable(f"No key of {origin} is known: give it with --vkey.")
    if any(key != known[0] for key in known):
        shown = " and ".join(sorted({key.vkey for key in known}))
        raise Fault("log-keys", f"{origin} is shown with the keys {shown}.")
    return known[0]


def _verified(state: SignedState, key: VerifierKey) -> SignedState:
    try:
        return replace(state, checkpoint=open_checkpoint(state.note, key))
    except Fault as fault:
        raise fault.at(path=state.name) from fault


def _compare(left: SignedState, right: SignedState) -> Comparison:
    older, newer = sorted((left, right), key=lambda state: state.checkpoint.size)
    origin = older.checkpoint.origin
    if older.checkpoint == newer.checkpoint:
        return Comparison(origin, older, newer, SAME)
    if older.checkpoint.size == 0:
        return Comparison(origin, older, newer, CONSISTENT)
    evidence = Evidence(older.name, older.note), Evidence(newer.name, newer.note)
    same_size = older.checkpoint.size == newer.checkpoint.size
    if newer.source is None and not same_size:
        reason = (
            f"There are no tiles for {newer.name}: give a copy of the log that is at "
            "least as large."
        )
        return Comparison(origin, older, newer, NOT_CHECKED, reason=reason)

    def read_node(level: int, n: int) -> bytes:
        assert newer.source is not None
        return open_nodes(newer.source, newer.checkpoint.size)(level, n)

    try:
        check_prefix(older.checkpoint, newer.checkpoint, read_node, evidence=evidence)
    except Fault as fault:
        if fault.code == "log-fork":
            return Comparison(origin, older, newer, FORK, fault)
        reason = f"The tiles of {newer.name} cannot be used. {fault}"
        return Comparison(origin, older, newer, NOT_CHECKED, reason=reason)
    return Comparison(origin, older, newer, CONSISTENT)
