"""Reads of campaigns."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import ClassVar

from undersigned.authorities.queries import list_offices
from undersigned.campaigns.data import (
    Campaign,
    CampaignState,
    Closing,
    Notice,
    NoticeCode,
    PublicationMode,
    ReplaySource,
    Succession,
)
from undersigned.campaigns.models import Campaign as CampaignRow
from undersigned.campaigns.models import Closing as ClosingRow
from undersigned.campaigns.models import ReplaySource as ReplayRow
from undersigned.campaigns.models import StatementVersion
from undersigned.kernel.errors import NotFound
from undersigned.kernel.ids import CampaignId


class CampaignNotFound(NotFound):
    """No such campaign, or a draft, which is nobody's business."""

    code: ClassVar[str] = "campaign-not-found"


class NotAReplay(NotFound):
    """The campaign was not created for a replay: it has no [replay] table."""

    code: ClassVar[str] = "not-a-replay"


def _instant(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _make_replay(row: ReplayRow | None) -> ReplaySource | None:
    if row is None:
        return None
    return ReplaySource(
        title=row.title,
        url=row.url,
        licence=row.licence,
        scale=row.scale,
        holes=tuple((_instant(a), _instant(b)) for a, b in row.holes),
    )


def _make_succession(row: CampaignRow) -> Succession | None:
    if not row.succession_days:
        return None
    return Succession(row.successor_name, row.successor_contact, row.succession_days)


def _make_campaign(row: CampaignRow) -> Campaign:
    version = (
        StatementVersion.objects.filter(campaign_id=row.id).order_by("-number").first()
    )
    if version is None:
        raise CampaignNotFound(campaign=row.id)
    office_ids = [addressed.office_id for addressed in row.addressed.all()]
    return Campaign(
        id=CampaignId(row.id),
        version=version.number,
        origin=version.origin,
        path=version.path,
        title=row.title,
        language=row.language,
        statement=version.text,
        statement_sha256=version.sha256,
        offices=tuple(list_offices(ids=office_ids)),
        state=CampaignState(row.state),
        mode=PublicationMode(version.mode),
        classes=tuple(version.classes),
        stances=tuple(version.stances),
        show_names=version.show_names,
        k=version.k,
        interval_seconds=version.interval_seconds,
        opened_on=row.opened_on,
        closes_on=row.closes_on,
        organiser_name=row.organiser_name,
        organiser_contact=row.organiser_contact,
        replay=_make_replay(ReplayRow.objects.filter(campaign_id=row.id).first()),
        succession=_make_succession(row),
        notices=tuple(
            Notice(NoticeCode(notice.code), notice.posted_on)
            for notice in row.notices.all()
        ),
    )


def get_any_campaign(*, campaign_id: CampaignId) -> Campaign:
    """Return a campaign in any state, drafts too. Raises CampaignNotFound."""
    row = (
        CampaignRow.objects.filter(id=campaign_id).prefetch_related("addressed").first()
    )
    if row is None:
        raise CampaignNotFound(campaign=campaign_id)
    return _make_campaign(row)


def get_campaign(*, campaign_id: CampaignId) -> Campaign:
    """Return a campaign that the public may see. Raises CampaignNotFound."""
    campaign = get_any_campaign(campaign_id=campaign_id)
    if campaign.state is CampaignState.DRAFT:
        raise CampaignNotFound(campaign=campaign_id)
    return campaign


def list_campaigns() -> list[Campaign]:
    """Return what the public may see, open ones first, the newest first."""
    rows = CampaignRow.objects.exclude(state=CampaignState.DRAFT).prefetch_related(
        "addressed"
    )
    order = [CampaignState.OPEN, CampaignState.CLOSING, CampaignState.CLOSED]
    campaigns = [_make_campaign(row) for row in rows]
    campaigns.sort(key=lambda campaign: campaign.title)
    campaigns.sort(key=lambda c: c.opened_on or date.min, reverse=True)
    campaigns.sort(key=lambda campaign: order.index(campaign.state))
    return campaigns


def list_all_campaigns() -> list[Campaign]:
    """Return every campaign, drafts too: for the operator's command line."""
    rows = CampaignRow.objects.order_by("created_on", "id")
    return [_make_campaign(row) for row in rows.prefetch_related("addressed")]


def list_due_to_close(*, on: date) -> list[CampaignId]:
    """Return open campaigns whose announced closing day is before ``on``."""
    rows = CampaignRow.objects.filter(state=CampaignState.OPEN, closes_on__lt=on)
    return [CampaignId(row.id) for row in rows]


def list_closings() -> list[Closing]:
    """Return the closings under way."""
    rows = ClosingRow.objects.filter(campaign__state=CampaignState.CLOSING)
    return [_make_closing(row) for row in rows]


def find_closing(*, campaign_id: CampaignId) -> Closing | None:
    """Return the closing of a campaign, under way or done, or None."""
    row = ClosingRow.objects.filter(campaign_id=campaign_id).first()
    return None if row is None else _make_closing(row)


def _make_closing(row: ClosingRow) -> Closing:
    return Closing(
        campaign_id=CampaignId(row.campaign_id),
        reason=row.reason,
        retries_until=row.retries_until,
        redeem_until=row.redeem_until,
        keys_destroyed=row.keys_destroyed,
    )


def get_replay_progress(*, campaign_id: CampaignId) -> tuple[int, str]:
    """Return points done and the series' SHA-256 (empty before the first point).

    Raises NotAReplay.
    """
    row = ReplayRow.objects.filter(campaign_id=campaign_id).first()
    if row is None:
        raise NotAReplay(campaign=campaign_id)
    return row.points_done, row.series_sha256
