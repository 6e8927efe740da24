"""A clock that goes back: checkpoints and promises do not follow it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from undersigned_verify.note import parse_note

from tests.factories.ledgers import Pooled, River, require_accepted
from undersigned.ledger.operations import make_promise

BACK = [timedelta(hours=1), timedelta(days=900)]


def list_instants(river: River) -> list[datetime]:
    lines = (river.public / "growth.csv").read_text().splitlines()[1:]
    return [datetime.fromisoformat(line.split(",")[2]) for line in lines]


def promise(river: River, pooled: Pooled) -> datetime:
    note, publish_by = make_promise(
        log=river.ledger.get_log(river.origin),
        nonce=pooled.nonce,
        at=river.clock.now(),
    )
    assert int(parse_note(note).text.split("\n")[3]) == publish_by.timestamp()
    return publish_by


@pytest.mark.parametrize("back", BACK)
@pytest.mark.parametrize("restarts", [False, True])
class TestAClockSetBack:
    def test_checkpoints_stay_in_order_and_promises_are_kept(
        self, river: River, back: timedelta, restarts: bool
    ) -> None:
        promised = []
        for step in (timedelta(), -back, timedelta(), back):
            river.clock.advance(step)
            if step and restarts:
                river.restart()
            promised += [(one, promise(river, one)) for one in river.pool(2)]
            # One tick more: the first after the clock went back only notes the time.
            river.publish(2)
        instants = list_instants(river)
        assert instants == sorted(instants)
        assert river.kept == sorted(river.kept)
        for pooled, publish_by in promised:
            size = next(s for s in river.kept if s > river.index_of(pooled))
            assert instants[river.kept.index(size)] <= publish_by
        require_accepted(river.audit())

    def test_no_promise_names_a_time_before_the_newest_checkpoint(
        self, river: River, back: timedelta, restarts: bool
    ) -> None:
        river.pool(1)
        river.publish()
        newest = list_instants(river)[-1]
        river.clock.advance(-back)
        if restarts:
            river.restart()
        (pooled,) = river.pool(1)
        assert promise(river, pooled) >= newest + timedelta(minutes=10)

    def test_it_is_published_although_the_time_seems_over(
        self, river: River, back: timedelta, restarts: bool
    ) -> None:
        river.clock.advance(-back)
        if restarts:
            river.restart()
        river.pool(1)
        river.publish(2)
        assert river.kept == [6, 7]


def test_a_log_without_checkpoints_promises_by_the_clock(river: River) -> None:
    (pooled,) = river.pool(1)
    at = river.clock.now()
    assert at < promise(river, pooled) <= at + timedelta(minutes=12)
    assert promise(river, pooled).tzinfo is UTC
