"""What a witness does: trust a log, cosign it, forget it; make a new key.

Each runs in one change of the store, alone among threads and processes.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import datetime
from typing import ClassVar, Final, TypeAlias

from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.cosignature import find_cosignature
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import EMPTY_ROOT, verify_consistency
from undersigned_verify.note import Note, VerifierKey, verify_note

from undersigned.kernel.errors import Conflict, NotAllowed, NotFound, Refused
from undersigned.witness.data import Evidence, EvidenceKind, TrustedLog
from undersigned.witness.key import WitnessKey
from undersigned.witness.mark import write_mark
from undersigned.witness.request import AddCheckpoint, RequestMalformed
from undersigned.witness.store import Change, WitnessStateLost
from undersigned.witness.witness import Witness

_log = logging.getLogger("undersigned.witness")

MAX_LOGS: Final = 1000
MAX_VKEY: Final = 400


class VKeyNotValid(Refused):
    """Not one canonical verifier key of the kind that is asked for here."""

    code: ClassVar[str] = "vkey-not-valid"


class OwnLog(Refused):
    """The key is this instance's own: its word about itself says nothing new."""

    code: ClassVar[str] = "own-log"


class LogKeyDiffers(Conflict):
    """This origin is trusted under another key; forget it first if it has a new one."""

    code: ClassVar[str] = "log-key-differs"


class TooManyLogs(Refused):
    """A witness of this kind is for friends' logs, not for a thousand."""

    code: ClassVar[str] = "too-many-logs"


class LogNotTrusted(NotFound):
    """The checkpoint is of a log that this witness does not cosign."""

    code: ClassVar[str] = "log-not-trusted"


class LogSignatureMissing(NotAllowed):
    """The checkpoint bears no valid signature of the log's trusted key."""

    code: ClassVar[str] = "log-signature-missing"


class CosignedOtherwise(Conflict):
    """The old size is not the newest cosigned one, or that size had another root hash.

    ``size``: of the newest cosigned checkpoint.
    """

    code: ClassVar[str] = "cosigned-otherwise"

    def __init__(self, *, size: int) -> None:
        self.size = size
        super().__init__(size=size)


class ConsistencyNotProven(Refused):
    """The proof does not lead from the newest cosigned checkpoint to this one."""

    code: ClassVar[str] = "consistency-not-proven"


Refusal: TypeAlias = CosignedOtherwise | ConsistencyNotProven | RequestMalformed


def parse_log_key(vkey: str) -> VerifierKey:
    """Return a log's verifier key. Raises VKeyNotValid."""
    try:
        if len(vkey) > MAX_VKEY:
            raise Fault("vkey-form", "The key is too long.")
        return VerifierKey.parse(vkey)
    except Fault:
        raise VKeyNotValid(problem="not a log's NAME+HASH+KEY") from None


def get_witness_key(*, witness: Witness) -> str:
    """Return the witness's vkey, making the key the first time.

    Raises KeysLocked, KeyMissing, WitnessStateLost, WitnessStopped, StorageFailed.
    """
    with witness.store.change() as change:
        return witness.get_or_make_key(change).vkey


def replace_witness_key(*, witness: Witness) -> str:
    """Destroy the witness's key and return the vkey of a new one.

    After a loss or leak, or where the host was changed. The state that is there stays:
    a new key owes nothing to it, and it refuses no honest log. Raises KeysLocked,
    WitnessStopped, StorageFailed.
    """
    # A state that is behind its mark is what this is for: the mark goes first. Cut off
    # here, the witness has a key that no mark names, and cosigns nothing.
    witness.store.forget_mark()
    with witness.store.change() as change:
        logs = {
            log.origin: (log.size, log.root.hex())
            for log in witness.store.list_logs()
            if log.note is not None
        }
        return witness.replace_key(change, logs).vkey


def trust_log(*, witness: Witness, vkey: str) -> TrustedLog:
    """Cosign this log from now on; return what is known of it.

    A log that was forgotten goes on from its last cosigned state, under this key, which
    may be another one. Makes the witness's key the first time. Raises VKeyNotValid,
    OwnLog, LogKeyDiffers, TooManyLogs, and what ``get_witness_key`` raises.
    """
    key = parse_log_key(vkey)
    if key.name == f"{witness.host}/spine":
        raise OwnLog(origin=key.name)
    with witness.store.change() as change:
        witness.get_or_make_key(change)
        log = change.find_log(key.name)
        if log is None:
            if change.count_logs() >= MAX_LOGS:
                raise TooManyLogs(most=MAX_LOGS)
            log = TrustedLog(key.name, key.vkey, True, 0, EMPTY_ROOT, None, 0, 0)
        elif log.trusted and log.vkey != key.vkey:
            raise LogKeyDiffers(origin=log.origin, trusted=log.vkey)
        log = replace(log, vkey=key.vkey, trusted=True)
        change.put_log(log)
    return log


def forget_log(*, witness: Witness, origin: str) -> None:
    """Cosign this log no more; its state is kept.

    Without that state, trusting it again would start from nothing, and the key could
    cosign a second history. Raises LogNotTrusted, WitnessStopped, WitnessStateLost,
    StorageFailed.
    """
    with witness.store.change() as change:
        log = change.find_log(origin)
        if log is None or not log.trusted:
            raise LogNotTrusted(origin=origin)
        change.put_log(replace(log, trusted=False))


