"""The static files of one log (PROTOCOL §8), written from committed state.

Every file here can be made again, byte for byte, from the database and the files
already full; a crash at any line is mended by ``write_all`` at the next start. The
order matters to readers only: tiles before the checkpoint that needs them.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

from undersigned_verify import tile

from undersigned.kernel.durable import (
    make_public_folder,
    remove_folder_if_empty,
    sync_names,
    write_atomic,
    write_durable,
)
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.store import BUNDLE_LEVEL, Store
from undersigned.ledger.tree import TileKey, TileTree, list_full_tiles

GROWTH_HEADER = "size,net,at\n"
RECENT_CHECKPOINTS = 64


def format_at(at: int) -> str:
    """Return seconds since 1970 as ``2026-11-21T08:00:00Z``."""
    return datetime.fromtimestamp(at, tz=UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _tile_name(log: TileTree, level: int, n: int) -> str:
    kind: tile.Level = "entries" if level == BUNDLE_LEVEL else level
    if log.is_full(level, n):
        return tile.tile_path(kind, n)
    count = log.size if level == BUNDLE_LEVEL else log.size >> (tile.HEIGHT * level)
    return tile.tile_path(kind, n, count % tile.WIDTH)


def write_tiles(log: TileTree) -> list[TileKey]:
    """Write what ``unwritten`` holds; return the tiles that are now durable and full.

    Full tiles are synced, because the database forgets them afterwards, and with them
    the names of the folders they are in: at the first tile of each, also where the
    folder is there, because a process that was killed may have made it. Partial ones
    are not: the database keeps the edge.
    """
    full = []
    made: set[Path] = set()
    for (level, n), data in sorted(log.unwritten.items()):
        path = log.folder / _tile_name(log, level, n)
        if path.parent not in made:
            make_public_folder(path.parent)
            made.add(path.parent)
        if log.is_full(level, n):
            write_durable(path, data, mode=0o644)
            if path.parent not in log.synced_folders:
                sync_names(path.parent, below=log.public)
                log.synced_folders.add(path.parent)
            full.append((level, n))
        else:
            write_atomic(path, data)
    return full


def require_full_tiles(log: TileTree) -> None:
    """See that every full tile which the database has forgotten is a file here.

    On another machine than the last sequencer's they may be missing, and the next
    checkpoint would name tiles that nobody can read. Raises StorageFailed.
    """
    for level, n in list_full_tiles(log.size):
        name = _tile_name(log, level, n)
        if (level, n) not in log.unwritten and not (log.folder / name).is_file():
            raise StorageFailed(
                f"{log.origin}: {log.folder / name} is missing here: copy the public "
                "files of the machine that published it, or recover from a mirror"
            )


def _partial_names(size: int) -> set[str]:
    names = set()
    n, width = divmod(size, tile.WIDTH)
    if width:
        names.add(tile.tile_path("entries", n, width))
    level, count = 0, size
    while count:
        n, width = divmod(count, tile.WIDTH)
        if width:
            names.add(tile.tile_path(level, n, width))
        level, count = level + 1, count >> tile.HEIGHT
    return names


def drop_partials(log: TileTree, *, of_size: int, keep_sizes: set[int]) -> None:
    """Remove the partial tiles of an old size that no size in ``keep_sizes`` needs.

    Readers who fetched the checkpoint before the newest one may still ask for its
    partial tiles; older ones have had an interval's time.
    """
    wanted = set().union(*(_partial_names(size) for size in keep_sizes))
    for name in _partial_names(of_size) - wanted:
        path = log.folder / name
        _unlink(path)
        # Where it is not empty, another size's partial tile lives there.
        remove_folder_if_empty(path.parent)


def drop_old_partials(log: TileTree) -> None:
    """After a publication: drop the partial tiles of the checkpoint before the last."""
    log.recent_sizes.append(log.size)
    if len(log.recent_sizes) > 2:
        drop_partials(
            log, of_size=log.recent_sizes.pop(0), keep_sizes=set(log.recent_sizes)
        )


def drop_all_stale_partials(log: TileTree) -> None:
    """Remove every partial tile but the newest size's: once, at a start."""
    wanted = _partial_names(log.size)
    for folder in [p for p in (log.folder / "tile").rglob("*.p") if p.is_dir()]:
        for path in folder.iterdir():
            if str(path.relative_to(log.folder)) not in wanted:
                _unlink(path)
        remove_folder_if_empty(folder)


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise StorageFailed(f"couldn't remove {path}: {error}") from error


def write_fixed(log: OpenLog, *, statement: bytes | None) -> None:
    """Write what never changes: the verifier key and the statement."""
    make_public_folder(log.folder / "checkpoints")
    if log.key is not None:
        write_atomic(log.folder / "log.vkey", f"{log.key.vkey}\n".encode())
    if statement is not None:
        write_durable(log.folder / "statement", statement, mode=0o644)


def write_checkpoint(log: OpenLog, *, size: int, note: bytes) -> None:
    """Write the kept checkpoint, then the newest one, then the count."""
    # Durable before the newest checkpoint names it: it is kept for ever.
    write_durable(log.folder / "checkpoints" / str(size), note, mode=0o644)
    # Stamped, so that a web server's own ETag tells two versions of a second apart.
    write_atomic(log.folder / "checkpoint", note, stamped=True)
    count = log.state.count_json(log.root)
    write_atomic(log.folder / "count.json", count, stamped=True)


def append_growth(log: OpenLog, *, size: int, net: int, at: int) -> None:
    """Add one line to growth.csv."""
    path = log.folder / "growth.csv"
    try:
        if not path.exists():
            write_atomic(path, GROWTH_HEADER.encode())
        with path.open("a", encoding="ascii") as file:
            file.write(f"{size},{net},{format_at(at)}\n")
    except OSError as error:
        raise StorageFailed(f"couldn't write {path}: {error}") from error


def write_all(log: OpenLog, store: Store) -> None:
    """Make every file agree with the database again, as after a crash."""
    write_tiles(log)
    newest = write_kept(log, store)
    lines = [GROWTH_HEADER]
    for size, at, net in store.query(
        "SELECT size, at, net FROM checkpoint WHERE log=? ORDER BY size",
        (log.tree_id,),
    ):
        lines.append(f"{size},{net},{format_at(at)}\n")
    write_atomic(log.folder / "growth.csv", "".join(lines).encode())
    if newest is not None:
        write_checkpoint(log, size=log.size, note=newest)
        drop_all_stale_partials(log)


def write_kept(tree: TileTree, store: Store) -> bytes | None:
    """Make the kept checkpoints' files agree with the database; return the newest.

    A crash can only have cut off the last ones, so that older ones are looked at
    where their number is wrong: a log of years has hundreds of thousands.
    """
    kept = tree.folder / "checkpoints"
    make_public_folder(kept)
    [(count,)] = store.query(
        "SELECT count(*) FROM checkpoint WHERE log=?", (tree.tree_id,)
    )
    files = sum(1 for entry in os.scandir(kept) if entry.name.isdigit())
    newest = None
    for size, note in store.query(
        "SELECT size, note FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT ?",
        (tree.tree_id, RECENT_CHECKPOINTS if files == count else count),
    ):
        file = kept / str(size)
        if not file.exists() or file.stat().st_size != len(note):
            # Missing, or cut short by a power cut after its rename.
            write_durable(file, note, mode=0o644)
        newest = newest or bytes(note)
    return newest
