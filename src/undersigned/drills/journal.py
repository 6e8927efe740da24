"""The journal of journal.c: what a process did to a data directory, in one order.

The library is compiled with the machine's own ``cc`` and preloaded into the product's
server; nothing of the product knows. A record is a header of 64 bytes, little-endian
(magic "UDJ1", bytes in all, kind, flags, lengths of two paths, inode, offset, length,
nanoseconds since 1970, process), the two paths relative to the data directory, and
data.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import shutil
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import ClassVar

from undersigned.kernel.clock import SystemClock

SOURCE = Path(__file__).with_name("journal.c")
_HEAD = struct.Struct("<IIHHHHQQQQII")
_MAGIC = 0x314A4455


class JournalBroken(Exception):
    """The journal cannot be read, or holds what cannot be followed."""


class NoCompiler(Exception):
    """The library cannot be made here. The text says why."""


class Kind(IntEnum):
    """What a record tells. The numbers are those of journal.c."""

    HELLO = 1
    MKDIR = 2
    CREATE = 3
    WRITE = 4
    TRUNCATE = 5
    EXTEND = 6
    RENAME = 7
    LINK = 8
    UNLINK = 9
    RMDIR = 10
    SYNC = 11
    SYNC_FAILED = 12
    SENT = 13
    REFUSED = 14
    MARK = 15
    BURNT = 16


@dataclass(frozen=True, slots=True)
class Record:
    """One record.

    ``path``: relative to the data directory, "" for itself. ``second``: the target of a
    rename, or what was refused. ``offset``: of a write; the length that a truncation or
    an extension gives the file; of a fuse that burnt, the how-manieth call it was, and
    ``length`` its kind. ``is_durable``: a write that returned only once it was.
    """

    kind: Kind
    path: str
    second: str
    inode: int
    offset: int
    length: int
    at: float
    process: int
    is_durable: bool
    data: bytes

    DURABLE: ClassVar[int] = 1


def read_journal(path: Path) -> Iterator[Record]:
    """Return the records in order. Raises JournalBroken."""
    if not path.exists() or not path.stat().st_size:
        raise JournalBroken(f"{path.name} is empty: the library was not loaded")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as m:
        at, end = 0, len(m)
        while at < end:
            if end - at < _HEAD.size:
                raise JournalBroken("the last record is cut short")
            (
                magic,
                whole,
                kind,
                flags,
                first,
                second,
                inode,
                offset,
                length,
                nanoseconds,
                process,
                _spare,
            ) = _HEAD.unpack_from(m, at)
            if magic != _MAGIC or at + whole > end:
                raise JournalBroken(f"no record at byte {at}")
            paths = at + _HEAD.size
            data = paths + first + second
            yield Record(
                kind=Kind(kind),
                path=os.fsdecode(m[paths : paths + first]),
                second=os.fsdecode(m[paths + first : data]),
                inode=inode,
                offset=offset,
                length=length,
                at=nanoseconds / 1e9,
                process=process,
                is_durable=bool(flags & Record.DURABLE),
                data=m[data : at + whole],
            )
            at += whole


def write_mark(path: Path, text: str) -> None:
    """Append a record of the drill's own, in order with those of the processes."""
    _append(path, Kind.MARK, text, 0)


def begin_journal(path: Path, root: Path) -> None:
    """Begin the journal anew, for a watched process that has it open."""
    path.touch()
    os.truncate(path, 0)
    _append(path, Kind.HELLO, "", root.stat().st_ino)


def _append(path: Path, kind: Kind, text: str, inode: int) -> None:
    name = os.fsencode(text)
    head = _HEAD.pack(
        _MAGIC,
        _HEAD.size + len(name),
        kind,
        0,
        len(name),
        0,
        inode,
        0,
        0,
        int(SystemClock().now().timestamp() * 1e9),
        os.getpid(),
        0,
    )
    handle = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        os.write(handle, head + name)
    finally:
        os.close(handle)


# --- the library


def compile_library(folder: Path) -> Path:
    """Compile journal.c into ``folder``; return the library. Raises NoCompiler."""
    if not sys.platform.startswith("linux"):
        raise NoCompiler("the library that watches a disk is written for Linux")
    compiler = next(filter(None, map(shutil.which, ("cc", "gcc", "clang"))), None)
    if compiler is None:
        raise NoCompiler("no C compiler (cc, gcc or clang) is installed")
    library = folder / "journal.so"
    words = ["-std=gnu11", "-O2", "-shared", "-fPIC", "-o", str(library), str(SOURCE)]
    done = subprocess.run(
        [compiler, *words, "-ldl", "-lpthread"],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode:
        # Headers of the C library are a package of their own.
        lines = [line for line in done.stderr.splitlines() if "error" in line]
        raise NoCompiler(f"the library does not compile: {lines[:1] or done.stderr}")
    return library


@dataclass(frozen=True, slots=True)
class Watch:
    """Where a watched process finds the library and leaves its journal."""

    library: Path
    root: Path
    journal: Path
    fuse: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """Variables for the watched process."""
        found = {
            "LD_PRELOAD": str(self.library),
            "DRILL_ROOT": str(self.root),
            "DRILL_JOURNAL": str(self.journal),
        }
        if self.fuse is not None:
            found["DRILL_FUSE"] = str(self.fuse)
        return found


# --- the fuse

_FUSE = struct.Struct("<IIIiIIII224s")


@dataclass(frozen=True, slots=True)
class Burning:
    """What is to go wrong: at the ``count``-th matching call (from 1).

    ``error``: the errno it fails with, or 0: the process dies there, before the call,
    or ``after`` it. ``lasts``: what failed once goes on failing. ``part``: must stand
    in the path.
    """

    kinds: frozenset[Kind]
    count: int
    error: int = 0
    after: bool = False
    lasts: bool = False
    part: str = ""


class Fuse:
    """The file through which a watched process is told what is to go wrong."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.exists():
            path.write_bytes(bytes(_FUSE.size))

    @contextmanager
    def _map(self) -> Iterator[mmap.mmap]:
        with self.path.open("r+b") as file, mmap.mmap(file.fileno(), _FUSE.size) as m:
            yield m

    def light(self, burning: Burning) -> None:
        """Let it happen from now on."""
        bits = sum(1 << kind for kind in burning.kinds)
        values = _FUSE.pack(
            0,
            bits,
            burning.count,
            burning.error,
            burning.after,
            burning.lasts,
            0,
            0,
            os.fsencode(burning.part),
        )
        with self._map() as m:
            m[:] = values
            # Armed last: the watched process looks at nothing else before.
            m[0:4] = struct.pack("<I", 1)

    def put_out(self) -> tuple[int, bool]:
        """Let nothing happen; return how many calls matched, and whether it burnt."""
        with self._map() as m:
            m[0:4] = bytes(4)
            found = _FUSE.unpack(m[:])
        return found[6], bool(found[7])
