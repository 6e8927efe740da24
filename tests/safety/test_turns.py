"""Turns keep a place, name nobody, and cannot be made, changed or used twice."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.safety.intake import Intake
from undersigned.safety.turns import (
    MOST_OF_A_NETWORK,
    STAGES,
    TURN_LENGTH,
    Lines,
    PleaseWait,
    Stage,
    Turn,
    Turns,
)

HERE, THERE = "203.0.113.7", "198.51.100.9"


class Time:
    """A clock that goes when told to."""

    def __init__(self) -> None:
        self.now = 5000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def lines(time: Time) -> Lines:
    return make_lines(time)


def make_lines(time: Time, *, numbers: Intake | None = None) -> Lines:
    return Lines(
        intake=Intake(burst=3, per_minute=60, monotonic=time),
        numbers=numbers,
        monotonic=time,
    )


def fill(lines: Lines, stage: Stage) -> None:
    """Leave no room in a stage."""
    line = lines.lines[stage]
    while line.enter():
        pass


def wait_for(
    lines: Lines, stage: Stage, turn: str = "", address: str | None = HERE
) -> PleaseWait:
    with pytest.raises(PleaseWait) as caught:
        lines.come(stage, turn=turn, address=address)
    return caught.value


@given(st.sampled_from(STAGES), st.integers(0, 2**64 - 1), st.integers(0, 2**32 - 1))
def test_a_turn_is_read_as_it_was_written(
    stage: Stage, number: int, ready: int
) -> None:
    turns = Turns()
    text = turns.write(Turn(stage, number, ready))
    assert len(text) == TURN_LENGTH
    assert turns.find(text) == Turn(stage, number, ready)
    assert Turns().find(text) is None


@given(st.integers(0, TURN_LENGTH - 1), st.integers(1, 63))
def test_a_changed_turn_is_none(at: int, by: int) -> None:
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    turns = Turns()
    text = turns.write(Turn("issue", 7, 0))
    other = letters[(letters.index(text[at]) + by) % 64]
    changed = text[:at] + other + text[at + 1 :]
    same = base64.urlsafe_b64decode(changed + "=") == base64.urlsafe_b64decode(
        text + "="
    )
    # The last letter has bits that stand for nothing.
    assert same or turns.find(changed) is None


@given(st.text(max_size=80))
def test_no_text_is_a_turn(text: str) -> None:
    assert Turns().find(text) is None


def test_no_turn_tells_who_asked_or_when(time: Time, lines: Lines) -> None:
    fill(lines, "issue")
    turn = wait_for(lines, "issue").turn
    body = base64.urlsafe_b64decode(turn + "=")[:13]
    assert body == bytes([STAGES.index("issue")]) + bytes(8) + bytes(4)


def test_who_waits_gets_in_with_the_turn_alone(lines: Lines) -> None:
    fill(lines, "issue")
    first, second = wait_for(lines, "issue"), wait_for(lines, "issue")
    assert (first.before, second.before) == (0, 1)
    lines.leave("issue")
    again = wait_for(lines, "issue", second.turn)
    assert again.before == 0
    assert again.turn == second.turn
    # From another address: people's phones change networks while they wait.
    lines.come("issue", turn=first.turn, address=THERE)
    # And not a second time.
    assert wait_for(lines, "issue", first.turn).turn != first.turn


def test_a_turn_is_good_for_its_own_stage(lines: Lines) -> None:
    fill(lines, "issue")
    fill(lines, "sign")
    turn = wait_for(lines, "issue").turn
    lines.leave("issue")
    lines.leave("sign")
    lines.come("sign")
    fill(lines, "sign")
    assert wait_for(lines, "sign", turn).turn != turn
    lines.come("issue", turn=turn)


def test_after_a_restart_a_turn_gets_another(time: Time) -> None:
    before, after = make_lines(time), make_lines(time)
    fill(before, "finish")
    turn = wait_for(before, "finish").turn
    after.come("finish", turn=turn)
    fill(after, "finish")
    assert wait_for(after, "finish", turn).turn
    assert after.look(turn) is None


def test_one_network_waits_for_itself_and_nobody_else(time: Time, lines: Lines) -> None:
    for _person in range(3):
        lines.come("ask", address=HERE)
    wait = wait_for(lines, "ask")
    assert wait.reason == "network"
    assert (wait.before, wait.seconds) == (0, 1)
    later = wait_for(lines, "ask")
    assert later.seconds is not None
    assert later.seconds > 1
    lines.come("ask", address=THERE)
    # Too early, and again with the same turn; then it is one's own.
    assert wait_for(lines, "ask", wait.turn).turn == wait.turn
    time.now += 2
    lines.come("ask", turn=wait.turn, address=HERE)
    assert wait_for(lines, "ask", wait.turn).turn != wait.turn


def test_a_school_behind_one_address_gets_through(time: Time, lines: Lines) -> None:
    """Three at once and one a second, however often each asks meanwhile."""
    turns = [""] * 60
    inside = 0
    for second in range(70):
        for pupil, turn in enumerate(turns):
            if turn == "in":
                continue
            try:
                lines.come("ask", turn=turn, address=HERE)
            except PleaseWait as wait:
                turns[pupil] = wait.turn
            else:
                lines.leave("ask")
                turns[pupil] = "in"
                inside += 1
        assert inside <= 3 + second + 1
        time.now += 1
    assert inside == 60


def test_a_flooder_takes_no_places_but_its_networks(time: Time) -> None:
    lines = make_lines(time, numbers=Intake(burst=5, per_minute=6, monotonic=time))
    fill(lines, "issue")
    taken = 0
    for _try in range(5000):
        if wait_for(lines, "issue").reason == "site":
            taken += 1
    assert taken == 5
    honest = wait_for(lines, "issue", address=THERE)
    assert honest.before == 5
    # Beyond what is kept for a network there is no place, and no list that grows.
    beyond = wait_for(lines, "issue")
    assert beyond.turn == ""
    assert beyond.before is None
    assert MOST_OF_A_NETWORK < 5000


def test_other_networks_queues_cost_nobody_a_place(time: Time, lines: Lines) -> None:
    """A cheap block of IPv6 addresses has tens of thousands of networks."""
    for _person in range(3):
        lines.come("ask", address=HERE)
    turn = wait_for(lines, "ask").turn
    for _behind in range(60):
        wait_for(lines, "ask")
    for network in range(120):
        for _try in range(603):
            with suppress(PleaseWait):
                lines.come("ask", address=f"2001:db8:{network:x}::1")
                lines.leave("ask")
    time.now += 2
    lines.leave("ask")
    lines.come("ask", turn=turn, address=HERE)


def test_looking_changes_nothing(time: Time, lines: Lines) -> None:
    fill(lines, "confirm")
    turn = wait_for(lines, "confirm").turn
    for _look in range(3):
        found = lines.look(turn)
        assert found is not None
        assert found.turn == turn
    lines.leave("confirm")
    assert lines.look(turn) is None
    lines.come("confirm", turn=turn)
    assert lines.look("nonsense") is None


def test_mail_waits_for_room_in_its_queue(time: Time) -> None:
    room = 0
    lines = Lines(
        intake=Intake(monotonic=time), room_for_mail=lambda: room, monotonic=time
    )
    turn = wait_for(lines, "mail").turn
    lines.come("ask", address=HERE)
    room = 1
    lines.come("mail", turn=turn, address=HERE)
