"""Which public files there are, and the headers with which they are sent.

Whoever sends them, the front, nginx or an object store, sends these. The layout is
PROTOCOL §8's; ``docs/operate/nginx.md`` repeats the rules, and a test compares.
"""

from __future__ import annotations

import re
from typing import Final

_LOG_FILE = re.compile(
    r"policy\.txt|(?:c/[a-z][a-z0-9-]{2,39}(?:/[1-9][0-9]{0,3})?|spine)/(?:"
    r"checkpoint|checkpoints/[1-9][0-9]{0,18}|log\.vkey|statement|count\.json|growth\.csv"
    r"|tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?)"
)
_TYPES = {
    "json": "application/json",
    "csv": "text/csv; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
    "png": "image/png",
    "ico": "image/x-icon",
    "txt": "text/plain; charset=utf-8",
}
FOR_EVER: Final = "public, max-age=31536000, immutable"
# A count may be a few seconds old; a reader who meets a stale one is told its size.
FRESH: Final = "public, max-age=5, stale-while-revalidate=60, stale-if-error=86400"
STATIC: Final = "public, max-age=300"


def is_log_file(path: str) -> bool:
    """Say whether ``path`` (without the first slash) names a public file of a log."""
    return _LOG_FILE.fullmatch(path) is not None


def find_media_type(name: str) -> str:
    """Return the Content-Type of a file by its name, the last part of a path."""
    stem, dot, suffix = name.rpartition(".")
    if dot and stem and suffix in _TYPES:
        return _TYPES[suffix]
    if name in ("checkpoint", "log.vkey", "statement"):
        return "text/plain; charset=utf-8"
    return "application/octet-stream"


def find_log_headers(path: str) -> tuple[str, str]:
    """Return Content-Type and Cache-Control of a log's file."""
    parts = path.split("/")
    if "checkpoints" in parts:
        media = "text/plain; charset=utf-8"
    else:
        media = find_media_type(parts[-1])
    # A kept checkpoint of the spine may gain a witness's word later.
    kept = "tile" in parts or ("checkpoints" in parts and parts[0] != "spine")
    return media, FOR_EVER if kept else FRESH
