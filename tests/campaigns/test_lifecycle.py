"""A campaign's life: draft, open, closing, closed, and no other way."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from hashlib import sha256
from itertools import product

import pytest

from tests.factories.campaigns import make_draft
from tests.factories.cast import OMAR_ACTS
from tests.factories.instances import HOST, Instance
from undersigned.audit.models import AuditEntry
from undersigned.audit.queries import count_entries
from undersigned.authorities.data import Office
from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.operations import (
    CampaignExists,
    CampaignNotInState,
    ClosingDayPast,
    ReasonNotValid,
    begin_closing,
    create_campaign,
    finish_closing,
)
from undersigned.campaigns.queries import (
    CampaignNotFound,
    NotAReplay,
    find_closing,
    get_any_campaign,
    get_campaign,
    get_replay_progress,
    list_all_campaigns,
    list_campaigns,
    list_due_to_close,
)
from undersigned.campaigns.rules import can_change
from undersigned.kernel.ids import CampaignId

HOUR = timedelta(hours=1)


class TestTheTable:
    @pytest.mark.parametrize("old, new", list(product(CampaignState, CampaignState)))
    def test_a_step_goes_forward_one_at_a_time(
        self, old: CampaignState, new: CampaignState
    ) -> None:
        order = list(CampaignState)
        assert can_change(old, new) == (order.index(new) == order.index(old) + 1)


class TestADraft:
    def test_it_has_a_statement_and_an_origin_of_its_own(
        self, instance: Instance
    ) -> None:
        campaign_id = instance.create(id="river-path")
        campaign = get_any_campaign(campaign_id=campaign_id)
        assert campaign.state is CampaignState.DRAFT
        assert campaign.origin == f"{HOST}/c/river-path"
        assert campaign.path == "c/river-path"
        digest = sha256(campaign.statement.encode()).hexdigest()
        assert campaign.statement_sha256 == digest
        assert campaign.opened_on is None

    def test_it_gets_a_random_name_when_it_has_none(self, instance: Instance) -> None:
        first, second = instance.create(), instance.create()
        assert first != second

    def test_it_is_nobodys_business(self, instance: Instance) -> None:
        campaign_id = instance.create()
        with pytest.raises(CampaignNotFound):
            get_campaign(campaign_id=campaign_id)
        assert list_campaigns() == []
        assert [one.id for one in list_all_campaigns()] == [campaign_id]
        assert not instance.data.joinpath("public", "c").exists()

    def test_it_takes_no_name_that_is_taken(self, instance: Instance) -> None:
        instance.create(id="river-path")
        before = count_entries()
        with pytest.raises(CampaignExists):
            instance.create(id="river-path", title="Mallory's version")
        assert count_entries() == before
        (only,) = list_all_campaigns()
        assert only.title != "Mallory's version"

    def test_a_failed_one_leaves_nothing_behind(
        self, instance: Instance, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(**_values: object) -> None:
            raise OSError("disk full")

        with monkeypatch.context() as patch:
            patch.setattr("undersigned.campaigns.operations.record_act", fail)
            with pytest.raises(OSError, match="disk full"):
                instance.create(id="river-path")
        assert list_all_campaigns() == []
        instance.create(id="river-path")


class TestAnOpenCampaign:
    def test_it_is_public_with_the_text_of_the_draft(self, instance: Instance) -> None:
        draft = get_any_campaign(campaign_id=instance.create())
        campaign = instance.open(draft.id)
        assert campaign.state is CampaignState.OPEN
        assert campaign.statement == draft.statement
        assert campaign.opened_on == instance.clock.now().date()
        assert get_campaign(campaign_id=campaign.id) == campaign
        public = instance.folder(campaign) / "statement"
        assert public.read_bytes() == draft.statement.encode()

    def test_it_opens_once(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        with pytest.raises(CampaignNotInState):
            instance.open(campaign.id)

    def test_it_closes_from_open_only(self, instance: Instance) -> None:
        campaign_id = instance.create()
        for act in (self.begin, self.finish):
            with pytest.raises(CampaignNotInState):
                act(instance, campaign_id)
        instance.open(campaign_id)
        with pytest.raises(CampaignNotInState):
            self.finish(instance, campaign_id)
        self.begin(instance, campaign_id)
        with pytest.raises(CampaignNotInState):
            self.begin(instance, campaign_id)

    def begin(self, instance: Instance, campaign_id: CampaignId) -> None:
        begin_closing(
            actor=OMAR_ACTS,
            campaign_id=campaign_id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )

    def finish(self, instance: Instance, campaign_id: CampaignId) -> None:
        finish_closing(
            actor=OMAR_ACTS, campaign_id=campaign_id, at=instance.clock.now()
        )

    def test_its_closing_has_the_clocks_that_signers_were_told(
        self, instance: Instance
    ) -> None:
        campaign = instance.open_campaign()
        instance.clock.advance(timedelta(seconds=40))
        self.begin(instance, campaign.id)
        closing = find_closing(campaign_id=campaign.id)
        assert closing is not None
        # Up to the minute: nobody's hour is shorter than it was said to be.
        began = instance.clock.now() + timedelta(seconds=20)
        assert closing.retries_until == began + HOUR
        assert closing.redeem_until == began + HOUR + timedelta(days=1)
        assert not closing.keys_destroyed

    @pytest.mark.parametrize("reason", ["", "x", "Two words", "a" * 62, "é" * 4])
    def test_it_does_not_begin_to_close_for_what_is_no_code(
        self, instance: Instance, reason: str
    ) -> None:
        # It stands in the close leaf, a day later, when nothing could mend it.
        campaign = instance.open_campaign()
        with pytest.raises(ReasonNotValid):
            begin_closing(
                actor=OMAR_ACTS,
                campaign_id=campaign.id,
                issuer=instance.engine.services.issuer,
                reason=reason,
                at=instance.clock.now(),
            )
        assert instance.look_up(campaign).state is CampaignState.OPEN
        self.begin(instance, campaign.id)


class TestTheClosingDay:
    def test_a_campaign_does_not_open_after_it(self, instance: Instance) -> None:
        today = instance.clock.now().date()
        late = instance.create(closes_on=today - timedelta(days=1))
        with pytest.raises(ClosingDayPast):
            instance.open(late)
        assert not instance.data.joinpath("public", "c").exists()
        instance.open(instance.create(closes_on=today))

    def test_it_is_due_on_the_day_after(self, instance: Instance) -> None:
        day = date(2026, 12, 1)
        campaign = instance.open_campaign(closes_on=day)
        instance.open_campaign()
        assert list_due_to_close(on=day) == []
        assert list_due_to_close(on=day + timedelta(days=1)) == [campaign.id]


class TestTheList:
    def test_open_ones_come_first_and_the_newest_of_them(
        self, instance: Instance
    ) -> None:
        old = instance.open_campaign(title="B older")
        instance.clock.advance(timedelta(days=1))
        first = instance.open_campaign(title="A newer")
        second = instance.open_campaign(title="B newer")
        begin_closing(
            actor=OMAR_ACTS,
            campaign_id=first.id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        assert [one.id for one in list_campaigns()] == [second.id, old.id, first.id]


class TestWhatIsNotThere:
    def test_an_unknown_campaign_is_not_found(self, instance: Instance) -> None:
        unknown = CampaignId("no-such-campaign")
        with pytest.raises(CampaignNotFound):
            get_any_campaign(campaign_id=unknown)
        with pytest.raises(CampaignNotFound):
            instance.open(unknown)
        assert find_closing(campaign_id=unknown) is None

    def test_a_campaign_without_figures_is_no_replay(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        with pytest.raises(NotAReplay):
            get_replay_progress(campaign_id=campaign.id)


def test_every_step_is_noted_in_the_trail(instance: Instance) -> None:
    campaign = instance.open_campaign()
    begin_closing(
        actor=OMAR_ACTS,
        campaign_id=campaign.id,
        issuer=instance.engine.services.issuer,
        reason="closed-by-organiser",
        at=instance.clock.now(),
    )
    instance.advance(HOUR)
    instance.advance(timedelta(days=1))
    kinds = list(AuditEntry.objects.order_by("number").values_list("kind", "actor_ref"))
    assert kinds == [
        ("CampaignCreated", "omar-ref"),
        ("CampaignOpened", "omar-ref"),
        ("ClosingBegun", "omar-ref"),
        ("IssuerKeysDestroyed", "clock"),
        ("CampaignClosed", "clock"),
    ]


def test_a_campaign_keeps_its_offices_in_order(instance: Instance) -> None:
    offices = tuple(Office(f"Office {number}", "", "") for number in (3, 1, 2))
    campaign_id = create_campaign(
        actor=OMAR_ACTS,
        draft=replace(make_draft(), offices=offices),
        host=HOST,
        at=instance.clock.now(),
    )
    assert get_any_campaign(campaign_id=campaign_id).offices == offices
