"""What benches say of themselves: the table of all results, and the plot."""

from __future__ import annotations

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import _overview, _plot, _whole
from bench._results import RESULTS

SERIES = {"one": [(1e4, 900.0), (1e7, 1_100.0)], "other": [(1e4, 700.0), (1e7, 690.0)]}


def test_the_plot_is_a_picture_with_a_point_for_each_figure() -> None:
    picture = ElementTree.fromstring(  # noqa: S314 - written by us
        _plot.draw(title="A < B", unit="µs", series=SERIES)
    )
    space = "{http://www.w3.org/2000/svg}"
    assert picture.findtext(f"{space}title") == "A < B"
    points = [
        (float(it.attrib["cx"]), float(it.attrib["cy"]))
        for it in picture.iter(f"{space}circle")
    ]
    assert len(points) == 2
    (left, low), (right, high) = points
    # Further to the right is larger, and further up is dearer.
    assert left < right <= _plot.WIDTH
    assert high < low


@pytest.mark.parametrize(
    "value, top",
    [(1.0, 1.0), (701.0, 1000.0), (1_100.0, 2000.0), (2_400.0, 2500.0)],
)
def test_the_scale_ends_at_a_round_number(value: float, top: float) -> None:
    assert _plot._round_up(value) == pytest.approx(top)


def test_the_overview_says_what_was_measured_and_nothing_else(tmp_path: Path) -> None:
    machine = {"cpu": "Abacus", "date": "2026-11-29 11:21 UTC", "commit": "abc1234"}
    values = {
        "bench": "sign",
        "machine": machine,
        "measured": {"rounds": {"whole": [{"us": 900.0}, {"us": 1e3}, {"us": 5e3}]}},
    }
    (tmp_path / "sign.json").write_text(json.dumps(values))
    (tmp_path / "drill-x-full.json").write_text(json.dumps({"drills": []}))
    page = _overview.write(tmp_path).read_text("utf-8")
    rows = re.findall(
        r"^\| (?!What)(.+?) \| (.+?) \| \[(\w+)\].* \| abc1234 \|$", page, re.M
    )
    assert rows == [("both", "1,000 µs of CPU", "sign")]
    assert "Abacus" in page


def test_the_overview_that_is_committed_is_made_from_the_results() -> None:
    """Whoever commits a result commits the table that it changes."""
    found = _overview.read_results(RESULTS)
    rows = [row.what for row in _overview.list_rows(found)]
    kept = json.loads((RESULTS / "overview.json").read_text("utf-8"))
    assert [row["what"] for row in kept["rows"]] == rows


def test_the_best_ten_minutes_are_ten_minutes() -> None:
    """A shorter burst is not taken for a rate; a slow start does not hide a peak."""
    steps = [0] * 30 + [100] * 60 + [1_000] * 6 + [10] * 60
    seen, total = [], 0
    for number, more in enumerate(steps, start=1):
        total += more
        seen.append((10.0 * number, total))
    # The six of a thousand, with 54 of a hundred before them, in six hundred seconds.
    assert _whole.find_peak(seen) == pytest.approx((6 * 1_000 + 54 * 100) / 10)
    assert _whole.find_peak(seen[:50]) == 0.0


def test_what_was_long_in_the_making_is_no_peak() -> None:
    """A series' first point is published within a minute, after minutes of work."""
    seen = [(10.0 * number, 0) for number in range(1, 70)]
    seen += [(700.0, 400_000), (710.0, 800_000), (720.0, 800_000)]
    seen += [(720.0 + 20 * number, 800_000 + 20_000 * number) for number in range(99)]
    assert _whole.find_peak(seen) == pytest.approx(60_000)
