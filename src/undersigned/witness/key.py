"""The witness's own key: cosignatures under the name ``HOST/witness``.

Key and state belong together: a key beside an older state would cosign a fork. So the
key is named in ``witness-mark.json`` (see ``store``), and neither is ever backed up.
"""

from __future__ import annotations

from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.cosignature import cosignature_line, witness_key

KEY_FILE: Final = "witness.key"


def make_seed() -> bytes:
    """Return the 32 secret bytes of a new key."""
    return Ed25519PrivateKey.generate().private_bytes_raw()


class WitnessKey:
    """An Ed25519 key that cosigns under one name."""

    def __init__(self, name: str, seed: bytes) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.verifier = witness_key(name, self._private.public_key().public_bytes_raw())

    @property
    def vkey(self) -> str:
        """What the operators of witnessed logs are given."""
        return self.verifier.vkey

    def cosign(self, text: str, *, time: int) -> str:
        """Return the signature line over a checkpoint's text, with its line feed.

        ``time``: seconds since 1970.
        """
        return cosignature_line(
            text, name=self.verifier.name, private=self._private, time=time
        )
