"""A log in memory, signed and honest until told otherwise: what witnesses are shown.

It has the shape of a spine (``witness.dialogue.Spine``), so that a feeder runs over it.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import (
    consistency_proof,
    leaf_hash,
    node_hash,
    root_of,
)
from undersigned_verify.note import VerifierKey, parse_note, sign_note

from undersigned.witness.request import encode_request


class SmallLog:
    """Leaves, their tree, and a signed checkpoint of every size that was asked for."""

    def __init__(
        self,
        origin: str,
        *,
        private: Ed25519PrivateKey | None = None,
        leaves: Iterable[bytes] = (),
    ) -> None:
        self.origin = origin
        self.private = private or Ed25519PrivateKey.generate()
        self._hashes = [leaf_hash(leaf) for leaf in leaves]
        self._lock = threading.Lock()
        # By size: the note with the cosignatures that were added.
        self._kept: dict[int, bytes] = {}
        self._read_node = lru_cache(maxsize=None)(self._hash_node)

    @property
    def vkey(self) -> str:
        """The log's verifier key."""
        public = self.private.public_key().public_bytes_raw()
        return VerifierKey.of(self.origin, public).vkey

    @property
    def size(self) -> int:
        """The number of leaves."""
        return len(self._hashes)

    def append(self, count: int = 1, *, salt: bytes = b"") -> int:
        """Add leaves; return the new size. ``salt``: other leaves, another history."""
        for _number in range(count):
            leaf = sha256(salt + self.size.to_bytes(8)).digest()
            self._hashes.append(leaf_hash(leaf))
        return self.size

    def fork(self, size: int) -> SmallLog:
        """Return another history of this log, by the same key, from ``size`` on."""
        other = SmallLog(self.origin, private=self.private)
        other._hashes = self._hashes[:size]
        return other

    def root(self, size: int) -> bytes:
        """Return the root hash of a prefix."""
        return root_of(self._hashes[:size])

    def sign(self, size: int | None = None) -> bytes:
        """Return the checkpoint of ``size`` (None: the newest), as the log signs it."""
        size = self.size if size is None else size
        text = Checkpoint(self.origin, size, self.root(size)).text()
        return sign_note(text, self.origin, self.private)

    def ask(self, old: int, size: int | None = None) -> bytes:
        """Return an add-checkpoint request from ``old`` to ``size``."""
        size = self.size if size is None else size
        proof = self.consistency_proof(old, size) if 0 < old < size else []
        return encode_request(old_size=old, proof=proof, note=self.sign(size))

    # --- as a spine

    def newest(self) -> bytes:
        """Return the newest checkpoint with its cosignatures."""
        with self._lock:
            return self._kept.get(self.size) or self.sign()

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof between two sizes."""
        return consistency_proof(old, new, self._read_node)

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        """Add signature lines to a checkpoint; the first word of each key stands."""
        with self._lock:
            for line in lines:
                note = self._kept.get(size) or self.sign(size)
                with suppress(Fault):
                    parse_note(note + line.encode())
                    self._kept[size] = note + line.encode()

    def kept(self, size: int) -> bytes:
        """Return the checkpoint of ``size`` with the cosignatures it has by now."""
        with self._lock:
            return self._kept.get(size) or self.sign(size)

    def _hash_node(self, level: int, n: int) -> bytes:
        if level == 0:
            return self._hashes[n]
        below = (self._read_node(level - 1, 2 * n + half) for half in (0, 1))
        return node_hash(*below)
