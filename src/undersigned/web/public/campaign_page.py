"""Builders of the reading pages: one value for each, joined from several reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from django.utils.functional import Promise

from undersigned.campaigns.data import Campaign
from undersigned.kernel.errors import Refused
from undersigned.ledger.data import RECORD_LOST
from undersigned.signatures import queries
from undersigned.signatures.book import BookEntry
from undersigned.signatures.data import Count, GrowthPoint, PublishedRemoval
from undersigned.web.public import chart, words
from undersigned.web.public.statement import (
    choose_title,
    split_statement,
    text_language,
)
from undersigned.web.public.witnessed import find_witnessed, read_policy
from undersigned.web.shared.services import Services

_NEWEST_REMOVALS = 3


@dataclass(frozen=True, slots=True)
class ListRow:
    """A campaign in the list."""

    campaign: Campaign
    count: Count
    mode: str | Promise
    title: str
    title_lang: str
    is_open: bool
    is_split: bool


@dataclass(frozen=True, slots=True)
class Part:
    """A named part of a count. ``code``: the class or stance it stands for."""

    code: str
    name: str | Promise
    checked: str | Promise
    number: int


@dataclass(frozen=True, slots=True)
class RemovalRow:
    """A removal with its reason in words."""

    index: int
    signatures: int
    words: str
    approvers: tuple[str, ...]
    case_sha256: str


def is_open(campaign: Campaign) -> bool:
    """Whether the page offers signing. The domain decides again when one signs."""
    return str(campaign.state) == "open"


class CampaignNotTaking(Refused):
    """The campaign takes no signatures and no withdrawals."""

    code: ClassVar[str] = "campaign-not-open"


def takes_withdrawals(campaign: Campaign) -> bool:
    """Whether a signature can still be withdrawn: until the close leaf."""
    return str(campaign.state) in ("open", "closing")


def polls(campaign: Campaign) -> bool:
    """Whether the open page asks for newer counts by itself.

    Not in danger mode: who watches the line would see for how long it is read.
    """
    return str(campaign.mode) != "danger" and str(campaign.state) in ("open", "closing")


def find_entry(services: Services, campaign: Campaign) -> BookEntry:
    """Return the campaign's entry in the signing book. Raises CampaignNotTaking."""
    found = services.book.find(campaign.path)
    if found is None:
        raise CampaignNotTaking(campaign=campaign.id)
    return found


def make_list_row(services: Services, campaign: Campaign, *, language: str) -> ListRow:
    """Return the campaign with its present count."""
    title, title_lang = choose_title(campaign, language)
    return ListRow(
        campaign=campaign,
        count=queries.get_count(ledger=services.ledger, origin=campaign.origin),
        mode=words.MODES[str(campaign.mode)],
        title=title,
        title_lang=title_lang,
        is_open=is_open(campaign),
        is_split=len(campaign.stances) > 1,
    )


def make_classes(campaign: Campaign, count: Count) -> list[Part]:
    """Return the standing signatures of each class offered, the open one last."""
    ordered = sorted(campaign.classes, key=lambda code: code == "open")
    return [
        Part(
            code,
            words.CLASSES[code].name,
            words.CLASSES[code].checked,
            count.by_class.get(code, 0),
        )
        for code in ordered
    ]


def make_stances(campaign: Campaign, count: Count) -> list[Part]:
    """Return the net count split by stance; empty where all signatures are for."""
    if len(campaign.stances) < 2:
        return []
    return [
        Part(code, words.STANCES[code], "", count.by_stance.get(code, 0))
        for code in campaign.stances
    ]


def find_lost_record(services: Services, campaign: Campaign) -> int | None:
    """Return where the log says that the record of issued tokens was lost, or None.

    The first time: from that entry on an address or code may have had two tokens.
    """
    records = queries.list_records(ledger=services.ledger, origin=campaign.origin)
    lost = [each.index for each in records if each.kind == RECORD_LOST]
    return lost[0] if lost else None


