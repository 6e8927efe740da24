"""How large a crowd waits for, by mode (PROTOCOL §4.6)."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest

from undersigned_verify import entry

from tests.factories.ledgers import (
    INVITATION_KEY,
    OPEN_KEY,
    River,
    require_accepted,
)
from tests.ledger.conftest import MakeRiver
from undersigned.ledger import publish
from undersigned.ledger.data import Mode
from undersigned.ledger.operations import make_publish_by

A_DAY_OF_INTERVALS = 48


def count(river: River) -> int:
    totals = require_accepted(river.audit()).totals
    assert totals is not None
    signatures = totals["signatures"]
    assert isinstance(signatures, int)
    return signatures


class TestStandard:
    def test_a_batch_may_be_one(self, make_river: MakeRiver) -> None:
        river = make_river("standard")
        river.pool(1)
        river.publish()
        assert count(river) == 1


class TestCareful:
    @pytest.fixture
    def river(self, make_river: MakeRiver) -> River:
        return make_river("careful")

    def test_a_crowd_of_k_is_published(self, river: River) -> None:
        river.pool(3)
        river.publish()
        assert count(river) == 3

    def test_a_smaller_one_waits(self, river: River) -> None:
        river.pool(2)
        assert river.publish() == []
        river.pool(1)
        river.publish()
        assert count(river) == 3

    def test_crowds_are_counted_by_key(self, river: River) -> None:
        river.pool(2)
        river.pool(2, key_index=INVITATION_KEY)
        assert river.publish() == []
        river.pool(1, key_index=INVITATION_KEY)
        (published,) = river.publish()
        assert published.signatures == 3
        assert require_accepted(river.audit()).totals is not None

    def test_a_small_crowd_that_has_waited_a_day_is_published(
        self, river: River
    ) -> None:
        river.pool(1)
        # The first tick begins the day, the last ends it.
        assert river.publish(A_DAY_OF_INTERVALS) == []
        assert [one.signatures for one in river.publish()] == [1]
        assert count(river) == 1

    def test_the_day_goes_on_over_a_restart(self, river: River) -> None:
        river.pool(1)
        river.publish(A_DAY_OF_INTERVALS // 2)
        river.restart()
        assert river.publish(A_DAY_OF_INTERVALS // 2) == []
        assert [one.signatures for one in river.publish()] == [1]

    def test_a_new_day_begins_after_each_publication(self, river: River) -> None:
        river.pool(1)
        river.publish(A_DAY_OF_INTERVALS // 2)
        river.pool(2)
        assert [one.signatures for one in river.publish()] == [3]
        river.pool(1)
        assert river.publish(A_DAY_OF_INTERVALS) == []
        assert [one.signatures for one in river.publish()] == [1]

    def test_the_open_class_needs_no_crowd(self, river: River) -> None:
        river.pool(2)
        river.pool(1, key_index=OPEN_KEY)
        assert [one.signatures for one in river.publish()] == [1]
        totals = require_accepted(river.audit()).totals
        assert totals is not None
        assert (totals["net"], totals["open_net"]) == (0, 1)

    def test_controls_do_not_wait_for_a_crowd(self, river: River) -> None:
        river.pool(1)
        river.control(entry.PublicRecord("answer", "a" * 64))
        assert [one.signatures for one in river.publish()] == [0]
        require_accepted(river.audit())

    @pytest.mark.parametrize("pooled", [6, 7, 8, 11, 13])
    def test_a_burst_comes_out_in_crowds_too(
        self, river: River, pooled: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(publish, "MAX_SIGNATURES", 5)
        river.pool(pooled)
        done = [one.signatures for one in river.publish()]
        # Of seven, five would fit, and leave two behind: fewer than the crowd of three.
        assert sum(done) == pooled
        assert all(3 <= crowd <= 5 for crowd in done)
        assert count(river) == pooled

    def test_a_burst_under_two_keys_comes_out_in_crowds_of_each(
        self, river: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(publish, "MAX_SIGNATURES", 5)
        river.pool(4)
        river.pool(4, key_index=INVITATION_KEY)
        river.pool(1, key_index=OPEN_KEY)
        river.publish()
        log = river.ledger.get_log(river.origin)
        for first, last in pairwise(river.kept):
            leaves = [entry.parse(log.read_leaf(at)) for at in range(first, last)]
            crowd = Counter(
                one.key_index for one in leaves if isinstance(one, entry.Signature)
            )
            # One of the open class hides nobody, and needs no crowd itself.
            assert {crowd[0], crowd[INVITATION_KEY]} <= {0, 4}
        assert count(river) == 9


class TestDanger:
    @pytest.fixture
    def river(self, make_river: MakeRiver) -> River:
        return make_river("danger")

    def test_a_crowd_of_k_is_published(self, river: River) -> None:
        river.pool(3)
        river.publish()
        assert count(river) == 3

    def test_a_smaller_one_waits_however_long(self, river: River) -> None:
        river.pool(2)
        assert river.publish(A_DAY_OF_INTERVALS + 2) == []
        assert count(river) == 0

    def test_a_smaller_one_comes_out_at_the_close(self, river: River) -> None:
        river.pool(2)
        river.publish()
        river.close("closing-day")
        assert count(river) == 2

    def test_the_open_class_needs_no_crowd(self, river: River) -> None:
        river.pool(1, key_index=OPEN_KEY)
        river.publish()
        assert count(river) == 1


@pytest.mark.parametrize("mode", ["standard", "careful", "danger"])
class TestPromises:
    def test_one_names_no_time_finer_than_the_interval(
        self, make_river: MakeRiver, mode: Mode
    ) -> None:
        river = make_river(mode)
        span = timedelta(seconds=river.settings.interval_seconds)
        named = {
            make_publish_by(settings=river.settings, at=river.clock.now() + part * span)
            for part in (0, 0.3, 0.99)
        }
        assert len(named) == 1

    def test_one_is_kept(self, make_river: MakeRiver, mode: Mode) -> None:
        closes_at = None
        if mode == "danger":
            # As announced before signing: the day on which small crowds come out.
            closes_at = make_river().clock.now() + timedelta(days=1)
        river = make_river(mode, closes_at=closes_at)
        # The server looks at its clock once a second, so it is that late.
        river.clock.advance(timedelta(seconds=1))
        by = make_publish_by(settings=river.settings, at=river.clock.now())
        river.pool(1)
        while count(river) == 0:
            river.publish()
            assert river.clock.now() < by
            if closes_at is not None and river.clock.now() >= closes_at:
                river.close("closing-day")
