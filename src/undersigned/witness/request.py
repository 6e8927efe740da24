"""The body of ``add-checkpoint`` (C2SP tlog-witness), and its inverse.

``old N``, then up to 63 proof hashes in base64, each on a line, an empty line, and the
signed checkpoint. The example of the specification stands in the tests.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from undersigned_verify.canonical import encode_base64, parse_base64
from undersigned_verify.checkpoint import Checkpoint, parse_decimal
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import HASH_SIZE
from undersigned_verify.note import MAX_NOTE, Note, parse_note

from undersigned.kernel.errors import Refused

MAX_PROOF: Final = 63
# 63 lines of 45 bytes, the first line, and the longest note.
MAX_REQUEST_BYTES: Final = 4096 + MAX_NOTE


class RequestMalformed(Refused):
    """Not the form of an add-checkpoint request, or a size below the old one."""

    code: ClassVar[str] = "witness-request-malformed"


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """One request; ``proof`` leads from ``old_size`` to the checkpoint."""

    old_size: int
    proof: tuple[bytes, ...]
    note: Note
    checkpoint: Checkpoint

    @classmethod
    def parse(cls, body: bytes) -> Self:
        """Return the request in a body. Raises RequestMalformed.

        Checkpoints with extension lines are refused: no log of this protocol has any.
        """
        if len(body) > MAX_REQUEST_BYTES:
            raise RequestMalformed(problem="the request is too long")
        head, separator, note = body.partition(b"\n\n")
        first, *lines = head.split(b"\n")
        if not separator or not first.startswith(b"old ") or len(lines) > MAX_PROOF:
            raise RequestMalformed(problem="not an old size, a proof and a checkpoint")
        try:
            parsed = parse_note(note)
            found = cls(
                parse_decimal(first[4:].decode("ascii")),
                tuple(_parse_hash(line) for line in lines),
                parsed,
                Checkpoint.parse(parsed.text),
            )
        except UnicodeDecodeError:
            raise RequestMalformed(problem="the proof is not ASCII") from None
        except Fault as fault:
            raise RequestMalformed(problem=fault.detail) from None
        return found


def _parse_hash(line: bytes) -> bytes:
    found = parse_base64(line.decode("ascii"))
    if len(found) != HASH_SIZE:
        raise Fault("proof-form", "A hash is not 32 bytes long.")
    return found


def encode_request(*, old_size: int, proof: Sequence[bytes], note: bytes) -> bytes:
    """Return the body that asks for a cosignature of ``note``."""
    lines = [f"old {old_size}", *(encode_base64(one) for one in proof), "", ""]
    return "\n".join(lines).encode() + note
