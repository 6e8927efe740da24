"""Removing: proposed by one, approved by two with their own keys, public for ever."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify import entry

from tests.factories.cast import MALLORYS_KEY, MINA, MINA_ACTS, PETRA
from tests.factories.instances import CASE, Instance, Signed
from undersigned.audit.queries import count_entries, find_broken_entry
from undersigned.campaigns.data import Campaign
from undersigned.ledger.operations import LeafRefused
from undersigned.signatures.operations.remove import (
    ProposalNotValid,
    RemovalProposal,
    announce_approver,
    approve_proposal,
    encode_proposal,
    parse_proposal,
    propose_removal,
    publish_record,
)
from undersigned.signatures.queries import get_count, list_records, list_removals

ORIGIN = "undersigned.example/c/river"
RANGES = st.tuples(st.integers(1, 400), st.integers(0, 30)).map(
    lambda pair: (pair[0], pair[0] + pair[1])
)


def propose(
    targets: list[tuple[int, int]], reason: str = "scripted-burst", case: str = CASE
) -> list[RemovalProposal]:
    return propose_removal(
        origin=ORIGIN, targets=targets, reason=reason, case_sha256=case
    )


def expand(targets: list[tuple[int, int]]) -> set[int]:
    return {index for a, b in targets for index in range(a, b + 1)}


class TestAProposal:
    def test_it_sorts_and_joins_its_targets(self) -> None:
        (one,) = propose([(9, 9), (3, 4), (5, 5), (4, 4), (20, 25)])
        assert one.targets == ((3, 5), (9, 9), (20, 25))

    @given(targets=st.lists(RANGES, min_size=1, max_size=20))
    def test_it_covers_exactly_what_was_asked(
        self, targets: list[tuple[int, int]]
    ) -> None:
        found = [pair for one in propose(targets) for pair in one.targets]
        assert expand(found) == expand(targets)
        assert all(a[1] + 1 < b[0] for a, b in pairwise(found))

    @settings(max_examples=8)
    @given(
        count=st.integers(1, 4_500),
        start=st.sampled_from([1, 10**3, 10**6, 10**9, 10**12]),
    )
    def test_it_is_split_over_as_many_leaves_as_it_needs(
        self, count: int, start: int
    ) -> None:
        targets = [(start + 2 * n, start + 2 * n) for n in range(count)]
        parts = propose(targets, reason="a" * 61)
        assert [pair for part in parts for pair in part.targets] == targets
        for part in parts:
            approved = part
            for name, key in (("a" * 41, MINA), ("b" * 41, PETRA)):
                approved = approve_proposal(
                    proposal=approved, approver_id=name, secret_key=key
                )
            assert len(entry.encode(approved.make_entry())) <= entry.MAX_LEAF

    @pytest.mark.parametrize(
        "targets", [[], [(0, 0)], [(5, 4)], [(-1, 3)], [(3, 4), (0, 2)]]
    )
    def test_it_aims_at_leaves(self, targets: list[tuple[int, int]]) -> None:
        with pytest.raises(ProposalNotValid):
            propose(targets)
        assert propose([(3, 4)])

    @pytest.mark.parametrize(
        "reason", ["", "x", "Spam", "two words", "-x", "a" * 62, "a\n", "é" * 5]
    )
    def test_its_reason_is_a_code(self, reason: str) -> None:
        with pytest.raises(ProposalNotValid):
            propose([(3, 4)], reason=reason)

    @pytest.mark.parametrize(
        "case", ["", "c" * 63, "C" * 64, "g" * 64, "c" * 64 + "\n"]
    )
    def test_its_case_is_a_hash(self, case: str) -> None:
        with pytest.raises(ProposalNotValid):
            propose([(3, 4)], case=case)

    def test_nobody_approves_it_twice(self) -> None:
        (one,) = propose([(3, 4)])
        once = approve_proposal(proposal=one, approver_id="mina", secret_key=MINA)
        with pytest.raises(ProposalNotValid):
            approve_proposal(proposal=once, approver_id="mina", secret_key=MINA)

    def test_it_may_be_approved_in_any_order(self) -> None:
        (one,) = propose([(3, 4)])
        orders = [
            (("mina", MINA), ("petra", PETRA)),
            (("petra", PETRA), ("mina", MINA)),
        ]
        made = []
        for order in orders:
            approved = one
            for name, key in order:
                approved = approve_proposal(
                    proposal=approved, approver_id=name, secret_key=key
                )
            made.append(approved)
        assert made[0] == made[1]


class TestItsFile:
    def test_it_can_be_read_back(self) -> None:
        (one,) = propose([(3, 4), (9, 9)])
        approved = approve_proposal(proposal=one, approver_id="mina", secret_key=MINA)
        for proposal in (one, approved):
            assert parse_proposal(encode_proposal(proposal)) == proposal

    def test_an_approval_of_the_file_counts_for_the_proposal(self) -> None:
        (one,) = propose([(3, 4)])
        by_file = approve_proposal(
            proposal=parse_proposal(encode_proposal(one)),
            approver_id="mina",
            secret_key=MINA,
        )
        direct = approve_proposal(proposal=one, approver_id="mina", secret_key=MINA)
        assert by_file == direct

    @pytest.mark.parametrize(
        "change",
        [
            lambda v: {**v, "kind": "something else"},
            lambda v: {k: w for k, w in v.items() if k != "targets"},
            lambda v: {**v, "targets": [[1]]},
            lambda v: {**v, "targets": "1-2"},
            lambda v: {**v, "targets": None},
            lambda v: {**v, "targets": [["a", "b"]]},
            lambda v: {**v, "approvals": [{}]},
            lambda v: {**v, "approvals": 7},
            lambda v: [v],
            lambda v: None,
        ],
    )
    def test_a_damaged_one_is_refused(self, change: Callable[[object], object]) -> None:
        (one,) = propose([(3, 4)])
        value = json.loads(encode_proposal(one))
        parse_proposal(json.dumps(value))
        with pytest.raises(ProposalNotValid):
            parse_proposal(json.dumps(change(value)))

    @pytest.mark.parametrize("text", ["", "{", "Mallory was here", "\0"])
    def test_another_file_is_refused(self, text: str) -> None:
        with pytest.raises(ProposalNotValid):
            parse_proposal(text)


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    """A campaign with Mina and Petra as approvers."""
    campaign = instance.open_campaign()
    instance.announce_approvers(campaign)
    return campaign


@pytest.fixture
def burst(instance: Instance, campaign: Campaign) -> list[Signed]:
    """Four published signatures, some of them Mallory's."""
    signed = instance.sign_many(campaign, 4)
    instance.publish(campaign)
    return signed


