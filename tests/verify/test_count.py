"""The state machine as a log's writer uses it; its rules are tested in test_rules."""

import random

import pytest

from undersigned_verify import entry as leaf
from undersigned_verify.count import LogState, State
from undersigned_verify.errors import Fault
from undersigned_verify.token import encode_spki

from tests.verify.building import CASE, Issuer, LogBuilder


def snapshot(state: LogState) -> tuple[object, ...]:
    return (
        bytes(state.cells),
        state.kept,
        state.closed,
        dict(state.sheets),
        {index: key.decided for index, key in state.keys.items()},
        set(state.approvers),
        state.totals() if state.header else None,
    )


@pytest.fixture
def busy(log: LogBuilder) -> LogBuilder:
    """A log with signatures in every state."""
    log.sign("a", "b", "c", "d").sign("o", key_index=1).sign("q", "r", key_index=2)
    log.publish().withdraw("a").remove("b", "q").publish().reinstate("b").publish()
    return log.add(log.approve(leaf.PaperSheet(1, 9, 8, CASE))).publish()


class TestApply:
    def test_it_changes_all_or_nothing(self, busy: LogBuilder) -> None:
        state = busy.recount()
        before = snapshot(state)
        at = busy.index_of("c")
        gone = busy.index_of("a")
        for entry in (
            # The first range is right, the second is not.
            busy.approve(leaf.Removal(((at, at), (gone, gone)), None, "x", CASE))
            if at < gone
            else busy.approve(leaf.Removal(((gone, gone), (at, at)), None, "x", CASE)),
            leaf.Withdrawal(at, bytes(32)),
            leaf.Close("x", state.totals()),
            busy.header,
            busy.make_signature("z", issuer=busy.issuers[0], key_index=9),
        ):
            with pytest.raises(Fault) as checked:
                state.check(entry)
            with pytest.raises(Fault) as applied:
                state.apply(state.size, entry)
            assert checked.value.code == applied.value.code
            assert applied.value.index == state.size
            assert snapshot(state) == before

    def test_leaves_come_in_order(self, busy: LogBuilder) -> None:
        state = busy.recount()
        for index in (0, state.size - 1, state.size + 1):
            with pytest.raises(ValueError, match="cannot follow"):
                state.apply(index, leaf.PublicRecord("x", CASE))

    def test_it_begins_with_a_header(self) -> None:
        state = LogState(lambda index: b"")
        with pytest.raises(Fault, match="header-missing"):
            state.apply(0, leaf.PublicRecord("x", CASE))
        with pytest.raises(Fault, match="header-missing"):
            _ = state.challenge
        with pytest.raises(Fault, match="header-missing"):
            state.apply_signatures([0], b"\0")

    def test_approvals_given_by_hand_are_counted(self, busy: LogBuilder) -> None:
        state = busy.recount()
        entry = busy.approve(leaf.PaperSheet(2, 1, 1, CASE))
        state.check(entry)
        for approvals in (entry.approvals[:1], entry.approvals[:1] * 2, ()):
            bare = leaf.PaperSheet(2, 1, 1, CASE, approvals)
            with pytest.raises(Fault, match="leaf-value"):
                state.check(bare)

    def test_a_target_that_is_not_what_it_was(self, busy: LogBuilder) -> None:
        state = LogState(lambda index: busy.leaves[0])
        for index, data in enumerate(busy.leaves[: busy.kept[1]]):
            state.apply(index, leaf.parse(data))
            if index + 1 in busy.kept:
                state.checkpoint(index + 1)
        withdrawal = leaf.Withdrawal(busy.index_of("a"), busy.secret_w("a"))
        with pytest.raises(Fault, match="withdrawal-secret"):
            state.check(withdrawal)


class TestCheckpoints:
    def test_they_only_grow(self, busy: LogBuilder) -> None:
        state = busy.recount()
        state.checkpoint(state.size)
        for size in (state.size - 1, state.size + 1):
            with pytest.raises(ValueError, match="checkpoint"):
                state.checkpoint(size)


