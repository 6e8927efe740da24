"""The growth chart: what is drawn, and what never is."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from undersigned.signatures.data import GrowthPoint, PublishedRemoval
from undersigned.web.public.chart import (
    MOST_POINTS,
    MOST_ROWS,
    Chart,
    Fall,
    Hole,
    find_falls,
    make_chart,
    make_rows,
    thin,
)

START = datetime(2026, 3, 3, tzinfo=UTC)


def series(nets: list[int], *, minutes: int = 60) -> list[GrowthPoint]:
    return [
        GrowthPoint(10 * place, net, START + timedelta(minutes=minutes * place))
        for place, net in enumerate(nets, start=1)
    ]


def removal(index: int, count: int) -> PublishedRemoval:
    return PublishedRemoval(
        index, ((5, 4 + count),), count, "scripted-burst", "c" * 64, ("mina", "petra")
    )


def path_end(line: str) -> tuple[int, int]:
    x, y = (int(n) for n in re.findall(r"^M(\d+) (\d+)", line)[0])
    for step, length in re.findall(r"([hv])(-?\d+)", line):
        x, y = (x + int(length), y) if step == "h" else (x, y + int(length))
    return x, y


def test_a_fall_is_named_with_its_removal() -> None:
    points = series([100, 200, 150, 300])
    (fall,) = find_falls(points, [removal(25, 60)])
    assert (fall.drop, fall.net, fall.size) == (50, 150, 30)
    assert [each.signatures for each in fall.removals] == [60]


def test_a_withdrawal_makes_no_mark_in_a_large_count() -> None:
    assert find_falls(series([1000, 2000, 1999]), []) == []
    assert len(find_falls(series([10, 20, 19]), [])) == 1


def test_two_checkpoints_make_a_chart_and_one_does_not() -> None:
    assert make_chart(series([5]), falls=[], holes=[], language="en") is None
    assert draw(series([5, 6])).peak == 6


def draw(points: list[GrowthPoint], *, holes: Sequence[Hole] = ()) -> Chart:
    falls = find_falls(points, [])
    found = make_chart(points, falls=falls, holes=holes, language="en")
    assert found is not None
    return found


def test_no_line_crosses_a_hole() -> None:
    points = series([10, 20, 30, 900, 910])
    hole = (points[2].at, points[3].at)
    chart = draw(points, holes=[hole])
    assert len(chart.lines) == 2
    left, right = path_end(chart.lines[0])[0], int(chart.lines[1][1:].split()[0])
    assert left == 500
    assert right == 750
    assert (chart.gaps[0].x, chart.gaps[0].width) == ("50.0%", "25.0%")


def test_the_last_step_ends_at_the_last_count() -> None:
    points = series([0, 40, 20, 50])
    chart = draw(points)
    x, y = path_end(chart.lines[0])
    assert x == 1000
    assert chart.levels[-1].value >= 50
    assert y == round(400 * (1 - 50 / chart.levels[-1].value))


def test_marks_that_would_touch_stand_in_two_rows() -> None:
    nets = [100, 50, 40, 30] + [200] * 60
    chart = draw(series(nets))
    rows = [mark.y for mark in chart.marks]
    assert len(set(rows)) == 2
    assert all(a != b for a, b in pairwise(rows))


@given(
    nets=st.lists(st.integers(0, 10_000), min_size=2, max_size=600),
    limit=st.integers(4, 250),
)
def test_thinning_keeps_ends_and_order_within_the_limit(
    nets: list[int], limit: int
) -> None:
    points = series(nets)
    kept = thin(points, limit=limit, keep=set())
    assert len(kept) <= limit
    assert (kept[0], kept[-1]) == (points[0], points[-1])
    assert [point.size for point in kept] == sorted(point.size for point in kept)


@given(nets=st.lists(st.integers(0, 10_000), min_size=2, max_size=600))
def test_a_chart_never_exceeds_its_budget(nets: list[int]) -> None:
    points = series(nets)
    chart = draw(points)
    drawn = sum(1 + line.count("v") for line in chart.lines)
    assert drawn <= MOST_POINTS
    assert len(make_rows(points, find_falls(points, []))) <= MOST_ROWS


def test_a_thinned_chart_still_falls_upright() -> None:
    nets = [*range(0, 3000, 3), 1500, *range(1500, 4500, 3)]
    points = series(nets, minutes=2)
    falls = find_falls(points, [])
    kept = thin(points, limit=40, keep={falls[0].size, points[999].size})
    places = [point.size for point in kept]
    at = places.index(falls[0].size)
    assert kept[at - 1].net - kept[at].net == falls[0].drop


def test_rows_say_what_changed_and_where_data_is_missing() -> None:
    points = series([10, 30, 20])
    falls: list[Fall] = []
    rows = make_rows(points, falls, [(points[1].at, points[2].at)])
    assert [row.change for row in rows] == [None, 20, -10]
    assert [row.after_hole for row in rows] == [False, False, True]
