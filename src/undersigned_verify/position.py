"""Which of several faults comes first.

Checks run in different processes and at different times, so a fault is kept with its
position: the leaf it concerns, then how near to the bytes the check is. The first one
is what an audit names, whichever check came upon it.
"""

from dataclasses import dataclass
from enum import IntEnum

from undersigned_verify.errors import Fault


class Rank(IntEnum):
    """The order of faults at one leaf: what explains the others comes first."""

    FILE = 0
    MISMATCH = 1
    STATE = 2
    TOKEN = 3
    ORDER = 4
    NOTE = 5
    ROOT = 6
    UPPER_TILE = 7


@dataclass(frozen=True)
class Found:
    """A fault at a position. A kept checkpoint's leaf is the last that it covers."""

    leaf: int
    rank: Rank
    fault: Fault

    @property
    def position(self) -> tuple[int, int]:
        """What faults are sorted by."""
        return self.leaf, self.rank


def first_of(found: list[Found]) -> Found:
    """Return the first fault of at least one."""
    return min(found, key=lambda item: item.position)


class FirstFault(Exception):
    """Ends a pass over a log."""

    def __init__(self, found: Found) -> None:
        super().__init__(found)
        self.found = found
