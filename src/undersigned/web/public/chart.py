"""The growth chart: pure arithmetic from checkpoints to marks on paper.

Labels stand at percentages and pixels of the outer picture and keep their size; only
the line inside is stretched, so one drawing serves a phone and a desk. Counts are
steps: between two checkpoints the published count is exactly what it was. A hole, a
time without data, is never drawn through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from undersigned.signatures.data import GrowthPoint, PublishedRemoval
from undersigned.web.shared import locale

MOST_POINTS = 200
MOST_ROWS = 40
_MOST_MARKS = 12
# A fall without a removal (withdrawals) is marked only from this share of the peak.
_NOTABLE = 0.01

# Units of the stretched drawing; its height in the page is PLOT pixels.
_WIDE, _HIGH = 1000, 400
TOP, PLOT = 44, 170
_ROW = 21  # pixels between two rows of mark numbers
_CROWDED = 6.5  # percent of the width below which two numbers would touch

Hole = tuple[datetime, datetime]


@dataclass(frozen=True, slots=True)
class Fall:
    """A drop of the count to ``net``. ``removals``: those of that checkpoint."""

    number: int
    at: datetime
    size: int
    net: int
    drop: int
    removals: tuple[PublishedRemoval, ...]


@dataclass(frozen=True, slots=True)
class Tick:
    """A label under the picture; ``anchor``: s, m or e; alternate ones go on phones."""

    text: str
    x: str
    anchor: str
    is_alternate: bool


@dataclass(frozen=True, slots=True)
class Level:
    """A horizontal rule at ``y`` pixels and the count it stands for."""

    value: int
    y: int


@dataclass(frozen=True, slots=True)
class Mark:
    """The number of a fall at ``x`` percent, ``y`` pixels; its line ends at ``end``."""

    number: int
    x: str
    y: int
    end: int


@dataclass(frozen=True, slots=True)
class Gap:
    """A time without data, in percent of the width; ``is_wide``: room to say so."""

    x: str
    width: str
    middle: str
    is_wide: bool


@dataclass(frozen=True, slots=True)
class Chart:
    """Everything the template draws."""

    lines: tuple[str, ...]
    levels: tuple[Level, ...]
    ticks: tuple[Tick, ...]
    marks: tuple[Mark, ...]
    gaps: tuple[Gap, ...]
    first: GrowthPoint
    last: GrowthPoint
    peak: int


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the table; ``change``: since the row before, None in the first."""

    at: datetime
    size: int
    net: int
    change: int | None
    after_hole: bool


def find_falls(
    points: Sequence[GrowthPoint], removals: Sequence[PublishedRemoval]
) -> list[Fall]:
    """Return the drops worth a mark, numbered in order of time, at most twelve."""
    peak = max((point.net for point in points), default=0)
    found: list[tuple[GrowthPoint, int, tuple[PublishedRemoval, ...]]] = []
    waiting = sorted(removals, key=lambda removal: removal.index)
    place = 0
    for before, point in pairwise(points):
        here = []
        while place < len(waiting) and waiting[place].index < point.size:
            here.append(waiting[place])
            place += 1
        drop = before.net - point.net
        if drop > 0 and (here or drop >= peak * _NOTABLE):
            found.append((point, drop, tuple(here)))
    largest = sorted(found, key=lambda fall: -fall[1])[:_MOST_MARKS]
    ordered = sorted(largest, key=lambda fall: fall[0].size)
    return [
        Fall(number, point.at, point.size, point.net, drop, here)
        for number, (point, drop, here) in enumerate(ordered, start=1)
    ]


def thin(
    points: Sequence[GrowthPoint], *, limit: int, keep: set[int]
) -> list[GrowthPoint]:
    """Return at most ``limit`` points: those with sizes in ``keep``, and an even rest.

    ``keep`` is honoured as far as ``limit`` allows; the ends always stay.
    """
    if len(points) <= limit:
        return list(points)
    chosen = {0, len(points) - 1}
    for place, point in enumerate(points):
        if point.size in keep and len(chosen) < limit:
            chosen.add(place)
    room = limit - len(chosen)
    start, end = points[0].at, points[-1].at
    span = (end - start) / max(room, 1) or timedelta(seconds=1)
    # The last checkpoint of each equal stretch of time, so that the picture is even
    # in time even where checkpoints were not.
    last_in: dict[int, int] = {}
    for place, point in enumerate(points):
        last_in[int((point.at - start) / span)] = place
    for place in last_in.values():
        if len(chosen) >= limit:
            break
        chosen.add(place)
    return [points[place] for place in sorted(chosen)]


def _sizes_around(points: Sequence[GrowthPoint], falls: Sequence[Fall]) -> set[int]:
    """Return the sizes at both ends of each fall, so that it is drawn upright."""
    ends = {fall.size for fall in falls}
    before = {a.size for a, b in pairwise(points) if b.size in ends}
    return ends | before


def make_rows(
    points: Sequence[GrowthPoint], falls: Sequence[Fall], holes: Sequence[Hole] = ()
) -> list[Row]:
    """Return the table: at most forty rows, falls among them, newest last."""
    chosen = thin(points, limit=MOST_ROWS, keep=_sizes_around(points, falls))
    rows = [
        Row(point.at, point.size, point.net, None, after_hole=False)
        for point in chosen[:1]
    ]
    for before, point in pairwise(chosen):
        crossed = any(before.at <= a and b <= point.at for a, b in holes)
        rows.append(
            Row(point.at, point.size, point.net, point.net - before.net, crossed)
        )
    return rows


