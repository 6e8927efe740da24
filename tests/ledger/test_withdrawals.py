"""A signer takes a signature back, before or after it is public."""

from __future__ import annotations

import threading
from concurrent.futures import Future

import pytest

from undersigned_verify import entry

from tests.factories.ledgers import Pooled, River, require_accepted
from undersigned.ledger.operations import (
    WithdrawalNotAllowed,
    start_withdrawal,
)
from undersigned.ledger.writer import LogNotAccepting


def get_totals(river: River) -> tuple[object, object, object]:
    totals = require_accepted(river.audit()).totals
    assert totals is not None
    return totals["net"], totals["withdrawals"], totals["removals"]


@pytest.fixture
def asha(river: River) -> Pooled:
    """Asha's published signature, among others."""
    (asha, *_others) = river.pool(3)
    river.publish()
    return asha


class TestAPublishedSignature:
    def test_it_is_withdrawn_at_the_next_publication(
        self, river: River, asha: Pooled
    ) -> None:
        river.withdraw(asha)
        assert get_totals(river) == (3, 0, 0)
        river.publish()
        assert get_totals(river) == (2, 1, 0)

    def test_it_is_withdrawn_once_however_often_it_is_asked(
        self, river: River, asha: Pooled
    ) -> None:
        river.withdraw(asha)
        river.withdraw(asha)
        river.publish()
        assert get_totals(river) == (2, 1, 0)
        with pytest.raises(WithdrawalNotAllowed):
            river.withdraw(asha)
        assert river.publish() == []

    def test_it_stays_without_its_own_secret(self, river: River, asha: Pooled) -> None:
        with pytest.raises(WithdrawalNotAllowed):
            river.withdraw(asha, w=bytes(32))
        assert river.publish() == []
        assert get_totals(river) == (3, 0, 0)

    def test_it_can_be_withdrawn_after_it_was_removed(
        self, river: River, asha: Pooled
    ) -> None:
        river.control(river.make_removal(river.index_of(asha)))
        river.publish()
        assert get_totals(river) == (2, 0, 1)
        river.withdraw(asha)
        river.publish()
        assert get_totals(river) == (2, 1, 0)

    def test_it_is_withdrawn_after_a_restart_too(
        self, river: River, asha: Pooled
    ) -> None:
        river.withdraw(asha)
        river.restart()
        river.publish()
        assert get_totals(river) == (2, 1, 0)


class TestAPooledSignature:
    def test_it_is_published_first_and_withdrawn_an_interval_later(
        self, river: River
    ) -> None:
        (asha,) = river.pool(1)
        river.withdraw(asha)
        river.publish()
        assert get_totals(river) == (1, 0, 0)
        river.publish()
        assert get_totals(river) == (0, 1, 0)

    def test_it_stays_without_its_own_secret(self, river: River) -> None:
        (asha,) = river.pool(1)
        with pytest.raises(WithdrawalNotAllowed):
            river.withdraw(asha, w=bytes(32))
        river.publish(2)
        assert get_totals(river) == (1, 0, 0)

    def test_its_withdrawal_survives_a_restart(self, river: River) -> None:
        (asha,) = river.pool(1)
        river.withdraw(asha)
        river.restart()
        river.publish(2)
        assert get_totals(river) == (0, 1, 0)

    def test_both_come_out_at_the_close(self, river: River) -> None:
        (asha, *_others) = river.pool(2)
        river.withdraw(asha)
        close(river)
        assert get_totals(river) == (1, 1, 0)


def test_an_unknown_signature_cannot_be_withdrawn(river: River) -> None:
    stranger = river.make_signature()
    with pytest.raises(WithdrawalNotAllowed):
        river.withdraw(stranger)


def close(river: River) -> None:
    river.close("closed-by-organiser")


class TestClosing:
    def test_it_ends_withdrawal(self, river: River, asha: Pooled) -> None:
        close(river)
        with pytest.raises(LogNotAccepting):
            river.withdraw(asha)
        assert get_totals(river) == (3, 0, 0)

    def test_it_loses_no_withdrawal_that_was_accepted(
        self, river: River, asha: Pooled
    ) -> None:
        # Asked for while the last publication before the close leaf runs.
        river.pool(1)
        asked: list[Future[None]] = []
        chosen = threading.Event()

        def ask_late(step: str) -> None:
            if step == "after-hand-on" and not chosen.is_set():
                chosen.set()
                asked.append(
                    start_withdrawal(
                        ledger=river.ledger,
                        origin=river.origin,
                        nonce=asha.nonce,
                        w=asha.w,
                    )
                )

        river.restart(ask_late)
        close(river)
        (late,) = asked
        accepted = late.exception() is None
        assert get_totals(river) == ((3, 1, 0) if accepted else (4, 0, 0))

    def test_it_loses_no_withdrawal_that_comes_just_before_the_close_leaf(
        self, river: River, asha: Pooled
    ) -> None:
        asked: list[Future[None]] = []
        rounds: list[str] = []

        def ask_late(step: str) -> None:
            if step != "choose":
                return
            rounds.append(step)
            if len(rounds) == 1:
                asked.append(
                    start_withdrawal(
                        ledger=river.ledger,
                        origin=river.origin,
                        nonce=asha.nonce,
                        w=asha.w,
                    )
                )

        river.restart(ask_late)
        close(river)
        (late,) = asked
        accepted = late.exception() is None
        assert get_totals(river) == ((2, 1, 0) if accepted else (3, 0, 0))
        last = river.ledger.get_log(river.origin)
        assert isinstance(entry.parse(last.read_leaf(last.size - 1)), entry.Close)
