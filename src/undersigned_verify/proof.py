"""Receipts: C2SP tlog-proof files that show one signature in its log.

Lines: ``c2sp.org/tlog-proof@v1``, ``extra BASE64``, ``index N``, one base64 hash a
line, an empty line, the signed checkpoint. A receipt's extra data is the leaf (357
bytes), followed by the 32 bytes of w where the signer keeps the power to withdraw.
``extra`` is not signed: it counts only because the leaf hashes into the root. A second
proof may follow: that checkpoint's leaf, as ``extra``, in the instance's spine.
"""

from dataclasses import dataclass
from typing import Final, Self

from undersigned_verify import entry as leaf
from undersigned_verify import spine
from undersigned_verify.canonical import encode_base64, parse_base64
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint, parse_decimal
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import HASH_SIZE, leaf_hash, verify_inclusion
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.token import Challenge, nonce, withdraw_hash

MAGIC: Final = "c2sp.org/tlog-proof@v1"
MAX_RECEIPT: Final = 1_000_000
_W_SIZE: Final = 32


@dataclass(frozen=True)
class InclusionProof:
    """One tlog-proof, taken apart; nothing in it is verified."""

    index: int
    hashes: tuple[bytes, ...]
    checkpoint: bytes  # a whole signed note
    extra: bytes | None

    def encode(self) -> bytes:
        """Return the file's bytes."""
        lines = [MAGIC]
        if self.extra is not None:
            lines.append(f"extra {encode_base64(self.extra)}")
        lines.append(f"index {self.index}")
        lines += [encode_base64(item) for item in self.hashes]
        return "\n".join([*lines, "", ""]).encode() + self.checkpoint

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """Return the parts of one proof; Fault unless its form is exact."""
        if len(data) > MAX_RECEIPT:
            raise Fault("proof-form", "The proof is too long.")
        head, separator, checkpoint = data.partition(b"\n\n")
        try:
            lines = head.decode().split("\n")
        except UnicodeDecodeError as error:
            raise Fault("proof-form", "The proof is not UTF-8.") from error
        if not separator or lines.pop(0) != MAGIC:
            raise Fault("proof-form", f"The first line is not {MAGIC}.")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = parse_base64(lines.pop(0).removeprefix("extra "))
        if not lines or not lines[0].startswith("index "):
            raise Fault("proof-form", "The index line is missing.")
        index = _parse_index(lines.pop(0).removeprefix("index "))
        hashes = tuple(parse_base64(line) for line in lines)
        if len(hashes) > 63 or any(len(item) != HASH_SIZE for item in hashes):
            raise Fault("proof-form", "A hash is not 32 bytes long, or too many.")
        return cls(index, hashes, checkpoint, extra)


def _parse_index(digits: str) -> int:
    try:
        return parse_decimal(digits)
    except Fault as fault:
        raise Fault("proof-index", "The index is not a plain decimal.") from fault


def parse_receipt(data: bytes) -> list[InclusionProof]:
    """Return the proofs that stand one after another in a receipt file.

    A receipt has one, or two where its instance has a spine.
    """
    if len(data) > MAX_RECEIPT:
        raise Fault("proof-form", "The receipt is too long.")
    # A note ends in a signature line, so the next proof begins after one: the same
    # words elsewhere in a note belong to that note.
    parts: list[list[bytes]] = []
    before = b""
    for line in data.splitlines(keepends=True):
        if line == f"{MAGIC}\n".encode() and (
            not parts or before.startswith("\u2014 ".encode())
        ):
            parts.append([])
        if not parts:
            raise Fault("proof-form", f"The first line is not {MAGIC}.")
        parts[-1].append(line)
        before = line
    if not parts:
        raise Fault("proof-form", "The receipt is empty.")
    return [InclusionProof.parse(b"".join(part)) for part in parts]


@dataclass(frozen=True)
class SpineProof:
    """A receipt's second proof: its checkpoint's leaf is in the spine."""

    index: int  # of the leaf in the spine
    checkpoint: Checkpoint  # of the spine
    note: bytes  # that checkpoint, signed and perhaps cosigned
    key: VerifierKey | None  # that verifies it; None: none was given, nothing is shown

    @property
    def is_signed(self) -> bool:
        """Whether the checkpoint is verified to be of a spine whose key is known."""
        return self.key is not None


