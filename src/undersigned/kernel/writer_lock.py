"""The lock that makes one process the writer of a data directory (PROTOCOL §5)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar

from undersigned.kernel.durable import make_private_folder
from undersigned.kernel.errors import Conflict

LOCK = "writer.lock"
# Where a restore gathers files before it puts them in place (cli.restore).
RESTORING = ".restoring"


class WriterBusy(Conflict):
    """Another process owns this data directory's writer."""

    code: ClassVar[str] = "writer-busy"


class RestoreUnfinished(Conflict):
    """A restore into this data directory was cut off: empty it, and restore again."""

    code: ClassVar[str] = "restore-unfinished"


@contextmanager
def hold_writer_lock(
    data: Path, *, on_wait: Callable[[], None] | None = None
) -> Iterator[None]:
    """Hold the lock that makes this process the one writer.

    ``on_wait`` given: where another process has it, call it once and wait.
    Raises WriterBusy, RestoreUnfinished.
    """
    make_private_folder(data)
    handle = os.open(data / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if on_wait is None:
                raise WriterBusy(data=str(data)) from None
            on_wait()
            fcntl.flock(handle, fcntl.LOCK_EX)
        if (data / RESTORING).exists():
            raise RestoreUnfinished(data=str(data))
        yield
    finally:
        os.close(handle)
