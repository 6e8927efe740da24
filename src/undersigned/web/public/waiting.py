"""The page for who must wait: made on the event loop, while the page threads are busy.

So it is a template rendered once a language, with gaps; filling them takes
microseconds, and a poll of thousands who wait costs the signing path nothing to speak
of. What was typed is put into the page, as hidden fields, and nowhere else.
"""

from __future__ import annotations

import re
from functools import lru_cache

from django.conf import settings
from django.template.loader import render_to_string
from django.utils import translation
from django.utils.html import escape

from undersigned.safety.turns import PleaseWait
from undersigned.web.shared import locale
from undersigned.web.shared.waiting import Held

# Private-use characters: no translation has them.
_GAP = re.compile("\ue000([a-z-]+)\ue001")
_GAPS = ("action", "method", "fields", "turn", "again", "before", "minutes")
# Parts of the page of which some are shown: see make_words.
_PARTS = (
    *("site", "network", "away", "form", "reading", "placed", "crowd"),
    *("before", "minutes", "soon", "unknown"),
)


def make_words(wait: PleaseWait) -> set[str]:
    """Return which parts say something true of this wait; ``wait.js`` does the same."""
    words: set[str] = {wait.reason}
    if wait.reason != "away":
        words.add("crowd")
    if wait.turn:
        words.add("placed")
    if wait.before is not None:
        words.add("before")
    if wait.seconds is None:
        words.add("unknown")
    else:
        words.add("minutes" if wait.seconds >= 60 else "soon")
    return words


@lru_cache(maxsize=16)
def _make_pieces(language: str) -> tuple[str, ...]:
    """Return the page cut at its gaps: text, name of a gap, text, …."""
    gaps = {name: f"\ue000{name}\ue001" for name in _GAPS}
    shown = {part: f"\ue000show-{part}\ue001" for part in _PARTS}
    with translation.override(language):
        page = render_to_string(
            "public/sign/line.html",
            {
                "gaps": gaps,
                "shown": shown,
                "language": language,
                "html_lang": locale.html_code(language),
                "html_dir": locale.direction(language),
                # A link to another language would leave what was typed behind.
                "alternates": [],
                "path": "",
                "instance_mode": "production",
            },
        )
    return tuple(_GAP.split(page))


def _make_fields(held: Held) -> str:
    return "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">'
        for name, value in held.fields
    )


def render_wait(language: str, held: Held, wait: PleaseWait) -> bytes:
    """Return the page. A language that is not offered gets the first one."""
    offered = {code for code, _name in settings.LANGUAGES}
    language = language if language in offered else settings.LANGUAGE_CODE
    words = make_words(wait) | {"form" if held.is_form else "reading"}
    minutes = -(-(wait.seconds or 0) // 60)
    filled = {
        "action": escape(held.action),
        "method": "post" if held.is_form else "get",
        "fields": _make_fields(held),
        "turn": wait.turn,
        "again": str(wait.retry_after_seconds),
        "before": locale.say_number(wait.before or 0, language),
        "minutes": locale.say_number(minutes, language),
        **{f"show-{part}": "" if part in words else " hidden" for part in _PARTS},
    }
    pieces = _make_pieces(language)
    return "".join(
        filled[piece] if place % 2 else piece for place, piece in enumerate(pieces)
    ).encode()
