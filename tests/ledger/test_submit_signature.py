"""The pool: durable when acknowledged, one row a nonce."""

from __future__ import annotations

import threading

import pytest

from tests.factories.ledgers import River, require_accepted
from undersigned.kernel.batching import StoreStopped
from undersigned.ledger.operations import stop_accepting
from undersigned.ledger.queries import count_pooled, is_pooled
from undersigned.ledger.writer import LogNotAccepting


class TestASignature:
    def test_it_is_pooled_once_acknowledged(self, river: River) -> None:
        (asha,) = river.pool(1)
        log = river.ledger.get_log(river.origin)
        assert is_pooled(ledger=river.ledger, log=log, nonce=asha.nonce)
        assert count_pooled(ledger=river.ledger, origin=river.origin) == {0: 1}

    def test_it_survives_a_restart(self, river: River) -> None:
        river.pool(3)
        river.restart()
        assert [one.signatures for one in river.publish()] == [3]
        require_accepted(river.audit())

    def test_it_may_be_sent_twice_and_stands_once(self, river: River) -> None:
        asha = river.make_signature()
        river.submit_all([asha, asha])
        river.submit_all([asha])
        assert [one.signatures for one in river.publish()] == [1]
        require_accepted(river.audit())

    def test_it_may_be_sent_again_after_publication(self, river: River) -> None:
        (asha,) = river.pool(1)
        river.publish()
        river.submit_all([asha])
        assert river.publish() == []
        assert require_accepted(river.audit()).tree_size == 7

    def test_many_at_once_are_all_kept(self, river: River) -> None:
        river.pool(40)
        assert [one.signatures for one in river.publish()] == [40]
        require_accepted(river.audit())


class TestABatch:
    def test_new_known_and_published_ones_may_come_together(self, river: River) -> None:
        published = river.pool(2)
        river.publish()
        (pooled,) = river.pool(1)
        new = [river.make_signature() for _number in range(21)]
        gate = threading.Event()
        river.ledger.writer.start_task(gate.wait)
        waiting = [
            river.submit(one) for one in (*published, pooled, *new, new[0], *published)
        ]
        gate.set()
        assert [future.exception(10) for future in waiting] == [None] * len(waiting)
        assert [one.signatures for one in river.publish()] == [22]
        assert require_accepted(river.audit()).tree_size == 30


class TestAClosedPool:
    def test_it_refuses_and_keeps_what_it_had(self, river: River) -> None:
        river.pool(1)
        late = river.make_signature()
        stop_accepting(ledger=river.ledger, origin=river.origin)
        with pytest.raises(LogNotAccepting):
            river.submit(late).result()
        assert [one.signatures for one in river.publish()] == [1]
        require_accepted(river.audit())

    def test_it_answers_again_for_what_it_has(self, river: River) -> None:
        (published,) = river.pool(1)
        river.publish()
        (pooled,) = river.pool(1)
        stop_accepting(ledger=river.ledger, origin=river.origin)
        for one in (published, pooled):
            river.submit(one).result()
        late = river.make_signature()
        waiting = [river.submit(one) for one in (late, published)]
        assert isinstance(waiting[0].exception(), LogNotAccepting)
        assert waiting[1].exception() is None
        assert [one.signatures for one in river.publish()] == [1]

    def test_it_stays_closed_after_a_restart(self, river: River) -> None:
        late = river.make_signature()
        stop_accepting(ledger=river.ledger, origin=river.origin)
        river.restart()
        with pytest.raises(LogNotAccepting):
            river.submit(late).result()


def test_a_stopped_ledger_refuses_at_once(river: River) -> None:
    late, ledger = river.make_signature(), river.ledger
    ledger.stop()
    with pytest.raises(StoreStopped):
        river.submit(late).result()
    river.restart()
    river.submit(late).result()
