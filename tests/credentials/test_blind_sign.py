"""BlindSign: the private operation, checked before its result leaves."""

from __future__ import annotations

import secrets

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from undersigned_verify import token

from tests.factories.keys import KeyBox
from undersigned.credentials import client
from undersigned.credentials import rsa as credentials_rsa
from undersigned.credentials.rsa import BlindSigner, IssuerKeyWeak
from undersigned.kernel.errors import StorageFailed


def to_der(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


@pytest.fixture
def der(keys: KeyBox) -> bytes:
    return keys.take()


@pytest.fixture
def signer(der: bytes) -> BlindSigner:
    return BlindSigner(der)


class TestBlindSigning:
    def test_it_is_the_private_operation(self, der: bytes, signer: BlindSigner) -> None:
        key = load_der_private_key(der, password=None)
        assert isinstance(key, rsa.RSAPrivateKey)
        d = key.private_numbers().d
        for _number in range(3):
            message = secrets.randbelow(signer.n)
            expected = pow(message, d, signer.n).to_bytes(256)
            assert signer.blind_sign(message.to_bytes(256)) == expected

    @pytest.mark.parametrize("message", [0, 1, 2])
    def test_it_keeps_256_bytes_for_small_messages(
        self, signer: BlindSigner, message: int
    ) -> None:
        signed = signer.blind_sign(message.to_bytes(256))
        assert len(signed) == 256
        assert pow(int.from_bytes(signed), 65537, signer.n) == message

    def test_it_gives_the_same_bytes_each_time(self, signer: BlindSigner) -> None:
        message = secrets.randbelow(signer.n).to_bytes(256)
        assert signer.blind_sign(message) == signer.blind_sign(message)

    def test_it_refuses_what_is_not_below_the_modulus(
        self, signer: BlindSigner
    ) -> None:
        for message in (signer.n, signer.n + 1, (1 << 2048) - 1):
            with pytest.raises(ValueError, match="modulus"):
                signer.blind_sign(message.to_bytes(256))
        signer.blind_sign((signer.n - 1).to_bytes(256))

    @pytest.mark.parametrize("length", [0, 255, 257])
    def test_it_refuses_another_length(self, signer: BlindSigner, length: int) -> None:
        with pytest.raises(ValueError, match="modulus"):
            signer.blind_sign(bytes(length))

    def test_it_lets_no_faulty_result_leave(
        self, signer: BlindSigner, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A fault in the CRT computation would betray the key (RFC 9474 §6).
        real = credentials_rsa._sign

        def faulty(
            context: int, out: object, length: object, data: bytes, size: int
        ) -> int:
            done = int(real(context, out, length, data, size))
            out[7] = bytes([out[7][0] ^ 1])  # type: ignore[index]  # a ctypes buffer
            return done

        monkeypatch.setattr(credentials_rsa, "_sign", faulty)
        with pytest.raises(StorageFailed, match="own check"):
            signer.blind_sign((5).to_bytes(256))


class TestATokensWay:
    def test_it_verifies_after_unblinding(self, signer: BlindSigner) -> None:
        prepared = client.prepare(
            key_index=0, spki=signer.spki, challenge_digest=bytes(32)
        )
        answer = signer.blind_sign(prepared.request[3:])
        authenticator = client.finalize(prepared, answer)
        key = token.TokenKey(signer.spki)
        assert key.verify(prepared.message, authenticator)
        assert not key.verify(prepared.message[:-1] + b"x", authenticator)

    def test_the_issuer_sees_nothing_of_the_token(self, signer: BlindSigner) -> None:
        prepared = client.prepare(
            key_index=0, spki=signer.spki, challenge_digest=bytes(32)
        )
        again = client.prepare(
            key_index=0, spki=signer.spki, challenge_digest=bytes(32)
        )
        assert prepared.request != again.request
        answer = signer.blind_sign(prepared.request[3:])
        assert answer != client.finalize(prepared, answer)
        assert prepared.message not in prepared.request

    def test_it_is_refused_when_the_issuer_answers_wrongly(
        self, signer: BlindSigner
    ) -> None:
        prepared = client.prepare(
            key_index=0, spki=signer.spki, challenge_digest=bytes(32)
        )
        with pytest.raises(ValueError, match="does not verify"):
            client.finalize(prepared, (5).to_bytes(256))


def small_key() -> bytes:
    return to_der(rsa.generate_private_key(65537, 1024))  # noqa: S505 - weak on purpose


def odd_exponent() -> bytes:
    return to_der(rsa.generate_private_key(3, 2048))


def other_kind() -> bytes:
    return to_der(ec.generate_private_key(ec.SECP256R1()))


class TestAWeakKey:
    @pytest.mark.parametrize(
        "make, reason",
        [
            (small_key, "not RSA-2048"),
            (odd_exponent, "e is not 65537"),
            (other_kind, "not RSA-2048"),
            (lambda: b"", "unreadable"),
            (lambda: b"Mallory was here", "unreadable"),
        ],
    )
    def test_it_is_not_used(self, make: object, reason: str) -> None:
        assert callable(make)
        with pytest.raises(IssuerKeyWeak) as caught:
            BlindSigner(make())
        assert caught.value.data == {"reason": reason}

    def test_a_cut_off_file_is_not_used(self, der: bytes) -> None:
        with pytest.raises(IssuerKeyWeak):
            BlindSigner(der[:-5])
