"""Reading: the list, a campaign, its removals, names, records and growth."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.translation import get_language
from django.views.decorators.http import require_safe

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import get_campaign, list_campaigns
from undersigned.kernel.ids import CampaignId
from undersigned.signatures import queries
from undersigned.web.public import campaign_page, words
from undersigned.web.shared.headers import ERASABLE, READING
from undersigned.web.shared.page import render_page
from undersigned.web.shared.pagination import LIMIT, Cursor, next_link
from undersigned.web.shared.services import services

_MOST_REMOVALS = 500


def find_shown(campaign_id: str) -> Campaign:
    """Return a campaign that is public. Raises NotFound for drafts too."""
    return get_campaign(campaign_id=CampaignId(campaign_id))


def language() -> str:
    """Return the language of the page being made."""
    return get_language() or "en"


@require_safe
def list_all(request: HttpRequest) -> HttpResponse:
    """Show every campaign, open ones first."""
    here = services(request)
    rows = [
        campaign_page.make_list_row(here, each, language=language())
        for each in list_campaigns()
    ]
    context = {
        "facts": here.settings,
        "open": [row for row in rows if row.is_open],
        "closed": [row for row in rows if not row.is_open],
    }
    return render_page(request, "public/campaigns/list.html", context, cache=READING)


@require_safe
def show(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show one campaign: demand, text, count, growth, removals, how to check."""
    campaign = find_shown(campaign_id)
    context = campaign_page.make_campaign_page(
        services(request), campaign, language=language()
    )
    return render_page(
        request, "public/campaigns/campaign.html", context, cache=READING
    )


@require_safe
def show_growth(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show the growth table on a page of its own."""
    here, campaign = services(request), find_shown(campaign_id)
    removals = queries.list_removals(ledger=here.ledger, origin=campaign.origin)
    context = {
        **campaign_page.make_frame(campaign, language=language()),
        **campaign_page.make_growth(here, campaign, removals, language()),
    }
    return render_page(request, "public/campaigns/growth.html", context, cache=READING)


@require_safe
def show_removals(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show every removal with its reason, the newest 500."""
    here, campaign = services(request), find_shown(campaign_id)
    found = queries.list_removals(ledger=here.ledger, origin=campaign.origin)
    context = {
        **campaign_page.make_frame(campaign, language=language()),
        "removals": campaign_page.make_removals(found)[:_MOST_REMOVALS],
        "left": max(0, len(found) - _MOST_REMOVALS),
    }
    return render_page(
        request, "public/campaigns/removals.html", context, cache=READING
    )


@require_safe
def show_names(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show what signers chose to show; search engines are asked to stay away."""
    campaign = find_shown(campaign_id)
    cursor = Cursor.parse(request.GET.get("after"))
    context: dict[str, object] = {
        **campaign_page.make_frame(campaign, language=language()),
        "cursor": cursor,
    }
    if campaign.show_names:
        found = queries.list_shown(
            origin=campaign.origin, after=cursor.after, limit=LIMIT
        )
        differ = len(campaign.stances) > 1
        context["shown"] = [
            {
                "name": row.name,
                "place": row.place,
                "comment": row.comment,
                "stance_words": words.STANCES[words.STANCE_NAMES[row.stance]]
                if differ
                else "",
            }
            for row in found.rows
        ]
        context["next"] = next_link(found.next)
    response = render_page(
        request, "public/campaigns/names.html", context, cache=ERASABLE
    )
    response["X-Robots-Tag"] = "noindex"
    return response


@require_safe
def show_records(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show the log's other entries: answers, verdicts, outcomes."""
    here, campaign = services(request), find_shown(campaign_id)
    found = queries.list_records(ledger=here.ledger, origin=campaign.origin)
    context = {
        **campaign_page.make_frame(campaign, language=language()),
        "records": [
            {
                "index": record.index,
                "words": words.record_words(record.kind),
                "sha256": record.sha256,
            }
            for record in found
        ],
    }
    return render_page(request, "public/campaigns/records.html", context, cache=READING)
