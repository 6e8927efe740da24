"""What a node itself has to say to people: the page of an error, in their language."""

from __future__ import annotations

import io
from typing import Final

from django.conf import settings
from django.core.handlers.wsgi import WSGIRequest
from django.utils import translation

from undersigned.kernel.errors import UndersignedError
from undersigned.web.hot.wire import Headers, Scope, find_header
from undersigned.web.shared.errors import error_page
from undersigned.web.shared.headers import HEADERS
from undersigned.web.shared.problem import problem, retry_after

MOST_PAGES: Final = 256
# By language, code and seconds to wait: status and body.
_pages: dict[tuple[str, str, int | None], tuple[int, bytes]] = {}


def find_language(scope: Scope) -> str | None:
    """Return the language of the page that a browser asks for; None for a program."""
    if b"text/html" not in (find_header(scope, b"accept") or b""):
        return None
    first = scope["path"][1:].partition("/")[0]
    return first if first in dict(settings.LANGUAGES) else None


def say(scope: Scope, error: UndersignedError) -> tuple[int, bytes, Headers]:
    """Return status, body and headers of the answer to an error."""
    language = find_language(scope)
    if language is None:
        return problem(error)
    seconds = retry_after(error)
    status, body = _render(language, error, seconds)
    headers: Headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-language", language.encode()),
        (b"cache-control", b"no-store"),
        *((name.lower().encode(), value.encode()) for name, value in HEADERS.items()),
    ]
    if seconds is not None:
        headers.append((b"retry-after", str(seconds).encode()))
    return status, body, headers


def _render(
    language: str, error: UndersignedError, seconds: int | None
) -> tuple[int, bytes]:
    """Return status and body; thousands are told the same, so it is made once."""
    key = language, error.code, seconds
    found = _pages.get(key)
    if found is None:
        if len(_pages) >= MOST_PAGES:
            _pages.clear()
        found = _pages[key] = _make_page(language, error)
    return found


def _make_page(language: str, error: UndersignedError) -> tuple[int, bytes]:
    request = WSGIRequest(
        {
            # As after a form: its links lead to where one begins.
            "REQUEST_METHOD": "POST",
            "PATH_INFO": f"/{language}/",
            "QUERY_STRING": "",
            "SERVER_NAME": "localhost",
            "SERVER_PORT": "80",
            "wsgi.url_scheme": "https",
            "wsgi.input": io.BytesIO(),
        }
    )
    with translation.override(language):
        response = error_page(request, error)
        return response.status_code, bytes(response.content)
