"""Control leaves: checked when handed in, and again when they are published."""

from __future__ import annotations

from dataclasses import replace

import pytest

from undersigned_verify import entry
from undersigned_verify.canonical import encode_base64

from tests.factories.cast import MALLORYS_KEY, MINA, PETRA
from tests.factories.ledgers import Pooled, River, require_accepted
from undersigned.ledger.operations import LeafRefused, submit_control
from undersigned.ledger.queries import list_controls


@pytest.fixture
def signed(river: River) -> list[Pooled]:
    """Four published signatures."""
    pooled = river.pool(4)
    river.publish()
    return pooled


def get_totals(river: River) -> dict[str, object]:
    totals = require_accepted(river.audit()).totals
    assert totals is not None
    return totals


def refuse(river: River, leaf: entry.Entry) -> object:
    """Hand in a leaf that must be refused, and return the verifier's code for it."""
    with pytest.raises(LeafRefused) as caught:
        river.control(leaf)
    assert river.publish() == []
    assert river.failures == []
    return caught.value.data["fault"]


class TestARemoval:
    def test_it_moves_its_targets_with_two_approvals(
        self, river: River, signed: list[Pooled]
    ) -> None:
        river.control(river.make_removal(7, 9))
        river.publish()
        totals = get_totals(river)
        assert (totals["net"], totals["removals"]) == (2, 2)

    @pytest.mark.parametrize(
        "signers, fault",
        [
            ((("mina", MINA), ("mallory", MALLORYS_KEY)), "approval-unknown"),
            ((("mina", MINA), ("petra", MALLORYS_KEY)), "approval-signature"),
            ((("mina", PETRA), ("petra", MINA)), "approval-signature"),
        ],
    )
    def test_it_is_refused_without_two_true_approvals(
        self,
        river: River,
        signed: list[Pooled],
        signers: tuple[tuple[str, object], ...],
        fault: str,
    ) -> None:
        assert refuse(river, river.make_removal(7, signers=signers)) == fault  # type: ignore[arg-type]  # keys of the cast
        assert get_totals(river)["removals"] == 0

    def test_it_is_refused_with_an_approval_of_other_targets(
        self, river: River, signed: list[Pooled]
    ) -> None:
        good = river.make_removal(7)
        moved = replace(good, targets=((8, 8),))
        assert refuse(river, moved) == "approval-signature"

    @pytest.mark.parametrize(
        "index, fault", [(1, "target-not-signature"), (10, "target-absent")]
    )
    def test_it_is_refused_where_no_signature_stands(
        self, river: River, signed: list[Pooled], index: int, fault: str
    ) -> None:
        assert refuse(river, river.make_removal(index)) == fault

    def test_it_is_refused_for_what_is_removed_already(
        self, river: River, signed: list[Pooled]
    ) -> None:
        river.control(river.make_removal(7))
        river.publish()
        assert refuse(river, river.make_removal(7, 8)) == "target-state"

    def test_it_is_dropped_when_its_target_was_withdrawn_meanwhile(
        self, river: River, signed: list[Pooled]
    ) -> None:
        leaf = river.control(river.make_removal(river.index_of(signed[0])))
        river.withdraw(signed[0])
        (published,) = river.publish()
        assert published.refused == (leaf,)
        totals = get_totals(river)
        assert (totals["withdrawals"], totals["removals"]) == (1, 0)
        assert river.publish() == []

    def test_it_survives_a_restart(self, river: River, signed: list[Pooled]) -> None:
        river.control(river.make_removal(7))
        river.restart()
        river.publish()
        assert get_totals(river)["removals"] == 1

    def test_it_may_be_handed_in_twice(
        self, river: River, signed: list[Pooled]
    ) -> None:
        leaf = river.make_removal(7)
        assert river.control(leaf) == river.control(leaf)
        (published,) = river.publish()
        assert published.refused == ()
        assert get_totals(river)["removals"] == 1


class TestAnApproverKey:
    def make(self, name: str = "noor") -> entry.ApproverKey:
        public = MALLORYS_KEY.public_key().public_bytes_raw()
        return entry.ApproverKey(name, encode_base64(public))

    def test_it_approves_from_the_publication_after_its_own(
        self, river: River, signed: list[Pooled]
    ) -> None:
        removal = river.make_removal(
            7, signers=(("mina", MINA), ("noor", MALLORYS_KEY))
        )
        river.control(self.make())
        with pytest.raises(LeafRefused):
            river.control(removal)
        river.publish()
        river.control(removal)
        river.publish()
        assert get_totals(river)["removals"] == 1

    def test_it_is_refused_for_a_known_name_or_key(self, river: River) -> None:
        assert refuse(river, self.make("mina")) == "approver-again"
        public = MINA.public_key().public_bytes_raw()
        second = entry.ApproverKey("noor", encode_base64(public))
        assert refuse(river, second) == "approver-again"


class TestWhatIsNoControlLeaf:
    @pytest.mark.parametrize("leaf", [b"", b"\x01", b"\x01\x0a{}", b"\x01\x07{ }"])
    def test_it_is_refused(self, river: River, leaf: bytes) -> None:
        with pytest.raises(LeafRefused):
            submit_control(ledger=river.ledger, origin=river.origin, leaf=leaf)
        assert river.publish() == []
        assert river.failures == []

    def test_a_signature_is_not_pooled_as_one(self, river: River) -> None:
        # It would come out before the controls that follow it in order of type.
        leaf = river.make_signature().signature.leaf
        with pytest.raises(LeafRefused):
            submit_control(ledger=river.ledger, origin=river.origin, leaf=leaf)
        assert river.publish() == []

    def test_a_close_leaf_is_not_pooled_as_one(self, river: River) -> None:
        state = river.ledger.get_log(river.origin).state
        close = entry.encode(entry.Close("done", state.totals()))
        with pytest.raises(LeafRefused):
            submit_control(ledger=river.ledger, origin=river.origin, leaf=close)
        assert river.publish() == []


def test_published_controls_can_be_listed_but_withdrawals(
    river: River, signed: list[Pooled]
) -> None:
    river.control(entry.PublicRecord("answer", "a" * 64))
    river.withdraw(signed[0])
    river.publish()
    found = list_controls(ledger=river.ledger, origin=river.origin)
    assert [(index, leaf.number) for index, leaf in found] == [
        (0, 0),
        (1, 2),
        (2, 2),
        (3, 2),
        (4, 9),
        (5, 9),
        (11, 7),
    ]
