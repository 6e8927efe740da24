"""``undersigned notice`` and ``campaign hand-over``."""

from __future__ import annotations

import argparse

from undersigned.campaigns.data import NoticeCode
from undersigned.campaigns.operations import hand_over, post_notice, take_down_notice
from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli.context import Context
from undersigned.cli.output import print_result
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.ids import CampaignId


def post(arguments: argparse.Namespace, context: Context) -> int:
    """Show a notice on the campaign's page."""
    post_notice(
        actor=OPERATOR,
        campaign_id=CampaignId(arguments.campaign),
        code=NoticeCode(arguments.code),
        at=SystemClock().now(),
    )
    return _print_notices(arguments)


def take_down(arguments: argparse.Namespace, context: Context) -> int:
    """Show it no more."""
    take_down_notice(
        actor=OPERATOR,
        campaign_id=CampaignId(arguments.campaign),
        code=NoticeCode(arguments.code),
        at=SystemClock().now(),
    )
    return _print_notices(arguments)


def _print_notices(arguments: argparse.Namespace) -> int:
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.campaign))
    notices = [
        {"code": str(notice.code), "posted_on": notice.posted_on.isoformat()}
        for notice in campaign.notices
    ]
    text = "\n".join(f"{one['code']}, since {one['posted_on']}" for one in notices)
    values = {"id": campaign.id, "notices": notices}
    print_result(arguments, values, text or "No notice is shown.")
    return 0


def hand_over_campaign(arguments: argparse.Namespace, context: Context) -> int:
    """Make the successor the organiser."""
    campaign = hand_over(
        actor=OPERATOR, campaign_id=CampaignId(arguments.id), at=SystemClock().now()
    )
    values = {"id": campaign.id, "organiser": campaign.organiser_name}
    print_result(
        arguments, values, f"{campaign.id} is organised by {campaign.organiser_name}."
    )
    return 0
