"""The thread that carries: each second, or later and later while the store is away."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from undersigned.web.objects.layout import MARK, make_mark
from undersigned.web.objects.logs import LogCarrier
from undersigned.web.objects.pages import PageCarrier, PageFolder
from undersigned.web.objects.store import ObjectStore, StoreAway
from undersigned.web.rendered.data import KeptPage

LOOK_SECONDS = 1.0
LONGEST_REST_SECONDS = 60.0
# Requests at once, while many tiles are missing.
SENDERS = 4

_logger = logging.getLogger("undersigned.objects")


class StoreNotOurs(Exception):
    """The store holds things and not our mark: nothing is put or deleted there."""


class Carrier:
    """Keeps an object store like the folders of public files and of pages.

    ``host``: whose store it is. ``list_pages``, ``shows_signers``: see PageCarrier.
    ``wall``: seconds since 1970.
    """

    def __init__(
        self,
        store: ObjectStore,
        *,
        host: str,
        public: Path,
        pages: PageFolder,
        list_pages: Callable[[], Mapping[str, KeptPage]],
        shows_signers: Callable[[str], bool],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._mark = make_mark(host)
        self._stopping = threading.Event()
        self._wake = threading.Event()
        self._pool = ThreadPoolExecutor(SENDERS, thread_name_prefix="carry")
        self._logs = LogCarrier(
            store,
            public,
            pool=self._pool,
            should_stop=self._stopping.is_set,
        )
        self._pages = PageCarrier(
            store,
            pages,
            list_pages=list_pages,
            shows_signers=shows_signers,
            time=wall,
        )
        self._is_ours = False
        self._failing = False
        self._thread = threading.Thread(target=self._run, name="objects", daemon=True)

    def start(self) -> None:
        """Begin to carry; the first look compares what is there."""
        self._thread.start()

    def stop(self) -> None:
        """End soon. What was not carried is seen at the next start."""
        self._stopping.set()
        self._wake.set()
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._thread.is_alive():
            # One request may still be on its way; it is not waited for without end.
            self._thread.join(5)

    def note_page(self, address: str, removed: bool) -> None:
        """A page was made again, or removed. From any thread, and at once."""
        self._pages.note_change(address, removed=removed)
        self._wake.set()

    def _run(self) -> None:
        rest = LOOK_SECONDS
        while not self._stopping.is_set():
            self._wake.clear()
            if self.try_to_catch_up():
                rest = LOOK_SECONDS
                self._wake.wait(rest)
            else:
                # A new page is no reason to ask sooner who does not answer.
                self._stopping.wait(rest)
                rest = min(2 * rest, LONGEST_REST_SECONDS)

    def try_to_catch_up(self) -> bool:
        """Catch up; what stands in the way is told to the operator, once."""
        try:
            self.catch_up()
        except (StoreAway, StoreNotOurs, OSError) as error:
            self._forget()
            self._tell_failing(f"{type(error).__name__}: {error}")
            return False
        except Exception as error:  # noqa: BLE001 - the thread's outer loop
            self._forget()
            if not self._stopping.is_set():
                self._tell_failing(type(error).__name__)
            return False
        if self._failing:
            self._failing = False
            _logger.warning("the object store holds everything again")
        return True

    def catch_up(self) -> None:
        """Bring the store up to what lies here.

        Raises StoreAway, StoreNotOurs, OSError. What was done until then stays done.
        """
        self._require_ours()
        self._pages.delete_erased()
        self._pages.compare()
        self._logs.carry()
        # While logs were carried somebody may have erased something.
        self._pages.delete_erased()
        self._pages.carry()

    def _forget(self) -> None:
        self._is_ours = False
        self._logs.forget()
        self._pages.forget()

    def _tell_failing(self, what: str) -> None:
        if not self._failing:
            self._failing = True
            _logger.error(
                "the object store falls behind, its readers see older states: %s", what
            )

    def _require_ours(self) -> None:
        if self._is_ours:
            return
        mark = self._store.get(MARK)
        if mark is None:
            folders, names = self._store.list_top()
            if folders or names:
                raise StoreNotOurs(
                    f"there is no {MARK} in it, and it is not empty: give each "
                    "instance a bucket or a prefix of its own"
                )
            headers = {"Content-Type": "text/plain; charset=utf-8"}
            self._store.put(MARK, self._mark, {**headers, "Cache-Control": "no-cache"})
        elif mark != self._mark:
            raise StoreNotOurs(f"{MARK} in it names another instance")
        self._is_ours = True
