"""Ports for servers that must know theirs before they listen."""

from __future__ import annotations

import random
import socket

_HOST = "127.0.0.1"
# Below what Linux gives to outgoing connections by itself (32768 and up): a port from
# there may belong to somebody's connection by the time its server listens.
_FIRST, _LAST = 20_000, 32_000
_TRIES = 1000


class NoPort(Exception):
    """Every port that was tried is taken."""


def find_ports(count: int) -> list[int]:
    """Return ``count`` ports of loopback, all different, that are free now.

    Another program may still take one; chance keeps apart those that ask at one time.
    Raises NoPort.
    """
    draw = random.SystemRandom()
    probes: list[socket.socket] = []
    try:
        for _try in range(_TRIES):
            if len(probes) == count:
                break
            probe = socket.socket()
            try:
                probe.bind((_HOST, draw.randint(_FIRST, _LAST)))
            except OSError:
                probe.close()
                continue
            probes.append(probe)
        else:
            raise NoPort(f"no {count} free ports from {_FIRST} to {_LAST}")
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def find_port() -> int:
    """Return a port of loopback that is free now. Raises NoPort."""
    (port,) = find_ports(1)
    return port
