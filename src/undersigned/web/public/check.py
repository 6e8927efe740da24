"""Checking a receipt: in the browser, or here when scripts are off."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.translation import get_language
from django.views.decorators.http import require_http_methods

from undersigned.kernel.errors import Refused
from undersigned.web.public import words
from undersigned.web.public.forms import CheckForm
from undersigned.web.public.receipt_check import CheckedReceipt, check_receipt
from undersigned.web.public.statement import choose_title
from undersigned.web.shared.errors import translate
from undersigned.web.shared.page import render_page
from undersigned.web.shared.services import require_turn, services

_SLOT = '<span data-slot="{}"></span>'


@require_http_methods(["GET", "HEAD", "POST"])
def check(request: HttpRequest) -> HttpResponse:
    """Show the form, or what this server found in a receipt; nothing is kept."""
    if request.method != "POST":
        return _page(request, CheckForm())
    require_turn(request)
    form = CheckForm(request.POST, request.FILES)
    if not form.is_valid():
        return _page(request, form, status=400)
    try:
        found = check_receipt(services(request), form.cleaned_data["data"])
    except Refused as error:
        return _page(request, form, refused=error, status=400)
    return _page(request, CheckForm(), found=found)


def _page(
    request: HttpRequest,
    form: CheckForm,
    *,
    found: CheckedReceipt | None = None,
    refused: Refused | None = None,
    status: int = 200,
) -> HttpResponse:
    context: dict[str, object] = {
        "form": form,
        "found": found,
        "refused": translate(refused) if refused else None,
        "host": services(request).settings.host,
        "messages": words.make_client_messages(),
        # Numbers that the script fills in, inside sentences of any language.
        "cosigned": format_html(_SLOT, "cosigned"),
        "witnesses": format_html(_SLOT, "witnesses"),
    }
    if found is not None:
        name = words.STANCE_NAMES[found.stance]
        context["stance"] = words.STANCES[name]
        context["state"] = words.SIGNATURE_STATES.get(found.state, found.state)
        title, title_lang = choose_title(found.campaign, get_language() or "en")
        context |= {"title": title, "title_lang": title_lang}
    return render_page(
        request, "public/check/check.html", context, status=status, start=request.path
    )
