"""Searching raw bytes: every file of an instance, and every way a value is written."""

from __future__ import annotations

import base64
import os
import re
import urllib.parse
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from typing_extensions import override

# Shorter values stand anywhere by chance.
LEAST_BYTES = 6


@dataclass(frozen=True, slots=True)
class Hit:
    """A needle found. ``spelling``: how it was written; ``at``: byte offset."""

    needle: str
    spelling: str
    file: str
    at: int

    @override
    def __str__(self) -> str:
        return f"{self.needle} ({self.spelling}) in {self.file} at {self.at}"


def list_spellings(value: bytes) -> dict[str, bytes]:
    """Return every way in which a value may stand in a file.

    Base64 has three phases: which bits of a letter belong to which byte depends on
    what stands before; letters that also hold bits of a neighbour are left out.
    """
    found = {"raw": value, "hex": value.hex().encode()}
    found["HEX"] = value.hex().upper().encode()
    for phase in range(3):
        encoded = base64.b64encode(bytes(phase) + value)
        first = -(-8 * phase // 6)
        last = (8 * (phase + len(value))) // 6
        inner = encoded[first:last]
        found[f"base64, phase {phase}"] = inner
        found[f"base64url, phase {phase}"] = inner.replace(b"+", b"-").replace(
            b"/", b"_"
        )
    return _without_short(found)


def list_text_spellings(text: str) -> dict[str, bytes]:
    """Return every way in which a text may stand in a file."""
    found = list_spellings(text.encode())
    found["UTF-16LE"] = text.encode("utf-16-le")
    found["UTF-16BE"] = text.encode("utf-16-be")
    found["URL-quoted"] = urllib.parse.quote(text, safe="").encode()
    found["form-quoted"] = urllib.parse.quote_plus(text).encode()
    found["JSON"] = text.encode("unicode_escape")
    if text.lower() != text:
        found["lower case"] = text.lower().encode()
    return _without_short(found)


def _without_short(found: dict[str, bytes]) -> dict[str, bytes]:
    kept: dict[str, bytes] = {}
    for spelling, data in found.items():
        if len(data) >= LEAST_BYTES and data not in kept.values():
            kept[spelling] = data
    return kept


class Needles:
    """Values that must not stand anywhere, by a name for people."""

    def __init__(self) -> None:
        self.spelled: list[tuple[str, str, bytes]] = []

    def add(self, name: str, value: bytes) -> None:
        """Look for bytes."""
        for spelling, data in list_spellings(value).items():
            self.spelled.append((name, spelling, data))

    def add_text(self, name: str, text: str) -> None:
        """Look for a text."""
        for spelling, data in list_text_spellings(text).items():
            self.spelled.append((name, spelling, data))

    def find_in(self, file: str, data: bytes) -> Iterator[Hit]:
        """Yield the first place of every spelling in one file's bytes."""
        for name, spelling, needle in self.spelled:
            at = data.find(needle)
            if at >= 0:
                yield Hit(name, spelling, file, at)

    def find(self, files: dict[str, bytes]) -> list[Hit]:
        """Return all hits in files."""
        return [hit for file, data in files.items() for hit in self.find_in(file, data)]


def copy_all(folders: Iterable[Path]) -> dict[str, bytes]:
    """Return the raw bytes of every regular file below folders, by its path.

    A file that vanishes while it is copied was copied too late: a thief would have
    missed it as well.
    """
    found: dict[str, bytes] = {}
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and not path.is_symlink():
                try:
                    found[str(path.relative_to(folder.parent))] = path.read_bytes()
                except FileNotFoundError:
                    continue
    return found


def copy_deleted(pid: int) -> dict[str, bytes]:
    """Return the bytes of files that a process has open and that have no name left."""
    found: dict[str, bytes] = {}
    folder = Path(f"/proc/{pid}/fd")
    if not folder.is_dir():
        return found
    for link in folder.iterdir():
        try:
            target = os.readlink(link)
            if target.startswith("/") and target.endswith(" (deleted)"):
                found[f"deleted: {Path(target).name}"] = link.read_bytes()
        except OSError:
            continue  # closed meanwhile, or no regular file
    return found


def find_numbers(
    data: bytes, *, low: int, high: int, width: int, order: str
) -> Iterator[tuple[int, int]]:
    """Yield (offset, number) of integers from ``low`` to ``high`` in raw bytes.

    ``order``: "big" or "little". All offsets are looked at, aligned or not.
    """
    first, last = low.to_bytes(width), high.to_bytes(width)
    shared = next((n for n in range(width) if first[n] != last[n]), width)
    same = first[:shared]
    rest = width - len(same)
    if order == "big":
        pattern = re.escape(same) + b"(?s:.{%d})" % rest
    else:
        pattern = b"(?s:.{%d})" % rest + re.escape(same[::-1])
    for match in re.finditer(b"(?=(" + pattern + b"))", data):
        raw = match[1] if order == "big" else match[1][::-1]
        number = int.from_bytes(raw)
        if low <= number <= high:
            yield match.start(), number
