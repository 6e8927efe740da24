"""Small files in memory, each with its two answers ready, bounded in bytes.

Every use looks at the file first: another one in its place, or none, and what is held
here is forgotten. So whoever writes the files need not know of this; who erases one
says so, in order that nothing of it stays in memory either.
"""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from undersigned.web.hot.wire import NothingHere

Message: TypeAlias = MutableMapping[str, Any]

# Enough for thousands of pages. A scan of all tiles pushes out what nobody else reads.
CACHE_BYTES = 16 << 20
# What is larger is read from disk every time.
LARGEST_BYTES = 1 << 18
# Headers, messages, the entry itself: a little more than it is.
_OVERHEAD_BYTES = 4096


@dataclass(frozen=True, slots=True)
class Stored:
    """A file as it is sent. ``tag``: its strong validator, of its content."""

    place: str
    identity: tuple[int, int, int]
    size: int
    tag: bytes
    whole: Message
    body: Message
    unchanged: Message


def identify(found: os.stat_result) -> tuple[int, int, int]:
    """Return what differs when another file lies in the same place."""
    return found.st_ino, found.st_mtime_ns, found.st_size


def read_file(path: Path) -> tuple[bytes, os.stat_result]:
    """Return a file's bytes, and what file it was. Raises NothingHere."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except (OSError, ValueError):
        # Also a name that no file can have.
        raise NothingHere() from None
    try:
        found = os.fstat(handle)
        body = os.read(handle, found.st_size)
        while len(body) < found.st_size:
            more = os.read(handle, found.st_size - len(body))
            if not more:
                break
            body += more
        return body, found
    except OSError:
        # A folder, say: it opens and does not read.
        raise NothingHere() from None
    finally:
        os.close(handle)


class FileCache:
    """Files by the address they are asked for with; the least used go first.

    Read on the event loop; ``forget`` comes from any thread.
    """

    def __init__(self, limit_bytes: int = CACHE_BYTES) -> None:
        self._limit = limit_bytes
        self._lock = threading.Lock()
        self._stored: OrderedDict[str, Stored] = OrderedDict()
        self.held_bytes = 0

    def find(self, key: str) -> Stored | None:
        """Return what is held, if it is still what lies there."""
        stored = self._stored.get(key)
        if stored is None:
            return None
        try:
            if identify(os.stat(stored.place)) == stored.identity:
                with self._lock:
                    if key in self._stored:
                        self._stored.move_to_end(key)
                return stored
        except OSError:
            pass
        self.forget(key)
        return None

    def hold(self, key: str, stored: Stored) -> None:
        """Hold a file, unless it is large; others may go for it."""
        if stored.size > LARGEST_BYTES:
            return
        with self._lock:
            self._drop(key)
            self._stored[key] = stored
            self.held_bytes += stored.size + _OVERHEAD_BYTES
            while self.held_bytes > self._limit:
                self._drop(next(iter(self._stored)))

    def forget(self, key: str) -> None:
        """Hold it no longer."""
        with self._lock:
            self._drop(key)

    def _drop(self, key: str) -> None:
        stored = self._stored.pop(key, None)
        if stored is not None:
            self.held_bytes -= stored.size + _OVERHEAD_BYTES
