"""Bringing a log in the database to where a verified mirror shows it to be.

Leaf by leaf, through the same state machine and tree as a publication; committed at
kept checkpoints only, so that a recovery that is cut off leaves a state that was
published once. What waited in the pool and is found in the mirror leaves the pool. What
signers show is in no mirror: only what waited beside a pooled signature goes on.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from undersigned_verify import entry, merkle, tile, token
from undersigned_verify.errors import Fault

from undersigned.kernel.batching import split_by_size
from undersigned.kernel.durable import write_durable
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger import export
from undersigned.ledger.data import LogSettings
from undersigned.ledger.mirrors import (
    Mirror,
    OnLeaves,
    Walk,
    list_kept,
    read_bundle,
    read_growth,
    read_note,
    read_statement,
)
from undersigned.ledger.open_log import CELL_BLOCK, OpenLog, encode_settings
from undersigned.ledger.recovery import LogPlan
from undersigned.ledger.store import BUNDLE_LEVEL

# Leaves gathered before a commit, at the least; a checkpoint is never split.
COMMIT_LEAVES = 32_768
_CHUNKS = (256, 64, 16, 4, 1)
_NOTHING_SHOWN = bytes(32)
# The number of a log that has no row yet; none is negative and as large.
_NEW = -(1 << 40)

# Of a log that the database does not know: its settings, and whether it goes on.
Describe = Callable[[entry.Header, list[entry.IssuerKey]], tuple[LogSettings, bool]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken over of one log.

    ``pooled``: signatures that had waited in the pool and are published already.
    ``shows``: signatures that were made to show something; ``shown``: those of them
    whose record waited in the pool.
    """

    leaves: int
    pooled: int
    shows: int
    shown: int


def reserve_origins(*, connection: sqlite3.Connection, origins: list[str]) -> None:
    """See to it that no log of these names begins here again. Idempotent."""
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        "INSERT OR IGNORE INTO reserved VALUES (?)", [(one,) for one in origins]
    )
    connection.execute("COMMIT")


def import_log(
    *,
    connection: sqlite3.Connection,
    plan: LogPlan,
    public: Path,
    describe: Describe,
    at: datetime,
    on_leaves: OnLeaves | None = None,
) -> Imported:
    """Take over what a plan's mirror has beyond the database, and missing tiles.

    ``at``: noted for checkpoints of which the mirror does not say when they were made.
    A log without anything to import is left as it stands. Raises MirrorRefused if the
    mirror is not any more what was planned with, StorageFailed.
    """
    mirror, walked = plan.mirror, plan.walked
    if mirror is None or walked is None:
        return Imported(leaves=0, pooled=0, shows=0, shown=0)
    log = plan.log
    accepting = True
    if log is None:
        settings, accepting = _describe(mirror, walked, describe)
        log = OpenLog(log_id=_NEW, settings=settings, public=public, key=None)
    log.folder.mkdir(parents=True, exist_ok=True)
    _fill_gaps(log, mirror, walked)
    taker = _Taker(connection, log, mirror, walked, accepting=accepting, at=at)
    try:
        done = taker.run(on_leaves)
    except Fault as fault:
        # The audit let it pass: the rows that it follows are not what they were.
        raise StorageFailed(f"{log.origin}: {fault}") from fault
    if log.root != plan.root or log.size != plan.size:
        # Each bundle was compared with the walk: only a fault of our own ends here.
        raise StorageFailed(f"{log.origin}: the import came out at another root")
    _write_files(connection, log, mirror)
    return done


def _describe(
    mirror: Mirror, walked: Walk, describe: Describe
) -> tuple[LogSettings, bool]:
    first = [entry.parse(leaf) for leaf in read_bundle(mirror, walked, 0)]
    header = first[0]
    if not isinstance(header, entry.Header):
        raise StorageFailed(f"{mirror.origin}: no header in an audited log")
    keys = [leaf for leaf in first if isinstance(leaf, entry.IssuerKey)]
    return describe(header, keys)


# --- files


def _fill_gaps(log: OpenLog, mirror: Mirror, walked: Walk) -> None:
    """Write full tiles that are missing below what the database holds."""
    full = log.size // tile.WIDTH
    for n in range(full):
        bundle = log.folder / tile.tile_path("entries", n)
        hashes = log.folder / tile.tile_path(0, n)
        if not (bundle.exists() and hashes.exists()):
            leaves = read_bundle(mirror, walked, n)
            _put(bundle, tile.encode_bundle(leaves))
            _put(hashes, b"".join(merkle.leaf_hash(leaf) for leaf in leaves))
    level, roots = 1, walked.tile_roots[:full]
    while len(roots) >= tile.WIDTH:
        above = []
        for n in range(len(roots) // tile.WIDTH):
            row = roots[n * tile.WIDTH : (n + 1) * tile.WIDTH]
            path = log.folder / tile.tile_path(level, n)
            if not path.exists():
                _put(path, b"".join(row))
            above.append(tile.tile_root(row))
        level, roots = level + 1, above


def _put(path: Path, data: bytes) -> None:
    try:
        if path.is_file() and path.read_bytes() == data:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"couldn't write {path}: {error}") from error
    write_durable(path, data, mode=0o644)


