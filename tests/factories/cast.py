"""The cast: who acts in tests, and under which address or key."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned.kernel.actor import Actor

ASHA = "asha@example.org"
OMAR = "omar@example.org"
MALLORY = "mallory@example.net"

OMAR_ACTS = Actor(ref="omar-ref")
MINA_ACTS = Actor(ref="mina-ref")


def make_approver_key(name: str) -> Ed25519PrivateKey:
    """Return an approver's key, the same in every run: Mina's, Petra's, Mallory's."""
    seed = hashlib.sha256(f"test approver {name}".encode()).digest()
    return Ed25519PrivateKey.from_private_bytes(seed)


MINA = make_approver_key("mina")
PETRA = make_approver_key("petra")
MALLORYS_KEY = make_approver_key("mallory")
