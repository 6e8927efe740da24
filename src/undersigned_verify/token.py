"""RFC 9578 tokens of type 0x0002 (publicly verifiable, blind RSA-2048).

The parts of a token that a leaf does not carry are rebuilt here from the header and
the leaf: challenge digest, nonce and key id. So a leaf cannot contradict itself.
Source: RFC 9578 section 6, RFC 9474 (RSABSSA-SHA384-PSS-Deterministic), PROTOCOL 2.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers
from cryptography.hazmat.primitives.hashes import SHA384

from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.errors import Fault

TOKEN_TYPE: Final = b"\x00\x02"
SPKI_SIZE: Final = 342
AUTHENTICATOR_SIZE: Final = 256
PUBLIC_EXPONENT: Final = 65537
# What ``public_hash`` is when a signer shows nothing.
NO_PUBLIC: Final = bytes(32)

# DER up to the modulus: RSASSA-PSS with SHA-384, MGF1 of SHA-384, salt of 48 bytes,
# then an INTEGER of 257 bytes. OpenSSL writes the parameters differently; only these
# bytes may be hashed into a key id (RFC 9578 section 6.5).
_SPKI_HEAD: Final = bytes.fromhex(
    "30820152303d06092a864886f70d01010a3030a00d300b0609608648016503040202a11a3018"
    "06092a864886f70d010108300b0609608648016503040202a2030201300382010f00"
    "3082010a0282010100"
)
_SPKI_TAIL: Final = bytes.fromhex("0203010001")

# Made once: constructing them costs several per cent of a verification.
_HASH: Final = SHA384()
_PADDING: Final = PSS(MGF1(_HASH), 48)

_NONCE: Final = b"undersigned/nonce/v1\x00"
_CAMPAIGN: Final = b"undersigned/campaign/v1\x00"
_PUBLIC: Final = b"undersigned/public/v1\x00"
_WITHDRAW: Final = b"undersigned/withdraw/v1\x00"


@dataclass(frozen=True)
class Challenge:
    """What a token is bound to: issuer, log and statement."""

    issuer_name: str
    origin: str
    statement_sha256: bytes  # 32 bytes

    def encode(self) -> bytes:
        """Return the bytes of the TokenChallenge (RFC 9577 section 2.1)."""
        if len(self.statement_sha256) != 32:
            raise ValueError("A statement digest has 32 bytes.")
        issuer, origin = self.issuer_name.encode(), self.origin.encode()
        bound = _CAMPAIGN + origin + b"\x00" + self.statement_sha256
        context = sha256(bound).digest()
        return b"".join(
            [
                TOKEN_TYPE,
                len(issuer).to_bytes(2) + issuer,
                len(context).to_bytes(1) + context,
                len(origin).to_bytes(2) + origin,
            ]
        )

    @cached_property
    def digest(self) -> bytes:
        """The 32 bytes that stand in every token for this challenge."""
        return sha256(self.encode()).digest()


def nonce_prefix(challenge_digest: bytes) -> bytes:
    """Return what precedes bytes 4 to 100 of a signature leaf in its nonce's hash."""
    return _NONCE + challenge_digest


def nonce(
    challenge_digest: bytes,
    stance: int,
    public_hash: bytes,
    withdraw_hash: bytes,
    r: bytes,
) -> bytes:
    """Return the 32-byte nonce that commits to a signature's choices."""
    choices = bytes([stance]) + public_hash + withdraw_hash + r
    return sha256(nonce_prefix(challenge_digest) + choices).digest()


def parse_spki(spki: bytes) -> int:
    """Return the modulus; Fault unless these are the 342 bytes of RFC 9578.

    The modulus has exactly 2048 bits and is odd, the exponent is 65537.
    """
    modulus = spki[len(_SPKI_HEAD) : -len(_SPKI_TAIL)]
    if len(spki) != SPKI_SIZE or spki != _SPKI_HEAD + modulus + _SPKI_TAIL:
        raise Fault("leaf-spki")
    if not modulus[0] & 0x80 or not modulus[-1] & 1:
        raise Fault("leaf-spki", "The modulus is not an odd number of 2048 bits.")
    return int.from_bytes(modulus)


def encode_spki(n: int) -> bytes:
    """Return the 342 bytes of RFC 9578 for a modulus; Fault if it cannot be one."""
    if n < 0 or n.bit_length() != 2048:
        raise Fault("leaf-spki", "The modulus is not an odd number of 2048 bits.")
    spki = _SPKI_HEAD + n.to_bytes(256) + _SPKI_TAIL
    parse_spki(spki)
    return spki


def key_id(spki: bytes) -> bytes:
    """Return the 32-byte token key id: SHA-256 over exactly these bytes."""
    return sha256(spki).digest()


def token_input(nonce: bytes, challenge_digest: bytes, key_id: bytes) -> bytes:
    """Return the 98 bytes that the authenticator signs."""
    return TOKEN_TYPE + nonce + challenge_digest + key_id


class TokenKey:
    """An issuer key, loaded once to verify many tokens."""

    def __init__(self, spki: bytes) -> None:
        self.spki = spki
        self.key_id = key_id(spki)
        self._public = RSAPublicNumbers(PUBLIC_EXPONENT, parse_spki(spki)).public_key()

    def verify(self, token_input_bytes: bytes, authenticator: bytes) -> bool:
        """Tell whether ``authenticator`` (256 bytes) signs these 98 bytes."""
        try:
            self._public.verify(authenticator, token_input_bytes, _PADDING, _HASH)
        except InvalidSignature:
            return False
        return True


def public_hash(salt: bytes, shown: Mapping[str, object]) -> bytes:
    """Return the hash of what a signer shows; ``salt`` is 32 random bytes."""
    if len(salt) != 32:
        raise ValueError("A salt has 32 bytes.")
    return sha256(_PUBLIC + salt + encode_json(shown)).digest()


def withdraw_hash(w: bytes) -> bytes:
    """Return the hash that ``w`` (32 bytes) opens to withdraw a signature."""
    if len(w) != 32:
        raise ValueError("The secret of a withdrawal has 32 bytes.")
    return sha256(_WITHDRAW + w).digest()
