"""The ledger file: schema, and how a connection to it is opened.

Nothing in it holds a time finer than the publication interval, and no table keeps the
order in which rows arrived: the pool is WITHOUT ROWID, keyed by nonce. Order does
stand in the write-ahead log until the publication that truncates it (PROTOCOL §5).
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

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

BUNDLE_LEVEL = -1
# Pages of 4 kB: what the next minutes' pool will need again; some 50 ms' work.
SPARE_PAGES = 2_000
PAGES_AT_ONCE = 500


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
