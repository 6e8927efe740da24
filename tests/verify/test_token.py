"""Tokens rebuilt from leaves, and issuer keys."""

from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.hashes import SHA384
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify import entry as leaf
from undersigned_verify.errors import Fault
from undersigned_verify.token import (
    NO_PUBLIC,
    Challenge,
    TokenKey,
    encode_spki,
    key_id,
    nonce,
    nonce_prefix,
    parse_spki,
    public_hash,
    token_input,
    withdraw_hash,
)

from tests.verify.building import Issuer, LogBuilder

HASH = st.binary(min_size=32, max_size=32)


class TestSPKI:
    @given(st.integers(2**2046, 2**2047 - 1))
    def test_it_reads_back_what_it_writes(self, half: int) -> None:
        n = 2 * half + 1
        spki = encode_spki(n)
        assert len(spki) == 342
        assert parse_spki(spki) == n
        assert key_id(spki) == sha256(spki).digest()

    @pytest.mark.parametrize(
        "n",
        [2**2047, 2**2048 - 2, 2**2047 - 1, 2**2048 + 1, 1, 0, -(2**2047) - 1],
        ids=["even", "even-top", "short", "long", "one", "none", "negative"],
    )
    def test_it_writes_no_other_modulus(self, n: int) -> None:
        with pytest.raises(Fault, match="leaf-spki"):
            encode_spki(n)

    def test_it_refuses_every_other_byte_string(self, issuers: list[Issuer]) -> None:
        spki = issuers[0].spki
        parse_spki(spki)
        even = spki[:-6] + bytes([spki[-6] & 0xFE]) + spki[-5:]
        short = spki[:81] + bytes([spki[81] & 0x7F]) + spki[82:]
        for other in (b"", spki[:-1], spki + b"\0", even, short, spki[::-1]):
            with pytest.raises(Fault, match="leaf-spki"):
                parse_spki(other)
        # Each byte outside the modulus is fixed: parameters, lengths, exponent.
        for at in (*range(81), *range(337, 342)):
            changed = bytearray(spki)
            changed[at] ^= 1
            with pytest.raises(Fault, match="leaf-spki"):
                parse_spki(bytes(changed))


class TestToken:
    def test_it_verifies_what_the_issuer_signed(self, issuers: list[Issuer]) -> None:
        key = TokenKey(issuers[0].spki)
        data = token_input(bytes(32), bytes(32), key.key_id)
        assert len(data) == 98
        authenticator = issuers[0].authenticate(data)
        assert key.verify(data, authenticator)
        assert not key.verify(data[:-1] + bytes([data[-1] ^ 1]), authenticator)
        assert not key.verify(data, authenticator[:-1])
        assert not key.verify(data, bytes(256))
        assert not key.verify(data, b"\xff" * 256)
        assert not TokenKey(issuers[1].spki).verify(data, authenticator)

    def test_a_salt_of_another_length_is_another_scheme(
        self, issuers: list[Issuer]
    ) -> None:
        key = TokenKey(issuers[0].spki)
        data = token_input(bytes(32), bytes(32), key.key_id)
        other = issuers[0].private.sign(data, PSS(MGF1(SHA384()), 32), SHA384())
        assert not key.verify(data, other)


class TestChallenge:
    def test_it_is_rfc_9577_s(self) -> None:
        challenge = Challenge("issuer", "h/c/i", bytes(32))
        context = sha256(b"undersigned/campaign/v1\0h/c/i\0" + bytes(32)).digest()
        expected = b"\0\2\0\6issuer\x20" + context + b"\0\5h/c/i"
        assert challenge.encode() == expected
        assert challenge.digest == sha256(expected).digest()

    @given(HASH, st.integers(0, 2), HASH, HASH, HASH)
    def test_a_nonce_commits_to_every_choice(
        self, digest: bytes, stance: int, public: bytes, hidden: bytes, r: bytes
    ) -> None:
        signature = leaf.Signature(0, stance, public, hidden, r, bytes(256))
        data = leaf.encode(signature)
        expected = sha256(nonce_prefix(digest) + data[4:101]).digest()
        assert nonce(digest, stance, public, hidden, r) == expected
        assert nonce(digest, (stance + 1) % 3, public, hidden, r) != expected

    def test_a_digest_has_32_bytes(self) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            Challenge("i", "o", b"").encode()


class TestCommitments:
    def test_what_is_shown_is_salted(self) -> None:
        shown = {"name": "Asha", "comment": "", "place": ""}
        data = b'{"comment":"","name":"Asha","place":""}'
        expected = sha256(b"undersigned/public/v1\0" + bytes(32) + data).digest()
        assert public_hash(bytes(32), shown) == expected
        assert public_hash(b"\1" * 32, shown) != expected
        assert bytes(32) == NO_PUBLIC

    def test_a_secret_opens_one_hash(self) -> None:
        expected = sha256(b"undersigned/withdraw/v1\0" + bytes(32)).digest()
        assert withdraw_hash(bytes(32)) == expected

    def test_secrets_have_32_bytes(self) -> None:
        with pytest.raises(ValueError, match="32 bytes"):
            withdraw_hash(b"short")
        with pytest.raises(ValueError, match="32 bytes"):
            public_hash(b"short", {})


def test_a_built_signature_has_a_valid_token(log: LogBuilder) -> None:
    signature = log.make_signature("asha")
    digest = log.challenge.digest
    number = nonce(
        digest,
        signature.stance,
        signature.public_hash,
        signature.withdraw_hash,
        signature.r,
    )
    key = TokenKey(log.issuers[0].spki)
    assert key.verify(token_input(number, digest, key.key_id), signature.authenticator)
