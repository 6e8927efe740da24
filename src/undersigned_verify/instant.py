"""Instants as people write them; everywhere else they are seconds since 1970 UTC."""

from datetime import UTC, datetime


def describe_instant(seconds: int) -> str:
    """Return ``2026-11-21T08:00:00Z``, or the number where no calendar has it."""
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
    except (OverflowError, ValueError, OSError):
        return f"{seconds} s since 1970"


def parse_instant(text: str) -> int:
    """Return the seconds of an ISO 8601 time, in UTC unless it says; ValueError."""
    instant = datetime.fromisoformat(text)
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return int(instant.timestamp())