def _write_files(connection: sqlite3.Connection, log: OpenLog, mirror: Mirror) -> None:
    """Make the public files those of the database as it is now."""
    key, header = log.folder / "log.vkey", log.state.header
    try:
        if not key.exists():
            _put(key, f"{mirror.key.vkey}\n".encode())
        if header is not None and not (log.folder / "statement").exists():
            statement = read_statement(mirror, header.statement_sha256)
            _put(log.folder / "statement", statement)
        export.write_all(log, connection)
    except OSError as error:
        raise StorageFailed(f"{log.origin}: couldn't export: {error}") from error


# --- rows


@dataclass(slots=True)
class _Rows:
    """What the next commit writes."""

    controls: list[tuple[int, bytes]] = field(default_factory=list)
    checkpoints: list[tuple[int, bytes, int, int]] = field(default_factory=list)
    # Nonce, index, stance, key index.
    signatures: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    # Hashes of control leaves, which may have waited here too.
    taken: list[bytes] = field(default_factory=list)
    withdrawn: list[bytes] = field(default_factory=list)


class _Taker:
    """Takes one log's leaves over, checkpoint by checkpoint."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        log: OpenLog,
        mirror: Mirror,
        walked: Walk,
        *,
        accepting: bool,
        at: datetime,
    ) -> None:
        self._db = connection
        self._log = log
        self._mirror = mirror
        self._walked = walked
        self._accepting = accepting
        self._rows = _Rows()
        self._committed = log.size
        self._stored_cells = bytes(log.state.cells)
        self._times = read_growth(mirror)
        self._tick = self._find_last_tick(int(at.timestamp()))
        self._begun_at = log.size
        self._pooled = self._shows = self._shown = 0

    def _find_last_tick(self, at: int) -> int:
        row = self._db.execute(
            "SELECT at FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
            (self._log.log_id,),
        ).fetchone()
        return int(row[0]) if row is not None else at

    def run(self, on_leaves: OnLeaves | None) -> Imported:
        """Append and commit until the mirror's size."""
        log = self._log
        leaves = self._read_leaves(log.size)
        for size in list_kept(self._mirror, log.size):
            self._append([next(leaves) for _n in range(size - log.size)])
            self._keep(size)
            if size - self._committed >= COMMIT_LEAVES or size == self._mirror.size:
                self._commit()
                if on_leaves is not None:
                    on_leaves(size - self._begun_at, self._mirror.size - self._begun_at)
        if log.is_closed:
            self._stop_accepting()
        return Imported(
            leaves=log.size - self._begun_at,
            pooled=self._pooled,
            shows=self._shows,
            shown=self._shown,
        )

    def _read_leaves(self, first: int) -> Iterator[bytes]:
        for n in range(first // tile.WIDTH, len(self._walked.digests)):
            leaves = read_bundle(self._mirror, self._walked, n)
            yield from leaves[max(0, first - n * tile.WIDTH) :]

    def _append(self, leaves: list[bytes]) -> None:
        log, rows = self._log, self._rows
        for index, leaf in enumerate(leaves, start=log.size):
            parsed = entry.parse(leaf)
            log.state.apply(index, parsed)
            if isinstance(parsed, entry.Signature):
                nonce = self._nonce_of(leaf)
                rows.signatures.append((nonce, index, parsed.stance, parsed.key_index))
                self._shows += parsed.public_hash != _NOTHING_SHOWN
                continue
            rows.taken.append(merkle.leaf_hash(leaf))
            if isinstance(parsed, entry.Withdrawal):
                # Of an earlier interval: it is in the tree.
                rows.withdrawn.append(self._nonce_of(log.read_leaf(parsed.target)))
            else:
                rows.controls.append((index, leaf))
        log.append(leaves)

    def _nonce_of(self, leaf: bytes) -> bytes:
        signature = entry.parse(leaf)
        if not isinstance(signature, entry.Signature):
            raise StorageFailed(f"{self._log.origin}: a withdrawal of no signature")
        return token.nonce(
            self._log.state.challenge.digest,
            signature.stance,
            signature.public_hash,
            signature.withdraw_hash,
            signature.r,
        )

    def _keep(self, size: int) -> None:
        """Note the checkpoint of this size, as the mirror has it."""
        log = self._log
        log.state.checkpoint(size)
        note = read_note(self._mirror, size, log.root)
        self._tick = self._times.get(size, self._tick)
        net = log.state.totals()["net"]
        self._rows.checkpoints.append((size, note, self._tick, int(str(net))))

    def _commit(self) -> None:
        """Make what was appended durable: files first, since the database forgets."""
        log, db = self._log, self._db
        full = [key for key in log.unwritten if log.is_full(*key)]
        for level, n in sorted(full):
            name = tile.tile_path("entries" if level == BUNDLE_LEVEL else level, n)
            _put(log.folder / name, log.unwritten[level, n])
        log.note_written(full)
        try:
            db.execute("BEGIN IMMEDIATE")
            self._write_log()
            self._write_rows()
            self._drop_waiting()
            db.execute("COMMIT")
        except sqlite3.Error as error:
            raise StorageFailed(
                f"{log.origin}: couldn't commit an import: {error}"
            ) from error
        self._rows = _Rows()
        self._committed = log.size

    def _write_log(self) -> None:
        log, db = self._log, self._db
        if log.log_id == _NEW:
            db.execute(
                "INSERT INTO log (origin, settings, accepting) VALUES (?, ?, ?)",
                (log.origin, encode_settings(log.settings), self._accepting),
            )
            (log.log_id,) = db.execute(
                "SELECT id FROM log WHERE origin=?", (log.origin,)
            ).fetchone()
            log.tree_id = log.log_id
        db.execute(
            "UPDATE log SET size=?, frontier=? WHERE id=? AND size=?",
            (
                log.size,
                b"".join(log.frontier.hashes),
                log.log_id,
                self._committed,
            ),
        )
        if db.execute("SELECT changes()").fetchone()[0] != 1:
            raise StorageFailed(f"{log.origin}: another writer has moved this log")

    def _write_rows(self) -> None:
        log, db, rows = self._log, self._db, self._rows
        log.store(db, set(log.unwritten))
        db.executemany(
            "INSERT INTO published_control VALUES (?, ?, ?)",
            [(log.log_id, *row) for row in rows.controls],
        )
        db.executemany(
            "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)",
            [(log.log_id, *row) for row in rows.checkpoints],
        )
        db.executemany(
            "INSERT INTO nonce VALUES (?, ?, ?)",
            sorted((log.log_id, row[0], row[1]) for row in rows.signatures),
        )
        fresh = bytes(log.state.cells)
        for block, at in enumerate(range(0, len(fresh), CELL_BLOCK)):
            piece = fresh[at : at + CELL_BLOCK]
            if piece != self._stored_cells[at : at + CELL_BLOCK]:
                db.execute(
                    "INSERT OR REPLACE INTO cells VALUES (?, ?, ?)",
                    (log.log_id, block, piece),
                )
        self._stored_cells = fresh

    def _drop_waiting(self) -> None:
        """Take from what waits what was published before, and let nothing be lost.

        A record that waited beside a pooled signature is handed to the pages database
        as after a publication, unless its signer has withdrawn.
        """
        log, db, rows = self._log, self._db, self._rows
        by_nonce = {row[0]: row for row in rows.signatures}
        for chunk in split_by_size(sorted(by_nonce), _CHUNKS):
            marks = ", ".join("?" * len(chunk))
            found = db.execute(
                f"SELECT nonce, shown FROM inbox WHERE log=? AND nonce IN ({marks})",  # noqa: S608 - question marks only
                (log.log_id, *chunk),
            ).fetchall()
            for nonce, shown in found:
                _nonce, index, stance, _key = by_nonce[nonce]
                if shown is not None:
                    db.execute(
                        "INSERT OR IGNORE INTO shown VALUES (?, ?, ?, ?, ?)",
                        (log.log_id, nonce, index, stance, shown),
                    )
                db.execute(
                    "DELETE FROM inbox WHERE log=? AND nonce=?", (log.log_id, nonce)
                )
                self._pooled += 1
                self._shown += shown is not None
        keys = {row[3] for row in rows.signatures}
        db.executemany(
            "DELETE FROM waiting WHERE log=? AND key_index=?",
            [(log.log_id, key) for key in keys],
        )
        db.executemany(
            "DELETE FROM control WHERE log=? AND leaf_hash=?",
            [(log.log_id, leaf_hash) for leaf_hash in rows.taken],
        )
        for nonce in rows.withdrawn:
            key = (log.log_id, nonce)
            db.execute("DELETE FROM withdrawal WHERE log=? AND nonce=?", key)
            db.execute("DELETE FROM shown WHERE log=? AND nonce=?", key)
            db.execute("INSERT OR IGNORE INTO erasure VALUES (?, ?)", key)

    def _stop_accepting(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("UPDATE log SET accepting=0 WHERE id=?", (self._log.log_id,))
        self._db.execute("COMMIT")
