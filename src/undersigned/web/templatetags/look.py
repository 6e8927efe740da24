"""Icons drawn in the page, and addresses of files that change with their content."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path

from django import template
from django.conf import settings
from django.utils.safestring import SafeString, mark_safe

register = template.Library()

_STATIC = Path(__file__).resolve().parents[1] / "static"

# 24 units wide, drawn with a 2-unit line; colour and size come from the style sheet.
_ICONS = {
    "warning": "M12 3 2 20h20zM12 10v4m0 3v.01",
    "check": "M4 12.5 9.5 18 20 6",
    "cross": "M5 5l14 14M19 5 5 19",
    "info": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 11v5m0-8v.01",
    "file": "M6 3h8l4 4v14H6zM14 3v4h4",
    "mail": "M3 6h18v12H3zM3 7l9 6 9-6",
    "wait": "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18zM12 7v5l3 2",
}


@register.simple_tag
def icon(name: str) -> SafeString:
    """Draw an icon. It only ever repeats the words beside it, so it is hidden."""
    return mark_safe(  # noqa: S308 - the path comes from the table above
        '<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">'
        f'<path d="{_ICONS[name]}"/></svg>'
    )


@lru_cache(maxsize=64)
def _fingerprint(name: str, changed_at: float) -> str:
    return hashlib.sha256(Path(name).read_bytes()).hexdigest()[:10]


@register.simple_tag
def asset(name: str) -> str:
    """Return the address of a static file, with a digest so that it may be kept."""
    # split() gives plain strings; pathlib cannot intern a SafeString.
    path = _STATIC.joinpath(*name.split("/"))
    base: str = settings.STATIC_URL or "/static/"
    if not path.is_file():
        return f"{base}{name}"
    return f"{base}{name}?v={_fingerprint(str(path), path.stat().st_mtime)}"
