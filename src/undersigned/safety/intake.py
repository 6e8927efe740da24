"""Rate limits in memory: token buckets by network, forgotten at a restart."""

from __future__ import annotations

import hmac
import ipaddress
import math
import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from undersigned.kernel.errors import Unavailable

_MAX_BUCKETS = 100_000


class TooManyRequests(Unavailable):
    """This network has asked too often. ``retry_after_seconds`` says when to return."""

    code: ClassVar[str] = "too-many-requests"


@dataclass(frozen=True, slots=True)
class Reserved:
    """When one's turn is: in how many seconds, and after how many of one's network."""

    seconds: int
    before: int


class Intake:
    """Limits on asking: a bucket for each network (IPv4 /24, IPv6 /48).

    ``burst``: requests at once; ``per_minute``: steady refill. Loopback is not limited:
    it is this machine, or a proxy whose clients cannot be told apart.
    """

    def __init__(
        self,
        *,
        burst: int = 120,
        per_minute: float = 120.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._per_second = per_minute / 60
        self._monotonic = monotonic
        self._key = secrets.token_bytes(16)
        self._buckets: dict[bytes, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def require(self, address: str | None) -> None:
        """Take one from the bucket of ``address``. Raises TooManyRequests."""
        self.reserve(address, most=0)

    def reserve(self, address: str | None, *, most: int) -> Reserved:
        """Take one from the bucket of ``address``, also one that is not there yet.

        Of those at most ``most``: many people may come from one network. Returns when
        it will be there, and how many of that network come before. Raises
        TooManyRequests.
        """
        network = find_network(address)
        if network is None:
            return Reserved(0, 0)
        key = hmac.digest(self._key, network, "sha256")[:12]
        now = self._monotonic()
        with self._lock:
            left, at = self._buckets.pop(key, (float(self._burst), now))
            left = min(self._burst, left + (now - at) * self._per_second)
            if left < 1 - most:
                self._buckets[key] = (left, now)
                wait = int((1 - most - left) / self._per_second) + 1
                raise TooManyRequests(retry_after_seconds=wait)
            # Re-inserted at the end: the oldest entries are the first to be dropped.
            self._buckets[key] = (left - 1, now)
            while len(self._buckets) > _MAX_BUCKETS:
                self._buckets.pop(next(iter(self._buckets)))
        if left >= 1:
            return Reserved(0, 0)
        return Reserved(math.ceil((1 - left) / self._per_second), max(0, int(-left)))


def find_network(address: str | None) -> bytes | None:
    """Return the network of an address; None for loopback and for what is none."""
    if not address:
        return None
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return None
    if found.is_loopback:
        return None
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    prefix = 24 if found.version == 4 else 48
    return ipaddress.ip_network((found, prefix), strict=False).network_address.packed
