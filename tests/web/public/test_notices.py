"""What the campaign's page says of the operator's notices and of a successor."""

from __future__ import annotations

import pytest

from tests.factories.instances import Instance
from tests.web.conftest import Reader, text_of
from undersigned.campaigns.data import Campaign, NoticeCode
from undersigned.campaigns.operations import hand_over, post_notice, take_down_notice
from undersigned.kernel.actor import OPERATOR

SUCCESSION = """
[succession]
name = "Petra, for the parents"
contact = "petra@example.org"
days = 14
"""


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil", tail=SUCCESSION)


@pytest.mark.parametrize("code", NoticeCode)
@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_notice_stands_there_until_it_is_taken_down(
    instance: Instance,
    reader: Reader,
    campaign: Campaign,
    code: NoticeCode,
    language: str,
) -> None:
    path = f"/{language}/c/soil/"
    before = text_of(reader.opens(path))
    at = instance.clock.now()
    post_notice(actor=OPERATOR, campaign_id=campaign.id, code=code, at=at)
    page = reader.opens(path)
    assert 'class="note grave"' in page.content.decode()
    assert len(text_of(page)) > len(before) + 40
    take_down_notice(actor=OPERATOR, campaign_id=campaign.id, code=code, at=at)
    assert text_of(reader.opens(path)) == before


def test_who_would_take_over_is_said_from_the_first_day(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    page = text_of(reader.opens("/en/c/soil/"))
    assert "If the organiser is silent for 14 days, this takes over:" in page
    assert "Petra, for the parents" in page
    hand_over(actor=OPERATOR, campaign_id=campaign.id, at=instance.clock.now())
    page = text_of(reader.opens("/en/c/soil/"))
    assert "takes over" not in page
    assert "Somebody else organises this campaign now" in page
    assert "Petra, for the parents" in page
