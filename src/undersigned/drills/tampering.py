"""A published folder that is tampered with: change files, recount, put them right.

``Bench`` makes each attempt and judges whether it was refused and named; ``try_files``
flips, drops, cuts and swaps whatever lies in a log or a spine.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol

from undersigned_verify import note, tile
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault

from undersigned.drills.log_image import Files, write_files
from undersigned.drills.report import Options, Report


class Outcome(Protocol):
    """What a recount found."""

    @property
    def accepted(self) -> bool: ...

    @property
    def fault(self) -> Fault | None: ...


Audit = Callable[[Path], Outcome]
Changed = Mapping[str, bytes | None]

UNSIGNED = "growth.csv"


# --- judging


@dataclass(slots=True)
class Tally:
    """How many attempts of one kind there were, and which were not answered right."""

    attempts: int = 0
    wrong: list[str] = field(default_factory=list)


class Bench:
    """A log's folder that is tampered with, recounted and put right again."""

    def __init__(
        self, folder: Path, files: Files, report: Report, audit: Audit
    ) -> None:
        self.folder = write_files(folder, files)
        self.files = files
        self.report = report
        self._audit = audit
        self.tallies: dict[str, Tally] = defaultdict(Tally)

    def accepts(self) -> bool:
        """Say whether the folder as it stands is accepted."""
        return self._audit(self.folder).accepted

    def examine(self, changed: Changed) -> Outcome:
        """Recount with some files changed (None: removed), then undo the change."""
        for name, data in changed.items():
            self._write(name, data)
        try:
            return self._audit(self.folder)
        finally:
            for name in changed:
                self._write(name, self.files.get(name))

    def _write(self, name: str, data: bytes | None) -> None:
        path = self.folder / name
        if data is None:
            path.unlink(missing_ok=True)
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def attempt(
        self,
        kind: str,
        what: str,
        changed: Changed,
        *,
        names_it: Callable[[Fault], bool],
    ) -> None:
        """Tamper once; the audit must refuse, and ``names_it`` its fault."""
        tally = self.tallies[kind]
        tally.attempts += 1
        fault = self.examine(changed).fault
        if fault is None:
            tally.wrong.append(f"{what}: ACCEPTED")
        elif not names_it(fault):
            tally.wrong.append(f"{what}: answered {fault}")

    def replace_all(self, files: Files) -> Changed:
        """Return the change that makes the folder hold exactly ``files``."""
        gone = {name: None for name in self.files if name not in files}
        return {**files, **gone}

    def close(self, where: str) -> None:
        """Turn the tallies into checks."""
        for kind, tally in self.tallies.items():
            self.report.check(
                f"{where}, {kind}: {tally.attempts} refused and named",
                not tally.wrong,
                f"{len(tally.wrong)} wrong: {tally.wrong[:5]}" if tally.wrong else "",
            )
            figures = self.report.figures.setdefault("attempts", {})
            figures[f"{where}, {kind}"] = tally.attempts
        self.tallies.clear()


# --- one who can change files


def kind_of(path: str, newest: int) -> str:
    """Return what kind of artifact a file of a log is."""
    if path.startswith("checkpoints/"):
        newer = path == f"checkpoints/{newest}"
        return "newest kept checkpoint" if newer else "kept checkpoints"
    if path.startswith("tile/"):
        level, _n, width = tile.parse_tile_path(path)
        part = "full" if width == tile.WIDTH else "partial"
        what = "entry bundles" if level == "entries" else f"tiles of level {level}"
        return f"{part} {what}"
    return path


def try_files(bench: Bench, options: Options, where: str) -> None:
    """Flip, drop, cut, append and swap in every file."""
    rng = random.Random(f"{options.seed} {where}")
    newest = Checkpoint.parse(note.parse_note(bench.files["checkpoint"]).text).size
    for path, data in sorted(bench.files.items()):
        if path == UNSIGNED:
            continue
        kind = kind_of(path, newest)
        for what, changed in list_changes(path, data, bench.files, rng, options):
            if all(bench.files.get(name) == new for name, new in changed.items()):
                continue
            if kind == "kept checkpoints" and what == "drop":
                # No file is wrong then: what is left is judged by try_keeping_less.
                continue
            bench.attempt(
                kind,
                f"{path}: {what}",
                changed,
                names_it=partial(names_file, changed),
            )
    bench.close(where)


def names_file(changed: Changed, fault: Fault) -> bool:
    """Say whether a fault names one of the files that were changed.

    Behind an older checkpoint in the place of the newest one, what is named is the
    kept checkpoint that should not be there yet.
    """
    if fault.code == "checkpoint-beyond":
        return "checkpoint" in changed
    return fault.path in changed


def list_changes(
    path: str, data: bytes, files: Files, rng: random.Random, options: Options
) -> Iterator[tuple[str, Changed]]:
    yield "drop", {path: None}
    for what, changed in {
        "empty": b"",
        "cut by one byte": data[:-1],
        "cut in half": data[: len(data) // 2],
        "first byte gone": data[1:],
        "a zero appended": data + b"\0",
        "a line feed appended": data + b"\n",
        "its end appended again": data + data[-34:],
        "itself appended": data + data,
    }.items():
        yield what, {path: changed}
    for at in _choose_positions(len(data), rng, options):
        for mask in (
            (1 << rng.randrange(8),) if options.size != "full" else (1, 32, 128)
        ):
            flipped = data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :]
            yield f"byte {at} flipped by {mask}", {path: flipped}
    for other in _list_siblings(path, files):
        yield f"swapped with {other}", {path: files[other], other: data}
        yield f"replaced by {other}", {path: files[other]}
    yield from _swap_inside(path, data)


def _choose_positions(size: int, rng: random.Random, options: Options) -> list[int]:
    if options.size == "full" and size <= 1024:
        return list(range(size))
    wanted = options.pick(tiny=3, ci=8, full=200)
    edges = {0, 1, size // 2, size - 1} if size > 3 else set(range(size))
    return sorted(edges | {rng.randrange(size) for _number in range(min(wanted, size))})


def _list_siblings(path: str, files: Files) -> list[str]:
    folder = path.rpartition("/")[0]
    if path == "checkpoint":
        return [name for name in files if name.startswith("checkpoints/")]
    if not folder:
        return []
    return [name for name in files if name != path and name.startswith(folder[:6])][:3]


def _swap_inside(path: str, data: bytes) -> Iterator[tuple[str, Changed]]:
    if not path.startswith("tile/"):
        return
    if path.startswith("tile/entries"):
        join: Callable[[Iterable[bytes]], bytes] = tile.encode_bundle
        parts = tile.parse_bundle(data)
    else:
        join, parts = b"".join, tile.split_hashes(data)
    if len(parts) < 2:
        return
    swapped = [*parts[:-2], parts[-1], parts[-2]]
    yield "its last two elements swapped", {path: join(swapped)}
    yield "its last element twice", {path: join([*parts, parts[-1]])}
    yield "its first element for its last", {path: join([*parts[:-1], parts[0]])}
    yield "its last element gone", {path: join(parts[:-1])}
    yield "its first element gone", {path: join(parts[1:])}
