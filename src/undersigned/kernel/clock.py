"""Time is injected: domain code receives a Clock or an ``at``, never looks it up."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""
        return datetime.fromtimestamp(time.time(), tz=UTC)


class FixedClock:
    """A clock that moves only when told to: for tests, drills and replays."""

    def __init__(self, at: datetime) -> None:
        self._at = at

    def now(self) -> datetime:
        """Return the instant last set."""
        return self._at

    def set(self, at: datetime) -> None:
        """Move to ``at``, backwards too."""
        self._at = at

    def advance(self, span: timedelta) -> None:
        """Move forward by ``span``."""
        self._at += span


def round_down(at: datetime, *, seconds: int) -> datetime:
    """Return the start of the interval of ``seconds`` that holds ``at`` (UTC)."""
    stamp = int(at.timestamp())
    return datetime.fromtimestamp(stamp - stamp % seconds, tz=UTC)
