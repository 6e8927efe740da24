"""One thread that owns a store: items gather into batches, tasks run in between.

The ledger's writer and the issuer are both this: group commit needs one place where
what arrives together is committed together, and everything else that touches the same
file must run on the same thread.
"""

from __future__ import annotations

import contextlib
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, InvalidStateError
from dataclasses import dataclass
from typing import ClassVar, Generic, TypeVar

from undersigned.kernel.errors import StorageFailed, Unavailable

Item = TypeVar("Item")
Result = TypeVar("Result")


def split_by_size(items: list[Item], sizes: Sequence[int]) -> Iterator[list[Item]]:
    """Cut a list into pieces of few different lengths, the longest first.

    ``sizes``: descending, the last one 1. Python gives up its lock at every step of a
    statement, and under load waits long to have it back: so many rows go into one
    statement, and few lengths mean that SQLite's prepared ones are used again.
    """
    at = 0
    for size in sizes:
        while len(items) - at >= size:
            yield items[at : at + size]
            at += size


class StoreStopped(Unavailable):
    """The store's thread has stopped after a storage failure, or was told to."""

    code: ClassVar[str] = "intake-closed"


@dataclass(slots=True)
class _Single(Generic[Item]):
    item: Item


@dataclass(slots=True)
class _Task:
    run: Callable[[], None]
    refuse: Callable[[], None]


class BatchThread(Generic[Item]):
    """Commits batches of items through ``commit`` and runs tasks, on one thread.

    ``commit`` must tell every item of its batch what became of it, also when it then
    raises StorageFailed. ``refuse`` is called for items that come after the end.
    ``gather_seconds``: how long the first of a batch waits for others. Commits of
    small batches cost as much as those of large ones; five milliseconds are not
    noticed by a person.
    """

    def __init__(
        self,
        *,
        name: str,
        commit: Callable[[list[Item]], None],
        refuse: Callable[[Item], None],
        on_failure: Callable[[BaseException], None],
        max_batch: int,
        gather_seconds: float,
    ) -> None:
        self._commit = commit
        self._refuse = refuse
        self._on_failure = on_failure
        self._max_batch = max_batch
        self._gather_seconds = gather_seconds
        self._queue: queue.SimpleQueue[_Single[Item] | _Task | None]
        self._queue = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, name=name, daemon=True)
        # Asked for each item, so a flag and not the thread itself.
        self._is_running = False
        self._stopped = False
        self.failure: BaseException | None = None

    def start(self) -> None:
        """Start the thread."""
        self._is_running = True
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued and end the thread."""
        self._stopped = True
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        self._refuse_left()

    def _refuse_left(self) -> None:
        """Answer those who came between the last look at the queue and the end."""
        while True:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return
            if isinstance(item, _Task):
                item.refuse()
            elif item is not None:
                self._refuse(item.item)

    @property
    def is_taking(self) -> bool:
        """Whether new items and tasks are taken."""
        return self._is_running and not self._stopped and self.failure is None

    def put(self, item: Item) -> None:
        """Queue one item; a thread that has stopped refuses it at once."""
        if self.is_taking:
            self._queue.put(_Single(item))
        else:
            self._refuse(item)

    def run(self, function: Callable[[], Result]) -> Result:
        """Run ``function`` on the thread and return its result. Raises StoreStopped."""
        return self.start_task(function).result()

    def start_task(self, function: Callable[[], Result]) -> Future[Result]:
        """Queue ``function`` for the thread."""
        future: Future[Result] = Future()
        if not self.is_taking:
            future.set_exception(StoreStopped())
            return future

        def task() -> None:
            if self.failure is not None:
                future.set_exception(StoreStopped())
                return
            try:
                future.set_result(function())
            except sqlite3.Error as error:
                failed = StorageFailed(f"couldn't write: {error}")
                future.set_exception(failed)
                raise failed from error
            except StorageFailed as error:
                future.set_exception(error)
                raise
            except BaseException as error:  # noqa: BLE001 - handed to who asked
                future.set_exception(error)

        self._queue.put(_Task(task, lambda: future.set_exception(StoreStopped())))
        return future

    def _loop(self) -> None:
        held: _Task | None = None
        while True:
            item = held if held is not None else self._queue.get()
            held = None
            if item is None:
                return
            if isinstance(item, _Task):
                self._guard(item.run)
                continue
            batch = [item.item]
            held, ended = self._gather(batch)
            self._process(batch)
            if ended:
                return

    def _gather(self, batch: list[Item]) -> tuple[_Task | None, bool]:
        """Fill ``batch``; return a task met on the way, and whether to end."""
        if self._gather_seconds and self._queue.qsize() < self._max_batch:
            time.sleep(self._gather_seconds)
        while len(batch) < self._max_batch:
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                return None, False
            if item is None:
                return None, True
            if isinstance(item, _Task):
                return item, False
            batch.append(item.item)
        return None, False

    def _process(self, batch: list[Item]) -> None:
        if self.failure is not None:
            for item in batch:
                self._refuse(item)
            return
        if not self._guard(lambda: self._commit(batch)):
            # Where the commit itself could not say so: nobody waits for ever.
            for item in batch:
                with contextlib.suppress(InvalidStateError):
                    # This one had been told before the error came.
                    self._refuse(item)

    def _guard(self, step: Callable[[], None]) -> bool:
        """Run a step; False if it failed in a way that nobody foresaw."""
        try:
            step()
        except StorageFailed as error:
            self.failure = error
            self._on_failure(error)
        except BaseException as error:  # noqa: BLE001 - the thread's outer loop
            # Fatal: after a failed fsync nothing this process believes about the
            # file is sure. Stop here, loudly; the restart reads what is durable. An
            # error nobody foresaw is treated alike: a thread that died silently
            # would leave every later signer waiting.
            self.failure = error
            self._on_failure(error)
            return False
        return True