def _nice_step(peak: int) -> int:
    """Return the step of a scale with three to five rules above zero."""
    size = 1
    while True:
        for factor in (1, 2, 5):
            if peak <= size * factor * 5:
                return size * factor
        size *= 10


_SPANS = [
    timedelta(minutes=1),
    timedelta(minutes=5),
    timedelta(minutes=15),
    timedelta(hours=1),
    timedelta(hours=3),
    timedelta(hours=6),
    timedelta(hours=12),
    timedelta(days=1),
    timedelta(days=2),
    timedelta(days=7),
    timedelta(days=14),
    timedelta(days=30),
    timedelta(days=91),
    timedelta(days=365),
]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def _percent(part: timedelta, whole: timedelta) -> float:
    return 100 * (part / whole)


def _make_ticks(start: datetime, end: datetime, language: str) -> list[Tick]:
    whole = end - start
    step = next((span for span in _SPANS if whole / span <= 7), whole / 4)
    at = _EPOCH + ((start - _EPOCH) // step + 1) * step
    ticks: list[Tick] = []
    last_day = None
    while at <= end:
        place = _percent(at - start, whole)
        new_day = at.date() != last_day
        if step >= timedelta(days=1):
            text = locale.say_day(at.date(), language, short=True)
        elif new_day:
            text = locale.say_moment(at, language, short=True)
        else:
            text = locale.say_clock(at)
        last_day = at.date()
        anchor = "s" if place < 5 else "e" if place > 95 else "m"
        ticks.append(Tick(text, f"{place:.1f}%", anchor, len(ticks) % 2 == 1))
        at += step
    return ticks


def _make_marks(
    falls: Sequence[Fall], start: datetime, whole: timedelta, *, top_value: int
) -> list[Mark]:
    """Place the numbers; one that would touch its neighbour moves to the next row."""
    marks: list[Mark] = []
    row = 0
    before = -100.0
    for fall in falls:
        place = _percent(fall.at - start, whole)
        row = (row + 1) % 2 if place - before < _CROWDED else 0
        before = place
        y = 9 + row * _ROW
        # The line leads from the number down to the count from which it fell.
        end = round(TOP + PLOT * (1 - (fall.net + fall.drop) / top_value))
        marks.append(Mark(fall.number, f"{place:.1f}%", y, max(end, y)))
    return marks


def _make_lines(
    points: Sequence[GrowthPoint],
    holes: Sequence[Hole],
    *,
    top_value: int,
) -> list[str]:
    """Return one path of steps for each stretch between holes."""
    start, whole = points[0].at, points[-1].at - points[0].at

    def across(at: datetime) -> int:
        return round(_WIDE * ((at - start) / whole))

    def up(net: int) -> int:
        return round(_HIGH * (1 - net / top_value))

    lines: list[str] = []
    path = ""
    x = y = 0
    last_at = start
    for point in points:
        to_x, to_y = across(point.at), up(point.net)
        broken = any(a < point.at and b > last_at for a, b in holes)
        if not path or broken:
            if path:
                lines.append(path)
            path = f"M{to_x} {to_y}"
        else:
            path += f"h{to_x - x}" if to_x != x else ""
            path += f"v{to_y - y}" if to_y != y else ""
        x, y, last_at = to_x, to_y, point.at
    return [*lines, path]


def make_chart(
    points: Sequence[GrowthPoint],
    *,
    falls: Sequence[Fall],
    holes: Sequence[Hole],
    language: str,
) -> Chart | None:
    """Return the chart of at most 200 points, or None while there are under two.

    ``holes``: times without data, not overlapping, in order.
    """
    if len(points) < 2 or points[0].at >= points[-1].at:
        return None
    drawn = thin(points, limit=MOST_POINTS, keep=_sizes_around(points, falls))
    start, end = drawn[0].at, drawn[-1].at
    whole = end - start
    peak = max(point.net for point in drawn)
    step = _nice_step(max(peak, 1))
    count = max(-(-peak // step), 1)
    levels = [
        Level(step * rule, round(TOP + PLOT * (1 - rule / count)))
        for rule in range(count + 1)
    ]
    gaps = []
    for hole_start, hole_end in holes:
        left = max(0.0, _percent(hole_start - start, whole))
        right = min(100.0, _percent(hole_end - start, whole))
        if right > left:
            gaps.append(
                Gap(
                    f"{left:.1f}%",
                    f"{right - left:.1f}%",
                    f"{(left + right) / 2:.1f}%",
                    is_wide=right - left > 12,
                )
            )
    return Chart(
        lines=tuple(_make_lines(drawn, holes, top_value=step * count)),
        levels=tuple(levels),
        ticks=tuple(_make_ticks(start, end, language)),
        marks=tuple(_make_marks(falls, start, whole, top_value=step * count)),
        gaps=tuple(gaps),
        first=drawn[0],
        last=drawn[-1],
        peak=peak,
    )
