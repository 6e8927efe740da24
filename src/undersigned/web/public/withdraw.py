"""Withdrawing one's own signature, with the receipt or with number and key."""

from __future__ import annotations

from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from undersigned.campaigns.data import Campaign
from undersigned.kernel.errors import Refused
from undersigned.signatures.operations.withdraw import erase_shown, withdraw_signature
from undersigned.web.public import sign_pages
from undersigned.web.public.campaign_page import (
    CampaignNotTaking,
    find_entry,
    takes_withdrawals,
)
from undersigned.web.public.campaigns import find_shown
from undersigned.web.public.forms import WithdrawForm
from undersigned.web.public.receipt_check import ReceiptNotOurs, check_receipt
from undersigned.web.shared.services import Services, require_turn, services


class ReceiptWithoutKey(Refused):
    """The receipt is good, and its signer gave up the power to withdraw."""

    code: ClassVar[str] = "receipt-without-key"


@require_http_methods(["GET", "HEAD", "POST"])
def withdraw(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Withdraw a signature for good, or erase only what is shown beside it."""
    here, campaign = services(request), find_shown(campaign_id)
    if request.method != "POST":
        return _page(request, campaign, WithdrawForm())
    erases = request.POST.get("act") == "erase"
    if not erases and not takes_withdrawals(campaign):
        raise CampaignNotTaking(campaign=campaign.id)
    require_turn(request)
    form = WithdrawForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, campaign, form)
    try:
        nonce, w = _find_secret(here, campaign, form)
        act = erase_shown if erases else withdraw_signature
        act(book=here.book, book_entry=find_entry(here, campaign), nonce=nonce, w=w)
    except Refused as error:
        return _page(request, campaign, form, refused=error)
    return sign_pages.render_step(
        request, "withdraw/done", campaign, {"erased": erases}
    )


def _find_secret(
    here: Services, campaign: Campaign, form: WithdrawForm
) -> tuple[bytes, bytes]:
    """Return nonce and w. Raises ReceiptNotValid, ReceiptNotOurs, …WithoutKey."""
    data = form.cleaned_data["data"]
    if not data:
        return form.cleaned_data["nonce"], form.cleaned_data["w"]
    found = check_receipt(here, data)
    if found.campaign.origin != campaign.origin:
        raise ReceiptNotOurs(origin=found.campaign.origin)
    if not found.w:
        raise ReceiptWithoutKey()
    return found.nonce, found.w


def _page(
    request: HttpRequest,
    campaign: Campaign,
    form: WithdrawForm,
    *,
    refused: Refused | None = None,
) -> HttpResponse:
    by_hand = bool(form.is_bound and (form["nonce"].value() or form["w"].value()))
    context: dict[str, object] = {"form": form, "by_hand": by_hand}
    return sign_pages.render_step(
        request, "withdraw/form", campaign, context, refused=refused
    )
