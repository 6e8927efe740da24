"""Public files of logs, and the site's own static files, from disk.

Everything here is small (a tile is at most 92 kB), in the page cache while it is read
often, and sent whole; a thread hand-over would cost more than the read.
"""

from __future__ import annotations

import hashlib
import os
import re
from dataclasses import dataclass
from pathlib import Path

from undersigned.web.hot.wire import (
    CROSS_ORIGIN,
    SAME_ORIGIN,
    Headers,
    MethodNotTaken,
    NothingHere,
    Scope,
    Send,
    answer,
    find_header,
)

_LOG_FILE = re.compile(
    r"policy\.txt|(?:c/[a-z][a-z0-9-]{2,39}(?:/[1-9][0-9]{0,3})?|spine)/(?:"
    r"checkpoint|checkpoints/[1-9][0-9]{0,18}|log\.vkey|statement|count\.json|growth\.csv"
    r"|tile/(?:entries|[0-9]{1,2})/(?:x[0-9]{3}/)*[0-9]{3}(?:\.p/[1-9][0-9]{0,2})?)"
)
_STATIC_FILE = re.compile(
    r"[a-z0-9_][a-z0-9_.-]*(?:/[a-z0-9_][a-z0-9_.-]*)*", re.IGNORECASE
)

_TYPES = {
    "json": b"application/json",
    "csv": b"text/csv; charset=utf-8",
    "css": b"text/css; charset=utf-8",
    "js": b"text/javascript; charset=utf-8",
    "svg": b"image/svg+xml",
    "png": b"image/png",
    "ico": b"image/x-icon",
    "txt": b"text/plain; charset=utf-8",
}
_FOR_EVER = b"public, max-age=31536000, immutable"
# A count may be a few seconds old; a reader who meets a stale one is told its size.
_FRESH = b"public, max-age=5, stale-while-revalidate=60, stale-if-error=86400"
_STATIC = b"public, max-age=300"


def is_log_file(path: str) -> bool:
    """Say whether ``path`` (without the first slash) names a public file of a log."""
    return _LOG_FILE.fullmatch(path) is not None


def _media_type(name: str) -> bytes:
    stem, dot, suffix = name.rpartition(".")
    if dot and stem and suffix in _TYPES:
        return _TYPES[suffix]
    if name in ("checkpoint", "log.vkey", "statement"):
        return b"text/plain; charset=utf-8"
    return b"application/octet-stream"


@dataclass(frozen=True, slots=True)
class _File:
    path: Path
    media: bytes
    cache: bytes
    policy: Headers


def _is_named(condition: bytes | None, tag: bytes) -> bool:
    """Say whether an If-None-Match names ``tag``; a proxy may have weakened it."""
    if condition is None:
        return False
    return any(
        one.strip().removeprefix(b"W/") in (tag, b"*") for one in condition.split(b",")
    )


class Files:
    """Serves log files below ``public`` and static files below ``static``."""

    def __init__(self, *, public: Path, static: list[Path]) -> None:
        self._public = public
        self._static = static

    async def send_log_file(self, scope: Scope, send: Send, path: str) -> None:
        """Answer with a file of a log. Raises NothingHere, MethodNotTaken."""
        parts = path.split("/")
        # A kept checkpoint of the spine may gain a witness's word later.
        kept = "tile" in parts or ("checkpoints" in parts and parts[0] != "spine")
        media = (
            b"text/plain; charset=utf-8"
            if "checkpoints" in parts
            else _media_type(parts[-1])
        )
        # Made to be copied: a mirror or an auditor on another site may read it.
        file = _File(
            self._public / path,
            media,
            _FOR_EVER if kept else _FRESH,
            CROSS_ORIGIN,
        )
        await _send(scope, send, file)

    async def send_static(self, scope: Scope, send: Send, path: str) -> None:
        """Answer with one of the site's own files. Raises NothingHere."""
        if _STATIC_FILE.fullmatch(path) is None:
            raise NothingHere()
        for root in self._static:
            file = root / path
            if file.is_file():
                await _send(
                    scope,
                    send,
                    _File(file, _media_type(file.name), _STATIC, SAME_ORIGIN),
                )
                return
        raise NothingHere()


async def _send(scope: Scope, send: Send, file: _File) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotTaken(allowed="GET, HEAD")
    body = _read(file.path)
    # Of the content, so that a re-export after a crash keeps it.
    tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
    headers: Headers = [
        (b"content-type", file.media),
        (b"etag", tag),
        (b"cache-control", file.cache),
    ]
    if _is_named(find_header(scope, b"if-none-match"), tag):
        await answer(send, 304, body, headers, head=True, policy=file.policy)
        return
    head = scope["method"] == "HEAD"
    await answer(send, 200, body, headers, head=head, policy=file.policy)


def _read(path: Path) -> bytes:
    """Return a file's bytes. Raises NothingHere."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except OSError:
        raise NothingHere() from None
    try:
        size = os.fstat(handle).st_size
        body = os.read(handle, size)
        while len(body) < size:
            more = os.read(handle, size - len(body))
            if not more:
                break
            body += more
        return body
    except OSError:
        # A folder, say: it opens and does not read.
        raise NothingHere() from None
    finally:
        os.close(handle)
