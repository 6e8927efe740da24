"""What a log says today about the signature of a receipt."""

from dataclasses import dataclass

from undersigned_verify import entry as leaf
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.count import State
from undersigned_verify.errors import Evidence, Fault
from undersigned_verify.facts import KeptRoots, LogFacts
from undersigned_verify.fork import check_prefix
from undersigned_verify.merkle import range_hash
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import MAX_SMALL, open_key, open_nodes, read_file
from undersigned_verify.proof import (
    ReceiptVerdict,
    SpineProof,
    parse_receipt,
    verify_receipt,
)
from undersigned_verify.recount import Progress, Recount
from undersigned_verify.source import Source
from undersigned_verify.spine import PATH
from undersigned_verify.spine_audit import SpineReport, audit_spine
from undersigned_verify.token import TokenKey, token_input


@dataclass(frozen=True)
class Standing:
    """A receipt compared with its log."""

    receipt: ReceiptVerdict
    state: State
    newest: Checkpoint
    klass: str  # the assurance class of the signature's key
    spine: SpineReport | None = None  # None where the log has none beside it


def check_standing(
    data: bytes,
    key: VerifierKey,
    source: Source,
    *,
    workers: int,
    progress: Progress | None = None,
    spine: Source | None = None,
    spine_key: VerifierKey | None = None,
) -> Standing:
    """Check a receipt against its log; raise the first Fault of either, or Unreadable.

    The whole log is replayed, because any later leaf may withdraw or remove the
    signature. Of the tokens only the receipt's own is verified: an audit does the rest.
    With the instance's ``spine`` the log is checked against it, and the receipt's
    second proof against its key; with ``spine_key`` it must have this one.
    """
    if spine is not None:
        spine_key = _open_spine_key(spine, spine_key)
    receipt = verify_receipt(data, key, spine_key=spine_key)
    published = source.read("log.vkey", MAX_SMALL)
    if published != f"{key.vkey}\n".encode():
        raise Fault("receipt-log", "The log has another key.", path="log.vkey")
    kept = KeptRoots()
    recount = Recount(
        source,
        workers=workers,
        tokens=False,
        progress=progress,
        on_kept=kept.add if spine is not None else None,
    )
    recount.run()
    newest = recount.newest
    assert newest is not None
    _check_prefix(receipt, parse_receipt(data)[0].checkpoint, newest, source)
    report = None
    if spine is not None:
        report = _check_spine(receipt, spine, LogFacts.of(recount, kept))
    # The receipt proves its leaf under a root that is now known to be the log's own,
    # so this very leaf stands in the log at this very index.
    challenge = recount.state.challenge
    receipt = verify_receipt(data, key, challenge=challenge, spine_key=spine_key)
    info = recount.state.keys[receipt.signature.key_index]
    token_key = TokenKey(info.spki)
    assert receipt.nonce is not None
    signed = token_input(receipt.nonce, challenge.digest, token_key.key_id)
    if not token_key.verify(signed, receipt.signature.authenticator):
        raise Fault("token-invalid", index=receipt.index)
    state = recount.state.state_of(receipt.index)
    assert state is not None
    return Standing(receipt, state, newest, leaf.CLASS_NAMES[info.klass], report)


def _open_spine_key(spine: Source, expected: VerifierKey | None) -> VerifierKey:
    try:
        key = open_key(spine)
    except Fault as fault:
        raise fault.within(PATH) from fault
    if expected is not None and key != expected:
        raise Fault("log-keys", "The spine has another key.", path=f"{PATH}/log.vkey")
    return key


def _check_spine(
    receipt: ReceiptVerdict, source: Source, facts: LogFacts
) -> SpineReport:
    """Check the log against its spine, and the receipt's spine against that one."""
    found = audit_spine(source, [facts])
    fault = found.report.fault or found.faults.get(facts.newest.origin)
    if fault is not None:
        raise fault
    if receipt.spine is not None:
        _check_spine_prefix(receipt.spine, source, found.report)
    return found.report


def _check_spine_prefix(proof: SpineProof, source: Source, report: SpineReport) -> None:
    """Check that the receipt's spine is a beginning of the spine that was read."""
    origin, size, root = report.origin, report.tree_size, report.root_hash
    assert origin is not None
    assert size is not None
    assert root is not None
    newest = Checkpoint(origin, size, bytes.fromhex(root))
    if proof.checkpoint.size > newest.size:
        detail = (
            f"The receipt's spine has {proof.checkpoint.size} leaves and the spine "
            f"{newest.size}: it was cut back, or this copy is old."
        )
        raise Fault("receipt-log", detail, path=PATH)
    note = read_file(source, f"checkpoints/{newest.size}", MAX_NOTE)
    check_prefix(
        proof.checkpoint,
        newest,
        open_nodes(source, newest.size),
        evidence=(
            Evidence("the receipt's second proof", proof.note),
            Evidence(f"{source.name}/checkpoints/{newest.size}", note),
        ),
    )


def _check_prefix(
    receipt: ReceiptVerdict, note: bytes, newest: Checkpoint, source: Source
) -> None:
    """Check that the receipt's tree is a prefix of the log's verified tiles."""
    if receipt.size > newest.size:
        detail = (
            f"The receipt is of {receipt.size} leaves and the log has {newest.size}: "
            "it was cut back, or this copy is old."
        )
        raise Fault("receipt-log", detail)
    read_node = open_nodes(source, newest.size)
    if range_hash(0, receipt.size, read_node) != receipt.root:
        detail = (
            "The receipt's checkpoint, signed by the log's key, is of another history: "
            "keep both, they prove that the log was changed."
        )
        raise Fault("receipt-log", detail).proven_by(
            Evidence("the receipt", note),
            Evidence(
                f"{source.name}/checkpoints/{newest.size}",
                read_file(source, f"checkpoints/{newest.size}", MAX_NOTE),
            ),
        )
    path = f"checkpoints/{receipt.size}"
    if source.read(path, MAX_NOTE) is None:
        # Its order within an interval was promised to whoever holds a checkpoint.
        detail = "The log no longer keeps the receipt's checkpoint."
        raise Fault("receipt-log", detail, path=path)
