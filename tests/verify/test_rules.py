"""Where a leaf may stand: each rule with a log that obeys it and one that does not.

Every log here is audited whole, from its files. The refused one differs in one step.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from undersigned_verify import entry as leaf
from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.canonical import encode_base64
from undersigned_verify.count import State
from undersigned_verify.errors import Fault
from undersigned_verify.token import encode_spki

from tests.verify.building import (
    CASE,
    MINA,
    NOOR,
    STATEMENT,
    Approver,
    Issuer,
    LogBuilder,
    rank,
)

NewLog = Callable[..., LogBuilder]
Audit = Callable[[LogBuilder], AuditReport]
RECORD = leaf.PublicRecord("answer", CASE)


@pytest.fixture
def audit(tmp_path: Path) -> Audit:
    """Export a log and audit it."""

    def run(log: LogBuilder) -> AuditReport:
        # A log that breaks a rule has no true count; its fault comes first.
        try:
            log.recount()
            count = None
        except Fault:
            count = b"{}"
        root = log.export(tmp_path / str(len(list(tmp_path.iterdir()))), count=count)
        return audit_log(root, workers=1)

    return run


@pytest.fixture
def accept(audit: Audit) -> Callable[[LogBuilder], dict[str, object]]:
    def run(log: LogBuilder) -> dict[str, object]:
        report = audit(log)
        assert report.fault is None, report.fault
        assert report.verdict == "accepted"
        assert report.totals is not None
        return report.totals

    return run


@pytest.fixture
def refuse(audit: Audit) -> Callable[..., None]:
    def run(log: LogBuilder, code: str, index: int | None = None) -> None:
        report = audit(log)
        assert report.fault is not None
        assert (report.fault.code, report.verdict) == (code, "refused")
        if index is not None:
            assert report.fault.index == index
        assert report.fault.path is not None

    return run


Accept = Callable[[LogBuilder], dict[str, object]]
Refuse = Callable[..., None]


def spare_spki(number: int) -> bytes:
    """Return an issuer key that nobody can sign with."""
    return encode_spki(2**2047 + 2 * number + 1)


class TestHeader:
    def test_it_is_leaf_0(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log)
        log.leaves[0] = leaf.encode(RECORD)
        refuse(log, "header-missing", 0)

    def test_it_is_leaf_0_only(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.add(RECORD).publish())
        refuse(log.add(log.header).publish(), "header-again", len(log.leaves) - 1)

    def test_it_is_not_repeated_after_the_close(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.remove_key(2).publish().close().publish())
        refuse(log.add(log.header).publish(), "header-again")

    def test_it_names_this_log(self, refuse: Refuse, log: LogBuilder) -> None:
        other = replace(log.header, origin="example.org/c/lake")
        log.leaves[0] = leaf.encode(other)
        refuse(log, "checkpoint-origin", 0)


class TestIssuerKeys:
    def test_a_class_is_the_header_s(self, accept: Accept, refuse: Refuse) -> None:
        for klass, good in ((1, True), (2, False)):
            log = LogBuilder(classes=("email",))
            log.add(leaf.IssuerKey(7, klass, 0, spare_spki(1))).publish()
            if good:
                accept(log)
            else:
                refuse(log, "key-class", 1)

    def test_an_index_names_one_key(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.add(leaf.IssuerKey(3, 2, 0, spare_spki(1))).publish())
        log.add(leaf.IssuerKey(3, 3, 0, spare_spki(2))).publish()
        refuse(log, "key-index-again", len(log.leaves) - 1)

    def test_no_key_stands_twice(
        self, accept: Accept, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        accept(log.add(leaf.IssuerKey(3, 2, 0, spare_spki(1))).publish())
        log.add(leaf.IssuerKey(4, 3, 0, issuers[0].spki)).publish()
        refuse(log, "key-spki-again", len(log.leaves) - 1)

    def test_a_class_has_one_ordinary_key(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.add(leaf.IssuerKey(3, 1, 1, spare_spki(1))).publish())
        log.add(leaf.IssuerKey(4, 1, 0, spare_spki(2))).publish()
        refuse(log, "key-class-again", len(log.leaves) - 1)

    def test_at_most_eight_are_in_quarantine(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        # The usual log has one already; deciding about one makes no room.
        log.remove_key(2).publish()
        for number in range(7):
            log.add(leaf.IssuerKey(10 + number, 1, 1, spare_spki(number)))
        accept(log.publish())
        log.add(leaf.IssuerKey(20, 1, 1, spare_spki(9))).publish()
        refuse(log, "key-quarantine-many", len(log.leaves) - 1)

    def test_none_is_in_quarantine_in_danger_mode(
        self, accept: Accept, refuse: Refuse, new_log: NewLog
    ) -> None:
        for mode in ("standard", "careful", "danger"):
            log = new_log(mode=mode)
            log.add(leaf.IssuerKey(5, 1, 1, spare_spki(1))).publish()
            if mode == "danger":
                refuse(log, "key-quarantine-danger", len(log.leaves) - 1)
            else:
                accept(log)


class TestSignatures:
    def test_a_key_stands_in_an_earlier_kept_checkpoint(
        self, accept: Accept, refuse: Refuse, issuers: list[Issuer]
    ) -> None:
        log = LogBuilder().announce(0, issuers[0]).publish()
        accept(log.sign("asha").publish())
        log = LogBuilder().announce(0, issuers[0]).sign("asha").publish()
        refuse(log, "key-too-new", 2)

    def test_a_key_is_announced(
        self, accept: Accept, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        accept(log.sign("asha").publish())
        log.issuers[9] = issuers[0]
        refuse(log.sign("mallory", key_index=9).publish(), "key-unknown")

    def test_the_first_bad_key_of_many_is_named(
        self, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        log.issuers |= {8: issuers[0], 9: issuers[0]}
        log.sign("a", "b", "c").sign("m1", "m2", key_index=8).sign("m3", key_index=9)
        log.publish()
        bad = next(
            i
            for i, data in enumerate(log.leaves)
            if data[1:4] in (b"\1\0\x08", b"\1\0\x09")
        )
        refuse(log, "key-unknown", bad)

    def test_a_token_verifies(
        self, accept: Accept, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        accept(log.sign("asha").publish())
        forged = log.make_signature("mallory", issuer=issuers[1])
        log.add(forged).publish()
        refuse(log, "token-invalid", len(log.leaves) - 1)

    @pytest.mark.parametrize(
        "change",
        [
            {"stance": 1},
            {"public_hash": bytes(31) + b"\1"},
            {"withdraw_hash": bytes(32)},
            {"r": bytes(32)},
            {"key_index": 1},
        ],
        ids=str,
    )
    def test_a_token_is_for_these_choices_only(
        self, refuse: Refuse, log: LogBuilder, change: dict[str, int]
    ) -> None:
        signature = replace(log.make_signature("asha"), **change)  # type: ignore[arg-type]  # ints and bytes
        refuse(log.add(signature).publish(), "token-invalid", len(log.leaves) - 1)

    def test_a_token_is_for_this_log_only(
        self, accept: Accept, refuse: Refuse, new_log: NewLog
    ) -> None:
        here, there = new_log(), new_log(origin="example.org/c/river/2")
        accept(there.sign("asha").publish())
        refuse(here.add(there.make_signature("asha")).publish(), "token-invalid")

    def test_a_stance_is_known(self, refuse: Refuse, log: LogBuilder) -> None:
        data = bytearray(leaf.encode(log.make_signature("asha")))
        data[4] = 3
        refuse(log.add(bytes(data)).publish(), "leaf-value", len(log.leaves) - 1)

    def test_nonces_differ(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.sign("asha", "noor").publish().sign("mei").publish())
        # The same choices signed again: PSS is randomised, so the bytes differ.
        refuse(log.sign("asha").publish(), "nonce-again", len(log.leaves) - 1)

    def test_nonces_differ_within_an_interval(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", "asha").publish()
        refuse(log, "nonce-again", len(log.leaves) - 1)

    def test_an_earlier_repeat_is_named_before_a_later_fault(
        self, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        log.sign("asha", "noor").publish().sign("asha").publish()
        repeat = len(log.leaves) - 1
        log.add(log.make_signature("mallory", issuer=issuers[1])).publish()
        refuse(log, "nonce-again", repeat)

    def test_an_earlier_fault_is_named_before_a_later_repeat(
        self, refuse: Refuse, log: LogBuilder, issuers: list[Issuer]
    ) -> None:
        log.add(log.make_signature("mallory", issuer=issuers[1])).publish()
        forged = len(log.leaves) - 1
        log.sign("asha").publish().sign("asha").publish()
        refuse(log, "token-invalid", forged)


class TestWithdrawals:
    def test_one_opens_its_target(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", "noor").publish()
        totals = accept(log.withdraw("asha").publish())
        assert (totals["signatures"], totals["net"], totals["withdrawals"]) == (2, 1, 1)
        wrong = leaf.Withdrawal(log.index_of("noor"), log.secret_w("asha"))
        refuse(log.add(wrong).publish(), "withdrawal-secret", len(log.leaves) - 1)

    def test_one_is_final(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.sign("asha").publish().withdraw("asha").publish())
        refuse(log.withdraw("asha").publish(), "target-state", len(log.leaves) - 1)

    def test_twice_in_one_interval_is_once_too_often(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha").publish().withdraw("asha").withdraw("asha").publish()
        refuse(log, "target-state", len(log.leaves) - 1)

    @pytest.mark.parametrize("target", [0, 1])
    def test_one_aims_at_a_signature(
        self, refuse: Refuse, log: LogBuilder, target: int
    ) -> None:
        log.sign("asha").publish().add(leaf.Withdrawal(target, log.secret_w("asha")))
        refuse(log.publish(), "target-not-signature", len(log.leaves) - 1)

    @pytest.mark.parametrize("ahead", [0, 1, 2**32, 2**63, 2**64 - 1])
    def test_one_aims_at_an_earlier_leaf(
        self, refuse: Refuse, log: LogBuilder, ahead: int
    ) -> None:
        target = min(len(log.leaves) + ahead, 2**64 - 1)
        log.add(leaf.Withdrawal(target, bytes(32))).publish()
        refuse(log, "target-absent", len(log.leaves) - 1)

    def test_it_waits_until_its_target_is_published(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        # Control leaves come first, so its target stands behind it.
        target = len(log.leaves) + 1
        log.sign("asha").add(leaf.Withdrawal(target, log.secret_w("asha"))).publish()
        refuse(log, "target-absent", target - 1)

    def test_from_held_and_removed_too(self, accept: Accept, log: LogBuilder) -> None:
        log.sign("asha").sign("noor", key_index=2).publish().remove("asha").publish()
        assert accept(log)["removals"] == accept(log)["held"] == 1
        totals = accept(log.withdraw("asha").withdraw("noor").publish())
        assert (totals["withdrawals"], totals["removals"], totals["held"]) == (2, 0, 0)


class TestRemovals:
    def test_one_by_targets_is_from_standing_or_held(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", "noor").sign("mei", key_index=2).publish()
        totals = accept(log.remove("asha", "mei").publish())
        assert (totals["removals"], totals["held"], totals["net"]) == (2, 0, 1)
        refuse(log.remove("asha").publish(), "target-state", len(log.leaves) - 1)

    def test_one_does_not_touch_what_was_withdrawn(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha").publish().withdraw("asha").publish().remove("asha").publish()
        refuse(log, "target-state", len(log.leaves) - 1)

    def test_ranges_hold_signatures_only(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("a", "b").publish().add(RECORD).sign("c").publish()
        first, last = log.index_of("a"), log.index_of("c")
        assert last - min(first, log.index_of("b")) == 3
        low = min(first, log.index_of("b"))
        apart = leaf.Removal(((low, low + 1), (last, last)), None, "x", CASE)
        across = leaf.Removal(((low, last),), None, "x", CASE)
        bad = replace_last(log, log.approve(across))
        refuse(bad, "target-not-signature", len(bad.leaves) - 1)
        accept(replace_last(log, log.approve(apart)))

    def test_targets_are_earlier_leaves(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha").publish()
        at = log.index_of("asha")
        for last, code in ((at + 1, "target-absent"), (2**53, "target-absent")):
            entry = leaf.Removal(((at, last),), None, "x", CASE)
            refuse(replace_last(log, log.approve(entry)), code)
        accept(
            replace_last(log, log.approve(leaf.Removal(((at, at),), None, "x", CASE)))
        )

    def test_a_paper_sheet_replaces_its_number(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        for rows in (20, 15):
            log.add(log.approve(leaf.PaperSheet(1, 60, rows, CASE)))
            log.add(log.approve(leaf.PaperSheet(2, 60, 1, CASE))).publish()
        assert accept(log)["paper"] == 16
        lone = log.approve(leaf.PaperSheet(3, 60, 1, CASE), MINA, Approver.called("x"))
        refuse(log.add(lone).publish(), "approval-unknown", len(log.leaves) - 1)


def replace_last(log: LogBuilder, entry: leaf.Entry) -> LogBuilder:
    """Return a copy of the log with one more leaf."""
    copy = LogBuilder(origin=log.origin)
    copy.issuers = log.issuers
    copy.leaves, copy.kept, copy.pending = log.leaves[:], log.kept[:], []
    return copy.add(entry).publish()


class TestQuarantine:
    def test_signatures_enter_held(self, accept: Accept, log: LogBuilder) -> None:
        totals = accept(log.sign("asha", key_index=2).sign("mei").publish())
        assert (totals["held"], totals["net"], totals["signatures"]) == (1, 1, 2)
        assert log.recount().state_of(log.index_of("asha")) == State.HELD

    def test_a_released_key_frees_them_and_later_ones(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("a", "b", key_index=2).publish().withdraw("b").publish()
        totals = accept(log.release_key(2).publish().sign("c", key_index=2).publish())
        assert (totals["held"], totals["net"], totals["withdrawals"]) == (0, 2, 1)
        refuse(log.release_key(2).publish(), "key-decided", len(log.leaves) - 1)

    def test_a_removed_key_takes_them_and_later_ones(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("a", "b", key_index=2, stance=2).sign("d").publish()
        totals = accept(log.remove_key(2).publish().sign("c", key_index=2).publish())
        assert (totals["held"], totals["net"], totals["removals"]) == (0, 1, 3)
        refuse(log.release_key(2).publish(), "key-decided", len(log.leaves) - 1)

    @pytest.mark.parametrize("key_index", [0, 9])
    @pytest.mark.parametrize("act", [LogBuilder.remove_key, LogBuilder.release_key])
    def test_only_a_quarantine_key_is_decided(
        self,
        refuse: Refuse,
        log: LogBuilder,
        act: Callable[..., LogBuilder],
        key_index: int,
    ) -> None:
        act(log, key_index)
        refuse(log.publish(), "key-not-quarantine", len(log.leaves) - 1)

    def test_reinstatement_is_from_removed(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", "noor").publish().remove("asha").publish()
        totals = accept(log.reinstate("asha").publish())
        assert (totals["removals"], totals["net"]) == (0, 2)
        refuse(log.reinstate("noor").publish(), "target-state", len(log.leaves) - 1)

    def test_reinstatement_is_not_from_held(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", key_index=2).publish().reinstate("asha").publish()
        refuse(log, "target-state", len(log.leaves) - 1)

    def test_reinstatement_is_to_held_while_the_key_is_undecided(
        self, accept: Accept, log: LogBuilder
    ) -> None:
        log.sign("asha", key_index=2, stance=1).sign("noor").publish()
        log.remove("asha", "noor").publish().reinstate("asha", "noor").publish()
        totals = accept(log)
        assert (totals["held"], totals["net"], totals["removals"]) == (1, 1, 0)

    def test_reinstatement_is_to_standing_once_it_is_decided(
        self, accept: Accept, log: LogBuilder
    ) -> None:
        log.sign("asha", key_index=2).publish().remove_key(2).publish()
        assert accept(log)["removals"] == 1
        totals = accept(log.reinstate("asha").publish())
        assert (totals["removals"], totals["net"]) == (0, 1)


class TestApprovals:
    def make(self, log: LogBuilder, *approvers: Approver) -> LogBuilder:
        log.sign("asha").publish()
        at = log.index_of("asha")
        entry = leaf.Removal(((at, at),), None, "x", CASE)
        return log.add(log.approve(entry, *approvers)).publish()

    def test_two_announced_approvers_approve(
        self, accept: Accept, refuse: Refuse, new_log: NewLog
    ) -> None:
        accept(self.make(new_log(), MINA, NOOR))
        accept(self.make(new_log(), NOOR, MINA))
        refuse(
            self.make(new_log(), MINA, Approver.called("mallory")), "approval-unknown"
        )

    def test_each_signs_with_its_own_key(self, refuse: Refuse, log: LogBuilder) -> None:
        false_noor = Approver("noor", Approver.called("mallory").private)
        log = self.make(log, MINA, false_noor)
        refuse(log, "approval-signature", len(log.leaves) - 1)

    def test_an_approval_is_for_this_leaf_in_this_log(
        self, refuse: Refuse, new_log: NewLog
    ) -> None:
        log, other = new_log(), new_log(origin="example.org/c/lake")
        log.sign("asha").publish()
        at = log.index_of("asha")
        entry = leaf.Removal(((at, at),), None, "x", CASE)
        foreign = replace(entry, approvals=other.approve(entry).approvals)
        moved = replace(log.approve(entry), reason="y")
        kind = leaf.Release(entry.targets, None, "x", CASE)
        for bad in (
            foreign,
            moved,
            replace(kind, approvals=log.approve(entry).approvals),
        ):
            refuse(replace_last(log, bad), "approval-signature")

    def test_an_approver_stands_in_an_earlier_checkpoint(
        self, accept: Accept, refuse: Refuse, issuers: list[Issuer]
    ) -> None:
        for apart in (True, False):
            log = LogBuilder().announce(0, issuers[0]).add(MINA.announcement).publish()
            log.sign("asha").publish().add(NOOR.announcement)
            if apart:
                log.publish()
            accept_or_refuse = log.remove("asha").publish()
            if apart:
                accept(accept_or_refuse)
            else:
                # Sorted by type, the removal precedes the key that approves it.
                refuse(accept_or_refuse, "approval-unknown")

    def test_an_approver_is_too_new_even_when_unsorted(
        self, refuse: Refuse, issuers: list[Issuer]
    ) -> None:
        log = LogBuilder().announce(0, issuers[0]).add(MINA.announcement).publish()
        log.sign("asha").publish().add(NOOR.announcement).remove("asha")
        log.publish(order=lambda data: (-data[1], b""))
        refuse(log, "key-too-new", len(log.leaves) - 1)

    def test_an_id_names_one_approver(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        accept(log.add(Approver.called("petra").announcement).publish())
        again = Approver("mina", Approver.called("other").private).announcement
        refuse(log.add(again).publish(), "approver-again", len(log.leaves) - 1)

    def test_a_key_has_one_id(self, refuse: Refuse, log: LogBuilder) -> None:
        log.add(Approver("mina-again", MINA.private).announcement).publish()
        refuse(log, "approver-again", len(log.leaves) - 1)


class TestClose:
    def test_its_totals_are_the_recount(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha").sign("open", key_index=1).remove_key(2).publish()
        totals = log.recount().totals()
        bad = replace_last(log, leaf.Close("done", {**totals, "net": 2}))
        refuse(bad, "close-totals", len(bad.leaves) - 1)
        accept(log.close().publish())

    def test_every_quarantine_key_is_decided(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        totals = log.recount().totals()
        refuse(replace_last(log, leaf.Close("done", totals)), "close-undecided")
        accept(log.release_key(2).publish().close().publish())

    def test_it_is_alone_in_its_interval(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.remove_key(2).publish()
        totals = log.recount().totals()
        before = replace_last(log, leaf.Close("done", totals))
        before.kept.remove(len(log.leaves))
        refuse(before, "close-not-alone")
        after = replace_last(log, leaf.Close("done", totals)).add(RECORD).publish()
        accept(after)
        after.kept.remove(len(after.leaves) - 1)
        refuse(after, "close-not-alone", len(after.leaves) - 1)

    def test_only_public_records_follow(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha", "noor").publish().remove("noor").remove_key(2).publish()
        log.close().publish().add(RECORD).publish()
        accept(log)
        at, gone = log.index_of("asha"), log.index_of("noor")
        for entry in (
            log.make_signature("late"),
            leaf.IssuerKey(5, 2, 0, spare_spki(1)),
            leaf.Withdrawal(at, log.secret_w("asha")),
            leaf.Close("again", log.recount().totals()),
            log.approve(leaf.Removal(((at, at),), None, "x", CASE)),
            log.approve(leaf.PaperSheet(1, 1, 1, CASE)),
            log.approve(leaf.Release(((gone, gone),), None, "x", CASE)),
            Approver.called("petra").announcement,
        ):
            bad = replace_last(log, entry)
            refuse(bad, "after-close", len(bad.leaves) - 1)


class TestOrder:
    def test_control_leaves_first_by_type_then_by_hash(
        self, accept: Accept, refuse: Refuse, log: LogBuilder
    ) -> None:
        log.sign("asha").publish()
        records = [leaf.PublicRecord(f"r{i}", CASE) for i in range(4)]
        log.add(*records).sign("a", "b", "c").withdraw("asha").publish()
        accept(log)
        first, last = log.kept[-2:]
        for at in range(first, last - 1):
            bad = replace_nothing(log)
            bad.leaves[at : at + 2] = bad.leaves[at + 1], bad.leaves[at]
            refuse(bad, "order-in-interval", at + 1)

    def test_intervals_are_sorted_apart(self, accept: Accept, log: LogBuilder) -> None:
        for i in range(6):
            log.sign(f"s{i}").publish()
        ordered = sorted(log.leaves[log.kept[0] :], key=rank)
        assert log.leaves[log.kept[0] :] != ordered
        accept(log)

    def test_a_checkpoint_that_was_not_kept_joins_two_intervals(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        # Later by hash in the first interval, earlier in the second.
        by_hash = sorted(
            (log.make_signature(x) for x in "abcd"), key=lambda s: rank(leaf.encode(s))
        )
        log.add(by_hash[2]).publish().add(by_hash[1]).publish()
        del log.kept[-2]
        refuse(log, "order-in-interval", len(log.leaves) - 1)

    def test_equal_public_records_may_stand_side_by_side(
        self, accept: Accept, log: LogBuilder
    ) -> None:
        accept(log.add(RECORD, RECORD).publish())


def replace_nothing(log: LogBuilder) -> LogBuilder:
    """Return a copy of the log."""
    copy = LogBuilder(origin=log.origin)
    copy.leaves, copy.kept, copy.pending = log.leaves[:], log.kept[:], []
    return copy


class TestCount:
    def test_it_adds_up(self, accept: Accept, log: LogBuilder) -> None:
        log.add(leaf.IssuerKey(5, 2, 0, spare_spki(1))).publish()
        log.sign("a", "b").sign("c", stance=1).sign("d", stance=2)
        log.sign("o", key_index=1, stance=2).sign("q", key_index=2).publish()
        log.withdraw("a").remove("o").publish()
        assert accept(log) == {
            "signatures": 6,
            "held": 1,
            "withdrawals": 1,
            "removals": 1,
            "net": 3,
            "open_net": 0,
            "by_class": {"email": 3, "invitation": 0, "vouched": 0, "open": 0},
            "by_stance": {"for": 1, "reservation": 1, "against": 1},
            "paper": 0,
        }

    def test_open_signatures_are_never_added(
        self, accept: Accept, log: LogBuilder
    ) -> None:
        totals = accept(log.sign("o", "p", key_index=1, stance=2).publish())
        assert totals["net"] == 0
        assert totals["open_net"] == 2
        assert totals["by_stance"] == {"for": 0, "reservation": 0, "against": 0}


class TestStatement:
    @pytest.mark.parametrize(
        "statement,code",
        [
            (STATEMENT, None),
            ("Sé, 河, سلام\u200f\n".encode(), None),
            (STATEMENT.replace(b"\n", b"\r\n"), "statement-form"),
            ("Se\u0301\n".encode(), "statement-form"),
            (b"\xff", "statement-form"),
        ],
    )
    def test_its_form(
        self, accept: Accept, refuse: Refuse, statement: bytes, code: str | None
    ) -> None:
        log = LogBuilder(statement=statement).publish()
        if code is None:
            accept(log)
        else:
            refuse(log, code)


class TestApproverKeys:
    def test_the_key_is_32_bytes_of_canonical_base64(
        self, refuse: Refuse, log: LogBuilder
    ) -> None:
        good = leaf.encode(leaf.ApproverKey("petra", encode_base64(bytes(32))))
        log.add(good.replace(b"AAA=", b"AAB=")).publish()
        refuse(log, "base64-not-canonical", len(log.leaves) - 1)
