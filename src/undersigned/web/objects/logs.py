"""Carries logs: tiles, then checkpoints, then the count, each before what needs it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from undersigned_verify.tile import HEIGHT, WIDTH, parse_tile_path

from undersigned.web.objects.layout import (
    POLICY,
    SPINE,
    is_partial,
    list_logs,
    list_partials,
    list_tiles,
    parse_checkpoint,
)
from undersigned.web.objects.store import Held, ObjectStore
from undersigned.web.shared.public_files import find_log_headers

# Witnesses speak late, but not later than this many checkpoints of the spine.
_RECENT = 64
_FIXED = ("log.vkey", "statement")

_logger = logging.getLogger("undersigned.objects")

Identity = tuple[int, int, int]


class LogContradicted(Exception):
    """The store holds a state of this log that is none of ours: it is left alone.

    It is ahead: this database is older than what was public. Or it is another history.
    """


@dataclass(slots=True)
class _Carried:
    """What the store is known to hold of one log."""

    # Of the files it was made from; another one means that there is something to do.
    seen: object = None
    size: int = 0
    # The size before, whose partial tiles a reader may still ask for.
    size_before: int = 0
    # The largest kept checkpoint, and the newest ones as they were carried.
    kept: int = 0
    recent: dict[int, Identity] = field(default_factory=dict)
    partials: set[str] = field(default_factory=set)
    small: dict[str, Identity] = field(default_factory=dict)


def identify(path: Path) -> Identity | None:
    """Return what changes whenever a file is replaced or a folder changed."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


class LogCarrier:
    """Brings what the store holds of the logs up to what lies in ``public``.

    Not for several threads at once; ``pool`` sends what is many.
    """

    def __init__(
        self,
        store: ObjectStore,
        public: Path,
        *,
        pool: ThreadPoolExecutor,
        should_stop: Callable[[], bool],
    ) -> None:
        self._store = store
        self._public = public
        self._pool = pool
        self._should_stop = should_stop
        self._logs: dict[str, _Carried] = {}
        self._policy: Identity | None = None
        # Those that the store contradicts; said once.
        self.contradicted: set[str] = set()

    def carry(self) -> None:
        """Carry every log as far as it is published. Raises StoreAway, OSError.

        A log that is contradicted is left, and the others are carried all the same.
        """
        for path in list_logs(self._public):
            if self._should_stop():
                return
            try:
                self._carry_log(path)
            except LogContradicted as error:
                if path not in self.contradicted:
                    self.contradicted.add(path)
                    _logger.critical("%s is not carried to the store: %s", path, error)
            else:
                self.contradicted.discard(path)
        policy = identify(self._public / POLICY)
        if policy is not None and policy != self._policy:
            self._put(POLICY)
            self._policy = policy

    def _carry_log(self, path: str) -> None:
        carried = self._logs.get(path)
        folder = self._public / path
        seen = [
            identify(folder / name)
            for name in ("checkpoint", "count.json", "checkpoints", *_FIXED)
        ]
        if carried is not None and carried.seen == seen:
            return
        # The count first: the checkpoint that is read then is as new, or newer.
        count = _read(folder / "count.json")
        note = (folder / "checkpoint").read_bytes()
        newest = parse_checkpoint(note)
        if newest is None:
            # Cut short by a power cut; the start makes it again before we are asked.
            return
        size = newest.size
        try:
            if carried is None:
                carried = self._compare(path, size)
            self._carry_tiles(path, carried, size)
        except FileNotFoundError as error:
            if not is_partial(str(error.filename)):
                raise
            # Dropped, two publications later: the next look sees those.
            return
        for name in _FIXED:
            self._put_changed(path, name, carried)
        self._carry_kept(path, carried, size)
        # Who audits from afar lists the kept checkpoints by it.
        self._put_changed(path, "growth.csv", carried)
        self._store.put(f"{path}/checkpoint", note, _headers(f"{path}/checkpoint"))
        if carried.size != size:
            carried.size_before, carried.size = carried.size, size
        if count is not None and _size_of_count(count) <= size:
            self._store.put(f"{path}/count.json", count, _headers(f"{path}/count.json"))
        self._drop_partials(path, carried)
        carried.seen = seen
        # Last: what fails half-way is compared again.
        self._logs[path] = carried

    def forget(self) -> None:
        """Compare everything again: the store was away, and may have lost something."""
        self._logs.clear()
        self._policy = None

    # --- the first look -------------------------------------------------------------

    def _compare(self, path: str, size: int) -> _Carried:
        """Return what the store holds of a log already. Raises LogContradicted.

        Where its newest checkpoint is one of ours, its tiles and kept checkpoints up to
        there are, too: nothing but lengths is looked at, and nothing is read here.
        """
        carried = _Carried()
        sure = find_agreed(self._store, self._public, path, size)
        placed: dict[str, Held] = {}
        for held in self._store.list_below(f"{path}/"):
            name = held.key.removeprefix(f"{path}/")
            if not name.partition("/")[0].isdigit():
                placed[name] = held
        missing = [
            name
            for name in list_tiles(size)
            if not self._is_placed(path, name, placed, sure=sure)
        ]
        self._put_all(path, missing)
        carried.size, carried.size_before = size, sure
        carried.partials = set(filter(is_partial, placed)) | list_partials(size)
        kept = sorted(self._list_kept(path, above=0, size=size))
        recent = set(kept[-_RECENT:])
        self._put_all(
            path,
            [
                f"checkpoints/{one}"
                for one in kept
                if not self._is_placed(
                    path,
                    f"checkpoints/{one}",
                    placed,
                    sure=0 if one in recent else sure,
                    needs=one,
                )
            ],
        )
        carried.kept = kept[-1] if kept else 0
        self._note_recent(path, carried, kept[-_RECENT:])
        return carried

    def _is_placed(
        self,
        path: str,
        name: str,
        placed: Mapping[str, Held],
        *,
        sure: int,
        needs: int | None = None,
    ) -> bool:
        """Whether the store has a file of ours that never changes.

        ``needs``: the size of the log from which on there is such a file; else that
        follows from the name of a tile.
        """
        held = placed.get(name)
        file = self._public / path / name
        if held is None:
            return False
        first = needs if needs is not None else _size_with(name)
        if first <= sure:
            try:
                return held.size == file.stat().st_size
            except FileNotFoundError:
                return True
        data = _read(file)
        return data is not None and held.tag == tag_of(data)

    # --- what is new ----------------------------------------------------------------

    def _carry_tiles(self, path: str, carried: _Carried, size: int) -> None:
        fresh = list(list_tiles(size, after=carried.size))
        self._put_all(path, fresh)
        carried.partials.update(filter(is_partial, fresh))

    def _carry_kept(self, path: str, carried: _Carried, size: int) -> None:
        fresh = sorted(self._list_kept(path, above=carried.kept, size=size))
        folder = self._public / path / "checkpoints"
        # A witness has added a line to one of these.
        longer = [
            one
            for one, identity in carried.recent.items()
            if identify(folder / str(one)) != identity
        ]
        self._put_all(path, [f"checkpoints/{one}" for one in (*longer, *fresh)])
        if fresh:
            carried.kept = fresh[-1]
        self._note_recent(path, carried, [*carried.recent, *fresh][-_RECENT:])

    def _note_recent(self, path: str, carried: _Carried, sizes: list[int]) -> None:
        if path != SPINE:
            # A campaign's are never written twice.
            return
        folder = self._public / path / "checkpoints"
        found = {one: identify(folder / str(one)) for one in sizes}
        carried.recent = {
            one: identity for one, identity in found.items() if identity is not None
        }

    def _list_kept(self, path: str, *, above: int, size: int) -> Iterator[int]:
        """Yield the kept checkpoints that are not newer than the newest shown."""
        try:
            with os.scandir(self._public / path / "checkpoints") as entries:
                for entry in entries:
                    if entry.name.isdigit() and above < int(entry.name) <= size:
                        yield int(entry.name)
        except FileNotFoundError:
            return

    def _put_changed(self, path: str, name: str, carried: _Carried) -> None:
        identity = identify(self._public / path / name)
        if identity is not None and identity != carried.small.get(name):
            self._put(f"{path}/{name}")
            carried.small[name] = identity

    def _drop_partials(self, path: str, carried: _Carried) -> None:
        wanted = list_partials(carried.size) | list_partials(carried.size_before)
        stale = carried.partials - wanted
        if stale:
            self._store.delete([f"{path}/{name}" for name in stale])
            carried.partials -= stale

    def _put_all(self, path: str, names: Iterable[str]) -> None:
        """Put many at once; the first failure is raised when all have ended."""
        sent = [self._pool.submit(self._put, f"{path}/{name}") for name in names]
        failures = [error for one in sent if (error := one.exception()) is not None]
        if failures:
            raise failures[0]

    def _put(self, key: str) -> None:
        self._store.put(key, (self._public / key).read_bytes(), _headers(key))


