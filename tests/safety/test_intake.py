"""Rate limits: by network, in memory, without an address."""

from __future__ import annotations

import pickle

import pytest

from undersigned.safety import intake as safety_intake
from undersigned.safety.intake import Intake, TooManyRequests

ASHAS = "203.0.113.7"


class Minute:
    """A monotonic clock that is told."""

    def __init__(self) -> None:
        self.seconds = 1000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def minute() -> Minute:
    return Minute()


@pytest.fixture
def intake(minute: Minute) -> Intake:
    return Intake(burst=3, per_minute=6.0, monotonic=minute)


def take(intake: Intake, address: str | None, times: int) -> int:
    """Return how many of ``times`` requests were let through."""
    done = 0
    for _time in range(times):
        try:
            intake.require(address)
        except TooManyRequests:
            continue
        done += 1
    return done


class TestANetwork:
    def test_it_has_a_burst_then_waits(self, intake: Intake) -> None:
        assert take(intake, ASHAS, 3) == 3
        with pytest.raises(TooManyRequests):
            intake.require(ASHAS)

    def test_it_is_told_when_to_return_and_that_is_true(
        self, intake: Intake, minute: Minute
    ) -> None:
        take(intake, ASHAS, 3)
        with pytest.raises(TooManyRequests) as caught:
            intake.require(ASHAS)
        minute.seconds += caught.value.retry_after_seconds
        intake.require(ASHAS)
        with pytest.raises(TooManyRequests):
            intake.require(ASHAS)

    def test_it_fills_up_steadily_to_its_burst(
        self, intake: Intake, minute: Minute
    ) -> None:
        take(intake, ASHAS, 3)
        minute.seconds += 20
        assert take(intake, ASHAS, 9) == 2
        minute.seconds += 3600
        assert take(intake, ASHAS, 9) == 3

    @pytest.mark.parametrize(
        "neighbour",
        ["203.0.113.250", "::ffff:203.0.113.9"],
    )
    def test_neighbours_share_it(self, intake: Intake, neighbour: str) -> None:
        take(intake, ASHAS, 3)
        assert take(intake, neighbour, 1) == 0

    @pytest.mark.parametrize("stranger", ["203.0.114.7", "198.51.100.7", "2001:db8::1"])
    def test_strangers_have_their_own(self, intake: Intake, stranger: str) -> None:
        take(intake, ASHAS, 3)
        assert take(intake, stranger, 4) == 3

    def test_an_ipv6_site_is_one(self, intake: Intake) -> None:
        take(intake, "2001:db8:7::1", 3)
        assert take(intake, "2001:db8:7:ffff::2", 1) == 0
        assert take(intake, "2001:db8:8::1", 1) == 1


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", None, "", "not an address"])
def test_this_machine_and_nobody_are_not_limited(
    intake: Intake, address: str | None
) -> None:
    assert take(intake, address, 50) == 50


def test_no_address_is_kept_in_memory(intake: Intake) -> None:
    take(intake, ASHAS, 2)
    take(intake, "2001:db8:7::1", 2)
    held = pickle.dumps(intake._buckets) + repr(intake._buckets).encode()
    for trace in (b"203.0.113", b"2001:db8", bytes([203, 0, 113]), b"\x20\x01\x0d\xb8"):
        assert trace not in held


def test_memory_has_an_end_and_the_oldest_go_first(
    intake: Intake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(safety_intake, "_MAX_BUCKETS", 10)
    take(intake, ASHAS, 3)
    for number in range(10):
        intake.require(f"198.51.{number}.1")
    assert len(intake._buckets) == 10
    # Forgotten, so that nobody can fill the memory by asking from everywhere.
    assert take(intake, ASHAS, 1) == 1


def test_a_restart_forgets_and_hashes_anew(minute: Minute) -> None:
    first, second = Intake(monotonic=minute), Intake(monotonic=minute)
    for one in (first, second):
        one.require(ASHAS)
    assert set(first._buckets) != set(second._buckets)
