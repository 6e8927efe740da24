"""The signer's arithmetic (RFC 9474 §4.2, §4.4) in Python.

Used where no browser does it: the no-script path (in memory, in one request) and
replays, whose worker processes are the signers. The browser has its own in
``client/``; the ``vectors`` drill compares the two and a third implementation.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from functools import lru_cache

from undersigned_verify import token

from undersigned.credentials.rsa import RawPublicKey

_HASH_BYTES = 48
_SALT_BYTES = 48


def _mgf1(seed: bytes, length: int) -> bytes:
    out = b"".join(
        hashlib.sha384(seed + counter.to_bytes(4)).digest()
        for counter in range(-(-length // _HASH_BYTES))
    )
    return out[:length]


def encode_pss(message: bytes, salt: bytes, bits: int) -> bytes:
    """Return EMSA-PSS-ENCODE (RFC 8017 §9.1.1) with SHA-384 and MGF1-SHA-384.

    ``bits``: bit length of the modulus; the encoding has bits - 1 bits.
    """
    em_bits = bits - 1
    em_bytes = -(-em_bits // 8)
    digest = hashlib.sha384(message).digest()
    inner = hashlib.sha384(bytes(8) + digest + salt).digest()
    db = b"\1".rjust(em_bytes - len(salt) - _HASH_BYTES - 1, b"\0") + salt
    mask = _mgf1(inner, len(db))
    masked = bytearray((int.from_bytes(db) ^ int.from_bytes(mask)).to_bytes(len(db)))
    masked[0] &= 0xFF >> (8 * em_bytes - em_bits)
    return bytes(masked) + inner + b"\xbc"


@dataclass(frozen=True, slots=True)
class Prepared:
    """A signature in the making. ``w``, ``r`` and ``inverse`` are the signer's secrets.

    ``request``: the 259-byte TokenRequest to send. ``nonce``: what the log dedupes on.
    """

    key_index: int
    spki: bytes
    stance: int
    public_hash: bytes
    withdraw_hash: bytes
    r: bytes
    w: bytes
    nonce: bytes
    message: bytes
    inverse: int
    request: bytes


def prepare(
    *,
    key_index: int,
    spki: bytes,
    challenge_digest: bytes,
    stance: int = 0,
    public_hash: bytes = token.NO_PUBLIC,
) -> Prepared:
    """Make the secrets of one signature and blind its token input."""
    (prepared,) = prepare_many(
        1,
        key_index=key_index,
        spki=spki,
        challenge_digest=challenge_digest,
        stance=stance,
        public_hash=public_hash,
    )
    return prepared


def prepare_many(
    count: int,
    *,
    key_index: int,
    spki: bytes,
    challenge_digest: bytes,
    stance: int = 0,
    public_hash: bytes = token.NO_PUBLIC,
) -> list[Prepared]:
    """Make the secrets of many signatures, each with a blinding factor of its own."""
    n, key_id = token.parse_spki(spki), token.key_id(spki)
    public = _load_raw(n)
    found = []
    for blind, inverse in _draw_blinds(n, count):
        r, w = secrets.token_bytes(32), secrets.token_bytes(32)
        withdraw_hash = token.withdraw_hash(w)
        nonce = token.nonce(challenge_digest, stance, public_hash, withdraw_hash, r)
        message = token.token_input(nonce, challenge_digest, key_id)
        encoded = encode_pss(message, secrets.token_bytes(_SALT_BYTES), n.bit_length())
        blinded = int.from_bytes(encoded) * public.power(blind) % n
        found.append(
            Prepared(
                key_index=key_index,
                spki=spki,
                stance=stance,
                public_hash=public_hash,
                withdraw_hash=withdraw_hash,
                r=r,
                w=w,
                nonce=nonce,
                message=message,
                inverse=inverse,
                request=b"\x00\x02" + key_id[-1:] + blinded.to_bytes(256),
            )
        )
    return found


# Loading a key takes longer than using it, and there are few.
@lru_cache(maxsize=16)
def _load_raw(n: int) -> RawPublicKey:
    return RawPublicKey(n)


@lru_cache(maxsize=16)
def _load_key(spki: bytes) -> token.TokenKey:
    return token.TokenKey(spki)


def _draw_blinds(n: int, count: int) -> list[tuple[int, int]]:
    """Return independent random units modulo ``n``, each with its inverse.

    One inversion serves all (Montgomery's trick): the inverse of their product, from
    which each is unwound by multiplications.
    """
    blinds = [secrets.randbelow(n - 2) + 2 for _number in range(count)]
    products = [1]
    for blind in blinds:
        products.append(products[-1] * blind % n)
    try:
        rest = pow(products[-1], -1, n)
    except ValueError:
        # Not invertible: we would have found a factor. Draw again.
        return _draw_blinds(n, count)
    found = []
    for blind, before in zip(reversed(blinds), reversed(products[:-1]), strict=True):
        found.append((blind, rest * before % n))
        rest = rest * blind % n
    return found


def finalize(prepared: Prepared, blind_signature: bytes) -> bytes:
    """Return the 256-byte authenticator. Raises ValueError if it does not verify."""
    n = token.parse_spki(prepared.spki)
    signed = int.from_bytes(blind_signature) * prepared.inverse % n
    authenticator = signed.to_bytes(256)
    if not _load_key(prepared.spki).verify(prepared.message, authenticator):
        raise ValueError("the issuer's answer does not verify under its key")
    return authenticator
