"""What is sent over the stream: sealed frames of signatures, and what became of them.

    sealed = 12 random bytes ‖ AES-256-GCM(key of the direction, msgpack of the frame)

The stream's servers keep what passes through them for minutes, in order and with times
(docs/operate/jetstream.md). They hold no key: what they keep names no signature, and
what they, or anybody beside us, could put in is refused. The keys are made from the
secret that the issuer's process and its nodes share; each direction has one of its own,
so that no frame can be given back as an answer.

A frame that was changed, or sealed under another secret, is a FrameNotValid.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, TypeVar

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival

MAX_SIGNATURES: Final = 256
# Below the servers' limit of 1 MB for a message, with room for what seals it.
MAX_BYTES: Final = 768 << 10
NONCE_BYTES: Final = 32
LEAF_BYTES: Final = 357
_SEAL_BYTES: Final = 12
_NAME_BYTES: Final = 16

Thing = TypeVar("Thing")


class FrameNotValid(Exception):
    """These bytes are no frame of ours, or were sealed under another secret."""


class Frame(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Signatures of one node. ``node``, ``number``: where its answer is waited for.

    ``items``: log id, nonce, leaf, and what is shown or None; sorted by the first two,
    so that a frame does not tell who came first.
    """

    node: bytes
    number: int
    items: list[tuple[int, bytes, bytes, bytes | None]]

    def list_arrivals(self) -> list[Arrival]:
        """Return the signatures, in the frame's order."""
        return [
            Arrival(log_id, PooledSignature(nonce, leaf, shown))
            for log_id, nonce, leaf, shown in self.items
        ]


class Answer(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What became of a frame. ``taken``: by place in it; False: the log is closed."""

    number: int
    taken: list[bool]


def make_node_name() -> bytes:
    """Return a new name for a node, which tells nothing about it."""
    return os.urandom(_NAME_BYTES)


def make_frame(node: bytes, number: int, arrivals: Sequence[Arrival]) -> Frame:
    """Return a frame of at most MAX_SIGNATURES arrivals, which are sorted already."""
    return Frame(
        node,
        number,
        [
            (one.log_id, one.pooled.nonce, one.pooled.leaf, one.pooled.shown)
            for one in arrivals
        ],
    )


class Seal:
    """Seals and opens in both directions. ``secret``: as both sides were given it."""

    def __init__(self, secret: str) -> None:
        self._to_pool = AESGCM(_derive(secret, b"undersigned stream frame v1"))
        self._to_node = AESGCM(_derive(secret, b"undersigned stream answer v1"))

    def seal_frame(self, frame: Frame) -> bytes:
        """Return a frame as it is sent."""
        return _seal(self._to_pool, msgspec.msgpack.encode(frame))

    def open_frame(self, data: bytes) -> Frame:
        """Return a frame as it was made. Raises FrameNotValid."""
        frame = _decode(_open(self._to_pool, data), Frame)
        for log_id, nonce, leaf, _shown in frame.items:
            if (
                not 0 < log_id < 1 << 31
                or len(nonce) != NONCE_BYTES
                or len(leaf) != LEAF_BYTES
            ):
                raise FrameNotValid("a signature that is none")
        if len(frame.items) > MAX_SIGNATURES or len(frame.node) != _NAME_BYTES:
            raise FrameNotValid("too many signatures, or from nobody")
        return frame

    def seal_answer(self, answer: Answer) -> bytes:
        """Return an answer as it is sent."""
        return _seal(self._to_node, msgspec.msgpack.encode(answer))

    def open_answer(self, data: bytes) -> Answer:
        """Return an answer as it was made. Raises FrameNotValid."""
        return _decode(_open(self._to_node, data), Answer)


def _derive(secret: str, info: bytes) -> bytes:
    kdf = HKDF(algorithm=SHA256(), length=32, salt=None, info=info)
    return kdf.derive(secret.encode())


def _seal(key: AESGCM, data: bytes) -> bytes:
    drawn = os.urandom(_SEAL_BYTES)
    return drawn + key.encrypt(drawn, data, None)


def _open(key: AESGCM, data: bytes) -> bytes:
    try:
        return key.decrypt(data[:_SEAL_BYTES], data[_SEAL_BYTES:], None)
    except (InvalidTag, ValueError):
        raise FrameNotValid("sealed by somebody else") from None


def _decode(data: bytes, kind: type[Thing]) -> Thing:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise FrameNotValid("not of this version") from None
