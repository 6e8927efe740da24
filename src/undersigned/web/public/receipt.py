"""Receipts without scripts: shown once after signing, fetched later as a file."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_http_methods

from undersigned_verify import proof

from undersigned.campaigns.data import Campaign
from undersigned.kernel.errors import NotFound
from undersigned.signatures.data import UnscriptedSignature
from undersigned.signatures.queries import find_signature_receipt
from undersigned.web.public import sign_pages
from undersigned.web.public.campaign_page import find_entry
from undersigned.web.public.campaigns import find_shown
from undersigned.web.public.forms import FetchForm
from undersigned.web.shared.services import require_turn, services


class ReceiptNotReady(NotFound):
    """Not published yet, or no such signature: the same answer for both."""

    code: ClassVar[str] = "receipt-not-ready"


def receipt_page(
    request: HttpRequest, campaign: Campaign, signed: UnscriptedSignature
) -> HttpResponse:
    """Show number, key and promise, once; the number in hex, as everywhere."""
    nonce = signed.nonce.hex()
    w = signed.w.hex() if signed.w else ""
    context: dict[str, object] = {
        "nonce": nonce,
        "w": w,
        "promise": signed.promise,
        "publish_by": signed.publish_by,
        "carried": {"nonce": nonce, "w": w},
    }
    return sign_pages.render_step(request, "sign/receipt", campaign, context)


def _add_w(receipt: bytes, w: bytes) -> bytes:
    """Return the receipt with w behind the leaf; the proof itself is unchanged."""
    first, *rest = proof.parse_receipt(receipt)
    extended = replace(first, extra=(first.extra or b"") + w)
    return b"".join(each.encode() for each in (extended, *rest))


@require_http_methods(["GET", "HEAD", "POST"])
def fetch(request: HttpRequest, campaign_id: str) -> HttpResponse:
    """Hand out a receipt as a file whose name tells nothing."""
    here, campaign = services(request), find_shown(campaign_id)
    if request.method != "POST":
        return _page(request, campaign, FetchForm())
    require_turn(request)
    form = FetchForm(request.POST)
    if not form.is_valid():
        return _page(request, campaign, form)
    nonce, w = form.cleaned_data["nonce"], form.cleaned_data["w"]
    found = find_signature_receipt(
        book=here.book, book_entry=find_entry(here, campaign), nonce=nonce
    )
    if found is None:
        refused = ReceiptNotReady(retry_after_seconds=campaign.interval_seconds)
        return _page(request, campaign, form, refused=refused)
    response = HttpResponse(
        _add_w(found, w) if w else found, content_type="text/plain; charset=utf-8"
    )
    response["Content-Disposition"] = 'attachment; filename="receipt.tlog-proof"'
    response["Cache-Control"] = "no-store"
    return response


def _page(
    request: HttpRequest,
    campaign: Campaign,
    form: FetchForm,
    *,
    refused: ReceiptNotReady | None = None,
) -> HttpResponse:
    return sign_pages.render_step(
        request, "sign/fetch", campaign, {"form": form}, refused=refused
    )