class TestARemoval:
    def test_it_stands_in_public_with_reason_and_approvers(
        self, instance: Instance, campaign: Campaign, burst: list[Signed]
    ) -> None:
        indexes = sorted(instance.index_of(campaign, one) for one in burst[:2])
        instance.submit(instance.propose(campaign, *indexes))
        instance.publish(campaign)
        ledger = instance.engine.services.ledger
        (removal,) = list_removals(ledger=ledger, origin=campaign.origin)
        assert expand(list(removal.targets)) == set(indexes)
        assert removal.signatures == 2
        assert removal.reason == "scripted-burst"
        assert removal.case_sha256 == CASE
        assert removal.approvers == ("mina", "petra")
        count = get_count(ledger=ledger, origin=campaign.origin)
        assert (count.net, count.removals, count.signatures) == (2, 2, 4)
        assert instance.audit(campaign).accepted

    def test_it_takes_effect_at_the_next_publication(
        self, instance: Instance, campaign: Campaign, burst: list[Signed]
    ) -> None:
        instance.submit(instance.propose(campaign, 4))
        assert instance.net(campaign) == 4
        instance.publish(campaign)
        assert instance.net(campaign) == 3

    def test_it_is_noted_in_the_trail(
        self, instance: Instance, campaign: Campaign, burst: list[Signed]
    ) -> None:
        before = count_entries()
        instance.submit(instance.propose(campaign, 4))
        assert count_entries() == before + 1
        assert find_broken_entry() is None

    def check_refused(
        self, instance: Instance, campaign: Campaign, proposal: RemovalProposal
    ) -> None:
        before = count_entries()
        with pytest.raises(LeafRefused):
            instance.submit(proposal)
        instance.publish(campaign)
        assert instance.net(campaign) == 4
        assert count_entries() == before
        assert instance.engine.failures == []
        instance.submit(instance.propose(campaign, 4))

    @pytest.mark.parametrize("count", [0, 1, 3])
    def test_it_needs_exactly_two_approvals(
        self, instance: Instance, campaign: Campaign, burst: list[Signed], count: int
    ) -> None:
        proposal = instance.propose(campaign, 4)
        third = approve_proposal(
            proposal=proposal, approver_id="mallory", secret_key=MALLORYS_KEY
        )
        bad = replace(proposal, approvals=third.approvals[:count])
        self.check_refused(instance, campaign, bad)

    def test_it_needs_announced_approvers(
        self, instance: Instance, campaign: Campaign, burst: list[Signed]
    ) -> None:
        bare = replace(instance.propose(campaign, 4), approvals=())
        for name, key in (("mina", MINA), ("mallory", MALLORYS_KEY)):
            bare = approve_proposal(proposal=bare, approver_id=name, secret_key=key)
        self.check_refused(instance, campaign, bare)

    @pytest.mark.parametrize(
        "change",
        [
            {"targets": ((5, 5),)},
            {"reason": "other-reason"},
            {"case_sha256": "d" * 64},
        ],
    )
    def test_it_is_what_was_approved(
        self,
        instance: Instance,
        campaign: Campaign,
        burst: list[Signed],
        change: dict[str, object],
    ) -> None:
        bad = replace(instance.propose(campaign, 4), **change)  # type: ignore[arg-type]  # fields by name
        self.check_refused(instance, campaign, bad)

    @pytest.mark.parametrize(
        "change",
        [
            {"targets": ((99, 99),)},
            {"targets": ()},
            {"targets": ((4, 3),)},
            {"targets": ((0, 4),)},
            {"case_sha256": "short"},
            {"reason": ""},
            {"approvals": (("mina", "!"), ("petra", "!"))},
        ],
    )
    def test_a_malformed_one_is_refused(
        self,
        instance: Instance,
        campaign: Campaign,
        burst: list[Signed],
        change: dict[str, object],
    ) -> None:
        bad = replace(instance.propose(campaign, 4), **change)  # type: ignore[arg-type]  # fields by name
        self.check_refused(instance, campaign, bad)

    def test_another_campaigns_approval_does_not_count(
        self, instance: Instance, campaign: Campaign, burst: list[Signed]
    ) -> None:
        other = instance.open_campaign()
        instance.announce_approvers(other)
        bad = replace(instance.propose(other, 4), origin=campaign.origin)
        self.check_refused(instance, campaign, bad)


