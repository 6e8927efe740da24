"""One line of people before one stage: who comes in, who waits, how long roughly.

At most ``room`` are inside at once; more would only wait longer, unseen. Everybody
else gets a number, and numbers are called in order as people leave. The line is three
counters and one bit for each number called lately: no list of people, no address, no
time of anybody. Whoever holds a number keeps everything else.

Who is called comes some moments later, when they next ask, and some who took a number
never come. Neither may leave the room empty while others wait: so more are called than
there is room for, by as much as it takes to keep it more than half full.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

# A called number counts as on its way for so long; later it may still come in, but
# nobody waits for it. Longer than the pause between two questions near the front.
PATIENCE_SECONDS: Final = 6.0
# Numbers that stay valid once they were called: half an hour of 500 a second.
REMEMBERED: Final = 1 << 20
# How soon to ask again, by what part of the wait; in seconds.
SOONEST, LATEST, PART = 2, 20, 3
# While nobody can say how long it takes.
UNSURE = 5
# Up to so many times the room are called and not here yet: more by steps while the room
# is used less than LITTLE, fewer while it is used more than MUCH.
AHEAD_MOST: Final = 16.0
_AHEAD_MORE, _AHEAD_LESS = 1.25, 0.8
_LITTLE, _MUCH = 0.5, 0.9
_AHEAD_SECONDS: Final = 0.25
_MERGE_SECONDS: Final = 0.25
WINDOW_SECONDS: Final = 20
_FIRST_SECONDS: Final = 2


@dataclass(frozen=True, slots=True)
class Wait:
    """What may be said of a place in a line.

    ``before``: people in front. ``seconds``: roughly until it is called, by how fast
    the line has moved of late; None while that is not known.
    """

    before: int
    seconds: int | None

    @property
    def retry_seconds(self) -> int:
        """When to ask again: soon near the front, seldom far behind."""
        if self.seconds is None:
            return UNSURE
        return max(SOONEST, min(LATEST, self.seconds // PART))


class Meter:
    """How many a second, over the last ``WINDOW_SECONDS``."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._seconds: deque[tuple[int, int]] = deque()
        self._since = monotonic()

    def start(self) -> None:
        """Forget what was: from now on it is another crowd."""
        self._seconds.clear()
        self._since = self._monotonic()

    def count(self, number: int = 1) -> None:
        """Count one, or some."""
        second = int(self._monotonic())
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1] = second, self._seconds[-1][1] + number
        else:
            self._seconds.append((second, number))
            self._drop_old()

    def _drop_old(self) -> None:
        first = self._monotonic() - WINDOW_SECONDS
        while self._seconds and self._seconds[0][0] < first:
            self._seconds.popleft()

    def read(self) -> float | None:
        """Return the rate per second; None when there is too little to tell."""
        self._drop_old()
        span = min(WINDOW_SECONDS, self._monotonic() - self._since)
        if span < _FIRST_SECONDS:
            return None
        counted = sum(count for _second, count in self._seconds)
        return counted / span if counted else None


