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
from undersigned.web.shared.public_files import (
    STATIC,
    find_log_headers,
    find_media_type,
)

_STATIC_FILE = re.compile(
    r"[a-z0-9_][a-z0-9_.-]*(?:/[a-z0-9_][a-z0-9_.-]*)*", re.IGNORECASE
)


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
        media, cache = find_log_headers(path)
        # Made to be copied: a mirror or an auditor on another site may read it.
        return PublicFile(
            self._public / path,
            headers=[(b"content-type", media.encode()), *SAFE, CROSS_ORIGIN[0]],
            lasting=[(b"cache-control", cache.encode()), *CROSS_ORIGIN[1:]],
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
                media = find_media_type(file.name).encode()
                return PublicFile(
                    file,
                    headers=[(b"content-type", media), *SAFE, *SAME_ORIGIN],
                    lasting=[(b"cache-control", STATIC.encode())],
                )
        raise NothingHere()


def _require_reading(scope: Scope) -> None:
    if scope["method"] not in ("GET", "HEAD"):
        raise MethodNotTaken(allowed="GET, HEAD")