def announce(
    instance: Instance, campaign: Campaign, name: str, public_key: bytes
) -> None:
    announce_approver(
        actor=MINA_ACTS,
        ledger=instance.engine.services.ledger,
        campaign=campaign,
        approver_id=name,
        public_key=public_key,
        at=instance.clock.now(),
    )


class TestAnApprover:
    public = MALLORYS_KEY.public_key().public_bytes_raw()

    def test_one_is_announced_in_the_log(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        announce(instance, campaign, "noor", self.public)
        instance.publish(campaign)
        approvers = instance.entry(campaign).log.state.approvers
        assert set(approvers) == {"mina", "petra", "noor"}
        assert instance.audit(campaign).accepted

    @pytest.mark.parametrize(
        "name", ["", "x", "Noor", "-noor", "n" * 42, "noor\n", "ñ" * 3]
    )
    def test_its_id_is_a_pseudonym(
        self, instance: Instance, campaign: Campaign, name: str
    ) -> None:
        with pytest.raises(ProposalNotValid):
            announce(instance, campaign, name, self.public)

    @pytest.mark.parametrize("public_key", [b"", bytes(31), bytes(33)])
    def test_its_key_has_32_bytes(
        self, instance: Instance, campaign: Campaign, public_key: bytes
    ) -> None:
        with pytest.raises(ProposalNotValid):
            announce(instance, campaign, "noor", public_key)

    def test_its_name_and_key_are_its_own(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        with pytest.raises(LeafRefused):
            announce(instance, campaign, "mina", self.public)
        with pytest.raises(LeafRefused):
            announce(instance, campaign, "noor", MINA.public_key().public_bytes_raw())


class TestAPublicRecord:
    def publish(
        self, instance: Instance, campaign: Campaign, kind: str, digest: str
    ) -> None:
        publish_record(
            actor=MINA_ACTS,
            ledger=instance.engine.services.ledger,
            campaign=campaign,
            kind=kind,
            sha256=digest,
            at=instance.clock.now(),
        )

    def test_it_stands_in_the_log_by_its_hash(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        digest = sha256(b"The office answers.").hexdigest()
        self.publish(instance, campaign, "office-answer", digest)
        instance.publish(campaign)
        ledger = instance.engine.services.ledger
        (record,) = list_records(ledger=ledger, origin=campaign.origin)
        assert (record.kind, record.sha256) == ("office-answer", digest)
        assert instance.audit(campaign).accepted

    @pytest.mark.parametrize(
        "kind, digest",
        [("", CASE), ("Answer", CASE), ("a b", CASE), ("answer", "x"), ("answer", "")],
    )
    def test_it_has_a_code_and_a_hash(
        self, instance: Instance, campaign: Campaign, kind: str, digest: str
    ) -> None:
        with pytest.raises(ProposalNotValid):
            self.publish(instance, campaign, kind, digest)
