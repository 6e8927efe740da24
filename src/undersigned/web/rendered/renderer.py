"""The thread that makes public pages again when what they show has changed.

Once a second it looks whether anything has changed at all, which costs one read of the
pages database and one look at a file for each log; then it makes the pages concerned,
one after another, through the same Django application that answers readers. Whatever
fails leaves the page that stood there before: readers go on reading.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path

from django.db import connection

from undersigned.kernel.errors import StorageFailed
from undersigned.web.rendered.data import KeptPage, MadePage
from undersigned.web.rendered.store import PageStore

LOOK_SECONDS = 1.0
# Rendering holds the interpreter's lock, and signing wants it: at most a fifth of it.
REST = 4.0
# While pages fail, it tries again later and later.
LONGEST_REST_SECONDS = 60.0
# Something is erased while a page with it is being made: as often again.
_TRIES = 3

_logger = logging.getLogger("undersigned.pages")


class Renderer:
    """Fills a store with pages.

    ``make`` answers an address as Django does; ``read_marks`` returns what changes
    whenever any page may have changed; ``list_pages`` returns every page, given how
    often what signers show has changed; ``shows_signers`` tells of an address whether
    such a thing may stand there. ``assets``: further files by address, kept as they
    are.
    """

    def __init__(
        self,
        store: PageStore,
        *,
        make: Callable[[str], MadePage],
        read_marks: Callable[[], object],
        list_pages: Callable[[int], Iterable[KeptPage]],
        shows_signers: Callable[[str], bool],
        assets: Mapping[str, Path],
    ) -> None:
        self.store = store
        # By address: what the front may look for. Replaced as a whole.
        self.pages: Mapping[str, KeptPage] = {}
        # Called with each address whose page was erased, by the thread that erased.
        self.on_erased: list[Callable[[str], None]] = []
        self._make = make
        self._read_marks = read_marks
        self._list_pages = list_pages
        self._shows_signers = shows_signers
        self._assets = assets
        self._thread = threading.Thread(target=self._run, name="pages", daemon=True)
        self._wake = threading.Event()
        self._stopping = False
        # One pass at a time, whoever makes it.
        self._passing = threading.Lock()
        self._marks: object = None
        # What each page was last made for.
        self._made: dict[str, object] = {}
        self._failing = False
        # Covers every change of the store, and the number of erasures so far.
        self._changing = threading.Lock()
        self._erasures = 0
        # Covers these two; held for moments only, since the event loop asks, too.
        self._lock = threading.Lock()
        self._shown_changes = 0
        self._asked: dict[str, Future[None]] = {}

    def start(self) -> None:
        """Begin to keep the pages.

        What signers show is made anew: something may have been erased right before a
        crash. Other pages are shown as they are until they are made again.
        """
        self.erase_shown()
        self._thread.start()

    def stop(self) -> None:
        """End after the page that is being made; what is kept stays."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(30)

    @property
    def is_running(self) -> bool:
        """Whether pages are kept at all: where a server runs."""
        return self._thread.is_alive()

    # --- what others tell it --------------------------------------------------------

    def fill(self, address: str) -> Future[None]:
        """Make a missing page next; the future ends when that was tried.

        Whoever asks meanwhile gets the same future. It carries neither result nor
        error: the page is there by then, or it is not.
        """
        with self._lock:
            future = self._asked.get(address)
            if future is None:
                future = self._asked[address] = Future()
        self._wake.set()
        return future

    def note_shown(self) -> None:
        """Signers show something more: their pages are made again soon."""
        with self._lock:
            self._shown_changes += 1

    def erase_shown(self) -> None:
        """Something that signers showed was erased: no page with it is left.

        When this returns, no copy of any page that shows signers exists here, and none
        that was begun before is kept any more. They are made again from what is left.
        """
        self.note_shown()
        with self._changing:
            self._erasures += 1
            for address in filter(self._shows_signers, self.store.list_addresses()):
                try:
                    self.store.remove(address)
                except StorageFailed as error:
                    _logger.critical("an erased record may still be shown: %s", error)
                self._made.pop(address, None)
                for forget in self.on_erased:
                    forget(address)

    # --- the thread -----------------------------------------------------------------

    def _run(self) -> None:
        rest_until, rest = 0.0, LOOK_SECONDS
        while not self._stopping:
            self._wake.clear()
            self._fill_asked()
            if time.monotonic() >= rest_until:
                begun = time.monotonic()
                fine = self.try_to_catch_up()
                spent = REST * (time.monotonic() - begun)
                rest = max(LOOK_SECONDS, spent) if fine else 2 * rest
                rest = min(rest, max(LONGEST_REST_SECONDS, spent))
                rest_until = time.monotonic() + rest
            self._wake.wait(max(0.0, rest_until - time.monotonic()))
        with self._lock:
            for future in self._asked.values():
                future.set_result(None)
            self._asked.clear()
        connection.close()

    def try_to_catch_up(self) -> bool:
        """Catch up; what stands in the way is told to the operator, once."""
        try:
            return self.catch_up()
        except Exception as error:  # noqa: BLE001 - readers go on reading
            # The pages database is locked or gone, the disk is full: what is kept is
            # served, and the text of an error may quote what a page shows.
            self._tell_failing(type(error).__name__)
            # Broken, perhaps: the next look is over another one.
            connection.close()
            return False

    def catch_up(self) -> bool:
        """Make every page that is not what it should be; say whether all could be.

        Raises what ``read_marks`` and ``list_pages`` raise, and StorageFailed.
        """
        with self._passing:
            with self._lock:
                shown_changes = self._shown_changes
            marks = shown_changes, self._read_marks()
            if marks == self._marks:
                return True
            pages = {page.address: page for page in self._list_pages(shown_changes)}
            self.pages = pages
            if self._marks is None:
                self._keep_assets()
            failed = [page for page in pages.values() if not self._renew(page)]
            if self._stopping:
                return True
            self._sweep(pages)
            if failed:
                self._tell_failing(f"{len(failed)} pages, {failed[0].address} first")
                return False
            self._marks, self._failing = marks, False
            return True

    def _tell_failing(self, what: str) -> None:
        if not self._failing:
            self._failing = True
            _logger.error("pages cannot be made again, older ones are shown: %s", what)

    def _keep_assets(self) -> None:
        for address, path in self._assets.items():
            self.store.put(address, path.read_bytes())

    def _renew(self, page: KeptPage) -> bool:
        if self._stopping:
            return True
        self._fill_asked()
        return self._made.get(page.address) == page.depends or self._render(page)

    def _sweep(self, pages: Mapping[str, KeptPage]) -> None:
        """Remove what is no page any more."""
        with self._changing:
            kept = self.store.list_addresses()
            for address in kept - pages.keys() - self._assets.keys():
                self.store.remove(address)
                self._made.pop(address, None)

    def _fill_asked(self) -> None:
        with self._lock:
            asked, self._asked = self._asked, {}
        for address, future in asked.items():
            page = self.pages.get(address)
            if page is not None:
                self._render(page)
            future.set_result(None)

    def _render(self, page: KeptPage) -> bool:
        """Make one page and keep it; say whether it is now as it should be."""
        try:
            return any(self._render_once(page) for _try in range(_TRIES))
        except Exception as error:  # noqa: BLE001 - one page must not stop the others
            _logger.debug("a page failed: %s", type(error).__name__)
            return False

    def _render_once(self, page: KeptPage) -> bool:
        erasures = self._erasures
        made = self._make(page.address)
        if made.status >= 500:
            return False
        with self._changing:
            if page.shows_signers and erasures != self._erasures:
                # It may show what was erased while it was being made.
                return False
            if is_for_everybody(page, made):
                self.store.put(page.address, made.body, scrub=page.shows_signers)
            else:
                # Gone, or not for everybody: Django shall answer each by itself.
                self.store.remove(page.address)
            self._made[page.address] = page.depends
            return True


def is_for_everybody(page: KeptPage, made: MadePage) -> bool:
    """Whether Django itself says that anybody may keep this answer as this page."""
    return (
        made.status == 200
        and made.headers.get("cache-control") == page.cache
        and made.headers.get("content-language") == page.language
        and made.headers.get("content-type") == "text/html; charset=utf-8"
        and made.headers.get("vary") == "Accept-Encoding"
        and "set-cookie" not in made.headers
    )
