"""Signing: briefing, permission, the form, and signing without scripts."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import (
    require_http_methods,
    require_POST,
    require_safe,
)

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.queries import get_campaign
from undersigned.credentials.operations import ClassNotOffered
from undersigned.credentials.tickets import TicketNotYetValid
from undersigned.eligibility import operations as eligibility
from undersigned.eligibility.data import MailsWaiting
from undersigned.eligibility.queries import read_ticket
from undersigned.kernel.errors import Refused, Unavailable, UndersignedError
from undersigned.kernel.ids import CampaignId
from undersigned.safety.switches import Switch
from undersigned.signatures.data import ShownInput
from undersigned.signatures.operations.redeem import require_taking
from undersigned.signatures.operations.unscripted import sign_without_scripts
from undersigned.web.public import sign_pages
from undersigned.web.public.campaign_page import find_entry, is_open
from undersigned.web.public.campaigns import find_shown, language
from undersigned.web.public.forms import (
    EmailForm,
    InvitationForm,
    LinkForm,
    MailedCodeForm,
    SignForm,
    SolvedForm,
    TicketForm,
)
from undersigned.web.public.receipt import receipt_page
from undersigned.web.shared.errors import add_refusal
from undersigned.web.shared.services import require_turn, services


@require_safe
def brief(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Say what each act reveals, show the crowd, offer the ways of signing."""
    campaign = find_shown(campaign_id)
    if not is_open(campaign):
        return redirect("campaign", campaign_id)
    return sign_pages.brief_page(request, campaign)


_SWITCHES = {"email": Switch.MAIL, "open": Switch.OPEN_CLASS}


