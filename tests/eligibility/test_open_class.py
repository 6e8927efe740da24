"""The open class: work with scripts, waiting without."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from itertools import count

import pytest

from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.credentials.issuer import AlreadyIssued
from undersigned.credentials.operations import ClassNotOffered
from undersigned.credentials.tickets import TicketNotYetValid
from undersigned.eligibility import rules
from undersigned.eligibility.data import Puzzle
from undersigned.eligibility.operations import (
    PuzzleNotSolved,
    ask_waiting_ticket,
    make_puzzle,
    solve_puzzle,
)
from undersigned.eligibility.queries import read_ticket

BITS = 8


@pytest.fixture
def campaign(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """An open campaign whose puzzles are quick to solve."""
    monkeypatch.setattr(rules, "PUZZLE_BITS", BITS)
    return instance.open_campaign(classes=["open"])


def ask(instance: Instance, campaign: Campaign) -> Puzzle:
    return make_puzzle(
        desk=instance.engine.services.desk, campaign=campaign, at=instance.clock.now()
    )


def has_zeros(token: str, solution: str, bits: int) -> bool:
    digest = hashlib.sha256(f"{token}:{solution}".encode()).digest()
    return f"{int.from_bytes(digest):0256b}".startswith("0" * bits)


def work(puzzle: Puzzle, bits: int = BITS) -> str:
    """Return the first number that solves the puzzle, as a browser finds it."""
    return next(
        str(number) for number in count() if has_zeros(puzzle.token, str(number), bits)
    )


def solve(instance: Instance, campaign: Campaign, token: str, solution: str) -> str:
    return solve_puzzle(
        desk=instance.engine.services.desk,
        campaign=campaign,
        token=token,
        solution=solution,
        at=instance.clock.now(),
    )


class TestAPuzzle:
    def test_its_solution_gives_a_ticket_for_an_open_signature(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        puzzle = ask(instance, campaign)
        ticket = solve(instance, campaign, puzzle.token, work(puzzle))
        writing = instance.write(campaign, klass="open")
        answer = instance.issue(campaign, ticket, writing.prepared.request)
        instance.redeem(campaign, writing.finish(answer))
        instance.publish(campaign)
        report = instance.audit(campaign)
        assert report.totals is not None
        # Shown apart and never added.
        assert (report.totals["net"], report.totals["open_net"]) == (0, 1)

    def test_it_asks_for_real_work(self, instance: Instance) -> None:
        campaign = instance.open_campaign(classes=["open"])
        assert ask(instance, campaign).bits >= 16

    def test_another_number_solves_nothing(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        puzzle = ask(instance, campaign)
        solution = work(puzzle)
        wrong = next(
            str(number)
            for number in count()
            if not has_zeros(puzzle.token, str(number), BITS)
        )
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, puzzle.token, wrong)
        assert solve(instance, campaign, puzzle.token, solution)

    @pytest.mark.parametrize("change", [" {}", "+{}", "-{}", "{}x", "０{}"])
    def test_only_plain_digits_are_a_solution(
        self, instance: Instance, campaign: Campaign, change: str
    ) -> None:
        puzzle = ask(instance, campaign)
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, puzzle.token, change.format(work(puzzle)))

    @pytest.mark.parametrize("solution", ["", "9" * 21, "9" * 100_000])
    def test_only_few_digits_are_a_solution(
        self, instance: Instance, campaign: Campaign, solution: str
    ) -> None:
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, ask(instance, campaign).token, solution)

    def test_it_buys_one_token(self, instance: Instance, campaign: Campaign) -> None:
        puzzle = ask(instance, campaign)
        solution = work(puzzle)
        tickets = [
            solve(instance, campaign, puzzle.token, solution) for _time in range(2)
        ]
        requests = [
            instance.write(campaign, klass="open").prepared.request
            for _time in range(2)
        ]
        instance.issue(campaign, tickets[0], requests[0])
        with pytest.raises(AlreadyIssued):
            instance.issue(campaign, tickets[1], requests[1])

    def test_it_is_good_for_two_hours(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        puzzle = ask(instance, campaign)
        solution = work(puzzle)
        instance.clock.advance(timedelta(hours=2, seconds=-1))
        solve(instance, campaign, puzzle.token, solution)
        instance.clock.advance(timedelta(seconds=1))
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, puzzle.token, solution)

    def test_it_is_good_in_its_own_campaign_only(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        other = instance.open_campaign(classes=["open"])
        puzzle = ask(instance, other)
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, puzzle.token, work(puzzle))

    @pytest.mark.parametrize("token", ["", "x", "A" * 100, "A" * 4000])
    def test_mallorys_own_is_none(
        self, instance: Instance, campaign: Campaign, token: str
    ) -> None:
        with pytest.raises(PuzzleNotSolved):
            solve(instance, campaign, token, work(Puzzle(token, BITS)))


class TestAWaitingTicket:
    def test_it_is_good_after_some_minutes(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        desk = instance.engine.services.desk
        waiting = ask_waiting_ticket(
            desk=desk, campaign=campaign, at=instance.clock.now()
        )
        assert waiting.valid_from > instance.clock.now()
        request = instance.write(campaign, klass="open").prepared.request
        with pytest.raises(TicketNotYetValid):
            instance.issue(campaign, waiting.ticket, request)
        view = read_ticket(
            desk=desk,
            campaign=campaign,
            ticket=waiting.ticket,
            at=instance.clock.now(),
        )
        assert (view.klass, view.valid_from) == ("open", waiting.valid_from)
        instance.clock.set(waiting.valid_from)
        assert instance.issue(campaign, waiting.ticket, request)


def test_neither_is_given_where_the_class_is_not_offered(instance: Instance) -> None:
    campaign = instance.open_campaign()
    with pytest.raises(ClassNotOffered):
        ask(instance, campaign)
    with pytest.raises(ClassNotOffered):
        ask_waiting_ticket(
            desk=instance.engine.services.desk,
            campaign=campaign,
            at=instance.clock.now(),
        )
