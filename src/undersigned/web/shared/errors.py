"""Errors as pages: the only way from a domain error to what a reader sees.

Status, title and detail come from ``problem``; here they are translated and set on a
page, or sent as JSON to who asked for JSON.
"""

from __future__ import annotations

from django.core.exceptions import RequestDataTooBig
from django.forms import Form
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.translation import gettext

from undersigned.kernel.errors import UndersignedError
from undersigned.web.shared import problem
from undersigned.web.shared.page import render_page
from undersigned.web.shared.problem import Said


def wants_json(request: HttpRequest) -> bool:
    """Whether a program asks: it names JSON and does not name HTML."""
    accept = request.headers.get("Accept", "")
    return "json" in accept and "html" not in accept


def translate(error: UndersignedError) -> Said:
    """Return what is said of ``error`` in the reader's language."""
    said = problem.say(error)
    return Said(said.status, gettext(said.title), gettext(said.detail))


def say_in_one(said: Said) -> str:
    """Return title and detail, both translated already, as one text."""
    parts = {"title": said.title, "detail": said.detail}
    return gettext("%(title)s. %(detail)s") % parts


def add_refusal(form: Form, name: str, error: UndersignedError) -> None:
    """Show a domain's refusal at the field that it is about."""
    form.add_error(name, say_in_one(translate(error)))


# After these one has to begin again: the page says where.
_BEGIN_AGAIN = frozenset(
    {"ask-expired", "ticket-expired", "ticket-not-valid", "puzzle-not-solved"}
)


def _find_restart(request: HttpRequest, code: str) -> str | None:
    """Return the address of the signing page that the request came from, if any."""
    found = request.resolver_match
    campaign_id = found.kwargs.get("campaign_id") if found else None
    if code not in _BEGIN_AGAIN or campaign_id is None:
        return None
    return reverse("sign", args=[campaign_id])


def _answer(
    request: HttpRequest,
    said: Said,
    code: str,
    *,
    retry_after: int | None = None,
) -> HttpResponse:
    if wants_json(request):
        response = HttpResponse(
            problem.encode_problem(said, code),
            status=said.status,
            content_type="application/problem+json",
        )
        response["Cache-Control"] = "no-store"
    else:
        context = {
            "title": gettext(said.title),
            "detail": gettext(said.detail),
            "status": said.status,
            "minutes": -(-retry_after // 60) if retry_after else None,
            "restart": _find_restart(request, code),
        }
        response = render_page(
            request,
            "errors/error.html",
            context,
            status=said.status,
            start=None if request.method == "GET" else "/-/",
        )
    if retry_after is not None:
        response["Retry-After"] = str(retry_after)
    return response


def error_page(request: HttpRequest, error: UndersignedError) -> HttpResponse:
    """Return the page, or the JSON, for a domain error."""
    return _answer(
        request,
        problem.say(error),
        error.code,
        retry_after=problem.retry_after(error),
    )


def status_page(request: HttpRequest, status: int) -> HttpResponse:
    """Return the page, or the JSON, for a bare status."""
    said = problem.STATUSES.get(status, problem.STATUSES[400])
    return _answer(request, said, f"http-{said.status}")


def handler400(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django could not read."""
    too_large = isinstance(exception, RequestDataTooBig)
    return status_page(request, 413 if too_large else 400)


def handler403(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request that Django refused."""
    return status_page(request, 403)


def handler404(request: HttpRequest, exception: Exception) -> HttpResponse:
    """Answer a request for a page that does not exist."""
    return status_page(request, 404)


def handler500(request: HttpRequest) -> HttpResponse:
    """Answer after an unexpected fault; the middleware has told the operator."""
    return status_page(request, 500)