@require_http_methods(["GET", "HEAD", "POST"])
def ask(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Take an address, an invitation code, or work, as the chosen class asks."""
    if request.method != "POST":
        return redirect("sign", campaign_id)
    campaign = find_shown(campaign_id)
    steps = {"email": _ask_by_email, "invitation": _use_invitation, "open": _ask_open}
    klass = request.POST.get("klass", "")
    step = steps.get(klass)
    if step is None or klass not in campaign.classes:
        raise ClassNotOffered(campaign=campaign.id, klass=klass[:20])
    require_turn(request)
    _require_taking(request, campaign)
    if klass in _SWITCHES:
        book = services(request).book
        book.switches.require(_SWITCHES[klass], campaign=campaign.id)
    return step(request, campaign)


def _require_taking(request: HttpRequest, campaign: Campaign) -> None:
    """Send nobody a code, and give nobody a ticket, that could not be used."""
    here = services(request)
    if is_open(campaign):
        require_taking(book_entry=find_entry(here, campaign), book=here.book)


def _ask_by_email(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    here, form = services(request), EmailForm(request.POST)
    if not form.is_valid():
        return sign_pages.brief_page(request, campaign, klass="email", form=form)
    try:
        token = eligibility.ask_by_email(
            desk=here.desk,
            campaign=campaign,
            address=form.cleaned_data["address"],
            language=language(),
            at=here.clock.now(),
        )
    except eligibility.AddressNotValid as error:
        add_refusal(form, "address", error)
        return sign_pages.brief_page(request, campaign, klass="email", form=form)
    return _code_page(
        request, campaign, MailedCodeForm(), ask=token, mails=here.desk.look()
    )


def _code_page(
    request: HttpRequest,
    campaign: Campaign,
    form: MailedCodeForm,
    *,
    ask: str,
    mails: MailsWaiting | None = None,
) -> HttpResponse:
    context: dict[str, object] = {
        "form": form,
        "carried": {"ask": ask},
        "mails": mails,
    }
    return sign_pages.render_step(request, "sign/mail", campaign, context)


def _use_invitation(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    here, form = services(request), InvitationForm(request.POST)
    if not form.is_valid():
        return sign_pages.brief_page(request, campaign, klass="invitation", form=form)
    try:
        ticket = eligibility.use_invitation(
            desk=here.desk,
            campaign=campaign,
            code=form.cleaned_data["code"],
            at=here.clock.now(),
        )
    except eligibility.InvitationNotValid as error:
        add_refusal(form, "code", error)
        return sign_pages.brief_page(request, campaign, klass="invitation", form=form)
    return sign_pages.write_page(request, campaign, klass="invitation", ticket=ticket)


def _ask_open(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    here = services(request)
    now = here.clock.now()
    if request.POST.get("solution"):
        return _solve(request, campaign)
    if request.POST.get("puzzle"):
        # The form came back without a solution: scripts are off.
        waiting = eligibility.ask_waiting_ticket(
            desk=here.desk, campaign=campaign, at=now
        )
        return sign_pages.wait_page(
            request,
            campaign,
            ticket=waiting.ticket,
            valid_from=waiting.valid_from,
            now=now,
        )
    return _puzzle_page(request, campaign)


def _puzzle_page(
    request: HttpRequest,
    campaign: Campaign,
    *,
    refused: UndersignedError | None = None,
) -> HttpResponse:
    here = services(request)
    puzzle = eligibility.make_puzzle(
        desk=here.desk, campaign=campaign, at=here.clock.now()
    )
    return sign_pages.render_step(
        request, "sign/open", campaign, {"puzzle": puzzle}, refused=refused
    )


def _solve(request: HttpRequest, campaign: Campaign) -> HttpResponse:
    here, form = services(request), SolvedForm(request.POST)
    if form.is_lost or not form.is_valid():
        return _puzzle_page(request, campaign, refused=eligibility.PuzzleNotSolved())
    try:
        ticket = eligibility.solve_puzzle(
            desk=here.desk,
            campaign=campaign,
            token=form.cleaned_data["puzzle"],
            solution=form.cleaned_data["solution"],
            at=here.clock.now(),
        )
    except eligibility.PuzzleNotSolved as error:
        return _puzzle_page(request, campaign, refused=error)
    return sign_pages.write_page(request, campaign, klass="open", ticket=ticket)


@require_http_methods(["GET", "HEAD", "POST"])
def confirm_code(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Take the short code from the mail; show the signing form."""
    if request.method != "POST":
        return redirect("sign", campaign_id)
    here, campaign = services(request), find_shown(campaign_id)
    form = MailedCodeForm(request.POST)
    if form.is_lost:
        raise eligibility.AskExpired()
    ask = request.POST["ask"]
    if not form.is_valid():
        return _code_page(request, campaign, form, ask=ask)
    require_turn(request)
    _require_taking(request, campaign)
    try:
        ticket = eligibility.confirm_code(
            desk=here.desk,
            campaign=campaign,
            token=ask,
            code=form.cleaned_data["code"],
            at=here.clock.now(),
        )
    except eligibility.CodeWrong as error:
        add_refusal(form, "code", error)
        return _code_page(request, campaign, form, ask=ask)
    return sign_pages.write_page(request, campaign, klass="email", ticket=ticket)


@require_http_methods(["GET", "HEAD", "POST"])
def confirm_link(request: HttpRequest) -> HttpResponse:
    """Show a button for the link in a mail; only pressing it changes anything."""
    here, is_post = services(request), request.method == "POST"
    form = LinkForm(request.POST if is_post else request.GET)
    if not form.is_valid():
        raise eligibility.AskExpired()
    token, now = form.cleaned_data["t"], here.clock.now()
    if is_post:
        require_turn(request)
        campaign, ticket = eligibility.confirm_link(desk=here.desk, token=token, at=now)
        return sign_pages.write_page(request, campaign, klass="email", ticket=ticket)
    found = eligibility.read_confirmation(desk=here.desk, token=token, at=now)
    campaign = get_campaign(campaign_id=CampaignId(found.campaign_id))
    return sign_pages.render_step(
        request, "sign/confirm", campaign, {"carried": {"t": token}}
    )


@require_http_methods(["GET", "HEAD", "POST"])
def write(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Show the signing form to who holds a ticket, or ask for patience."""
    if request.method != "POST":
        return redirect("sign", campaign_id)
    here, campaign = services(request), find_shown(campaign_id)
    form = TicketForm(request.POST)
    if not form.is_valid():
        return redirect("sign", campaign_id)
    ticket, now = form.cleaned_data["ticket"], here.clock.now()
    found = read_ticket(desk=here.desk, campaign=campaign, ticket=ticket, at=now)
    if found.valid_from > now:
        return sign_pages.wait_page(
            request,
            campaign,
            ticket=ticket,
            valid_from=found.valid_from,
            now=now,
            refused=TicketNotYetValid(valid_from=found.valid_from),
        )
    return sign_pages.write_page(request, campaign, klass=found.klass, ticket=ticket)


@require_POST
def finish(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Sign without scripts: blind, issue and redeem in this one request."""
    here, campaign = services(request), find_shown(campaign_id)
    now = here.clock.now()
    form = SignForm(request.POST, stances=campaign.stances, shows=campaign.show_names)
    if form.is_lost:
        return redirect("sign", campaign_id)
    ticket = request.POST["ticket"]
    klass = read_ticket(desk=here.desk, campaign=campaign, ticket=ticket, at=now).klass
    if not form.is_valid():
        return sign_pages.write_page(
            request, campaign, klass=klass, ticket=ticket, form=form
        )
    try:
        signed = sign_without_scripts(
            book=here.book,
            book_entry=find_entry(here, campaign),
            issuer=here.issuer,
            ticket=ticket,
            stance=form.chosen_stance,
            shown=_shown(form),
            keep_w=form.cleaned_data["keep_w"],
            at=now,
        )
    except (Refused, Unavailable) as error:
        return sign_pages.write_page(
            request, campaign, klass=klass, ticket=ticket, form=form, refused=error
        )
    return receipt_page(request, campaign, signed)


def _shown(form: SignForm) -> ShownInput:
    """Return what the signer wants to show."""
    return ShownInput(
        **{
            each: str(form.cleaned_data.get(each, ""))
            for each in ("name", "place", "comment")
        }
    )
