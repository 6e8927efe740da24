"""Builders of the signing journey's pages."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import datetime

from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.functional import Promise
from django.utils.translation import get_language

from undersigned_verify import entry, tile

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.kernel.errors import UndersignedError
from undersigned.signatures import queries
from undersigned.web.public import words
from undersigned.web.public.campaign_page import find_entry, make_frame
from undersigned.web.public.forms import EmailForm, InvitationForm, SignForm
from undersigned.web.shared import problem
from undersigned.web.shared.errors import add_refusal, translate
from undersigned.web.shared.page import render_page
from undersigned.web.shared.services import Services, services
from undersigned.web.shared.staged_form import StagedForm

# After the end of an interval a receipt is there within moments; asking a little late
# saves the browser a refusal.
_RECEIPT_SLACK_SECONDS = 5


@dataclass(frozen=True, slots=True)
class CrowdView:
    """What may be said of the crowd of one way of signing.

    ``together``: how many signatures at least are published at once, a new one
    included. ``is_sure``: the mode waits for so many, with its one exception.
    ``counted``: published this way so far.
    """

    together: int
    is_sure: bool
    counted: int


@dataclass(frozen=True, slots=True)
class Way:
    """A way of signing on the briefing page; ``is_open``: its form stands open."""

    code: str
    name: str | Promise
    way: str | Promise
    checked: str | Promise
    form: StagedForm | None
    crowd: CrowdView
    is_open: bool


def start_of(campaign: Campaign) -> str:
    """Return the address where the signing journey begins."""
    return reverse("sign", args=[campaign.id])


def _frame(campaign: Campaign) -> dict[str, object]:
    return {
        **make_frame(campaign, language=get_language() or "en"),
        "mode_code": str(campaign.mode),
        "is_danger": str(campaign.mode) == "danger",
        "stances_differ": len(campaign.stances) > 1,
        "restart": start_of(campaign),
    }


def render_step(
    request: HttpRequest,
    template: str,
    campaign: Campaign,
    context: dict[str, object],
    *,
    refused: UndersignedError | None = None,
) -> HttpResponse:
    """Return a page of the journey; with ``refused``, the error on top of it."""
    said = translate(refused) if refused else None
    form = context.get("form")
    is_wrong = isinstance(form, StagedForm) and form.is_bound and bool(form.errors)
    response = render_page(
        request,
        f"public/{template}.html",
        {**_frame(campaign), **context, "refused": said},
        status=said.status if said else 400 if is_wrong else 200,
        start=start_of(campaign),
    )
    seconds = problem.retry_after(refused) if refused else None
    if seconds is not None:
        response["Retry-After"] = str(seconds)
    return response


def make_crowd(here: Services, campaign: Campaign, *, klass: str) -> CrowdView:
    """Return the crowd a signer of this class would hide in.

    Where publication waits for a crowd, the number that waits now is not told: a
    reader who asked every minute would learn from it when somebody signs.
    """
    crowd = queries.get_crowd(
        book=here.book, book_entry=find_entry(here, campaign), klass=klass
    )
    if str(campaign.mode) == "standard":
        return CrowdView(crowd.waiting + 1, is_sure=False, counted=crowd.counted)
    return CrowdView(crowd.k, is_sure=klass != "open", counted=crowd.counted)


def make_ways(
    here: Services, campaign: Campaign, *, bound: dict[str, StagedForm]
) -> list[Way]:
    """Return the ways offered, the open one last; a bound form stands open."""
    forms: dict[str, StagedForm] = {
        "email": EmailForm(),
        "invitation": InvitationForm(),
    }
    codes = sorted(campaign.classes, key=lambda code: code == "open")
    return [
        Way(
            code=code,
            name=words.CLASSES[code].name,
            way=words.CLASSES[code].way,
            checked=words.CLASSES[code].checked,
            form=bound.get(code) or forms.get(code),
            crowd=make_crowd(here, campaign, klass=code),
            is_open=code in bound or len(codes) == 1,
        )
        for code in codes
    ]


def brief_page(
    request: HttpRequest,
    campaign: Campaign,
    *,
    klass: str = "",
    form: StagedForm | None = None,
) -> HttpResponse:
    """Return the briefing; after a fault, with the form as it was filled in."""
    here = services(request)
    ways = make_ways(here, campaign, bound={klass: form} if form is not None else {})
    context: dict[str, object] = {
        "ways": ways,
        "form": form,
        "client": make_resume_data(here, campaign),
        "messages": words.make_client_messages(),
    }
    return render_step(request, "sign/brief", campaign, context)


def make_resume_data(here: Services, campaign: Campaign) -> dict[str, object]:
    """Return what the browser client needs to go on with a signature in hand."""
    standard = str(campaign.mode) == "standard"
    return {
        "path": f"/{campaign.path}",
        # Filled by the script that waits in line.
        "turn": "",
        "origin": campaign.origin,
        "issuer": here.book.get_issuer_name(campaign.path, here.settings.host),
        "mode": str(campaign.mode),
        "digest": campaign.statement_sha256,
        "publish-after": campaign.interval_seconds + _RECEIPT_SLACK_SECONDS
        if standard
        else "",
    }


def make_client_data(
    here: Services, campaign: Campaign, *, klass: str, ticket: str
) -> dict[str, object]:
    """Return the data attributes of the signing form (client/README.md)."""
    found = find_entry(here, campaign)
    key = queries.get_key(book_entry=found, klass=klass)
    leaf = entry.IssuerKey(
        key_index=key.key_index, klass=CLASS_NUMBERS[klass], flags=0, spki=key.spki
    )
    n = key.leaf_index // tile.WIDTH
    width = min(tile.WIDTH, found.log.size - n * tile.WIDTH)
    path = tile.tile_path("entries", n, width).removeprefix("tile/entries/")
    return {
        **make_resume_data(here, campaign),
        "ticket": ticket,
        "key": base64.b64encode(entry.encode(leaf)).decode(),
        "key-tile": path,
    }


def write_page(
    request: HttpRequest,
    campaign: Campaign,
    *,
    klass: str,
    ticket: str,
    form: SignForm | None = None,
    refused: UndersignedError | None = None,
) -> HttpResponse:
    """Return the signing form for someone who holds a ticket.

    A refusal of what was to be shown stands at the field that it is about.
    """
    here = services(request)
    filled = form or SignForm(stances=campaign.stances, shows=campaign.show_names)
    field = str(refused.data.get("field", "")) if refused else ""
    if refused is not None and filled.is_bound and field in filled.fields:
        add_refusal(filled, field, refused)
        refused = None
    shown_open = any(
        name in filled.fields and (filled[name].value() or name in filled.errors)
        for name in ("name", "place", "comment")
    )
    context: dict[str, object] = {
        "form": filled,
        "carried": {"ticket": ticket},
        "client": make_client_data(here, campaign, klass=klass, ticket=ticket),
        "messages": words.make_client_messages(),
        "crowd": make_crowd(here, campaign, klass=klass),
        "klass": klass,
        "only_stance": words.STANCE_NUMBERS[campaign.stances[0]],
        "shown_open": shown_open,
    }
    return render_step(request, "sign/write", campaign, context, refused=refused)


def wait_page(
    request: HttpRequest,
    campaign: Campaign,
    *,
    ticket: str,
    valid_from: datetime,
    now: datetime,
    refused: UndersignedError | None = None,
) -> HttpResponse:
    """Return the page that asks for patience."""
    context = {"carried": {"ticket": ticket}, "valid_from": valid_from, "now": now}
    return render_step(request, "sign/wait", campaign, context, refused=refused)
