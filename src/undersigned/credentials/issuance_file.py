"""The issuance file of one statement version: who was answered, without who or when.

Rows are keyed by hash in WITHOUT ROWID tables. No write-ahead log: a WAL holds the
order of issue exactly (PROTOCOL §5); with journal_mode=TRUNCATE only the layout of
pages could tell something, so the file is rebuilt in key order: after every commit
while that takes a tenth of the time at most, each minute up to 200,000 rows, and
hourly always. Before the last rebuild nothing of the order is left; since then, what
a B-tree's pages show: which rows are the newest, and which pages were split first.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from undersigned.kernel.batching import split_by_size
from undersigned.kernel.durable import (
    destroy_file,
    fsync_directory,
    make_private_folder,
    sync_names,
)
from undersigned.kernel.errors import StorageFailed

# How many rows of ``issued`` each key has: nobody waits at a start until ten million
# rows are counted. Records from before it was there are given it when they are opened.
_TALLY = """
CREATE TABLE tally (
    key_index INTEGER PRIMARY KEY, issued INTEGER NOT NULL
) WITHOUT ROWID;
"""
SCHEMA = f"""
CREATE TABLE issued (
    nullifier BLOB PRIMARY KEY, key_index INTEGER NOT NULL, request_hash BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE ticket (
    hash BLOB PRIMARY KEY, last_day INTEGER NOT NULL
) WITHOUT ROWID;
-- The issuer keys this version began with: one that is missing closes its intake.
CREATE TABLE issuer_key (
    key_index INTEGER PRIMARY KEY, klass INTEGER NOT NULL
) WITHOUT ROWID;
{_TALLY}
"""

_HAS_TALLY = "SELECT 1 FROM sqlite_master WHERE name = 'tally'"
# Rows of one statement: see split_by_size.
_CHUNKS = (64, 16, 4, 1)
# Rebuilding two thousand rows takes a few milliseconds: small files never show order.
SMALL_ROWS = 2_000
# Unspent tickets are fewer than tokens, but for a flood: that must not make every
# commit dear.
SMALL_TICKETS = 5_000


class IssuanceFile:
    """One SQLite file, used by one thread at a time.

    ``rows``: tokens issued; ``issued``: the same by key index, of committed rows and
    those of the transaction under way; ``tickets``: unspent ones. ``number``: how many
    records of this version were lost before this one; it is the file's user version.
    """

    def __init__(
        self,
        path: Path,
        *,
        create: Mapping[int, int] | None = None,
        number: int = 0,
    ) -> None:
        """Open the file; ``create`` makes it, for these keys (index to class).

        What stands under the name is destroyed then. ``number``: of the one that is
        made. Raises StorageFailed.
        """
        self.path = path
        self._aside = path.with_name(path.name + ".rebuild")
        self._journal = path.with_name(path.name + "-journal")
        self.changed = False
        try:
            if self._aside.exists():
                # A rebuild was cut off before its rename; the old file is whole.
                destroy_file(self._aside)
            if create is not None:
                self.destroy_at(path)
                self._create(create, number)
            elif not path.exists():
                raise StorageFailed(f"{path} is missing")
            self._db = self._connect()
            try:
                self._read()
            except sqlite3.Error:
                self._db.close()
                raise
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(f"couldn't open {path}: {error}") from error

    def _create(self, keys: Mapping[int, int], number: int) -> None:
        """Make the file aside and move it into place, so that it is there whole."""
        make_private_folder(self.path.parent)
        self._aside.touch(mode=0o600)
        db = sqlite3.connect(self._aside, isolation_level=None)
        try:
            db.executescript(SCHEMA)
            db.execute(f"PRAGMA user_version={number:d}")
            db.executemany("INSERT INTO issuer_key VALUES (?, ?)", sorted(keys.items()))
        finally:
            db.close()
        handle = os.open(self._aside, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(self._aside, self.path)
        sync_names(self.path, below=self.path.parent.parent)

    def _read(self) -> None:
        self.keys = {
            int(key_index): int(klass)
            for key_index, klass in self._db.execute("SELECT * FROM issuer_key")
        }
        if not self._db.execute(_HAS_TALLY).fetchone():
            self._begin_tally()
        self.issued = {
            int(key_index): int(issued)
            for key_index, issued in self._db.execute("SELECT * FROM tally")
        }
        self.rows = sum(self.issued.values())
        (tickets,) = self._db.execute("SELECT count(*) FROM ticket").fetchone()
        self.tickets = int(tickets)
        (self.number,) = self._db.execute("PRAGMA user_version").fetchone()

    def _begin_tally(self) -> None:
        """Count, once, the rows of a record from before there was a tally."""
        self.begin()
        try:
            self._db.execute(_TALLY)
            self._db.execute(
                "INSERT INTO tally "
                "SELECT key_index, count(*) FROM issued GROUP BY key_index"
            )
        except sqlite3.Error:
            self.roll_back()
            raise
        self.commit()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode=TRUNCATE")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA secure_delete=ON")
            db.execute("PRAGMA temp_store=MEMORY")
            db.execute("PRAGMA locking_mode=EXCLUSIVE")
        except sqlite3.Error:
            db.close()
            raise
        return db

    @property
    def is_small(self) -> bool:
        """Whether it may be rebuilt after every commit."""
        return self.rows <= SMALL_ROWS and self.tickets <= SMALL_TICKETS

    def begin(self) -> None:
        """Start a transaction."""
        self._db.execute("BEGIN IMMEDIATE")

    def commit(self) -> None:
        """Make it durable. A failure is fatal."""
        self._db.execute("COMMIT")
        self.changed = True
        self._blur_times()

    def roll_back(self) -> None:
        """Undo the transaction, if one is open."""
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def find_many(self, nullifiers: list[bytes]) -> dict[bytes, tuple[int, bytes]]:
        """Return key index and request hash of what was issued, by nullifier."""
        return {
            bytes(nullifier): (int(key_index), bytes(request_hash))
            for nullifier, key_index, request_hash in self._select(
                "SELECT nullifier, key_index, request_hash FROM issued "
                "WHERE nullifier IN",
                nullifiers,
            )
        }

    def find_tickets(self, hashes: list[bytes]) -> set[bytes]:
        """Return which of these are hashes of unspent tickets."""
        found = self._select("SELECT hash FROM ticket WHERE hash IN", hashes)
        return {bytes(hash_) for (hash_,) in found}

    def _select(self, query: str, values: list[bytes]) -> list[tuple[Any, ...]]:
        """Run a query over many keys, some at a time."""
        rows: list[tuple[Any, ...]] = []
        for part in split_by_size(values, _CHUNKS):
            marks = ", ".join("?" * len(part))
            rows += self._db.execute(f"{query} ({marks})", part).fetchall()
        return rows

    def spend_many(self, rows: list[tuple[bytes, bytes, int, bytes]]) -> None:
        """Exchange unspent tickets for issued rows.

        Of each: ticket hash, nullifier, key index, request hash. The caller has seen
        that the ticket is there and the nullifier is not, in this transaction.
        """
        for part in split_by_size(rows, _CHUNKS):
            marks = ", ".join("?" * len(part))
            self._db.execute(
                f"DELETE FROM ticket WHERE hash IN ({marks})",  # noqa: S608 - question marks only
                [row[0] for row in part],
            )
            marks = ", ".join(["(?, ?, ?)"] * len(part))
            self._db.execute(
                f"INSERT INTO issued VALUES {marks}",  # noqa: S608 - question marks only
                [value for row in part for value in row[1:]],
            )
        self.rows += len(rows)
        changed = {row[2] for row in rows}
        for _ticket, _nullifier, key_index, _request in rows:
            self.issued[key_index] = self.issued.get(key_index, 0) + 1
        self._db.executemany(
            "INSERT INTO tally VALUES (?, ?) "
            "ON CONFLICT (key_index) DO UPDATE SET issued = excluded.issued",
            [(key_index, self.issued[key_index]) for key_index in sorted(changed)],
        )
        self.tickets -= len(rows)

    def find(self, nullifier: bytes) -> tuple[int, bytes] | None:
        """Return key index and request hash of what was issued, or None."""
        return self.find_many([nullifier]).get(nullifier)

    def spend(
        self, *, ticket_hash: bytes, nullifier: bytes, key_index: int, request: bytes
    ) -> bool:
        """Exchange an unspent ticket for an issued row; False if it is not there."""
        if not self.find_tickets([ticket_hash]):
            return False
        self.spend_many([(ticket_hash, nullifier, key_index, request)])
        return True

    def add_ticket(self, ticket_hash: bytes, last_day: int) -> None:
        """Register an unspent ticket; ``last_day`` counts days since 1970."""
        added = self._db.execute(
            "INSERT OR IGNORE INTO ticket VALUES (?, ?)", (ticket_hash, last_day)
        )
        self.tickets += added.rowcount

    def drop_expired(self, today: int) -> None:
        """Forget tickets whose last day is over."""
        gone = self._db.execute("DELETE FROM ticket WHERE last_day < ?", (today,))
        self.tickets -= gone.rowcount

    def rebuild(self) -> None:
        """Write the file anew in key order and put it in the old one's place.

        The new file is synced before the rename, the old one's blocks are overwritten
        after it. A crash in between leaves one whole file under the name. Raises
        StorageFailed.
        """
        try:
            # Before SQLite makes it: others could read it until its mode is changed.
            self._aside.touch(mode=0o600)
            self._db.execute("VACUUM INTO ?", (str(self._aside),))
            new = os.open(self._aside, os.O_RDWR)
            try:
                os.fsync(new)
            finally:
                os.close(new)
            self._db.close()
            old = os.open(self.path, os.O_RDWR)
            try:
                size = os.fstat(old).st_size
                os.replace(self._aside, self.path)
                fsync_directory(self.path.parent)
                written = 0
                while written < size:
                    written += os.write(old, bytes(min(size - written, 1 << 20)))
                os.fsync(old)
            finally:
                os.close(old)
            self._remove_journal()
            self._db = self._connect()
            self._blur_times()
        except (sqlite3.Error, OSError) as error:
            raise StorageFailed(f"couldn't rebuild {self.path}: {error}") from error
        self.changed = False

    def _blur_times(self) -> None:
        """Let the file's times say nothing: they would be the last request's."""
        for path in (self.path, self._journal):
            if path.exists():
                os.utime(path, ns=(0, 0))

    def _remove_journal(self) -> None:
        # Emptied by the last commit; removed so that the folder tells nothing.
        self._journal.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def destroy(self) -> None:
        """Close, overwrite and remove file and journal. Raises StorageFailed."""
        self._db.close()
        self.destroy_at(self.path)

    @staticmethod
    def destroy_at(path: Path) -> None:
        """Overwrite and remove a file that need not open. Raises StorageFailed."""
        for suffix in ("", "-journal", ".rebuild", ".rebuild-journal"):
            destroy_file(path.with_name(path.name + suffix))
