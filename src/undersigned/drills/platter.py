"""What a disk may hold after a power cut: a model fed by a journal.

What was synced is there. Of the rest, per file and per name, anything may be: the
``MODELS``. Stricter than most file systems are:

- a barrier on a file makes its bytes durable, not its name; only a barrier on the
  folder does that, and the folder's own name needs one on the folder above it;
- changes of names that were not followed by one are lost or kept each for itself, and
  independently of bytes: a renamed file may be there and empty;
- bytes not synced survive by sectors of 512, in any choice.

A rename is one change, as every file system with a journal has it: the new name and the
missing old one come together. Bytes never written read as zeros.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Literal, TypeAlias

from undersigned.drills.journal import JournalBroken, Kind, Record

SECTOR = 512
# The index of a write-ahead log is mapped memory: it carries nothing durable, and
# whatever lies there must not matter.
INDEX_SUFFIX = "-shm"

Model: TypeAlias = Literal[
    "none", "all", "prefix", "sectors", "subset", "names only", "bytes only"
]
MODELS: tuple[Model, ...] = (
    "none",
    "all",
    "prefix",
    "sectors",
    "subset",
    "names only",
    "bytes only",
)


@dataclass(frozen=True, slots=True)
class Change:
    """A change of a file's bytes: a write, or (``data`` None) a new length.

    ``grows``: the length only grows the file. ``kept``: durable already.
    """

    offset: int
    data: bytes | None
    grows: bool = False
    kept: bool = False

    def apply(self, content: bytearray) -> None:
        """Make the change."""
        if self.data is None:
            if len(content) < self.offset:
                content.extend(bytes(self.offset - len(content)))
            elif not self.grows:
                del content[self.offset :]
            return
        if len(content) < self.offset:
            content.extend(bytes(self.offset - len(content)))
        content[self.offset : self.offset + len(self.data)] = self.data

    def split(self) -> Iterator[Change]:
        """Return the sectors of a write; anything else in one piece."""
        if self.data is None or self.kept:
            yield self
            return
        at, end = self.offset, self.offset + len(self.data)
        while at < end:
            stop = min(end, at - at % SECTOR + SECTOR)
            yield Change(at, self.data[at - self.offset : stop - self.offset])
            at = stop


@dataclass(eq=False, slots=True)
class File:
    """A file: the bytes that are durable, and what was changed since."""

    durable: bytearray = field(default_factory=bytearray)
    pending: list[Change] = field(default_factory=list)

    @property
    def live(self) -> bytes:
        """What a reader sees while the power is on."""
        content = bytearray(self.durable)
        for change in self.pending:
            change.apply(content)
        return bytes(content)

    def sync(self) -> None:
        """Make everything durable."""
        for change in self.pending:
            change.apply(self.durable)
        self.pending.clear()


@dataclass(eq=False, slots=True)
class Folder:
    """A folder: the names that are durable, and those a reader sees."""

    durable: dict[str, File | Folder] = field(default_factory=dict)
    live: dict[str, File | Folder] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Renaming:
    """One change of names: None takes a name away."""

    names: tuple[tuple[Folder, str, File | Folder | None], ...]

    def touches(self, folder: Folder) -> bool:
        """Whether a barrier on ``folder`` makes it durable."""
        return any(one is folder for one, _name, _node in self.names)


class Platter:
    """One data directory."""

    def __init__(self) -> None:
        self.root = Folder()
        self._by_inode: dict[int, File | Folder] = {}
        self._pending: list[Renaming] = []

    # --- what the process does

    def follow(self, record: Record) -> None:
        """Take over one record. Raises JournalBroken."""
        action = _ACTIONS.get(record.kind)
        if action is not None:
            action(self, record)

    def _hello(self, record: Record) -> None:
        self._by_inode[record.inode] = self.root

    def _mkdir(self, record: Record) -> None:
        self._by_inode[record.inode] = folder = Folder()
        self._name(record.path, folder)

    def _create(self, record: Record) -> None:
        self._by_inode[record.inode] = file = File()
        self._name(record.path, file)

    def _change(self, record: Record) -> None:
        node = self._by_inode.get(record.inode)
        if not isinstance(node, File):
            raise JournalBroken(f"{record.path} was changed and never made")
        is_write = record.kind is Kind.WRITE
        change = Change(
            offset=record.offset,
            data=record.data if is_write else None,
            grows=record.kind is Kind.EXTEND,
            kept=record.is_durable,
        )
        if change.kept:
            change.apply(node.durable)
        node.pending.append(change)

    def _rename(self, record: Record) -> None:
        (old, old_name), (new, new_name) = map(
            self._place, (record.path, record.second)
        )
        node = old.live.get(old_name)
        if node is None:
            raise JournalBroken(f"{record.path} was renamed and never made")
        if old.live.get(old_name) is new.live.get(new_name):
            return
        self._rearrange((old, old_name, None), (new, new_name, node))

    def _link(self, record: Record) -> None:
        node = self._by_inode.get(record.inode)
        if node is None:
            raise JournalBroken(f"{record.path} was linked and never made")
        self._name(record.path, node)

    def _unlink(self, record: Record) -> None:
        folder, name = self._place(record.path)
        # A socket was never a file here.
        if name in folder.live:
            self._rearrange((folder, name, None))

    def _sync(self, record: Record) -> None:
        node = self._by_inode.get(record.inode)
        if isinstance(node, File):
            node.sync()
        elif isinstance(node, Folder):
            done = [one for one in self._pending if one.touches(node)]
            for one in done:
                for folder, name, target in one.names:
                    _set(folder.durable, name, target)
            self._pending = [one for one in self._pending if not one.touches(node)]

    def _sync_failed(self, record: Record) -> None:
        """What was to be synced is gone, whatever a later barrier says.

        So does Linux: pages that could not be written are marked clean.
        """
        node = self._by_inode.get(record.inode)
        if isinstance(node, File):
            node.pending = [change for change in node.pending if change.kept]

    def _refused(self, record: Record) -> None:
        raise JournalBroken(f"{record.second}: {record.path}")

    def _name(self, path: str, node: File | Folder) -> None:
        folder, name = self._place(path)
        self._rearrange((folder, name, node))

    def _rearrange(self, *names: tuple[Folder, str, File | Folder | None]) -> None:
        for folder, name, node in names:
            _set(folder.live, name, node)
        self._pending.append(Renaming(names))

    def _place(self, path: str) -> tuple[Folder, str]:
        pure = PurePosixPath(path)
        node: File | Folder | None = self.root
        for part in pure.parts[:-1]:
            node = node.live.get(part) if isinstance(node, Folder) else None
        if not isinstance(node, Folder):
            raise JournalBroken(f"{path} lies in a folder that was never made")
        return node, pure.name

    def settle(self) -> None:
        """Take everything for durable: what was there before the story begins."""
        for file in self._by_inode.values():
            if isinstance(file, File):
                file.sync()
        for one in self._pending:
            for folder, name, target in one.names:
                _set(folder.durable, name, target)
        self._pending.clear()

    # --- what is seen, and what is left

    def find(self, path: str) -> File | None:
        """Return the file that a reader finds under ``path`` now."""
        folder, name = self._place(path)
        node = folder.live.get(name)
        return node if isinstance(node, File) else None

    def list_pending(self, inode: int) -> list[str]:
        """Return what a barrier on this file or folder would make durable.

        Of a folder the names in it; of a file, for each change, an empty word.
        """
        node = self._by_inode.get(inode)
        if isinstance(node, File):
            return [""] * len(node.pending)
        return [
            name
            for one in self._pending
            for folder, name, _node in one.names
            if folder is node
        ]

    def list_live(self) -> dict[str, bytes]:
        """Return every file that a reader sees, by path."""

        def walk(folder: Folder, path: str) -> Iterator[tuple[str, bytes]]:
            for name, node in folder.live.items():
                if isinstance(node, File):
                    yield path + name, node.live
                else:
                    yield from walk(node, f"{path}{name}/")

        return dict(walk(self.root, ""))

    def write_state(self, target: Path, *, model: Model, rng: random.Random) -> None:
        """Write into the new folder ``target`` what a power cut may leave now."""
        chosen: dict[int, dict[str, File | Folder | None]] = {}
        for one in _choose_names(self._pending, model, rng):
            for folder, name, node in one.names:
                chosen.setdefault(id(folder), {})[name] = node
        self._write_folder(self.root, target, chosen, model, rng)

    def _write_folder(
        self,
        folder: Folder,
        target: Path,
        chosen: dict[int, dict[str, File | Folder | None]],
        model: Model,
        rng: random.Random,
    ) -> None:
        target.mkdir(mode=0o700)
        names = {**folder.durable, **chosen.get(id(folder), {})}
        for name, node in sorted(names.items()):
            if isinstance(node, Folder):
                self._write_folder(node, target / name, chosen, model, rng)
            elif isinstance(node, File):
                content = bytearray(node.durable)
                for change in _choose_changes(node.pending, model, rng):
                    change.apply(content)
                if name.endswith(INDEX_SUFFIX):
                    content[:] = rng.randbytes(rng.choice((0, 512, 32_768)))
                path = target / name
                path.touch(mode=0o600)
                path.write_bytes(content)


def _set(
    names: dict[str, File | Folder], name: str, node: File | Folder | None
) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _choose_names(
    pending: list[Renaming], model: Model, rng: random.Random
) -> list[Renaming]:
    if model in ("none", "bytes only"):
        return []
    if model in ("all", "names only"):
        return pending
    if model == "prefix":
        return pending[: rng.randint(0, len(pending))]
    odds = rng.choice((0.2, 0.5, 0.8))
    return [one for one in pending if rng.random() < odds]


def _choose_changes(
    pending: list[Change], model: Model, rng: random.Random
) -> list[Change]:
    if model in ("none", "names only"):
        return [change for change in pending if change.kept]
    if model in ("all", "bytes only"):
        return pending
    if model == "prefix":
        end = rng.randint(0, len(pending))
        return [c for at, c in enumerate(pending) if at < end or c.kept]
    odds = rng.choice((0.2, 0.5, 0.8))
    pieces = (
        pending
        if model == "subset"
        else [piece for change in pending for piece in change.split()]
    )
    return [one for one in pieces if one.kept or rng.random() < odds]


_ACTIONS: dict[Kind, Callable[[Platter, Record], None]] = {
    Kind.HELLO: Platter._hello,
    Kind.MKDIR: Platter._mkdir,
    Kind.CREATE: Platter._create,
    Kind.WRITE: Platter._change,
    Kind.TRUNCATE: Platter._change,
    Kind.EXTEND: Platter._change,
    Kind.RENAME: Platter._rename,
    Kind.LINK: Platter._link,
    Kind.UNLINK: Platter._unlink,
    Kind.RMDIR: Platter._unlink,
    Kind.SYNC: Platter._sync,
    Kind.SYNC_FAILED: Platter._sync_failed,
    Kind.REFUSED: Platter._refused,
}
