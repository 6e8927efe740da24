"""Issuer keys made and loaded once a session: OpenSSL's checks would cost minutes."""

from __future__ import annotations

from undersigned.credentials.rsa import BlindSigner, make_key


class KeyBox:
    """Distinct RSA-2048 keys as PKCS#8 DER, in the same order for every test."""

    def __init__(self) -> None:
        self._made: list[bytes] = []
        self._signers: dict[bytes, BlindSigner] = {}
        self._next = 0

    def rewind(self) -> None:
        """Hand out from the first key again; called between tests."""
        self._next = 0

    def take(self) -> bytes:
        """Return a key that this test has not had yet."""
        if self._next == len(self._made):
            self._made.append(make_key())
        self._next += 1
        return self._made[self._next - 1]

    def load(self, der: bytes) -> BlindSigner:
        """Return the signer of a key, whoever made it. Raises IssuerKeyWeak."""
        signer = self._signers.get(der)
        if signer is None:
            signer = self._signers[der] = BlindSigner(der)
        return signer
