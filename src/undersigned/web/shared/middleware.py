"""Headers on every page, and the refusal of requests that another site makes."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from django.http import HttpRequest, HttpResponse

from undersigned.kernel.errors import NotAllowed
from undersigned.web.shared.crossing import is_from_elsewhere
from undersigned.web.shared.errors import error_page, status_page
from undersigned.web.shared.headers import HEADERS
from undersigned.web.shared.problem import as_anticipated

Next = Callable[[HttpRequest], HttpResponse]

_logger = logging.getLogger("undersigned.pages")


def _tell_fault(exception: Exception) -> None:
    """Tell the operator which line failed, and nothing of the request.

    Django's own report holds the address, and a message may quote what was typed.
    """
    places = traceback.extract_tb(exception.__traceback__)[-3:]
    where = " < ".join(f"{Path(p.filename).name}:{p.lineno}" for p in places[::-1])
    _logger.error("a page failed: %s at %s", type(exception).__name__, where)


_SAFE = ("GET", "HEAD", "OPTIONS")


class CrossSiteRequest(NotAllowed):
    """A form here was sent by a page of another site."""

    code: ClassVar[str] = "cross-site"


def is_cross_site(request: HttpRequest) -> bool:
    """Whether another site made the browser send this."""
    return is_from_elsewhere(
        site=request.headers.get("Sec-Fetch-Site"),
        origin=request.headers.get("Origin"),
        own=f"{request.scheme}://{request.get_host()}",
    )


def security_headers(get_response: Next) -> Next:
    """Put HEADERS on every answer and keep what is not a public page out of stores."""

    def middleware(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        for name, value in HEADERS.items():
            response.setdefault(name, value)
        response.setdefault("Cache-Control", "no-store")
        return response

    return middleware


class DomainErrors:
    """Turn a domain error, a cross-site POST or a bare 405 into its page."""

    def __init__(self, get_response: Next) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        if request.method not in _SAFE and is_cross_site(request):
            return error_page(request, CrossSiteRequest())
        response = self.get_response(request)
        if response.status_code == 405 and not response.content:
            page = status_page(request, 405)
            page["Allow"] = response.get("Allow", "")
            return page
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponse | None:
        """Show anticipated errors; let everything else bubble up to be logged."""
        anticipated = as_anticipated(exception)
        if anticipated is not None:
            return error_page(request, anticipated)
        _tell_fault(exception)
        return None
