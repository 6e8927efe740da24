"""Time: a clock that is told, and intervals."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.kernel.clock import FixedClock, SystemClock, round_down

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
INSTANTS = st.datetimes(
    min_value=datetime(1990, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    max_value=datetime(2100, 1, 1),  # noqa: DTZ001 - as above
    timezones=st.just(UTC),
)


class TestRoundingDown:
    @pytest.mark.parametrize(
        "seconds, expected",
        [
            (60, NINE.replace(minute=59)),
            (900, NINE.replace(minute=45)),
            (1800, NINE.replace(minute=30)),
            (3600, NINE),
        ],
    )
    def test_it_gives_the_start_of_the_interval(
        self, seconds: int, expected: datetime
    ) -> None:
        at = NINE.replace(minute=59, second=59, microsecond=999_999)
        assert round_down(at, seconds=seconds) == expected

    @given(at=INSTANTS, seconds=st.sampled_from([60, 900, 1800, 3600]))
    def test_it_keeps_nothing_finer_than_the_interval(
        self, at: datetime, seconds: int
    ) -> None:
        tick = round_down(at, seconds=seconds)
        assert tick.microsecond == 0
        assert int(tick.timestamp()) % seconds == 0
        assert timedelta() <= at - tick < timedelta(seconds=seconds)
        assert round_down(tick, seconds=seconds) == tick

    def test_it_gives_utc_whatever_the_zone(self) -> None:
        nine_thirty_in_kathmandu = NINE.replace(
            hour=15, minute=15, tzinfo=timezone(timedelta(hours=5, minutes=45))
        )
        tick = round_down(nine_thirty_in_kathmandu, seconds=3600)
        assert tick == NINE
        assert tick.utcoffset() == timedelta()


class TestFixedClock:
    def test_it_stands_still_until_it_is_told(self) -> None:
        clock = FixedClock(NINE)
        assert clock.now() == clock.now() == NINE
        clock.advance(timedelta(minutes=5))
        assert clock.now() == NINE + timedelta(minutes=5)

    def test_it_can_go_back_as_machines_clocks_do(self) -> None:
        clock = FixedClock(NINE)
        clock.set(NINE - timedelta(hours=1))
        assert clock.now() == NINE - timedelta(hours=1)


def test_the_machines_clock_gives_aware_utc() -> None:
    assert SystemClock().now().utcoffset() == timedelta()