def make_removals(found: Sequence[PublishedRemoval]) -> list[RemovalRow]:
    """Return the removals, newest first."""
    return [
        RemovalRow(
            index=removal.index,
            signatures=removal.signatures,
            words=words.reason_words(removal.reason),
            approvers=tuple(removal.approvers),
            case_sha256=removal.case_sha256,
        )
        for removal in sorted(found, key=lambda removal: -removal.index)
    ]


def choose_points(
    campaign: Campaign, points: Sequence[GrowthPoint]
) -> list[GrowthPoint]:
    """Return the checkpoints to draw, in order of time.

    A replay carries the times of its series, all before the day on which it was opened
    here; what is signed here since would stretch the picture over years. Elsewhere a
    clock that was set back would make the line run backwards: the later word counts.
    """
    opened = campaign.opened_on
    if campaign.replay and opened:
        replayed = [point for point in points if point.at.date() < opened]
        if len(replayed) > 1:
            points = replayed
    chosen: list[GrowthPoint] = []
    for point in reversed(points):
        if not chosen or point.at <= chosen[-1].at:
            chosen.append(point)
    return chosen[::-1]


def make_growth(
    services: Services,
    campaign: Campaign,
    removals: Sequence[PublishedRemoval],
    language: str,
) -> dict[str, object]:
    """Return chart, falls, holes and table as the growth templates read them."""
    every = queries.list_growth(ledger=services.ledger, origin=campaign.origin)
    points = choose_points(campaign, every)
    holes = list(campaign.replay.holes) if campaign.replay else []
    falls = chart.find_falls(points, removals)
    drawn = chart.make_chart(points, falls=falls, holes=holes, language=language)
    return {
        "chart": drawn,
        "falls": [
            {
                "number": fall.number,
                "at": fall.at,
                "drop": fall.drop,
                "removals": make_removals(fall.removals),
                "is_one": [each.signatures for each in fall.removals] == [fall.drop],
            }
            for fall in falls
        ],
        "holes": holes,
        "rows": chart.make_rows(points, falls, holes),
        "total": len(points),
        "since_replay": max(0, every[-1].net - points[-1].net) if points else 0,
        "top": chart.TOP,
        "plot": chart.PLOT,
        "bottom": chart.TOP + chart.PLOT,
        "gap_y": chart.TOP + chart.PLOT // 2,
    }


def make_commands(services: Services, campaign: Campaign) -> list[str]:
    """Return the exact commands that recount this campaign from outside."""
    base = services.settings.base_url
    return [
        f"undersigned-verify audit {base}/{campaign.path}",
        f"curl -s {base}/{campaign.path}/statement | sha256sum",
    ]


def make_campaign_page(
    services: Services, campaign: Campaign, *, language: str
) -> dict[str, object]:
    """Return everything the campaign page shows."""
    ledger, origin = services.ledger, campaign.origin
    count = queries.get_count(ledger=ledger, origin=origin)
    removals = queries.list_removals(ledger=ledger, origin=origin)
    return {
        **make_frame(campaign, language=language),
        "count": count,
        "polls": polls(campaign),
        "classes": make_classes(campaign, count),
        "stances": make_stances(campaign, count),
        "has_open": "open" in campaign.classes,
        "lost_record": find_lost_record(services, campaign),
        "removals": removals,
        "newest_removals": make_removals(removals)[:_NEWEST_REMOVALS],
        "removed": sum(removal.signatures for removal in removals),
        "commands": make_commands(services, campaign),
        "spine": find_witnessed(
            services, read_policy(services), origin, count.tree_size
        ),
        **make_growth(services, campaign, removals, language),
    }


def make_frame(campaign: Campaign, *, language: str) -> dict[str, object]:
    """Return what every page about one campaign says of it."""
    title, title_lang = choose_title(campaign, language)
    return {
        "campaign": campaign,
        "title": title,
        "title_lang": title_lang,
        "statement": split_statement(campaign),
        "state": words.STATES[str(campaign.state)],
        "mode": words.MODES[str(campaign.mode)],
        "is_open": is_open(campaign),
        "notices": [
            (notice, *words.NOTICES[str(notice.code)]) for notice in campaign.notices
        ],
        "takes_withdrawals": takes_withdrawals(campaign),
        "text_lang": text_language(campaign),
        "other_language": not language.startswith(title_lang.split("-")[0]),
    }
