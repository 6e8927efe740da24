"""Pages of a list that may grow while it is read: forward by cursor, never by number.

A page number would show other rows after a removal; a cursor names the last row seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlencode

LIMIT = 50
_LONGEST_CURSOR = 64


@dataclass(frozen=True, slots=True)
class Cursor:
    """Where a page starts: after this row, or at the beginning (None)."""

    after: str | None

    @classmethod
    def parse(cls, text: str | None) -> Cursor:
        """Read ``?after=``; what cannot be a cursor starts at the beginning."""
        usable = text and len(text) <= _LONGEST_CURSOR
        plain = usable and text and text.replace("-", "").replace("_", "").isalnum()
        return cls(after=text if plain else None)

    @property
    def is_first(self) -> bool:
        """Whether this is the first page."""
        return self.after is None


def next_link(cursor: str | None) -> str | None:
    """Return the query that leads on, or None on the last page."""
    return f"?{urlencode({'after': cursor})}" if cursor else None
