"""The ledger in a file of SQLite's: schema, connections, and what is done its own way.

Nothing in it holds a time finer than the publication interval, and no table keeps the
order in which rows arrived: the pool is WITHOUT ROWID, keyed by nonce. Order does
stand in the write-ahead log until the publication that truncates it (PROTOCOL §5).
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path

from undersigned.kernel.batching import split_by_size
from undersigned.kernel.durable import fsync_directory
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.store import Key, Row

_logger = logging.getLogger("undersigned.ledger")

SCHEMA = """
CREATE TABLE IF NOT EXISTS log (
    id INTEGER PRIMARY KEY,
    origin TEXT NOT NULL UNIQUE,
    settings TEXT NOT NULL,
    size INTEGER NOT NULL DEFAULT 0,
    frontier BLOB NOT NULL DEFAULT x'',
    accepting INTEGER NOT NULL DEFAULT 1,
    durable_size INTEGER NOT NULL DEFAULT 0
);
-- Signatures waiting for publication.
CREATE TABLE IF NOT EXISTS inbox (
    log INTEGER NOT NULL, nonce BLOB NOT NULL, leaf BLOB NOT NULL, shown BLOB,
    PRIMARY KEY (log, nonce)
) WITHOUT ROWID;
-- Control leaves waiting for publication, complete but for what depends on position.
CREATE TABLE IF NOT EXISTS control (
    log INTEGER NOT NULL, leaf_hash BLOB NOT NULL, leaf BLOB NOT NULL,
    PRIMARY KEY (log, leaf_hash)
) WITHOUT ROWID;
-- Withdrawals whose target is not published yet, so that they have no index.
CREATE TABLE IF NOT EXISTS withdrawal (
    log INTEGER NOT NULL, nonce BLOB NOT NULL, w BLOB NOT NULL,
    PRIMARY KEY (log, nonce)
) WITHOUT ROWID;
-- Since when (a tick of the clock, never a request's time) a key has had too small a
-- crowd to publish.
CREATE TABLE IF NOT EXISTS waiting (
    log INTEGER NOT NULL, key_index INTEGER NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (log, key_index)
) WITHOUT ROWID;
-- Every published nonce, for the refusal of a second use and for receipts.
CREATE TABLE IF NOT EXISTS nonce (
    log INTEGER NOT NULL, nonce BLOB NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (log, nonce)
) WITHOUT ROWID;
-- Tiles not yet durable as full files: level -1 holds entry bundles.
CREATE TABLE IF NOT EXISTS tile (
    log INTEGER NOT NULL, level INTEGER NOT NULL, n INTEGER NOT NULL,
    data BLOB NOT NULL, PRIMARY KEY (log, level, n)
) WITHOUT ROWID;
-- Published control leaves, to rebuild the state without reading every entry.
CREATE TABLE IF NOT EXISTS published_control (
    log INTEGER NOT NULL, idx INTEGER NOT NULL, leaf BLOB NOT NULL,
    PRIMARY KEY (log, idx)
) WITHOUT ROWID;
-- One byte a leaf, in blocks: see undersigned_verify.count.LogState.cells.
CREATE TABLE IF NOT EXISTS cells (
    log INTEGER NOT NULL, block INTEGER NOT NULL, data BLOB NOT NULL,
    PRIMARY KEY (log, block)
) WITHOUT ROWID;
-- Of the logs, and with log 0 of the spine.
CREATE TABLE IF NOT EXISTS checkpoint (
    log INTEGER NOT NULL, size INTEGER NOT NULL, note BLOB NOT NULL,
    at INTEGER NOT NULL, net INTEGER NOT NULL, PRIMARY KEY (log, size)
) WITHOUT ROWID;
-- Shown records of published signatures on their way to the pages database.
CREATE TABLE IF NOT EXISTS shown (
    log INTEGER NOT NULL, nonce BLOB NOT NULL, idx INTEGER NOT NULL,
    stance INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (log, nonce)
) WITHOUT ROWID;
-- Nonces whose shown record must leave the pages database: withdrawn, or erased.
CREATE TABLE IF NOT EXISTS erasure (
    log INTEGER NOT NULL, nonce BLOB NOT NULL, PRIMARY KEY (log, nonce)
) WITHOUT ROWID;
-- The spine log: one row. Its tiles and checkpoints have log 0.
CREATE TABLE IF NOT EXISTS spine (
    id INTEGER PRIMARY KEY CHECK (id = 0), size INTEGER NOT NULL,
    frontier BLOB NOT NULL, client TEXT
) WITHOUT ROWID;
-- Which checkpoint stands where in the spine.
CREATE TABLE IF NOT EXISTS spine_checkpoint (
    log INTEGER NOT NULL, size INTEGER NOT NULL, idx INTEGER NOT NULL,
    PRIMARY KEY (log, size)
) WITHOUT ROWID;
-- The totals of issued tokens that the spine has told last, and what of them was
-- issued before the present record of issuing began.
CREATE TABLE IF NOT EXISTS spine_issued (
    log INTEGER NOT NULL, key_index INTEGER NOT NULL, total INTEGER NOT NULL,
    before INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (log, key_index)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS spine_retired (log INTEGER PRIMARY KEY) WITHOUT ROWID;
-- Origins of logs that were published before a loss and whose key is gone: no log of
-- this name may ever begin again here.
CREATE TABLE IF NOT EXISTS reserved (origin TEXT PRIMARY KEY) WITHOUT ROWID;
"""

# Pages of 4 kB: what the next minutes' pool will need again; some 50 ms' work.
SPARE_PAGES = 2_000
PAGES_AT_ONCE = 500

# A batch is a few statements of many rows, not many of one: see split_by_size.
CHUNKS = (256, 64, 16, 4, 1)


def _make_insert(rows: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?)"] * rows)
    return f"INSERT OR IGNORE INTO inbox (log, nonce, leaf, shown) VALUES {marks}"  # noqa: S608 - question marks only


def _make_select(rows: int) -> str:
    # A list for one log: for pairs, (log, nonce) IN (VALUES …), SQLite reads the whole
    # table, which is every signature ever published.
    marks = ", ".join("?" * rows)
    return f"SELECT nonce FROM nonce WHERE log=? AND nonce IN ({marks})"  # noqa: S608 - question marks only


_SELECTS = {rows: _make_select(rows) for rows in CHUNKS}
_INSERTS = {rows: _make_insert(rows) for rows in CHUNKS}


def open_writer(path: Path) -> sqlite3.Connection:
    """Open the one writing connection, creating the file when it is new."""
    if not path.exists():
        # SQLite gives its journals the mode of the file they belong to.
        path.touch(mode=0o600)
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA page_size=4096")
    # A file that a burst has swollen shrinks again: see give_back_pages. Of a file
    # that exists already this changes nothing.
    connection.execute("PRAGMA auto_vacuum=INCREMENTAL")
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA secure_delete=ON")
    # Sorting in memory: a temporary file would hold nonces on disk.
    connection.execute("PRAGMA temp_store=MEMORY")
    connection.execute("PRAGMA wal_autocheckpoint=4000")
    connection.executescript(SCHEMA)
    return connection


def give_back_pages(connection: sqlite3.Connection) -> None:
    """Shorten the file by some of its free pages, where a burst has left many.

    A little at a time: nobody signs meanwhile.
    """
    (free,) = connection.execute("PRAGMA freelist_count").fetchone()
    if free > SPARE_PAGES:
        pages = min(free - SPARE_PAGES, PAGES_AT_ONCE)
        # Not execute(), which stops after the first page.
        connection.executescript(f"PRAGMA incremental_vacuum({pages});")


def open_reader(path: Path) -> sqlite3.Connection:
    """Open a connection that cannot write."""
    connection = sqlite3.connect(
        f"file:{path}?mode=ro", uri=True, isolation_level=None, check_same_thread=False
    )
    connection.execute("PRAGMA query_only=ON")
    connection.execute("PRAGMA temp_store=MEMORY")
    return connection


class EmbeddedStore:
    """``store.Store`` over one file: its writing connection, and one that only reads.

    The writer lock of the data directory keeps every other process away, so that
    nothing has to be taken or compared but what a fault could have moved.
    """

    # The file lies beside the public ones.
    is_shared = False

    def __init__(self, path: Path) -> None:
        """Open the file, making it where it is new. Raises StorageFailed."""
        self.path = path
        self._reader_lock = threading.Lock()
        try:
            self.connection = open_writer(path)
            # The names of the file and of its journal. SQLite does it too, but hears of
            # no error; without the journal's name nothing committed would be there.
            fsync_directory(path.parent)
            self.reader = open_reader(path)
        except sqlite3.Error as error:
            raise StorageFailed(f"couldn't open {path}: {error}") from error

    @classmethod
    def open_copy(cls, path: Path) -> EmbeddedStore:
        """Open a copied file only to read it, and leave it as it is."""
        store = cls.__new__(cls)
        store.path = path
        store._reader_lock = threading.Lock()
        try:
            store.connection = store.reader = open_reader(path)
        except sqlite3.Error as error:
            raise StorageFailed(f"couldn't open {path}: {error}") from error
        return store

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows."""
        with _failing():
            return self.connection.execute(statement, parameters).fetchall()

    def stream(
        self, statement: str, parameters: Sequence[object] = ()
    ) -> Iterator[Row]:
        """Yield rows as they are read."""
        with _failing():
            yield from self.connection.execute(statement, parameters)

    def change(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Return how many rows were changed."""
        with _failing():
            return self.connection.execute(statement, parameters).rowcount

    def change_each(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Change with each row of values."""
        with _failing():
            self.connection.executemany(statement, rows)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """BEGIN IMMEDIATE … COMMIT. An error leaves nothing of it, and is told on."""
        db = self.connection
        with _failing():
            db.execute("BEGIN IMMEDIATE")
            try:
                yield
                db.execute("COMMIT")
            except BaseException:
                # Some errors have ended the transaction already.
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return rows over the connection that cannot write."""
        with self._reader_lock, _failing():
            return self.reader.execute(statement, parameters).fetchall()

    def take(self, log_id: int, origin: str) -> None:
        """Nothing to take: the writer lock is held."""

    def note_checked(self) -> None:
        """Nobody else reads it."""

    def add_log(self, *, origin: str, settings: str, accepting: bool = True) -> int:
        """Insert the row, where there is none, and return its id."""
        self.change(
            "INSERT INTO log (origin, settings, accepting) VALUES (?, ?, ?) "
            "ON CONFLICT (origin) DO NOTHING",
            (origin, settings, accepting),
        )
        return int(self.query("SELECT id FROM log WHERE origin=?", (origin,))[0][0])

    def pool(self, arrivals: Sequence[tuple[int, PooledSignature]]) -> set[Key]:
        """Insert in one transaction, sorted. Which logs take more, the writer knows."""
        with self.transaction():
            for log_id, of_log in groupby(
                # Sorted, so that rows committed together do not show who came first.
                sorted(arrivals, key=lambda one: (one[0], one[1].nonce)),
                lambda one: one[0],
            ):
                for chunk in split_by_size([one for _id, one in of_log], CHUNKS):
                    self._insert(log_id, chunk)
        return set()

    def _insert(self, log_id: int, chunk: list[PooledSignature]) -> None:
        """Pool what is neither pooled nor published yet, all of one log."""
        db = self.connection
        found = db.execute(
            _SELECTS[len(chunk)], [log_id, *(one.nonce for one in chunk)]
        ).fetchall()
        if found:
            published = {nonce for (nonce,) in found}
            chunk = [one for one in chunk if one.nonce not in published]
        values = [
            value for one in chunk for value in (log_id, one.nonce, one.leaf, one.shown)
        ]
        if chunk:
            db.execute(_INSERTS.get(len(chunk)) or _make_insert(len(chunk)), values)

    def stop_accepting(self, log_id: int) -> None:
        """Between two batches, since one thread does both."""
        with self.transaction():
            self.change("UPDATE log SET accepting=FALSE WHERE id=?", (log_id,))

    def publish_signatures(
        self,
        log_id: int,
        *,
        numbered: Sequence[tuple[bytes, int]],
        shown: Sequence[tuple[bytes, int, int, bytes]],
    ) -> None:
        """Row by row: prepared statements in one process."""
        self.change_each(
            "INSERT INTO nonce VALUES (?, ?, ?)",
            [(log_id, nonce, index) for nonce, index in numbered],
        )
        self.change_each(
            "DELETE FROM inbox WHERE log=? AND nonce=?",
            [(log_id, nonce) for nonce, _index in numbered],
        )
        self.change_each(
            "INSERT INTO shown VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            [(log_id, *row) for row in shown],
        )

    def move_log(
        self,
        log_id: int,
        *,
        old_size: int,
        new_size: int,
        frontier: bytes,
    ) -> None:
        """Compare with the size that the log grew from."""
        moved = self.change(
            "UPDATE log SET size=?, frontier=? WHERE id=? AND size=?",
            (new_size, frontier, log_id, old_size),
        )
        if moved != 1:
            raise StorageFailed(f"another writer has moved log {log_id}")

    def move_spine(
        self, *, old_size: int, new_size: int, frontier: bytes, client: str | None
    ) -> None:
        """Compare with the size that the spine grew from; its row begins with it."""
        moved = self.change(
            "INSERT INTO spine VALUES (0, ?, ?, ?) ON CONFLICT (id) DO UPDATE "
            "SET size=excluded.size, frontier=excluded.frontier, "
            "client=excluded.client WHERE spine.size=?",
            (new_size, frontier, client, old_size),
        )
        if moved != 1:
            raise StorageFailed("another writer has moved the spine")

    def empty_journal(self) -> None:
        """Empty the write-ahead log: it holds the order in which requests came."""
        with _failing():
            give_back_pages(self.connection)
            busy, _pages, _moved = self.connection.execute(
                "PRAGMA wal_checkpoint(TRUNCATE)"
            ).fetchone()
        if busy:
            _logger.warning(
                "somebody else reads the ledger's database: its journal, which holds "
                "the order of signing, is emptied at the next tick only"
            )

    def settle(self) -> None:
        """It is emptied after each publication already."""

    def close(self) -> None:
        """Close both connections."""
        with self._reader_lock:
            self.reader.close()
        self.connection.close()


@contextmanager
def _failing() -> Iterator[None]:
    """Any error of the file is fatal: after it nothing believed about it is sure."""
    try:
        yield
    except sqlite3.Error as error:
        raise StorageFailed(f"the ledger's file failed: {error}") from error
