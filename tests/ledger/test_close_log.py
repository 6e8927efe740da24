"""The end of a log: everything out, then the close leaf alone."""

from __future__ import annotations

import pytest

from undersigned_verify import entry

from tests.factories.ledgers import PowerCut, River, cut_at, require_accepted
from undersigned.ledger.data import Published
from undersigned.ledger.operations import LeafRefused
from undersigned.ledger.writer import LogNotAccepting

STEPS = [
    "choose",
    "append",
    "before-commit",
    "after-commit",
    "after-mark",
    "after-export",
    "after-hand-on",
]


def close(river: River) -> list[Published]:
    return river.close("closing-day")


class TestClosing:
    def test_it_publishes_what_waits_then_the_close_leaf_alone(
        self, river: River
    ) -> None:
        river.pool(2)
        river.control(entry.PublicRecord("answer", "a" * 64))
        done = close(river)
        assert [one.signatures for one in done] == [2, 0]
        assert river.kept == [6, 9, 10]
        log = river.ledger.get_log(river.origin)
        leaf = entry.parse(log.read_leaf(9))
        report = require_accepted(river.audit())
        assert isinstance(leaf, entry.Close)
        assert leaf.totals == report.totals
        assert leaf.reason == "closing-day"

    def test_it_takes_nothing_any_more(self, river: River) -> None:
        (asha,) = river.pool(1)
        late = river.make_signature()
        close(river)
        with pytest.raises(LogNotAccepting):
            river.submit(late).result()
        with pytest.raises(LeafRefused):
            river.control(river.make_removal(river.index_of(asha)))
        assert river.publish() == []
        require_accepted(river.audit())

    def test_it_still_takes_a_public_record(self, river: River) -> None:
        close(river)
        river.control(entry.PublicRecord("answer", "a" * 64))
        river.publish()
        assert require_accepted(river.audit()).tree_size == 8

    def test_it_happens_once(self, river: River) -> None:
        close(river)
        assert close(river) == []
        river.restart()
        assert close(river) == []
        assert river.kept == [6, 7]

    @pytest.mark.parametrize("step", STEPS)
    def test_it_finishes_what_was_cut_off(self, river: River, step: str) -> None:
        (asha, *_others) = river.pool(2)
        river.withdraw(asha)
        river.restart(cut_at(step))
        with pytest.raises(PowerCut):
            close(river)
        river.restart()
        close(river)
        report = require_accepted(river.audit())
        assert report.totals is not None
        assert (report.totals["net"], report.totals["withdrawals"]) == (1, 1)
        log = river.ledger.get_log(river.origin)
        assert log.is_closed