def cosign_checkpoint(*, witness: Witness, body: bytes, at: datetime) -> str:
    """Return the cosignature line for an ``add-checkpoint`` request.

    Checks in the order of C2SP tlog-witness; recorded durably before it returns. Its
    time is ``at``, but never before that of the log's last cosignature. Evidence of a
    fork is kept before it is refused. Raises RequestMalformed, LogNotTrusted,
    LogSignatureMissing, CosignedOtherwise, ConsistencyNotProven, WitnessStateLost,
    WitnessStopped, KeysLocked, KeyMissing, StorageFailed.
    """
    asked = AddCheckpoint.parse(body)
    origin = asked.checkpoint.origin
    # Looked at without the lock: who holds no log's key cannot make others wait.
    _require_signed(witness.store.find_log(origin), asked.note)
    with witness.store.change() as change:
        # Again, within: the log may have been forgotten meanwhile.
        log = _require_signed(change.find_log(origin), asked.note)
        key = _require_remembered(change, witness, log, asked)
        signed = _strip(asked.note, VerifierKey.parse(log.vkey))
        refusal = _find_refusal(log, asked)
        witness.store.at_step("checked")
        if refusal is None:
            time = max(int(at.timestamp()), log.time)
            line = key.cosign(asked.note.text, time=time)
            _take(change, log, asked.checkpoint, signed, time)
        else:
            line = ""
            _keep_refused(change, log, asked, signed, refusal)
        witness.store.at_step("written")
    if refusal is not None:
        raise refusal
    return line


# --- the steps of cosigning, within its change


def _require_signed(log: TrustedLog | None, note: Note) -> TrustedLog:
    """Return the log if it is trusted and has signed this note."""
    if log is None or not log.trusted:
        raise LogNotTrusted()
    try:
        verify_note(note, VerifierKey.parse(log.vkey))
    except Fault:
        raise LogSignatureMissing() from None
    return log


def _require_remembered(
    change: Change, witness: Witness, log: TrustedLog, asked: AddCheckpoint
) -> WitnessKey:
    """Return the key, unless it has cosigned this checkpoint and we do not know of it.

    Then the whole data directory was put back from a copy, mark and all. What was just
    learned goes into the mark, so that the witness stays stopped.
    """
    key = witness.get_key(change)
    found = asked.checkpoint
    beyond = found.size > log.size
    if (beyond or _is_fork(log, found)) and _bears(asked.note, key) and change.mark:
        mark = change.mark.raised(log.origin, found.size, found.root)
        write_mark(witness.store.mark_path, mark)
        raise WitnessStateLost(
            problem=f"a checkpoint of {log.origin} at size {found.size} bears this "
            "witness's cosignature, and its database does not know of it. See "
            "docs/operate/witnesses.md"
        )
    return key


def _bears(note: Note, key: WitnessKey) -> bool:
    try:
        return find_cosignature(note, key.verifier) is not None
    except Fault:
        return False


def _is_fork(log: TrustedLog, found: Checkpoint) -> bool:
    return log.note is not None and found.size == log.size and found.root != log.root


def _find_refusal(log: TrustedLog, asked: AddCheckpoint) -> Refusal | None:
    """Return what C2SP tlog-witness has against a signed checkpoint, in its order."""
    found = asked.checkpoint
    if asked.old_size > found.size:
        return RequestMalformed(problem="the old size is above the checkpoint's")
    if asked.old_size != log.size:
        return CosignedOtherwise(size=log.size)
    same_size = found.size == log.size
    try:
        verify_consistency(
            old_size=log.size,
            new_size=found.size,
            # Another root hash of the same size is a conflict and no bad proof.
            old_root=found.root if same_size else log.root,
            new_root=found.root,
            proof=asked.proof,
            allow_empty=True,
        )
    except Fault as fault:
        return ConsistencyNotProven(problem=fault.detail)
    if same_size and found.root != log.root:
        return CosignedOtherwise(size=log.size)
    return None


def _take(
    change: Change, log: TrustedLog, found: Checkpoint, signed: bytes, time: int
) -> None:
    """Record the newest cosigned checkpoint."""
    change.put_log(
        replace(log, size=found.size, root=found.root, note=signed, time=time)
    )
    if change.mark is not None:
        change.mark = change.mark.raised(log.origin, found.size, found.root)


def _keep_refused(
    change: Change,
    log: TrustedLog,
    asked: AddCheckpoint,
    signed: bytes,
    refusal: Refusal,
) -> None:
    """Keep what a refused request proves, or may prove.

    Its signature is the log's, so nobody else can fill the disk with it.
    """
    if _is_fork(log, asked.checkpoint):
        kind = EvidenceKind.FORK
    elif isinstance(refusal, ConsistencyNotProven) and log.note is not None:
        kind = EvidenceKind.UNPROVEN
    else:
        if asked.old_size > max(log.size, log.claimed):
            # Either the log errs, or this state is older than what we have cosigned.
            change.put_log(replace(log, claimed=asked.old_size))
        return
    found = Evidence(log.origin, kind, log.note or b"", signed)
    if change.add_evidence(found):
        _log.critical(
            "%s: %s signed size %d here and size %d before, and they do not agree; "
            "both checkpoints are kept: undersigned witness list",
            "FORK" if kind is EvidenceKind.FORK else "NOT PROVEN CONSISTENT",
            log.origin,
            asked.checkpoint.size,
            log.size,
        )


def _strip(note: Note, key: VerifierKey) -> bytes:
    """Return the note with this key's signature line and no other."""
    (blob,) = [
        blob
        for name, identity, blob in note.signatures
        if (name, identity) == (key.name, key.key_id)
    ]
    line = f"\u2014 {key.name} {encode_base64(key.key_id + blob)}\n"
    return f"{note.text}\n{line}".encode()
