"""What a log says today about the signature of a receipt."""

from dataclasses import dataclass

from undersigned_verify import entry as leaf
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.count import State
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import range_hash
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import MAX_SMALL, open_nodes
from undersigned_verify.proof import ReceiptVerdict, verify_receipt
from undersigned_verify.recount import Progress, Recount
from undersigned_verify.source import Source
from undersigned_verify.token import TokenKey, token_input


@dataclass(frozen=True)
class Standing:
    """A receipt compared with its log."""

    receipt: ReceiptVerdict
    state: State
    newest: Checkpoint
    klass: str  # the assurance class of the signature's key


def check_standing(
    data: bytes,
    key: VerifierKey,
    source: Source,
    *,
    workers: int,
    progress: Progress | None = None,
) -> Standing:
    """Check a receipt against its log; raise the first Fault of either, or Unreadable.

    The whole log is replayed, because any later leaf may withdraw or remove the
    signature. Of the tokens only the receipt's own is verified: an audit does the rest.
    """
    receipt = verify_receipt(data, key)
    published = source.read("log.vkey", MAX_SMALL)
    if published != f"{key.vkey}\n".encode():
        raise Fault("receipt-log", "The log has another key.", path="log.vkey")
    recount = Recount(source, workers=workers, tokens=False, progress=progress)
    recount.run()
    newest = recount.newest
    assert newest is not None
    _check_prefix(receipt, newest, source)
    # The receipt proves its leaf under a root that is now known to be the log's own,
    # so this very leaf stands in the log at this very index.
    challenge = recount.state.challenge
    receipt = verify_receipt(data, key, challenge=challenge)
    info = recount.state.keys[receipt.signature.key_index]
    token_key = TokenKey(info.spki)
    assert receipt.nonce is not None
    signed = token_input(receipt.nonce, challenge.digest, token_key.key_id)
    if not token_key.verify(signed, receipt.signature.authenticator):
        raise Fault("token-invalid", index=receipt.index)
    state = recount.state.state_of(receipt.index)
    assert state is not None
    return Standing(receipt, state, newest, leaf.CLASS_NAMES[info.klass])


def _check_prefix(receipt: ReceiptVerdict, newest: Checkpoint, source: Source) -> None:
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
        raise Fault("receipt-log", detail)
    path = f"checkpoints/{receipt.size}"
    if source.read(path, MAX_NOTE) is None:
        # Its order within an interval was promised to whoever holds a checkpoint.
        detail = "The log no longer keeps the receipt's checkpoint."
        raise Fault("receipt-log", detail, path=path)
