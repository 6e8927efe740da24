"""Tokens signed directly with an issuer key: what a whole journey would have made.

A blind signature that is unblinded is the plain RSA signature of the encoded message,
so the server's answer can be had without blinding, for fixtures only.
"""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context

from undersigned_verify import token

from undersigned.credentials.client import encode_pss
from undersigned.credentials.rsa import BlindSigner

CHUNK = 2_000


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An issuer key as its private DER, and the challenge its tokens are bound to."""

    der: bytes
    challenge_digest: bytes
    key_index: int = 0

    @property
    def n(self) -> int:
        """The modulus."""
        return BlindSigner(self.der).n


def sign_leaves(key: SigningKey, count: int) -> list[bytes]:
    """Return ``count`` signature leaves of 357 bytes, stance 0, nothing shown."""
    signer = BlindSigner(key.der)
    head = b"\x01\x01" + key.key_index.to_bytes(2)
    leaves = []
    for _number in range(count):
        # Nobody withdraws these, so any 32 bytes stand in for the hash of a secret.
        withdraw_hash, r = secrets.token_bytes(32), secrets.token_bytes(32)
        nonce = token.nonce(key.challenge_digest, 0, token.NO_PUBLIC, withdraw_hash, r)
        message = token.token_input(nonce, key.challenge_digest, signer.key_id)
        encoded = encode_pss(message, secrets.token_bytes(48), 2048)
        authenticator = signer.blind_sign(encoded)
        leaves.append(
            head + b"\x00" + token.NO_PUBLIC + withdraw_hash + r + authenticator
        )
    return leaves


def make_body(leaf: bytes) -> bytes:
    """Return the body of ``POST sign`` that makes this leaf."""
    values = {
        "key_index": int.from_bytes(leaf[2:4]),
        "stance": leaf[4],
        "public_hash": to_base64url(leaf[5:37]),
        "withdraw_hash": to_base64url(leaf[37:69]),
        "r": to_base64url(leaf[69:101]),
        "authenticator": to_base64url(leaf[101:]),
        "public": None,
        "salt": None,
    }
    return json.dumps(values, separators=(",", ":")).encode()


def to_base64url(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign_many(key: SigningKey, count: int) -> Iterable[list[bytes]]:
    """Yield chunks of signed leaves, made by a process a core."""
    sizes = [min(CHUNK, count - at) for at in range(0, count, CHUNK)]
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), mp_context=get_context("spawn")
    ) as processes:
        yield from processes.map(partial(sign_leaves, key), sizes)
