"""Signatures as a signer's own device makes them."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

from undersigned_verify import token

from undersigned.credentials import client
from undersigned.credentials.client import Prepared
from undersigned.signatures.operations.redeem import SignRequest

Shown = dict[str, str]


@dataclass(frozen=True, slots=True)
class Writing:
    """A signature that waits for its token: what the signer keeps until it is sent."""

    prepared: Prepared
    public: Shown | None
    salt: bytes | None

    def finish(self, blind_signature: bytes) -> SignRequest:
        """Return what is sent, once the issuer has answered."""
        return self.send(client.finalize(self.prepared, blind_signature))

    def send(self, authenticator: bytes) -> SignRequest:
        """Return what is sent with this authenticator, good or bad."""
        one = self.prepared
        return SignRequest(
            key_index=one.key_index,
            stance=one.stance,
            public_hash=one.public_hash,
            withdraw_hash=one.withdraw_hash,
            r=one.r,
            authenticator=authenticator,
            public=self.public,
            salt=self.salt,
        )


def show(*, name: str = "", place: str = "", comment: str = "") -> Shown:
    """Return what a signer shows, in the wire's form."""
    return {"comment": comment, "name": name, "place": place}


def write_signature(
    *,
    key_index: int,
    spki: bytes,
    challenge_digest: bytes,
    stance: int = 0,
    shown: Shown | None = None,
) -> Writing:
    """Draw a signer's secrets and blind the token request."""
    salt = None if shown is None else secrets.token_bytes(32)
    prepared = client.prepare(
        key_index=key_index,
        spki=spki,
        challenge_digest=challenge_digest,
        stance=stance,
        public_hash=(
            token.NO_PUBLIC
            if shown is None or salt is None
            else token.public_hash(salt, shown)
        ),
    )
    return Writing(prepared=prepared, public=shown, salt=salt)
