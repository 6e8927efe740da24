"""Rendering a page: what every template may rely on, whatever the audience."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string
from django.utils import translation

from undersigned.web.shared import locale
from undersigned.web.shared.services import find_mode


@dataclass(frozen=True, slots=True)
class Alternate:
    """The same page in one language. ``url`` is a path on this host."""

    code: str
    html_code: str
    direction: str
    name: str
    url: str
    is_current: bool


def list_alternates(request: HttpRequest, *, path: str | None) -> list[Alternate]:
    """Return the page in each language.

    ``path``: where a change of language leads, as a path with its language prefix;
    None means this very page. A page that answers a POST passes the start of its
    journey, since what was posted cannot be asked for again by a link.
    """
    current = translation.get_language() or settings.LANGUAGE_CODE
    here = path or request.get_full_path()
    _, _, rest = here.lstrip("/").partition("/")
    return [
        Alternate(
            code=code,
            html_code=locale.html_code(code),
            direction=locale.direction(code),
            name=name,
            url=f"/{code}/{rest}",
            is_current=code == current,
        )
        for code, name in settings.LANGUAGES
    ]


def render_page(
    request: HttpRequest,
    template: str,
    context: Mapping[str, object] | None = None,
    *,
    status: int = 200,
    start: str | None = None,
    cache: str = "",
) -> HttpResponse:
    """Return the page.

    ``start``: see ``list_alternates``. ``cache``: the Cache-Control of a page that
    anybody may keep (``shared.headers``); "" forbids storing it at all, which is right
    for every step of a journey.
    """
    language = translation.get_language() or settings.LANGUAGE_CODE
    page = {
        **(context or {}),
        "language": language,
        "html_lang": locale.html_code(language),
        "html_dir": locale.direction(language),
        "alternates": list_alternates(request, path=start),
        "path": request.path,
        "instance_mode": find_mode(request),
    }
    response = HttpResponse(render_to_string(template, page), status=status)
    if cache and request.method in ("GET", "HEAD"):
        response["Cache-Control"] = cache
        # As a file it is also sent compressed (web.rendered).
        response["Vary"] = "Accept-Encoding"
    else:
        response["Cache-Control"] = "no-store"
    return response
