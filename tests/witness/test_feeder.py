"""Several witnesses at once: publication waits a second, and for nobody longer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest
from typing_extensions import override

from undersigned_verify.cosignature import find_cosignature
from undersigned_verify.note import parse_note

from tests.witness.peers import (
    NOW,
    Peer,
    Scripted,
    Switchboard,
    make_peer,
)
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.errors import StorageFailed
from undersigned.witness.data import OurWitness, Report, Standing
from undersigned.witness.dialogue import Answer, Unanswered
from undersigned.witness.feeder import BehindWitness, Feeder

PATIENCE_SECONDS = 20.0


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another thread's work."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come to pass"
        time.sleep(0.005)


class Watched(SmallLog):
    """A spine that notes what is added to it."""

    def __init__(self, origin: str) -> None:
        super().__init__(origin)
        self.added: list[tuple[int, int]] = []

    @override
    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        super().add_cosignatures(size, lines)
        self.added.append((size, len(lines)))


class House:
    """A spine, three witnesses and a feeder whose pauses the test can end."""

    def __init__(self, folder: Path) -> None:
        self.spine = Watched("omar.example/spine")
        self.spine.append(5)
        names = ("asha", "mina", "vic")
        self.peers = {
            name: make_peer(folder / name, f"{name}.example", self.spine)
            for name in names
        }
        self.board = Switchboard(**self.peers)
        self.listed: list[OurWitness] = [peer.listed for peer in self.peers.values()]
        self.alarms: list[Report] = []
        self.skipped = 0.0
        self.feeder = self.make_feeder(wait_seconds=PATIENCE_SECONDS)

    def make_feeder(self, *, wait_seconds: float) -> Feeder:
        return Feeder(
            spine=self.spine,
            transport=self.board,
            list_witnesses=lambda: self.listed,
            clock=FixedClock(NOW),
            on_alarm=self.alarms.append,
            wait_seconds=wait_seconds,
            monotonic=lambda: time.monotonic() + self.skipped,
        )

    def hurry(self) -> None:
        """Wait little from now on."""
        self.feeder.stop()
        self.feeder = self.make_feeder(wait_seconds=0.2)

    def feed(self) -> list[str]:
        note = self.spine.newest()
        assert note is not None
        return self.feeder.feed(note)

    def standing(self, name: str) -> Standing:
        (report,) = [
            one
            for one in self.feeder.list_reports()
            if one.name == f"{name}.example/witness"
        ]
        return report.standing

    def count_kept(self, size: int) -> int:
        """Return how many valid cosignatures the kept checkpoint has."""
        note = parse_note(self.spine.kept(size))
        return sum(
            find_cosignature(note, peer.listed.key) is not None
            for peer in self.peers.values()
        )


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """Omar's."""
    found = House(tmp_path)
    yield found
    found.feeder.stop()
    for peer in found.peers.values():
        peer.close()


class Door:
    """Holds a witness's answer back until it is opened."""

    def __init__(self, peer: Peer) -> None:
        self._open = threading.Event()
        self.entered = threading.Event()
        peer.before = self._wait

    def _wait(self) -> None:
        self.entered.set()
        assert self._open.wait(PATIENCE_SECONDS)

    def open(self) -> None:
        """Let it answer."""
        self._open.set()


def meet(barrier: threading.Barrier) -> None:
    barrier.wait()


