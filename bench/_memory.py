"""The largest memory of a process tree, from /proc."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from bench._cpu import list_tree


@dataclass(slots=True)
class Memory:
    """The largest sums over all processes, in MB: shared pages once, or in each."""

    shared_once: float = 0.0
    resident: float = 0.0

    def sample(self, root: int) -> None:
        """Look once."""
        once = resident = 0
        for pid in list_tree(root):
            with suppress(OSError):
                for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                    name, _colon, value = line.partition(":")
                    if name == "Pss":
                        once += int(value.split()[0])
                    elif name == "Rss":
                        resident += int(value.split()[0])
        self.shared_once = max(self.shared_once, once / 1024)
        self.resident = max(self.resident, resident / 1024)


@contextmanager
def watching(root: int, *, every: float) -> Iterator[Memory]:
    """Look at a tree every so many seconds for the length of a ``with`` block."""
    memory, ended = Memory(), threading.Event()

    def look() -> None:
        while not ended.wait(every):
            memory.sample(root)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        ended.set()
        thread.join()
        memory.sample(root)
