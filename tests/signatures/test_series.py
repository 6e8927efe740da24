"""Reading a published count series: checked before anything is signed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import shared_dir
from undersigned.signatures.series import (
    Series,
    SeriesNotValid,
    SeriesPoint,
    parse_series,
)

NOON = datetime(2016, 5, 24, 12, 0, tzinfo=UTC)


def make_csv(*totals: int, heading: bool = True, minutes: int = 2) -> str:
    lines = ["time,total"] if heading else []
    for number, total in enumerate(totals):
        at = NOON + timedelta(minutes=minutes * number)
        lines.append(f"{at.isoformat()},{total}")
    return "\n".join(lines) + "\n"


def read_totals(text: str) -> list[int]:
    return [point.total for point in parse_series(text.encode()).points]


class TestASeries:
    def test_it_is_read_with_its_heading_or_without(self) -> None:
        assert read_totals(make_csv(1, 5, 3)) == [1, 5, 3]
        assert read_totals(make_csv(1, 5, 3, heading=False)) == [1, 5, 3]

    def test_it_may_come_from_a_spreadsheet(self) -> None:
        text = make_csv(1, 5, 3)
        assert parse_series(b"\xef\xbb\xbf" + text.encode()).points
        assert read_totals(text.replace("\n", "\r\n")) == [1, 5, 3]
        assert read_totals(text.replace("\n", "\n\n")) == [1, 5, 3]
        quoted = text.replace("2016", '"2016').replace("+00:00,", '+00:00",')
        assert read_totals(quoted) == [1, 5, 3]

    @pytest.mark.parametrize(
        "written",
        [
            "2016-05-24T12:00:00Z",
            "2016-05-24T12:00:00",
            "2016-05-24 12:00",
            "2016-05-24T14:00:00+02:00",
        ],
    )
    def test_its_times_are_utc_unless_they_say_otherwise(self, written: str) -> None:
        (point,) = parse_series(f"{written},7\n".encode()).points
        assert point == SeriesPoint(NOON, 7)
        assert point.at.utcoffset() == timedelta()

    def test_it_is_known_by_its_bytes(self) -> None:
        data = make_csv(1, 2).encode()
        assert parse_series(data).sha256 == sha256(data).hexdigest()

    @given(totals=st.lists(st.integers(0, 10**9), min_size=1, max_size=30))
    def test_its_rises_and_falls_add_up_to_its_end(self, totals: list[int]) -> None:
        series = parse_series(make_csv(*totals).encode())
        falls = sum(fall for _point, fall in series.list_falls())
        assert series.rises - falls == totals[-1]

    def test_its_falls_are_listed(self) -> None:
        falls = parse_series(make_csv(5, 9, 2, 2, 1).encode()).list_falls()
        assert [(point.total, fall) for point, fall in falls] == [(2, 7), (1, 1)]


class TestItsHoles:
    def make(self, *minutes: int) -> Series:
        points = tuple(
            SeriesPoint(NOON + timedelta(minutes=minute), minute) for minute in minutes
        )
        return Series(points, "")

    def test_one_is_a_span_without_data(self) -> None:
        holes = self.make(0, 2, 4, 6, 60, 62).find_holes()
        assert holes == [(NOON + timedelta(minutes=6), NOON + timedelta(minutes=60))]

    def test_a_short_pause_is_none(self) -> None:
        assert self.make(0, 2, 4, 30, 32).find_holes() == []

    def test_a_slow_series_has_none_at_its_usual_step(self) -> None:
        assert self.make(0, 60, 120, 180, 360).find_holes() == []

    def test_a_single_point_has_none(self) -> None:
        assert self.make(0).find_holes() == []


def refuse(data: bytes) -> dict[str, object]:
    with pytest.raises(SeriesNotValid) as caught:
        parse_series(data)
    return caught.value.data


ROW = "2016-05-24T12:10:00Z"


class TestABadFile:
    @pytest.mark.parametrize(
        "row, problem",
        [
            (f"{ROW},-1", "below zero"),
            (f"{ROW},1.5", "no total"),
            (f"{ROW},1e3", "no total"),
            (f"{ROW},", "no total"),
            (f"{ROW},+3", "no total"),
            (f"{ROW},0x10", "no total"),
            (f"{ROW},１２", "no total"),
            (f"{ROW},1 000", "no total"),
            (f"{ROW},{'9' * 13}", "no total"),
            (f"{ROW},many", "no total"),
            (f"{ROW}", "1 columns"),
            (f"{ROW},1,2", "3 columns"),
            (",7", "no time"),
            ("yesterday,7", "no time"),
            ("2016-13-01T00:00:00Z,7", "no time"),
            ("1464091200,7", "no time"),
            ("2016-05-24T12:02:00Z,7", "does not rise"),
            ("2016-05-24T11:00:00Z,7", "does not rise"),
            ("2016-05-24T12:03:00+02:00,7", "does not rise"),
            ("0001-01-01T00:00:00+14:00,7", "no time"),
        ],
    )
    def test_it_is_refused_with_line_and_reason(self, row: str, problem: str) -> None:
        good = make_csv(5, 6)
        parse_series(good.encode())
        found = refuse(f"{good}{row}\n".encode())
        assert found["line"] == 4
        assert problem in str(found["problem"])

    @pytest.mark.parametrize(
        "data",
        [b"", b"\n\n", b"time,total\n", b"\xef\xbb\xbf", b"only a heading,here\n"],
    )
    def test_it_is_refused_without_rows(self, data: bytes) -> None:
        assert refuse(data)["problem"] == "no rows"

    def test_a_first_row_with_a_time_is_no_heading(self) -> None:
        found = refuse(f"{ROW},many\n".encode())
        assert (found["line"], "no total" in str(found["problem"])) == (1, True)

    @pytest.mark.parametrize(
        "data",
        [
            b"time,total\n\xff\xfe,1\n",
            "time,total\n".encode("utf-16"),
            b"\x89PNG\r\n\x1a\n\x00\x00",
            b"time,total\r2016-05-24T12:00:00Z,1\r2016-05-24T12:02:00Z,2\r",
            b"time,total\n" + b"x" * 200_000 + b",1\n",
            b'time,total\n"2016-05-24T12:00:00Z,1\n',
            b"time,total\n2016-05-24T12:00:00Z\x00,1\n",
        ],
    )
    def test_junk_is_refused(self, data: bytes) -> None:
        refuse(data)

    @given(data=st.binary(max_size=300))
    def test_no_bytes_are_taken_for_what_they_are_not(self, data: bytes) -> None:
        try:
            found = parse_series(data)
        except SeriesNotValid:
            return
        assert all(point.total >= 0 for point in found.points)

    @given(
        rows=st.lists(
            st.tuples(
                st.sampled_from(["", "x", ROW, "2016-05-24", '"', "time"]),
                st.sampled_from(["", "x", "1", "-1", '"', "total", "\r", "\0"]),
            ),
            max_size=5,
        )
    )
    def test_no_rows_break_it(self, rows: list[tuple[str, str]]) -> None:
        text = "\n".join(",".join(row) for row in rows)
        try:
            parse_series(text.encode())
        except SeriesNotValid:
            return


class TestPublishedSeries:
    """The figures that a replay must reproduce, as others published them."""

    def read(self, name: str) -> Series:
        return parse_series(shared_dir("data", "uk-petitions", name).read_bytes())

    def test_the_petition_of_2016_falls_six_times(self) -> None:
        series = self.read("131215-every-2-minutes.csv")
        totals = [point.total for point in series.points]
        assert (len(totals), totals[0], totals[-1]) == (5_033, 827_789, 4_095_690)
        falls = {
            after.at.strftime("%d %H:%M"): before.total - after.total
            for before, after in pairwise(series.points)
            if after.total < before.total
        }
        assert falls == {
            "25 18:24": 12_407,
            "26 12:50": 75_169,
            "27 06:24": 1_070,
            "27 12:24": 1_867,
            "27 21:52": 3_226,
            "28 14:10": 410,
        }
        assert series.rises == totals[-1] + sum(falls.values())

    def test_the_petition_of_2024_has_a_hole_of_nine_days(self) -> None:
        series = self.read("700143-near-minute.csv")
        longest = max(end - begin for begin, end in series.find_holes())
        assert timedelta(days=9.5) < longest < timedelta(days=9.7)
        totals = [point.total for point in series.points]
        assert all(after >= before for before, after in pairwise(totals))