def find_agreed(store: ObjectStore, public: Path, path: str, size: int) -> int:
    """Return up to which size the store has the log at ``path`` as it is here.

    ``size``: what it is here. Raises LogContradicted, StoreAway.
    """
    note = store.get(f"{path}/checkpoint")
    theirs = parse_checkpoint(note) if note is not None else None
    if theirs is None:
        return 0
    if theirs.size > size:
        raise LogContradicted(
            f"it holds {theirs.size} leaves and this machine {size}: this database is "
            "older than what was public (docs/operate/backup-and-restore.md)"
        )
    own = _read(public / path / "checkpoints" / str(theirs.size))
    if own is None or parse_checkpoint(own) != theirs:
        raise LogContradicted(
            f"at {theirs.size} leaves it holds another history than this machine. Keep "
            "both checkpoints; to begin anew, empty the store"
        )
    return theirs.size


def tag_of(data: bytes) -> str:
    """Return the ETag that S3 gives to what came in one piece and is not encrypted.

    Where a store has another one, what is there is only put once more.
    """
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def _size_with(name: str) -> int:
    """Return the size from which on a log has this tile: what it covers, at least."""
    level, n, width = parse_tile_path(name)
    height = 0 if level == "entries" else level
    return (n * WIDTH + width) << (HEIGHT * height)


def _headers(key: str) -> dict[str, str]:
    media, cache = find_log_headers(key)
    return {"Content-Type": media, "Cache-Control": cache}


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _size_of_count(count: bytes) -> int:
    try:
        return int(json.loads(count)["tree_size"])
    except (ValueError, KeyError, TypeError):
        # Cut short: never sent.
        return 1 << 62
