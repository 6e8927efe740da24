"""The host's own raw rates: what no program on it can exceed."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import token

from undersigned.credentials import client
from undersigned.credentials.rsa import BlindSigner, make_key

# The length of a promise's text: what the server signs.
PROMISE_BYTES = 140


def cpu_rate(step: Callable[[], object], *, seconds: float) -> float:
    """Return how often ``step`` runs in a second of processor time of this process."""
    count, done, begun = 1, 0, time.process_time()
    while (passed := time.process_time() - begun) < seconds:
        for _number in range(count):
            step()
        done += count
        count = min(2 * count, 256)
    return done / passed


@dataclass(frozen=True, slots=True)
class Ceiling:
    """Operations in a CPU-second: PSS verifications, Ed25519 and blind signatures."""

    verify: float
    sign: float
    blind_sign: float

    @property
    def redeem_us(self) -> float:
        """Microseconds of what a redeem cannot do without."""
        return 1e6 / self.verify + 1e6 / self.sign

    def mean(self, other: Ceiling) -> Ceiling:
        """Return the rates of two measurements of equal length, together."""

        def both(one: float, two: float) -> float:
            return 2 / (1 / one + 1 / two)

        return Ceiling(
            verify=both(self.verify, other.verify),
            sign=both(self.sign, other.sign),
            blind_sign=both(self.blind_sign, other.blind_sign),
        )

    @property
    def whole_us(self) -> float:
        """Microseconds of what issue and redeem cannot do without."""
        return self.redeem_us + 1e6 / self.blind_sign


class HostRates:
    """Measures the ceiling again and again with one key."""

    def __init__(self) -> None:
        self.signer = BlindSigner(make_key())
        self._key = token.TokenKey(self.signer.spki)
        self._prepared = client.prepare(
            key_index=0, spki=self.signer.spki, challenge_digest=bytes(32)
        )
        self._blinded = self._prepared.request[3:]
        answer = self.signer.blind_sign(self._blinded)
        self._authenticator = client.finalize(self._prepared, answer)
        self._log_key = Ed25519PrivateKey.generate()
        self._text = secrets.token_bytes(PROMISE_BYTES)

    def verify(self) -> None:
        """Verify one token."""
        assert self._key.verify(self._prepared.message, self._authenticator)

    def sign(self) -> None:
        """Sign one promise's text."""
        self._log_key.sign(self._text)

    def blind_sign(self) -> None:
        """Make one blind signature, with its check."""
        self.signer.blind_sign(self._blinded)

    def measure(self, *, seconds: float) -> Ceiling:
        """Return the three rates, each measured for ``seconds`` of processor time."""
        return Ceiling(
            verify=cpu_rate(self.verify, seconds=seconds),
            sign=cpu_rate(self.sign, seconds=seconds),
            blind_sign=cpu_rate(self.blind_sign, seconds=seconds),
        )