@dataclass(frozen=True)
class ReceiptVerdict:
    """What a receipt proves about one signature."""

    origin: str
    index: int
    size: int  # of the tree under the receipt's checkpoint
    root: bytes  # its root hash
    signature: leaf.Signature
    has_w: bool  # the file holds w: authorship is proven, and withdrawal possible
    # None where no challenge was given: the nonce depends on the log's header.
    nonce: bytes | None
    # None where the receipt has one proof only.
    spine: SpineProof | None = None

    @property
    def stance(self) -> int:
        """0 for, 1 for with a reservation, 2 against."""
        return self.signature.stance


def verify_receipt(
    data: bytes,
    key: VerifierKey,
    *,
    challenge: Challenge | None = None,
    spine_key: VerifierKey | None = None,
) -> ReceiptVerdict:
    """Check a receipt under the log's key; Fault if it proves nothing.

    Checks the checkpoint's signature, the leaf's form, its inclusion, and that w opens
    it where w is there; of a second proof its form and that it is of this checkpoint,
    and with ``spine_key`` the signature of the spine. Not checked: the token, later
    withdrawal or removal, cosignatures, and that others are shown the same log.
    """
    proofs = parse_receipt(data)
    if len(proofs) > 2:
        raise Fault("proof-form", "The receipt holds more than two proofs.")
    proof = proofs[0]
    checkpoint = open_checkpoint(proof.checkpoint, key)
    signature, w = open_extra(proof.extra)
    _verify_leaf(proof, leaf.encode(signature), checkpoint)
    if w is not None and withdraw_hash(w) != signature.withdraw_hash:
        raise Fault("receipt-secret")
    return ReceiptVerdict(
        checkpoint.origin,
        proof.index,
        checkpoint.size,
        checkpoint.root,
        signature,
        w is not None,
        None if challenge is None else signature_nonce(signature, challenge),
        _verify_spine(proofs[1], checkpoint, spine_key) if proofs[1:] else None,
    )


def _verify_spine(
    proof: InclusionProof, checkpoint: Checkpoint, key: VerifierKey | None
) -> SpineProof:
    """Check a receipt's second proof, under the spine's key where there is one."""
    root = checkpoint.root.hex()
    expected = spine.CheckpointLeaf(checkpoint.origin, checkpoint.size, root)
    if proof.extra != spine.encode(expected):
        raise Fault("receipt-spine")
    try:
        if key is not None:
            found = open_checkpoint(proof.checkpoint, key)
        else:
            found = Checkpoint.parse(parse_note(proof.checkpoint).text)
        _verify_leaf(proof, proof.extra, found)
    except Fault as fault:
        raise fault.at(path="second proof") from fault
    if found.origin != spine.spine_origin(checkpoint.origin):
        detail = f"The second proof is of {found.origin}, which is not its spine."
        raise Fault("receipt-spine", detail)
    return SpineProof(proof.index, found, proof.checkpoint, key)


def signature_nonce(signature: leaf.Signature, challenge: Challenge) -> bytes:
    """Return the nonce that this leaf has under this challenge."""
    return nonce(
        challenge.digest,
        signature.stance,
        signature.public_hash,
        signature.withdraw_hash,
        signature.r,
    )


def open_extra(extra: bytes | None) -> tuple[leaf.Signature, bytes | None]:
    """Return the signature leaf of extra data, and w where it follows; else Fault."""
    size = leaf.SIGNATURE_SIZE
    if extra is None or len(extra) not in (size, size + _W_SIZE):
        raise Fault("receipt-leaf")
    try:
        signature = leaf.parse(extra[:size])
    except Fault as fault:
        raise Fault("receipt-leaf", fault.detail) from fault
    if not isinstance(signature, leaf.Signature):
        raise Fault("receipt-leaf")
    return signature, extra[size:] or None


def _verify_leaf(proof: InclusionProof, data: bytes, checkpoint: Checkpoint) -> None:
    verify_inclusion(
        leaf_hash=leaf_hash(data),
        index=proof.index,
        size=checkpoint.size,
        proof=proof.hashes,
        root=checkpoint.root,
    )
