"""A line lets in no more than there is room for, in order, and nobody for ever."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned.safety.line import (
    LATEST,
    PATIENCE_SECONDS,
    REMEMBERED,
    SOONEST,
    UNSURE,
    Line,
    Meter,
    Used,
    Wait,
)


class Time:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


def test_whoever_finds_room_does_not_wait(time: Time) -> None:
    line = Line(2, monotonic=time)
    assert line.enter()
    assert line.enter()
    assert not line.enter()
    line.leave()
    assert line.enter()


def test_nobody_passes_those_who_wait(time: Time) -> None:
    line = Line(1, monotonic=time)
    assert line.enter()
    first, second = line.take_number(), line.take_number()
    line.leave()
    # There is room, and it is the first one's.
    assert not line.enter()
    assert not line.enter(second)
    assert line.enter(first)
    line.leave()
    assert line.enter(second)


def test_a_number_is_good_once(time: Time) -> None:
    line = Line(3, monotonic=time)
    while line.enter():
        pass
    number = line.take_number()
    line.leave()
    line.leave()
    assert line.enter(number)
    assert not line.enter(number)
    assert not line.holds(number)


def test_a_number_never_given_out_is_none(time: Time) -> None:
    line = Line(1, monotonic=time)
    for number in (0, 5, REMEMBERED * 2):
        assert not line.holds(number)
        assert not line.enter(number)


def test_who_does_not_come_holds_up_nobody_for_long(time: Time) -> None:
    line = Line(1, monotonic=time)
    assert line.enter()
    gone, here = line.take_number(), line.take_number()
    line.leave()
    assert line.is_called(gone)
    assert not line.enter(here)
    time.now += PATIENCE_SECONDS + 1
    assert line.enter(here)
    # And whoever comes late after all comes in when there is room.
    assert line.holds(gone)
    assert not line.enter(gone)
    line.leave()
    assert line.enter(gone)


def test_many_who_never_come_are_called_faster_and_faster(time: Time) -> None:
    line = Line(10, monotonic=time)
    while line.enter():
        pass
    for _number in range(10_000):
        line.take_number()
    last = line.take_number()
    for _person in range(10):
        line.leave()
    seconds = 0
    while not line.is_called(last):
        time.now += PATIENCE_SECONDS
        seconds += int(PATIENCE_SECONDS)
        line.look(last)
        assert seconds < 600, "those who left hold up the others"
    assert line.enter(last)


def test_the_wait_is_told_by_how_fast_the_line_moves(time: Time) -> None:
    line = Line(1, monotonic=time)
    assert line.enter()
    numbers = [line.take_number() for _person in range(200)]
    assert line.look(numbers[100]) == Wait(100, None)
    assert Wait(100, None).retry_seconds == UNSURE
    for number in numbers[:40]:
        time.now += 0.5
        line.leave()
        assert line.enter(number)
    wait = line.look(numbers[140])
    assert wait.before == 100
    assert wait.seconds is not None
    # Two a second: a hundred take fifty seconds.
    assert 40 <= wait.seconds <= 60
    assert SOONEST <= wait.retry_seconds <= LATEST


def test_a_line_that_stands_still_promises_no_time(time: Time) -> None:
    line = Line(1, monotonic=time)
    assert line.enter()
    number = line.take_number()
    time.now += 3600
    assert line.look(number).seconds is None


def test_it_minds_the_room_of_the_next_queue(time: Time) -> None:
    behind = 0
    line = Line(5, room_behind=lambda: behind, monotonic=time)
    assert not line.enter()
    number = line.take_number()
    behind = 1
    assert line.enter(number)
    assert not line.enter()


def test_nobody_is_called_ahead_of_a_queue_that_is_full(time: Time) -> None:
    """A place that was called means moments, not as long as that queue takes."""
    behind = 1
    line = Line(50, room_behind=lambda: behind, monotonic=time)
    assert line.enter()
    line.leave()
    behind = 0
    numbers = [line.take_number() for _person in range(100)]
    for _tick in range(100):
        time.now += 0.05
        line.look(numbers[50])
    assert not line.is_called(numbers[0])
    behind = 3
    line.look(numbers[0])
    assert [line.is_called(number) for number in numbers[:5]] == [1, 1, 1, 0, 0]


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    room=st.integers(1, 30),
    people=st.integers(1, 120),
    gone=st.sampled_from([0.0, 0.3, 0.9]),
)
def test_whatever_happens_those_who_ask_again_get_in_in_order(
    seed: int, room: int, people: int, gone: float
) -> None:
    """No more inside than room; a place never gets worse; everybody who stays gets in.

    And in order: whoever is called has nobody before them who was not called.
    """
    rng, time = random.Random(seed), Time()
    line = Line(room, monotonic=time)
    inside: list[int] = []
    waiting: dict[int, int] = {}
    entered: list[int] = []
    to_come, stay = people, set[int]()
    for _round in range(200_000):
        if not (to_come or waiting.keys() & stay):
            break
        time.now += rng.choice([0.01, 0.1, 1.0])
        for _done in range(rng.randrange(3)):
            if inside:
                inside.pop(rng.randrange(len(inside)))
                line.leave()
        if to_come and rng.random() < 0.7:
            to_come -= 1
            if line.enter():
                inside.append(-1)
            else:
                number = line.take_number()
                waiting[number] = line.look(number).before
                if rng.random() >= gone:
                    stay.add(number)
        for number in rng.sample(sorted(waiting), min(len(waiting), 5)):
            if number not in stay:
                continue
            if line.enter(number):
                inside.append(number)
                entered.append(number)
                del waiting[number]
                continue
            before = line.look(number).before
            assert before <= waiting[number]
            waiting[number] = before
            assert line.holds(number)
        assert line.inside == len(inside) <= room
        called = [line.is_called(number) for number in sorted(waiting)]
        assert called == sorted(called, reverse=True)
    assert not waiting.keys() & stay
    assert len(entered) == len(set(entered))


def test_used_numbers_are_remembered_for_a_while() -> None:
    used = Used(64)
    used.grow(10)
    used.use(3)
    assert [number for number in range(10) if used.has(number)] == [3]
    used.grow(67)
    # 3 is new again under another name: 67 has its bit, and what is old is gone.
    assert used.has(2)
    assert not used.has(66)
    used.grow(68)
    assert not used.has(67)
    used.use(67)
    used.grow(10_000)
    assert used.has(67)
    assert not used.has(9_999)


@given(st.lists(st.integers(0, 400), max_size=300), st.integers(1, 90))
def test_used_is_a_set_with_a_short_memory(uses: list[int], step: int) -> None:
    size, end, known = 128, 0, set[int]()
    used = Used(size)
    for number in uses:
        end += step
        used.grow(end)
        if end - size <= number < end:
            used.use(number)
            known.add(number)
        for each in range(max(0, end - size), end):
            assert used.has(each) == (each in known)
        if end > size:
            assert used.has(end - size - 1)


def test_a_meter_forgets_what_is_long_ago(time: Time) -> None:
    meter = Meter(time)
    meter.count()
    assert meter.read() is None
    for _second in range(30):
        time.now += 1
        meter.count()
        meter.count()
    assert meter.read() == pytest.approx(2.0, rel=0.15)
    time.now += 100
    assert meter.read() is None
    meter.start()
    time.now += 4
    for _mail in range(40):
        meter.count()
    assert meter.read() == pytest.approx(10.0)


def test_the_room_does_not_stand_empty_while_people_take_their_time(time: Time) -> None:
    """Twenty places, and everybody asks every two seconds only: all are used."""
    line = Line(20, monotonic=time)
    while line.enter():
        pass
    waiting = {line.take_number(): time.now + n % 20 / 10 for n in range(4000)}
    inside = [time.now] * 20
    for _tick in range(600):
        time.now += 0.1
        # Each stays a tenth of a second: two hundred a second could come in.
        for _person in inside:
            line.leave()
        inside = []
        for number, at in list(waiting.items()):
            if at <= time.now:
                if line.enter(number):
                    inside.append(time.now)
                    del waiting[number]
                else:
                    waiting[number] = at + 2
        if not waiting:
            break
    assert not waiting
    assert _tick < 400
