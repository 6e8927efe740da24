"""Public files of logs, and the site's own static files.

Everything here is small (a tile is at most 92 kB) and sent whole; a thread hand-over
would cost more than the read.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from undersigned.kernel.durable import stamp_of
from undersigned.web.hot.file_cache import FileCache, Stored, identify, read_file
from undersigned.web.hot.wire import (
    CROSS_ORIGIN,
    SAFE,
    SAME_ORIGIN,
    Headers,
    MethodNotTaken,
    NothingHere,
    Scope,
    Send,
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
class PublicFile:
    """A file and all that goes with it.

    ``lasting``: headers of a 304, too. ``is_stamped``: its time of change is made of
    its content (``kernel.durable``), so that half a file is known for none.
    """

    path: Path
    headers: Headers
    lasting: Headers
    is_stamped: bool = False


def _is_named(condition: bytes, tag: bytes) -> bool:
    """Say whether an If-None-Match names ``tag``; a proxy may have weakened it."""
    if condition == tag:
        return True
    return any(
        one.strip().removeprefix(b"W/") in (tag, b"*") for one in condition.split(b",")
    )


def load(cache: FileCache, key: str, file: PublicFile) -> Stored:
    """Read a file and hold it under ``key``. Raises NothingHere."""
    body, found = read_file(file.path)
    # In whole seconds, which every file system keeps.
    if file.is_stamped and stamp_of(body) // 10**9 != found.st_mtime_ns // 10**9:
        raise NothingHere()
    # Of the content, so that a re-export after a crash keeps it.
    tag = b'"' + hashlib.sha256(body).hexdigest()[:32].encode() + b'"'
    length = (b"content-length", str(len(body)).encode())
    lasting = [(b"etag", tag), *file.lasting]
    stored = Stored(
        place=str(file.path),
        identity=identify(found),
        size=len(body),
        tag=tag,
        whole={
            "type": "http.response.start",
            "status": 200,
            "headers": [*file.headers, *lasting, length],
        },
        body={"type": "http.response.body", "body": body},
        # Without a length: the server would wait for a body of that many bytes. What
        # else a reader keeps with the page is what it got with it.
        unchanged={"type": "http.response.start", "status": 304, "headers": lasting},
    )
    cache.hold(key, stored)
    return stored


_NO_BODY = {"type": "http.response.body", "body": b""}


async def send_stored(scope: Scope, send: Send, stored: Stored) -> None:
    """Answer GET or HEAD with a file, or say that it has not changed."""
    condition = find_header(scope, b"if-none-match")
    if condition is not None and _is_named(condition, stored.tag):
        await send(stored.unchanged)
        await send(_NO_BODY)
        return
    await send(stored.whole)
    await send(stored.body if scope["method"] == "GET" else _NO_BODY)


class Files:
    """Serves log files below ``public`` and static files below ``static``."""

    def __init__(
        self, *, public: Path, static: list[Path], cache: FileCache | None = None
    ) -> None:
        self._public = public
        self._static = static
        self._cache = cache or FileCache()

    async def send_log_file(self, scope: Scope, send: Send, path: str) -> None:
        """Answer with a file of a log. Raises NothingHere, MethodNotTaken."""
        _require_reading(scope)
        stored = self._cache.find(path) or load(
            self._cache, path, self._describe_log_file(path)
        )
        await send_stored(scope, send, stored)

    def _describe_log_file(self, path: str) -> PublicFile:
        parts = path.split("/")
        # A kept checkpoint of the spine may gain a witness's word later.
        kept = "tile" in parts or ("checkpoints" in parts and parts[0] != "spine")
        media = (
            b"text/plain; charset=utf-8"
            if "checkpoints" in parts
            else _media_type(parts[-1])
        )
        # Made to be copied: a mirror or an auditor on another site may read it.
        return PublicFile(
            self._public / path,
            headers=[(b"content-type", media), *SAFE, CROSS_ORIGIN[0]],
            lasting=[
                (b"cache-control", _FOR_EVER if kept else _FRESH),
                *CROSS_ORIGIN[1:],
            ],
        )

    async def send_static(self, scope: Scope, send: Send, path: str) -> None:
        """Answer with one of the site's own files. Raises NothingHere."""
        if _STATIC_FILE.fullmatch(path) is None:
            raise NothingHere()
        _require_reading(scope)
        key = f"static/{path}"
        stored = self._cache.find(key) or load(
            self._cache, key, self._describe_static(path)
        )
        await send_stored(scope, send, stored)

    def _describe_static(self, path: str) -> PublicFile:
        for root in self._static:
            file = root / path
            if file.is_file():
                media = _media_type(file.name)
                return PublicFile(
                    file,
                    headers=[(b"content-type", media), *SAFE, *SAME_ORIGIN],
                    lasting=[(b"cache-control", _STATIC)],
                )
        raise NothingHere()


def _require_reading(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotTaken(allowed="GET, HEAD")
