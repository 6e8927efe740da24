"""Times in raw bytes: whatever could be the moment of a request, in any usual form."""

from __future__ import annotations

import re
import sqlite3
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from undersigned.drills.raw import find_numbers

_DECIMAL = re.compile(rb"(?<![0-9])([0-9]{10}|[0-9]{13}|[0-9]{16}|[0-9]{19})(?![0-9])")
_ISO = re.compile(
    rb"20[0-9]{2}-[01][0-9]-[0-3][0-9][T ][0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
)
_HTTP = re.compile(
    rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), [0-3][0-9] [A-Z][a-z]{2} 20[0-9]{2} "
    rb"[0-2][0-9]:[0-5][0-9]:[0-5][0-9] GMT"
)
_LOG = re.compile(
    rb"[0-3][0-9]/[A-Z][a-z]{2}/20[0-9]{2}:[0-2][0-9]:[0-5][0-9]:[0-5][0-9]"
)
UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(slots=True)
class Span:
    """When signers' requests ran: from ``first`` to ``last``, seconds since 1970.

    ``seconds``: those in which one ran. ``grain``: times that are whole multiples of
    it (the publication interval, the minute of the trail) tell nothing finer.
    """

    first: float
    last: float
    seconds: set[int] = field(default_factory=set)
    grain: int = 60

    def is_fine(self, seconds: float) -> bool:
        """Say whether an instant lies in the span and is finer than the grain."""
        inside = self.first - 1 <= seconds <= self.last + 1
        return inside and seconds % self.grain != 0


def find_written(data: bytes, span: Span) -> Iterator[str]:
    """Yield times written as text that are finer than the batch."""
    for match in _DECIMAL.finditer(data):
        unit = {10: 1, 13: 10**3, 16: 10**6, 19: 10**9}[len(match[1])]
        if span.is_fine(int(match[1]) / unit):
            yield f"decimal {match[1].decode()} at {match.start()}"
    for match in _ISO.finditer(data):
        at = datetime.fromisoformat(match[0].decode()).replace(tzinfo=UTC)
        if span.is_fine(at.timestamp()):
            yield f"{match[0].decode()} at {match.start()}"
    for match in _HTTP.finditer(data):
        if span.is_fine(parsedate_to_datetime(match[0].decode()).timestamp()):
            yield f"{match[0].decode()} at {match.start()}"
    for match in _LOG.finditer(data):
        text = f"{match[0].decode()} +0000"
        at = datetime.strptime(text, "%d/%b/%Y:%H:%M:%S %z")
        if span.is_fine(at.timestamp()):
            yield f"{match[0].decode()} at {match.start()}"


def find_binary(data: bytes, span: Span) -> Iterator[str]:
    """Yield times as eight-byte integers or floats: no chance hits to speak of."""
    for unit, factor in UNITS.items():
        low, high = int((span.first - 1) * factor), int((span.last + 1) * factor)
        for order in ("big", "little"):
            for at, number in find_numbers(
                data, low=low, high=high, width=8, order=order
            ):
                if span.is_fine(number / factor):
                    yield f"{unit} {number}, 8 bytes {order}-endian at {at}"
    low, high = _bits(span.first - 1), _bits(span.last + 1)
    for order in ("big", "little"):
        for at, number in find_numbers(data, low=low, high=high, width=8, order=order):
            (value,) = struct.unpack(">d", number.to_bytes(8))
            if span.is_fine(value):
                yield f"float {value}, {order}-endian at {at}"


def _bits(value: float) -> int:
    return int.from_bytes(struct.pack(">d", value))


def count_short(data: bytes, span: Span) -> tuple[int, float]:
    """Return how many four-byte integers are seconds of requests, and how many chance
    explains: random bytes hold any four bytes once in 2^32.
    """
    found = 0
    for order in ("big", "little"):
        for _at, number in find_numbers(
            data, low=int(span.first), high=int(span.last) + 1, width=4, order=order
        ):
            found += number in span.seconds and number % span.grain != 0
    return found, 2 * len(data) * len(span.seconds) / 2**32


def find_in_columns(database: bytes, span: Span) -> Iterator[str]:
    """Yield times in the columns of a SQLite file, of which none escapes by chance."""
    db = sqlite3.connect(":memory:")
    try:
        # As a file without a write-ahead log: there is none in memory.
        db.deserialize(database[:18] + b"\1\1" + database[20:])
        db.execute("PRAGMA query_only=ON")
        names = [
            name
            for (name,) in db.execute(
                "SELECT name FROM sqlite_master WHERE type='table'"
            )
        ]
        for name in names:
            for row in db.execute(f'SELECT * FROM "{name}"'):  # noqa: S608 - a table of its own schema
                for value in row:
                    if not isinstance(value, int | float):
                        continue
                    for unit, factor in UNITS.items():
                        if span.is_fine(value / factor):
                            yield f"{name}: {value} ({unit})"
    finally:
        db.close()
