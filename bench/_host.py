"""The host's own raw rates: what no program on it can exceed."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import token

from bench._machine import ROOT
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


@contextmanager
def occupied() -> Iterator[None]:
    """Keep every other processor busy with the same operations, as under load.

    While the product is measured, it and the load generator keep all processors busy,
    and two that share a core or a cache slow each other down. What the host could do
    under load is what it does then.
    """
    others = max(0, len(os.sched_getaffinity(0)) - 1)
    with ExitStack() as stack:
        for _number in range(others):
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "bench._host"],
                    cwd=ROOT,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            process.stdout.readline()
        yield


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


def _keep_busy(*, at_most: float = 60.0) -> None:
    """Run the operations until killed, or for a minute."""
    rates, until = HostRates(), time.monotonic() + at_most
    print("ready", flush=True)
    while time.monotonic() < until:
        rates.verify()
        rates.sign()
        rates.blind_sign()


if __name__ == "__main__":
    _keep_busy()
