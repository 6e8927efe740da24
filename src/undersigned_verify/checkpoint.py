"""C2SP tlog-checkpoint: origin, size and root hash of a log, as a signed note.

Text of a log of one leaf: ``example.org/c/river``, ``1``, the base64 root hash, each
on a line. Extension lines are refused: the protocol has none, and a reader that
ignored them would let two different texts pass for one state.
"""

from dataclasses import dataclass
from typing import Self

from undersigned_verify.canonical import encode_base64, parse_base64
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import EMPTY_ROOT, HASH_SIZE, MAX_SIZE
from undersigned_verify.note import VerifierKey, parse_note, verify_note


@dataclass(frozen=True)
class Checkpoint:
    """The state of a log: ``root`` is 32 bytes, ``size`` a number of leaves."""

    origin: str
    size: int
    root: bytes

    def text(self) -> str:
        """Return the text to sign, with its final line feed."""
        return f"{self.origin}\n{self.size}\n{encode_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the checkpoint of exactly this text; else Fault."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3] or not lines[0]:
            raise Fault("checkpoint-form")
        root = parse_base64(lines[2])
        checkpoint = cls(lines[0], parse_decimal(lines[1]), root)
        if len(root) != HASH_SIZE:
            raise Fault("checkpoint-form", "The root hash is not 32 bytes long.")
        if checkpoint.size == 0 and root != EMPTY_ROOT:
            raise Fault("checkpoint-root", "An empty tree has one root hash only.")
        return checkpoint


def parse_decimal(digits: str) -> int:
    """Return a size or index in plain decimal; Fault for any other spelling."""
    # Compared after the length check: a long run of digits would be slow to convert.
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 19):
        raise Fault("checkpoint-form", "A size is not a plain decimal number.")
    number = int(digits)
    if str(number) != digits or number > MAX_SIZE:
        raise Fault("checkpoint-form", "A size is not a plain decimal number.")
    return number


def open_checkpoint(data: bytes, key: VerifierKey) -> Checkpoint:
    """Return the checkpoint in a signed note, verified under ``key``; else Fault.

    The key's name must be the origin: the log key also signs promises, under another
    name, and those must never pass for a state of the log.
    """
    note = parse_note(data)
    verify_note(note, key)
    checkpoint = Checkpoint.parse(note.text)
    if checkpoint.origin != key.name:
        raise Fault("checkpoint-origin")
    return checkpoint
