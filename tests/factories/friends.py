"""Witnesses of an instance's spine, as pages see them: a policy, and lines in it."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.cosignature import cosignature_line, witness_key
from undersigned_verify.note import parse_note

from tests.factories.instances import Instance
from undersigned.ledger.operations import show_spine

AT = 1_795_953_600  # 29 November 2026, 12:00 UTC


class Friend:
    """A witness."""

    def __init__(self, name: str) -> None:
        self.name = f"{name}.example/witness"
        self.private = Ed25519PrivateKey.from_private_bytes(
            sha256(name.encode()).digest()
        )

    def line(self) -> str:
        """Return this witness's line of a policy."""
        key = witness_key(self.name, self.private.public_key().public_bytes_raw())
        return f"witness {self.name} {key.vkey} https://{self.name}\n"

    def cosigns(self, instance: Instance, note: bytes, time: int = AT) -> None:
        """Say of a checkpoint of the spine that it continues all before."""
        text = parse_note(note).text
        line = cosignature_line(text, name=self.name, private=self.private, time=time)
        show_spine(
            ledger=instance.engine.services.ledger,
            size=Checkpoint.parse(text).size,
            cosignatures=[line],
        )


def publish_policy(instance: Instance, *friends: Friend) -> None:
    """Publish a policy that wants all of these."""
    names = " ".join(friend.name for friend in friends)
    text = "".join(friend.line() for friend in friends)
    text += f"group both all {names}\nquorum both\n" if friends else "quorum none\n"
    public = instance.engine.services.ledger.public
    (public / "policy.txt").write_text(text, encoding="utf-8")
