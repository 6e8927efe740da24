"""Where the stream's servers are, for settings that are read without the library."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True, slots=True)
class BrokerAddress:
    """The servers, host and port each, and as whom we go there.

    ``is_tls``: they prove their names, by the authorities in the file ``ca``, or by the
    system's where that is None.
    """

    servers: tuple[tuple[str, int], ...]
    user: str
    password: str = field(repr=False)
    is_tls: bool
    ca: str | None

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read or change what is sent."""
        return self.is_tls or all(host in _LOOPBACK for host, _port in self.servers)
