"""From the stores' threads to the event loop, many results in one hand-over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import TypeVar

Result = TypeVar("Result")


class LoopBridge:
    """Runs callbacks on one event loop, asked for by other threads.

    A commit ends a whole batch of requests at once. Waking the loop for each of them
    would cost a system call each; the first one wakes it, the others ride along.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._lock = threading.Lock()
        self._waiting: list[Callable[[], None]] = []

    def call(self, callback: Callable[[], None]) -> None:
        """Run ``callback`` on the loop soon; from any thread, never blocking."""
        with self._lock:
            self._waiting.append(callback)
            if len(self._waiting) > 1:
                return
        try:
            self._loop.call_soon_threadsafe(self._run)
        except RuntimeError:
            # The loop was closed while the commit ran: the client asks again.
            if not self._loop.is_closed():
                raise

    def _run(self) -> None:
        with self._lock:
            waiting, self._waiting = self._waiting, []
        for callback in waiting:
            callback()
