"""Carries rendered pages and static files; deletes what was erased before all else."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Protocol

from undersigned.web.objects.layout import address_of_key, is_page_key, key_of_page
from undersigned.web.objects.logs import tag_of
from undersigned.web.objects.store import Held, ObjectStore
from undersigned.web.rendered.data import KeptPage
from undersigned.web.shared.public_files import STATIC, find_media_type

# A page with signers' words is put again with a full minute only: the store notes when
# a thing was put, and that would be the moment at which somebody erased something.
ERASABLE_SECONDS = 60


def list_placed(store: ObjectStore) -> Iterator[Held]:
    """Yield what a store holds under names of pages and static files."""
    folders, _names = store.list_top()
    for folder in folders:
        if folder == "static/" or is_page_key(f"{folder}index.html"):
            for held in store.list_below(folder):
                if is_page_key(held.key):
                    yield held


class PageFolder(Protocol):
    """Where pages lie (``rendered.store.FolderStore``)."""

    def list_addresses(self) -> set[str]: ...

    def find_file(self, address: str) -> Path: ...


class PageCarrier:
    """Brings what the store holds of pages up to what lies in the folder.

    ``list_pages``: every page by its address; none before that is known.
    ``shows_signers``: whether what signers show may stand there. ``time``: seconds
    since 1970.
    """

    def __init__(
        self,
        store: ObjectStore,
        folder: PageFolder,
        *,
        list_pages: Callable[[], Mapping[str, KeptPage]],
        shows_signers: Callable[[str], bool],
        time: Callable[[], float],
    ) -> None:
        self._store = store
        self._folder = folder
        self._list_pages = list_pages
        self._shows_signers = shows_signers
        self._time = time
        # What the store is known to hold: None before the first look. By address, the
        # tag of what was put.
        self._placed: dict[str, str] | None = None
        self._put_in_minute = 0
        # Covers these: other threads change pages.
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._erased: set[str] = set()

    def note_change(self, address: str, *, removed: bool) -> None:
        """A page was made again, or removed. From any thread, and at once."""
        with self._lock:
            self._changed.add(address)
            if removed:
                self._erased.add(address)

    def forget(self) -> None:
        """Compare everything again: the store was away, and may have lost something."""
        self._placed = None

    def delete_erased(self) -> None:
        """Delete what was removed since, whatever stands there by now.

        Raises StoreAway; then it is still to be done.
        """
        with self._lock:
            erased = set(self._erased)
        if erased:
            self._store.delete([key_of_page(address) for address in erased])
            with self._lock:
                self._erased -= erased
                # Put again, where there is something again.
                self._changed |= erased
            if self._placed is not None:
                for address in erased:
                    self._placed.pop(address, None)

    def compare(self) -> None:
        """Look once at every page that the store holds.

        Before the logs are carried, which may take long: what was erased while nobody
        could delete it is gone then. Raises StoreAway, OSError.
        """
        if self._placed is not None:
            return
        with self._lock:
            self._changed.clear()
        addresses = self._folder.list_addresses()
        placed: dict[str, str] = {}
        unsure = set()
        for held in list_placed(self._store):
            address = address_of_key(held.key)
            if address in addresses and self._is_same(address, held.tag):
                placed[address] = held.tag
            else:
                unsure.add(address)
        erased = set(filter(self._shows_signers, unsure))
        if erased:
            self._store.delete([key_of_page(address) for address in erased])
        with self._lock:
            self._changed |= (addresses | unsure) - placed.keys()
        self._placed = placed

    def _is_same(self, address: str, tag: str) -> bool:
        try:
            return tag_of(self._folder.find_file(address).read_bytes()) == tag
        except FileNotFoundError:
            return False

    def carry(self) -> None:
        """Put what has changed, and delete what is no more. Raises StoreAway, OSError.

        What shows signers waits for the next full minute.
        """
        with self._lock:
            changed, self._changed = self._changed, set()
        minute = int(self._time() // ERASABLE_SECONDS)
        late = minute == self._put_in_minute
        left = set(changed)
        try:
            for address in sorted(changed):
                if not (late and self._shows_signers(address)) and self._carry(address):
                    left.discard(address)
        finally:
            with self._lock:
                self._changed |= left
        self._put_in_minute = minute

    def _carry(self, address: str) -> bool:
        """Bring one page up to date; False where it is not known yet what it is."""
        key = key_of_page(address)
        assert self._placed is not None
        try:
            body = self._folder.find_file(address).read_bytes()
        except FileNotFoundError:
            if not self._list_pages():
                # It may only not have been made yet, after a start.
                return False
            self._store.delete([key])
            self._placed.pop(address, None)
            return True
        headers = self._find_headers(address, key)
        if headers is None:
            return False
        tag = tag_of(body)
        if self._placed.get(address) != tag:
            self._store.put(key, body, headers)
            self._placed[address] = tag
        return True

    def _find_headers(self, address: str, key: str) -> dict[str, str] | None:
        if key.startswith("static/"):
            media = find_media_type(key.rpartition("/")[2])
            return {"Content-Type": media, "Cache-Control": STATIC}
        page = self._list_pages().get(address)
        if page is None:
            return None
        return {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Language": page.language,
            "Cache-Control": page.cache,
        }
