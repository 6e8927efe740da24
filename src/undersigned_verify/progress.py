"""A progress bar on standard error: how far, how fast, how long still."""

import time
from typing import Final, TextIO

_WIDTH: Final = 24
# Redrawing more often than the eye sees costs time that belongs to the audit.
_INTERVAL_SECONDS: Final = 0.2


class ProgressBar:
    """Call it with done and total; it draws one line and overwrites it."""

    def __init__(self, stream: TextIO, label: str) -> None:
        self._stream = stream
        self._label = label
        self._began = time.monotonic()
        self._drawn = 0.0

    def __call__(self, done: int, total: int) -> None:
        """Show that ``done`` of ``total`` leaves are checked."""
        now = time.monotonic()
        if now - self._drawn < _INTERVAL_SECONDS and done < total:
            return
        self._drawn = now
        rate = done / max(now - self._began, 1e-6)
        left = (total - done) / rate if rate else 0.0
        bar = ("#" * (_WIDTH * done // total)).ljust(_WIDTH, ".")
        self._stream.write(
            f"\r{self._label} [{bar}] {done:,}/{total:,} leaves  "
            f"{rate:,.0f}/s  {format_span(left)} left "
        )
        self._stream.flush()

    def clear(self) -> None:
        """Remove the line."""
        if self._drawn:
            self._stream.write("\r\x1b[K")
            self._stream.flush()


def format_span(seconds: float) -> str:
    """Return a span as minutes and seconds, or hours: ``0:07``, ``2:05:00``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