class TestQueries:
    def test_a_leaf_has_a_state_if_it_is_a_signature(self, busy: LogBuilder) -> None:
        state = busy.recount()
        assert state.state_of(0) is None
        found = {name: state.state_of(busy.index_of(name)) for name in "abcoqr"}
        assert found == {
            "a": State.WITHDRAWN,
            "b": State.STANDING,
            "c": State.STANDING,
            "o": State.STANDING,
            "q": State.REMOVED,
            "r": State.HELD,
        }

    def test_the_count_is_canonical(self, busy: LogBuilder) -> None:
        state = busy.recount()
        data = state.count_json(bytes(32))
        assert data.startswith(b'{"by_class":{"email":3,"invitation":0,"open":1,')
        assert b'"paper":8,"removals":1,"root_hash":"0000' in data
        assert data.endswith(b'"signatures":7,"tree_size":17,"withdrawals":1}')

    def test_the_challenge_is_the_header_s(self, busy: LogBuilder) -> None:
        assert busy.recount().challenge == busy.challenge


class TestRestore:
    def test_it_is_what_it_was(self, busy: LogBuilder) -> None:
        for closed in (False, True):
            if closed:
                busy.remove_key(2).publish().close().publish()
            state = busy.recount()
            controls = [
                (index, leaf.parse(data))
                for index, data in enumerate(busy.leaves)
                if data[1] not in (leaf.SIGNATURE, leaf.WITHDRAWAL)
            ]
            again = LogState.restore(
                busy.leaves.__getitem__, controls, bytes(state.cells), state.kept
            )
            assert snapshot(again) == snapshot(state)
            assert again.keys == state.keys
            assert again.approvers == state.approvers
            assert again.challenge == state.challenge
            record = leaf.PublicRecord("x", CASE)
            again.apply(again.size, record)
            state.apply(state.size, record)
            assert again.cells == state.cells


class TestBulk:
    def test_many_are_applied_as_one_by_one(self, busy: LogBuilder) -> None:
        one, many = busy.recount(), busy.recount()
        seeded = random.Random(7)
        indexes = [seeded.choice((0, 1, 2)) for _ in range(300)]
        stances = bytes(seeded.choice((0, 1, 2)) for _ in range(300))
        for key_index, stance in zip(indexes, stances, strict=True):
            signature = leaf.Signature(
                key_index, stance, bytes(32), bytes(32), bytes(32), bytes(256)
            )
            one.apply(one.size, signature)
        many.apply_signatures(indexes, stances)
        assert snapshot(one) == snapshot(many)
        many.apply_signatures([], b"")
        assert snapshot(one) == snapshot(many)

    def test_what_precedes_a_bad_one_stays(self, busy: LogBuilder) -> None:
        state = busy.recount()
        size = state.size
        with pytest.raises(Fault, match="key-unknown") as caught:
            state.apply_signatures([0, 1, 7, 0, 6], bytes(5))
        assert caught.value.index == size + 2
        assert state.size == size + 2

    def test_a_key_announced_since_the_last_checkpoint_is_too_new(
        self, busy: LogBuilder
    ) -> None:
        state = busy.recount()
        state.apply(state.size, leaf.IssuerKey(9, 2, 0, encode_spki(2**2047 + 99)))
        with pytest.raises(Fault, match="key-too-new"):
            state.apply_signatures([9], b"\0")
        state.checkpoint(state.size)
        state.apply_signatures([9], b"\0")

    def test_twelve_keys_fit_their_cells(self, issuers: list[Issuer]) -> None:
        log = LogBuilder()
        for number in range(12):
            klass, flags = (number + 1, 0) if number < 4 else (1, 1)
            spki = encode_spki(2**2047 + 2 * number + 1)
            log.add(leaf.IssuerKey(number, klass, flags, spki))
        state = log.publish().recount()
        state.apply_signatures(
            list(range(12)) * 3, bytes([0] * 12 + [1] * 12 + [2] * 12)
        )
        assert state.totals()["held"] == 24
        assert state.totals()["net"] == 9
        assert state.totals()["open_net"] == 3
