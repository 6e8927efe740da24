"""What crosses the border of ``authorities``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Office:
    """A public office. ``url`` is empty where none is known."""

    name: str
    jurisdiction: str
    url: str
