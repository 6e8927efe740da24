"""The log's own key: checkpoints and promises as signed notes (PROTOCOL §2, §4.4)."""

from __future__ import annotations

import base64
from datetime import UTC, datetime

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import note
from undersigned_verify.checkpoint import Checkpoint

from undersigned.kernel.keystore import Keystore


def key_name(path: str) -> str:
    """Return the keystore's name for the log key of the log at ``path``."""
    return f"{path}/log.key"


class LogKey:
    """An Ed25519 log key and the names it signs under."""

    def __init__(self, origin: str, seed: bytes) -> None:
        self.origin = origin
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        public = self._private.public_key().public_bytes_raw()
        self.vkey = note.VerifierKey(
            name=origin, key_id=note.key_id(origin, 1, public), public=public
        ).vkey
        # One promise a signature: what is the same in all of them is made once, and
        # checked once by the verifier's own reading of a note.
        name = f"{origin}/promise"
        self._promise_head = f"undersigned promise v1\n{origin}\n"
        self._promise_line = f"\n\u2014 {name} ".encode()
        self._promise_key_id = note.key_id(name, 1, public)
        note.parse_note(self.sign_promise(bytes(32), datetime.fromtimestamp(0, UTC)))

    @classmethod
    def create(cls, keystore: Keystore, *, origin: str, path: str) -> LogKey:
        """Make the key of a new log, or take the one an earlier attempt made."""
        name = key_name(path)
        if not keystore.has(name):
            seed = Ed25519PrivateKey.generate().private_bytes_raw()
            keystore.put(name, seed)
        return cls(origin, keystore.get(name))

    def sign_checkpoint(self, size: int, root: bytes) -> bytes:
        """Return the signed checkpoint. Ed25519 is deterministic: same bytes always."""
        text = Checkpoint(origin=self.origin, size=size, root=root).text()
        return note.sign_note(text, self.origin, self._private)

    def sign_promise(self, nonce: bytes, publish_by: datetime) -> bytes:
        """Return the promise for one pooled signature.

        Text, one value a line: ``undersigned promise v1``, the origin, the nonce in
        hex, publish-by in seconds since 1970 UTC. Nothing about it is stored.
        """
        text = (
            f"{self._promise_head}{nonce.hex()}\n{int(publish_by.timestamp())}\n"
        ).encode()
        signed = self._promise_key_id + self._private.sign(text)
        return text + self._promise_line + base64.b64encode(signed) + b"\n"
