"""C2SP tlog-cosignature v1: what a witness says of a checkpoint, and when.

A signature line ``— NAME BASE64(key id, time, signature)``: time is 8 bytes of seconds
since 1970, the key id is made with algorithm 0x04. The signature covers
``cosignature/v1``, ``time N`` and the checkpoint's text, each line with its line feed.
It says: at that time this was the largest state of the log that the witness had seen,
and every state it had seen before was a prefix of it.
"""

from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.canonical import encode_base64
from undersigned_verify.errors import Fault
from undersigned_verify.note import COSIGNATURE, Note, VerifierKey

_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_LAST_TIME: Final = 2**63 - 1


@dataclass(frozen=True)
class Cosignature:
    """A verified cosignature. ``time``: seconds since 1970, by the witness's clock."""

    name: str
    time: int


def witness_key(name: str, public: bytes) -> VerifierKey:
    """Return the key under which a witness cosigns; ``public`` is its 32 bytes."""
    return VerifierKey.of(name, public, COSIGNATURE)


def parse_witness_key(text: str) -> VerifierKey:
    """Parse a witness's ``NAME+HASH+BASE64``; Fault unless it is canonical."""
    return VerifierKey.parse(text, COSIGNATURE)


def _message(text: str, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosignature_line(
    text: str, *, name: str, private: Ed25519PrivateKey, time: int
) -> str:
    """Return a witness's signature line over a checkpoint's text, with line feed."""
    if not 0 <= time <= _LAST_TIME:
        raise ValueError(f"no time for a cosignature: {time}")
    key = witness_key(name, private.public_key().public_bytes_raw())
    signature = private.sign(_message(text, time))
    blob = key.key_id + time.to_bytes(_TIME_BYTES) + signature
    return f"\u2014 {name} {encode_base64(blob)}\n"


def find_cosignature(note: Note, key: VerifierKey) -> Cosignature | None:
    """Return the cosignature of this witness on a note, None where there is none.

    Fault where a line bears its name and key id and does not verify: somebody wants
    the witness to have said what it has not.
    """
    for name, identity, blob in note.signatures:
        if (name, identity) != (key.name, key.key_id):
            continue
        time = int.from_bytes(blob[:_TIME_BYTES])
        if len(blob) != _TIME_BYTES + _SIGNATURE_BYTES or time > _LAST_TIME:
            raise Fault(
                "cosignature-form", f"{name}: a cosignature has another length."
            )
        if not key.verify(_message(note.text, time), blob[_TIME_BYTES:]):
            raise Fault(
                "cosignature-invalid", f"{name}: the cosignature doesn't verify."
            )
        return Cosignature(name, time)
    return None