class Used:
    """Which of the newest ``size`` numbers were used; what is older counts as used."""

    def __init__(self, size: int = REMEMBERED) -> None:
        self._size = size
        self._bits = bytearray(size // 8)
        # Numbers below are known; bits from here on are clear.
        self._end = 0

    def grow(self, end: int) -> None:
        """Know the numbers below ``end``, unused so far."""
        if end - self._end >= self._size:
            self._bits = bytearray(self._size // 8)
        else:
            for number in range(self._end, end):
                at = number % self._size
                self._bits[at >> 3] &= ~(1 << (at & 7))
        self._end = end

    def has(self, number: int) -> bool:
        """Say whether a known number was used, or is too old to tell."""
        at = number % self._size
        is_old = number < self._end - self._size
        return is_old or bool(self._bits[at >> 3] & (1 << (at & 7)))

    def use(self, number: int) -> None:
        """Note that a known number is used."""
        at = number % self._size
        self._bits[at >> 3] |= 1 << (at & 7)


class Line:
    """One line. Not for threads: the event loop alone holds it.

    ``room``: how many may be inside at once. ``room_behind``: how many more the next
    queue could take now, where there is one.
    """

    def __init__(
        self,
        room: int,
        *,
        room_behind: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.room = room
        self.inside = 0
        self._room_behind = room_behind
        self._monotonic = monotonic
        # Numbers below ``_next`` were given out, those below ``_called`` were called.
        self._next = 0
        self._called = 0
        self._used = Used()
        # Called and not here yet: until when that is believed, and how many are left.
        self._expected: deque[list[float]] = deque()
        self._outstanding = 0
        # How far ahead of the room to call, when that was last weighed, and the seconds
        # that people have spent inside since.
        self._ahead = 1.0
        self._weighed_at = self._changed_at = monotonic()
        self._spent = 0.0
        self._calls = Meter(monotonic)

    @property
    def waiting(self) -> int:
        """How many numbers were not called yet."""
        return self._next - self._called

    @property
    def is_open(self) -> bool:
        """Whether somebody without a number could come in now."""
        self._call()
        return not self.waiting and self._count_room() - self._outstanding >= 1

    def enter(self, number: int | None = None) -> bool:
        """Come in, with a called number or, where nobody waits, without; or not."""
        if number is None:
            if not self.is_open:
                return False
        else:
            self._call()
            if not self.is_called(number):
                return False
            if self._count_room() < 1:
                return False
            self._used.use(number)
            self._note_arrival()
        self._change(1)
        return True

    def leave(self) -> None:
        """Go: whoever is next may come."""
        self._change(-1)
        self._call()

    def take_number(self) -> int:
        """Return a number behind everybody else's."""
        if not self.waiting:
            self._calls.start()
            self._weighed_at = self._changed_at = self._monotonic()
            self._spent = 0.0
        number, self._next = self._next, self._next + 1
        self._call()
        return number

    def holds(self, number: int) -> bool:
        """Say whether a number still stands for a place: neither used nor too old."""
        return number < self._next and (
            number >= self._called or not self._used.has(number)
        )

    def is_called(self, number: int) -> bool:
        """Say whether it is this number's turn, and it was not used."""
        return number < self._called and not self._used.has(number)

    def look(self, number: int) -> Wait:
        """Return how long a number has still to wait."""
        self._call()
        before = max(0, number - self._called)
        if number < self._called:
            return Wait(0, SOONEST)
        rate = self._calls.read()
        return Wait(before, int(before / rate) + 1 if rate else None)

    def _count_room(self) -> int:
        room = self.room
        if self._room_behind is not None:
            # Those inside have not joined that queue yet, or have this instant.
            room = min(room, self._room_behind())
        return room - self.inside

    def _change(self, by: int) -> None:
        # While nobody waits nothing is weighed: every request comes by here.
        if self.waiting:
            now = self._monotonic()
            self._spent += self.inside * (now - self._changed_at)
            self._changed_at = now
        self.inside += by

    def _weigh(self, room: int) -> None:
        """Call further ahead where the room was little used of late, or less far."""
        self._change(0)
        span = self._changed_at - self._weighed_at
        used = self._spent / (span * max(1, room))
        if used < _LITTLE:
            self._ahead = min(AHEAD_MOST, self._ahead * _AHEAD_MORE)
        elif used > _MUCH:
            self._ahead = max(1.0, self._ahead * _AHEAD_LESS)
        self._weighed_at, self._spent = self._changed_at, 0.0

    def _note_arrival(self) -> None:
        while self._expected:
            if self._expected[0][1]:
                self._expected[0][1] -= 1
                self._outstanding -= 1
                return
            self._expected.popleft()

    def _call(self) -> None:
        if not self._expected and not self.waiting:
            return
        now = self._monotonic()
        while self._expected and self._expected[0][0] <= now:
            _until, left = self._expected.popleft()
            self._outstanding -= int(left)
        if not self.waiting:
            return
        room = self._count_room() + self.inside
        if now - self._weighed_at >= _AHEAD_SECONDS:
            self._weigh(room)
        # Where the next queue is what holds people up, calling ahead lets nobody in.
        ahead = self._ahead if room == self.room else 1.0
        free = int(room * ahead) - self.inside - self._outstanding
        count = min(self.waiting, free)
        if count < 1:
            return
        self._calls.count(count)
        self._called += count
        self._used.grow(self._called)
        self._outstanding += count
        until = now + PATIENCE_SECONDS
        if self._expected and until - self._expected[-1][0] < _MERGE_SECONDS:
            self._expected[-1][1] += count
        else:
            self._expected.append([until, count])
