"""Which objects a log and the pages are, by key: the layout of PROTOCOL §8."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import parse_note
from undersigned_verify.tile import HEIGHT, WIDTH, Level, tile_path

SPINE: Final = "spine"
POLICY: Final = "policy.txt"
# Says whose the store is. Without it nothing is put into a store that is not empty, and
# nothing in it is deleted.
MARK: Final = "undersigned.txt"
_PAGE = re.compile(r"[a-z]{2,3}(?:-[a-z]+)?/(?:[a-z0-9_-]+/)*index\.html")
_STATIC = re.compile(r"static/[a-zA-Z0-9_./-]+")
_OF_LOGS = ("c/", "spine/")


def make_mark(host: str) -> bytes:
    """Return what the mark says."""
    return (
        f"Public files of {host}, put here by its server.\n"
        "What else has the name of one is replaced or deleted.\n"
    ).encode()


def list_logs(public: Path) -> list[str]:
    """Return the paths of all logs that have a checkpoint, the spine last."""
    found = []
    for campaign in _list_folders(public / "c"):
        found += [
            f"c/{campaign}",
            *(
                f"c/{campaign}/{name}"
                for name in _list_folders(public / "c" / campaign)
                if name.isdigit()
            ),
        ]
    return [path for path in [*found, SPINE] if (public / path / "checkpoint").exists()]


def _list_folders(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return []


def list_tiles(size: int, *, after: int = 0) -> Iterator[str]:
    """Yield the tiles of a log of ``size`` leaves that one of ``after`` had not.

    Names are below the log's folder; the newest partial ones are among them.
    """
    levels: list[tuple[Level, int, int]] = [("entries", size, after)]
    level, count, before = 0, size, after
    while count:
        levels.append((level, count, before))
        level, count, before = level + 1, count >> HEIGHT, before >> HEIGHT
    for kind, count, before in levels:
        if count == before:
            continue
        for n in range(before // WIDTH, count // WIDTH):
            yield tile_path(kind, n)
        if count % WIDTH:
            yield tile_path(kind, count // WIDTH, count % WIDTH)


def is_partial(name: str) -> bool:
    """Whether a file of a log is a tile that is not full."""
    return ".p/" in name


def list_partials(size: int) -> set[str]:
    """Return the names of the partial tiles of a log of ``size`` leaves."""
    names = set()
    if size % WIDTH:
        names.add(tile_path("entries", size // WIDTH, size % WIDTH))
    level, count = 0, size
    while count:
        if count % WIDTH:
            names.add(tile_path(level, count // WIDTH, count % WIDTH))
        level, count = level + 1, count >> HEIGHT
    return names


def parse_checkpoint(note: bytes) -> Checkpoint | None:
    """Return the state that a note names; None where it is none.

    Without a look at its signature: ours are compared with ours, byte for byte.
    """
    try:
        return Checkpoint.parse(parse_note(note).text)
    except Fault:
        return None


def key_of_page(address: str) -> str:
    """Return the key of a page or of a static file: ``/en/`` is ``en/index.html``."""
    name = address.removeprefix("/")
    return f"{name}index.html" if address.endswith("/") else name


def address_of_key(key: str) -> str:
    """Return the address whose key it is: the other way round."""
    return f"/{key.removesuffix('index.html')}"


def is_page_key(key: str) -> bool:
    """Whether a key could be that of a page or of a static file of ours."""
    if key.startswith(_OF_LOGS):
        return False
    return bool(_PAGE.fullmatch(key) or _STATIC.fullmatch(key))
