"""What an operator tells beside a campaign, and who takes over."""

from __future__ import annotations

from datetime import date

import pytest

from tests.factories.campaigns import make_draft
from tests.factories.cast import OMAR_ACTS
from tests.factories.instances import HOST
from undersigned.audit.models import AuditEntry
from undersigned.campaigns.data import Notice, NoticeCode, Succession
from undersigned.campaigns.drafting import CampaignFileNotValid
from undersigned.campaigns.operations import (
    NoticeStands,
    SuccessionNotAgreed,
    create_campaign,
    hand_over,
    post_notice,
    take_down_notice,
)
from undersigned.campaigns.queries import CampaignNotFound, get_any_campaign
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.ids import CampaignId

pytestmark = pytest.mark.django_db

SUCCESSION = """
[succession]
name = "Petra, for the parents"
contact = "petra@example.org"
days = 14
"""
RIVER = CampaignId("river")
LEAKED, ATTACK = NoticeCode.LOG_KEY_LEAKED, NoticeCode.UNDER_ATTACK


@pytest.fixture
def river(clock: FixedClock) -> CampaignId:
    """A draft with a successor."""
    return create_campaign(
        actor=OMAR_ACTS,
        draft=make_draft(id="river", tail=SUCCESSION),
        host=HOST,
        at=clock.now(),
    )


def post(code: NoticeCode, clock: FixedClock, campaign: CampaignId = RIVER) -> None:
    post_notice(actor=OPERATOR, campaign_id=campaign, code=code, at=clock.now())


def take_down(code: NoticeCode, clock: FixedClock) -> None:
    take_down_notice(actor=OPERATOR, campaign_id=RIVER, code=code, at=clock.now())


def list_acts() -> list[str]:
    return [one.kind for one in AuditEntry.objects.order_by("number")][1:]


class TestANotice:
    def test_it_stands_from_its_day_until_it_is_taken_down(
        self, river: CampaignId, clock: FixedClock
    ) -> None:
        today: date = clock.now().date()
        post(LEAKED, clock)
        post(ATTACK, clock)
        found = get_any_campaign(campaign_id=river).notices
        assert found == (Notice(LEAKED, today), Notice(ATTACK, today))
        take_down(LEAKED, clock)
        assert get_any_campaign(campaign_id=river).notices == (Notice(ATTACK, today),)
        assert list_acts() == ["NoticePosted", "NoticePosted", "NoticeTakenDown"]

    def test_it_is_posted_once_and_taken_down_once(
        self, river: CampaignId, clock: FixedClock
    ) -> None:
        assert river
        with pytest.raises(NoticeStands):
            take_down(LEAKED, clock)
        post(LEAKED, clock)
        with pytest.raises(NoticeStands):
            post(LEAKED, clock)
        assert list_acts() == ["NoticePosted"]

    def test_it_is_about_a_campaign_that_there_is(self, clock: FixedClock) -> None:
        with pytest.raises(CampaignNotFound):
            post(LEAKED, clock, CampaignId("nowhere"))


class TestSuccession:
    def test_who_was_agreed_on_takes_over_and_the_page_can_say_so(
        self, river: CampaignId, clock: FixedClock
    ) -> None:
        agreed = get_any_campaign(campaign_id=river).succession
        assert agreed == Succession("Petra, for the parents", "petra@example.org", 14)
        post(NoticeCode.ORGANISER_UNREACHABLE, clock)
        campaign = hand_over(actor=OPERATOR, campaign_id=river, at=clock.now())
        assert campaign.organiser_name == "Petra, for the parents"
        assert campaign.organiser_contact == "petra@example.org"
        assert campaign.succession is None
        assert [one.code for one in campaign.notices] == [NoticeCode.ORGANISER_CHANGED]
        assert list_acts()[-1] == "CampaignHandedOver"

    def test_it_happens_once(self, river: CampaignId, clock: FixedClock) -> None:
        hand_over(actor=OPERATOR, campaign_id=river, at=clock.now())
        with pytest.raises(SuccessionNotAgreed):
            hand_over(actor=OPERATOR, campaign_id=river, at=clock.now())

    @pytest.mark.parametrize(
        "tail, field",
        [
            ("[succession]\n", "succession.name"),
            ('[succession]\nname = "Petra"\n', "succession.contact"),
            (SUCCESSION.replace("14", "2"), "days"),
            (SUCCESSION.replace("14", "366"), "days"),
            (SUCCESSION.replace("14", '"soon"'), "days"),
            (SUCCESSION.replace("Petra, for", "Petra,\\nfor"), "succession.name"),
        ],
    )
    def test_what_is_no_agreement_is_refused(self, tail: str, field: str) -> None:
        with pytest.raises(CampaignFileNotValid) as caught:
            make_draft(tail=tail)
        assert caught.value.data["field"] == field

    def test_without_one_nobody_takes_over(self, clock: FixedClock) -> None:
        plain = create_campaign(
            actor=OMAR_ACTS, draft=make_draft(id="lake"), host=HOST, at=clock.now()
        )
        with pytest.raises(SuccessionNotAgreed):
            hand_over(actor=OPERATOR, campaign_id=plain, at=clock.now())
        with pytest.raises(CampaignNotFound):
            hand_over(actor=OPERATOR, campaign_id=CampaignId("nowhere"), at=clock.now())