class TestFeeding:
    def test_all_that_answer_are_there(self, house: House) -> None:
        for _number in range(3):
            lines = house.feed()
            assert len(lines) == 3
            house.spine.add_cosignatures(house.spine.size, lines)
            assert house.count_kept(house.spine.size) == 3
            house.spine.append(2)

    def test_they_are_asked_at_the_same_time(self, house: House) -> None:
        together = threading.Barrier(3, timeout=PATIENCE_SECONDS)
        for peer in house.peers.values():
            peer.before = partial(meet, together)
        assert len(house.feed()) == 3

    def test_without_witnesses_nobody_is_asked_and_no_thread_runs(
        self, house: House
    ) -> None:
        house.listed = []
        before = threading.active_count()
        assert house.feed() == []
        assert threading.active_count() == before
        assert house.board.asked == []

    def test_a_slow_one_is_not_waited_for_and_its_line_comes_later(
        self, house: House
    ) -> None:
        house.hurry()
        door = Door(house.peers["vic"])
        begun = time.monotonic()
        lines = house.feed()
        assert time.monotonic() - begun < PATIENCE_SECONDS
        assert len(lines) <= 2
        house.spine.add_cosignatures(5, lines)
        door.open()
        wait_until(lambda: house.count_kept(5) == 3)

    def test_the_second_time_a_slow_one_costs_nothing(self, house: House) -> None:
        house.hurry()
        door = Door(house.peers["vic"])
        house.feed()
        time.sleep(0.25)
        door.open()
        wait_until(lambda: house.standing("vic") is Standing.GOOD)
        slow = Door(house.peers["vic"])
        house.feeder._wait_seconds = PATIENCE_SECONDS
        house.spine.append(1)
        begun = time.monotonic()
        assert len(house.feed()) == 2
        assert time.monotonic() - begun < PATIENCE_SECONDS / 2
        slow.open()

    def test_one_that_is_gone_is_asked_less_and_less(self, house: House) -> None:
        house.board.peers["vic"] = Scripted([Unanswered("gone")] * 50)
        for _number in range(4):
            assert len(house.feed()) == 2
            house.spine.append(1)
        assert house.standing("vic") is Standing.GONE
        assert house.board.asked.count("vic") == 1
        # The first pause is two seconds, the next four.
        house.skipped += 2.1
        house.feeder._take_list()
        wait_until(lambda: house.board.asked.count("vic") == 2)
        wait_until(lambda: house.feeder._workers[key_of(house, "vic")].failures == 2)
        house.skipped += 2.1
        house.feeder._take_list()
        time.sleep(0.05)
        assert house.board.asked.count("vic") == 2
        # It comes back.
        house.board.peers["vic"] = house.peers["vic"]
        house.skipped += 2.1
        house.feeder._take_list()
        wait_until(lambda: house.standing("vic") is Standing.GOOD)
        wait_until(lambda: house.count_kept(house.spine.size - 1) == 1)
        house.skipped += 700

    def test_a_lying_one_never_gets_a_line_in(self, house: House) -> None:
        good = house.peers["asha"].add_checkpoint("", house.spine.ask(0)).body
        house.board.peers["vic"] = Scripted([Answer(200, "text/plain", good)])
        lines = house.feed()
        assert len(lines) == 2
        assert not any("vic" in line for line in lines)
        assert house.standing("vic") is Standing.BROKEN

    def test_one_of_ours_that_breaks_harms_no_other(
        self, house: House, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """A spine that cannot make its proof, for one size that one witness has."""
        house.peers["vic"].add_checkpoint("", house.spine.ask(0, 3))

        def fail(old: int, new: int) -> list[bytes]:
            raise StorageFailed("a tile is gone")

        monkeypatch.setattr(house.spine, "consistency_proof", fail)
        assert len(house.feed()) == 2
        assert house.standing("vic") is Standing.UNKNOWN

    def test_an_added_witness_is_asked_at_once(self, house: House) -> None:
        house.listed = house.listed[:2]
        house.spine.add_cosignatures(5, house.feed())
        house.listed = [peer.listed for peer in house.peers.values()]
        house.feeder.wake()
        wait_until(lambda: house.count_kept(5) == 3)

    def test_a_removed_witness_is_asked_no_more(self, house: House) -> None:
        house.feed()
        house.listed = house.listed[:2]
        house.feeder.wake()
        house.spine.append(1)
        assert len(house.feed()) == 2
        assert house.board.asked.count("vic") == 1
        assert [one.name for one in house.feeder.list_reports()] == [
            "asha.example/witness",
            "mina.example/witness",
        ]


def key_of(house: House, name: str) -> tuple[str, str]:
    listed = house.peers[name].listed
    return (listed.key.vkey, listed.url)


class TestOffering:
    def test_it_returns_at_once_and_the_spine_is_told(self, house: House) -> None:
        doors = [Door(peer) for peer in house.peers.values()]
        house.feeder.offer(house.spine.sign())
        for door in doors:
            assert door.entered.wait(PATIENCE_SECONDS)
        assert house.spine.added == []
        for door in doors:
            door.open()
        wait_until(lambda: house.spine.added == [(5, 3)])

    def test_it_is_told_also_when_nobody_answers(self, house: House) -> None:
        house.listed = []
        house.feeder.offer(house.spine.sign())
        wait_until(lambda: house.spine.added == [(5, 0)])

    def test_it_is_told_also_when_the_list_cannot_be_read(self, house: House) -> None:
        def fail() -> list[OurWitness]:
            raise StorageFailed("couldn't read witnesses.json")

        house.feeder._list_witnesses = fail
        house.feeder.offer(house.spine.sign())
        wait_until(lambda: house.spine.added == [(5, 0)])

    def test_what_comes_meanwhile_is_taken_up_next(self, house: House) -> None:
        door = Door(house.peers["vic"])
        house.feeder.offer(house.spine.sign())
        assert door.entered.wait(PATIENCE_SECONDS)
        for _number in range(3):
            house.spine.append(1)
            house.feeder.offer(house.spine.sign())
        door.open()
        wait_until(lambda: bool(house.spine.added) and house.spine.added[-1][0] == 8)
        wait_until(lambda: house.count_kept(8) == 3)

    def test_it_ends_what_was_offered_before_it_stops(self, house: House) -> None:
        house.feeder.offer(house.spine.sign())
        house.feeder.stop()
        assert house.spine.added == [(5, 3)]

    def test_stopped_it_takes_nothing(self, house: House) -> None:
        house.feeder.stop()
        house.feeder.offer(house.spine.sign())
        assert house.spine.added == []
        assert house.board.asked == []


class TestStarting:
    def test_a_spine_that_every_witness_knows_may_go_on(self, house: House) -> None:
        reports = house.feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        assert {report.standing for report in reports} == {Standing.GOOD}
        assert house.count_kept(5) == 3

    def test_one_without_leaves_has_nothing_to_ask(self, house: House) -> None:
        house.spine.newest = lambda: None  # type: ignore[method-assign,assignment,return-value]  # as before the first
        house.feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        assert house.board.asked == []

    def test_one_that_a_witness_has_seen_grow_further_is_refused(
        self, house: House
    ) -> None:
        house.feed()
        restored = House.__new__(House)
        restored.__dict__.update(house.__dict__)
        restored.spine = Watched("omar.example/spine")
        restored.spine.private = house.spine.private
        restored.spine.append(3)
        feeder = restored.make_feeder(wait_seconds=PATIENCE_SECONDS)
        with pytest.raises(BehindWitness, match="size 5, and ours is 3"):
            feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        feeder.stop()
        assert restored.spine.added == []

    def test_one_of_another_history_is_refused(self, house: House) -> None:
        house.feed()
        forked = House.__new__(House)
        forked.__dict__.update(house.__dict__)
        forked.spine = Watched("omar.example/spine")
        forked.spine.private = house.spine.private
        forked.spine.append(9, salt=b"fork")
        feeder = forked.make_feeder(wait_seconds=PATIENCE_SECONDS)
        with pytest.raises(BehindWitness):
            feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        feeder.stop()

    def test_witnesses_that_are_gone_prove_nothing(self, house: House) -> None:
        for name in ("asha", "mina", "vic"):
            house.board.peers[name] = Scripted([])
        reports = house.feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        assert {report.standing for report in reports} == {Standing.GONE}

    def test_while_it_runs_the_alarm_is_given_once(
        self, house: House, caplog: pytest.LogCaptureFixture
    ) -> None:
        house.feed()
        ahead = Answer(409, "text/x.tlog.size", b"900\n")
        house.board.peers["vic"] = Scripted([ahead] * 9)
        house.spine.append(1)
        house.feed()
        wait_until(lambda: len(house.alarms) == 1)
        house.feeder.wake()
        wait_until(lambda: house.board.asked.count("vic") == 3)
        assert [report.standing for report in house.alarms] == [Standing.AHEAD]
        assert "CRITICAL" in [record.levelname for record in caplog.records]
