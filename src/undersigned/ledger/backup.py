"""Copying the ledger for a backup, while it runs or not (docs/adr/0018).

In the copy is what the public may see by then, and what is to be taken away from it.
Not in it is what waits to be added: the pool. A copy of the pool would say for ever
which signatures came before it was made and which after, and that is the time of a
request; and where a log goes on being published, its mirrors hold them soon after.

Rows are read in one transaction and written in order of their keys into a new file, so
that neither freed pages nor the layout of the old ones, nor a journal, come along.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from undersigned_verify import tile
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger import export
from undersigned.ledger.embedded import SCHEMA, EmbeddedStore
from undersigned.ledger.open_log import OpenLog, decode_settings
from undersigned.ledger.recovery import load_spine
from undersigned.ledger.spine import SPINE_PATH
from undersigned.ledger.store import BUNDLE_LEVEL, Store
from undersigned.ledger.tree import TileTree, list_full_tiles

_PUBLISHED = "EXISTS (SELECT 1 FROM live.nonce n WHERE n.log=t.log AND n.nonce=t.nonce)"

# Every table of the ledger, with which of its rows are copied and in which order; None:
# none. A table that is not named here stops a backup: somebody has to decide.
TABLES: dict[str, tuple[str, str] | None] = {
    "log": ("1", "id"),
    "inbox": None,
    "waiting": None,
    # Moderators' acts and withdrawals that wait for the next checkpoint.
    "control": ("1", "log, leaf_hash"),
    # A withdrawal of what is only pooled goes with its target.
    "withdrawal": (_PUBLISHED, "log, nonce"),
    "erasure": (_PUBLISHED, "log, nonce"),
    "nonce": ("1", "log, nonce"),
    "tile": ("1", "log, level, n"),
    "published_control": ("1", "log, idx"),
    "cells": ("1", "log, block"),
    "checkpoint": ("1", "log, size"),
    "shown": ("1", "log, nonce"),
    "spine": ("1", "id"),
    "spine_checkpoint": ("1", "log, size"),
    "spine_issued": ("1", "log, key_index"),
    "spine_retired": ("1", "log"),
    "reserved": ("1", "origin"),
}

OnLeaves = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CopiedLog:
    """A log as it stands in a copy. ``path``: of its folder below the public root."""

    origin: str
    path: str
    size: int
    root: bytes


def copy_ledger(source: Path, target: Path) -> None:
    """Copy the ledger file ``source`` to the new file ``target``.

    Consistent in itself: one moment between two commits. Signing goes on meanwhile;
    only the ledger's journal is not emptied until this returns. Raises StorageFailed.
    """
    target.touch(mode=0o600, exist_ok=False)
    with _failing(f"couldn't copy {source}"), closing(_open_new(target)) as db:
        for pragma in (
            # As a new ledger has it: a restored one shrinks again like any other.
            "page_size=4096",
            "auto_vacuum=INCREMENTAL",
            # Worthless before it is whole, and synced by who makes the backup.
            "journal_mode=OFF",
            "synchronous=OFF",
            "temp_store=MEMORY",
        ):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(SCHEMA)
        db.execute("ATTACH ? AS live", (f"{source.absolute().as_uri()}?mode=ro",))
        db.execute("BEGIN")
        found = _list_tables(db)
        for table, chosen in TABLES.items():
            # An older version's ledger, not started since the upgrade, may lack one.
            if chosen is not None and table in found:
                where, order = chosen
                db.execute(
                    f"INSERT INTO main.{table} SELECT t.* FROM live.{table} t "  # noqa: S608 - names and conditions of TABLES
                    f"WHERE {where} ORDER BY {order}"
                )
        db.execute("COMMIT")
        db.execute("DETACH live")


def _open_new(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path.absolute().as_uri(), uri=True, isolation_level=None)


def _list_tables(db: sqlite3.Connection) -> set[str]:
    rows = db.execute("SELECT name FROM live.sqlite_master WHERE type='table'")
    found = {str(name) for (name,) in rows}
    strange = sorted(found - set(TABLES))
    if strange:
        raise StorageFailed(
            f"the ledger has a table {strange[0]}, and nobody has decided whether it "
            "may be in a backup"
        )
    return found


def is_spine_behind(path: Path) -> bool:
    """Say whether a copy is of the moment between a publication and its entry.

    A start enters in the spine what it lacks, so that nothing is wrong with it; but
    until then an auditor does not accept its files. Raises StorageFailed.
    """
    with _failing(f"couldn't read {path}"), closing(_open_read_only(path)) as db:
        (late,) = db.execute(
            "SELECT EXISTS (SELECT 1 FROM spine) AND EXISTS (SELECT 1 FROM log WHERE "
            "size > coalesce((SELECT max(size) FROM spine_checkpoint c "
            "WHERE c.log = log.id), 0))"
        ).fetchone()
    return bool(late)


def list_marks(path: Path) -> set[tuple[str, int]]:
    """Return origin and whether it accepts signatures of every log in a ledger file.

    What a copy of the pages database must agree with: which logs there are, and which
    are closing. Raises StorageFailed.
    """
    with _failing(f"couldn't read {path}"), closing(_open_read_only(path)) as db:
        return set(db.execute("SELECT origin, accepting FROM log"))


def copy_public(
    copy: Path,
    source: Path,
    target: Path,
    *,
    host: str,
    on_logs: OnLeaves = lambda _done, _all: None,
) -> list[CopiedLog]:
    """Write the public files of all logs and the spine in a copied ledger, as there.

    ``host`` names the spine. ``copy``: what ``copy_ledger`` wrote. ``source``: the live
    public root, from which come full tiles, which never change, statements and keys;
    all else is made from the copy as after a crash. ``on_logs`` is told of leaves.
    Raises StorageFailed where a file is missing or the copy contradicts itself.
    """
    done: list[CopiedLog] = []
    with (
        _failing(f"couldn't copy the public files of {source}"),
        closing(EmbeddedStore.open_copy(copy)) as db,
    ):
        rows = db.query("SELECT id, settings, size FROM log ORDER BY id")
        all_leaves = sum(size for _id, _settings, size in rows)
        before = 0
        for log_id, text, size in rows:
            log = OpenLog(
                log_id=log_id, settings=decode_settings(text), public=target, key=None
            )
            log.load(db)
            for leaves in _copy_log(db, log, source / log.settings.path):
                on_logs(before + leaves, all_leaves)
            before += size
            done.append(CopiedLog(log.origin, log.settings.path, size, log.root))
        spine = load_spine(db, host=host, public=target)
        if spine is not None:
            _copy_spine(db, spine, source / SPINE_PATH)
            done.append(CopiedLog(spine.origin, SPINE_PATH, spine.size, spine.root))
        _copy_loose(source, target)
    return done


def _copy_log(db: Store, log: OpenLog, live: Path) -> Iterator[int]:
    """Write one log's files; yield how many leaves are done."""
    _require_whole(log, db)
    yield from _copy_full_tiles(log, live)
    _copy_fixed(log, live)
    if log.size:
        _write_checkpoints(log, db)
        export.write_all(log, db)
    yield log.size


