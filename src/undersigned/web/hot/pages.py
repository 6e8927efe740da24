"""Rendered pages, from files: the list, the campaigns, everything that is only read.

Only addresses on the renderer's list are looked for. A page that is not there is made
once, however many wait for it; where that fails, Django answers for itself.
"""

from __future__ import annotations

import asyncio
import contextlib
from functools import lru_cache

from undersigned.web.hot.file_cache import FileCache, Stored
from undersigned.web.hot.files import PublicFile, load, send_stored
from undersigned.web.hot.wire import Headers, NothingHere, Scope, Send, find_header
from undersigned.web.rendered.data import KeptPage
from undersigned.web.rendered.renderer import Renderer
from undersigned.web.rendered.store import PACKED, FolderStore
from undersigned.web.shared.headers import HEADERS

# Longer than a page takes; who waits longer asks Django.
FILL_SECONDS = 5.0

_SAFE: Headers = [
    (name.lower().encode(), value.encode()) for name, value in HEADERS.items()
]
# Browsers send a few dozen bytes.
_LONGEST_ENCODINGS = 256


@lru_cache(maxsize=256)
def _takes_gzip(encodings: bytes) -> bool:
    """Say whether an Accept-Encoding takes gzip; what cannot be read takes nothing."""
    weights: dict[bytes, bool] = {}
    for one in encodings.lower().split(b","):
        name, _semicolon, weight = one.partition(b";")
        number = weight.strip().removeprefix(b"q=").strip(b"0. ")
        weights[name.strip()] = not weight or bool(number)
    return weights.get(b"gzip", weights.get(b"*", False))


def wants_packed(scope: Scope) -> bool:
    """Say whether a reader takes gzip."""
    encodings = find_header(scope, b"accept-encoding")
    if encodings is None or len(encodings) > _LONGEST_ENCODINGS:
        return False
    return _takes_gzip(encodings)


def _describe(store: FolderStore, page: KeptPage, *, packed: bool) -> PublicFile:
    path = store.find_file(page.address)
    headers: Headers = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-language", page.language.encode()),
        *_SAFE,
    ]
    if page.shows_signers:
        headers.append((b"x-robots-tag", b"noindex"))
    if packed:
        path = path.with_name(path.name + PACKED)
        headers.append((b"content-encoding", b"gzip"))
    return PublicFile(
        path,
        headers=headers,
        lasting=[
            (b"cache-control", page.cache.encode()),
            (b"vary", b"Accept-Encoding"),
        ],
        is_stamped=True,
    )


class Pages:
    """Serves the renderer's pages from its store."""

    def __init__(
        self, *, renderer: Renderer, store: FolderStore, cache: FileCache | None = None
    ) -> None:
        self._renderer = renderer
        self._store = store
        self._cache = cache or FileCache()
        renderer.on_erased.append(self._forget)

    def _forget(self, address: str) -> None:
        self._cache.forget(address)
        self._cache.forget(address + PACKED)

    async def send(self, scope: Scope, send: Send) -> bool:
        """Answer with a page, or return False: then Django must."""
        page = self._renderer.pages.get(scope["path"])
        if page is None or scope["query_string"] or scope["method"] not in _READING:
            return False
        packed = wants_packed(scope)
        stored = self._find(page, packed=packed)
        if stored is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FILL_SECONDS):
                    # Shielded: who gives up must not cancel it for the others.
                    await asyncio.shield(
                        asyncio.wrap_future(self._renderer.fill(page.address))
                    )
            stored = self._find(page, packed=packed)
        if stored is None:
            return False
        await send_stored(scope, send, stored)
        return True

    def _find(self, page: KeptPage, *, packed: bool) -> Stored | None:
        if packed:
            found = self._find_file(page, packed=True)
            if found is not None:
                return found
        return self._find_file(page, packed=False)

    def _find_file(self, page: KeptPage, *, packed: bool) -> Stored | None:
        key = page.address + PACKED if packed else page.address
        stored = self._cache.find(key)
        if stored is not None:
            return stored
        file = _describe(self._store, page, packed=packed)
        try:
            return load(self._cache, key, file)
        except NothingHere:
            return None


_READING = ("GET", "HEAD")