def _copy_spine(db: Store, spine: TileTree, live: Path) -> None:
    _require_whole(spine, db)
    for _leaves in _copy_full_tiles(spine, live):
        pass
    _copy_fixed(spine, live)
    _write_checkpoints(spine, db)
    export.write_tiles(spine)
    newest = export.write_kept(spine, db)
    if newest is not None:
        (spine.folder / "checkpoint").write_bytes(newest)


def _require_whole(log: TileTree, db: Store) -> None:
    """The newest checkpoint is of the tree that the rows describe."""
    rows = db.query(
        "SELECT note FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
        (log.tree_id,),
    )
    newest = Checkpoint.parse(parse_note(rows[0][0]).text) if rows else None
    found = (newest.size, newest.root) if newest else (0, log.root)
    if found != (log.size, log.root):
        raise StorageFailed(
            f"{log.origin}: the ledger's newest checkpoint is not of its own leaves"
        )


def _copy_full_tiles(log: TileTree, live: Path) -> Iterator[int]:
    made: set[Path] = set()
    for level, n in list_full_tiles(log.size):
        if (level, n) in log.unwritten:
            # Not durable as a file yet: ``write_all`` makes it from the copy.
            continue
        name = tile.tile_path("entries" if level == BUNDLE_LEVEL else level, n)
        path = log.folder / name
        if path.parent not in made:
            path.parent.mkdir(parents=True, exist_ok=True)
            made.add(path.parent)
        shutil.copyfile(live / name, path)
        if level == BUNDLE_LEVEL:
            yield (n + 1) * tile.WIDTH


def _copy_fixed(log: TileTree, live: Path) -> None:
    (log.folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    for name in ("log.vkey", "statement"):
        # Lost by a power cut, they are made again at the next start.
        if (live / name).is_file():
            shutil.copyfile(live / name, log.folder / name)


def _write_checkpoints(log: TileTree, db: Store) -> None:
    """Write the kept checkpoints at once; ``write_all`` would sync each by itself."""
    for size, note in db.query(
        "SELECT size, note FROM checkpoint WHERE log=?", (log.tree_id,)
    ):
        (log.folder / "checkpoints" / str(size)).write_bytes(note)


def _copy_loose(source: Path, target: Path) -> None:
    """Copy files that belong to no log, such as ``policy.txt``."""
    target.mkdir(exist_ok=True)
    for path in source.iterdir() if source.is_dir() else ():
        if path.is_file() and not path.is_symlink() and path.name[0] != ".":
            shutil.copyfile(path, target / path.name)


def _open_read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)


@contextmanager
def _failing(what: str) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        reason = getattr(error, "strerror", None) or error
        raise StorageFailed(f"{what}: {reason}") from error
