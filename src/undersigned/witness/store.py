"""What a witness remembers of every log, in ``witness.sqlite3``: its last state.

``WitnessStore.change`` is the one way to write: exclusive among threads and processes
(a lock file, so that the server and a command line never wait for SQLite), checked
against the mark, committed and marked before it returns. A storage failure stops it for
good, as it stops every other store (PROTOCOL §5): the restart reads what is durable.

No WAL: with a TRUNCATE journal and synchronous=FULL a commit has been synced, journal
and file, when it returns, and nothing but the last state is on the disk.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import ClassVar, Final

from undersigned.kernel.durable import fsync_directory, make_private_folder
from undersigned.kernel.errors import StorageFailed, Unavailable
from undersigned.witness.data import Evidence, EvidenceKind, TrustedLog
from undersigned.witness.mark import Mark, read_mark, write_mark

SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS log (
    origin TEXT NOT NULL PRIMARY KEY, vkey TEXT NOT NULL, trusted INTEGER NOT NULL,
    size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB, time INTEGER NOT NULL,
    claimed INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS evidence (
    origin TEXT NOT NULL, kind TEXT NOT NULL, theirs BLOB NOT NULL, ours BLOB NOT NULL,
    PRIMARY KEY (origin, kind, theirs)
) WITHOUT ROWID;
"""
# A log that signs one fork after another proves no more with the seventeenth.
MAX_EVIDENCE: Final = 16

DATABASE: Final = "witness.sqlite3"
MARK: Final = "witness-mark.json"
LOCK: Final = "witness.lock"

_COLUMNS: Final = "origin, vkey, trusted, size, root, note, time, claimed"


class WitnessStateLost(Unavailable):
    """The state is older than what the key has cosigned, or not of this key."""

    code: ClassVar[str] = "witness-state-lost"


class WitnessStopped(Unavailable):
    """After a storage failure; a restart reads what is durable."""

    code: ClassVar[str] = "witness-stopped"


class Change:
    """One transaction. ``mark``: what it leaves in the mark, None where none is."""

    def __init__(self, db: sqlite3.Connection, mark: Mark | None) -> None:
        self._db = db
        self.mark = mark

    def find_log(self, origin: str) -> TrustedLog | None:
        """Return what is known of a log."""
        return _find_log(self._db, origin)

    def count_logs(self) -> int:
        """Return the number of logs, those no longer trusted included."""
        (count,) = self._db.execute("SELECT count(*) FROM log").fetchone()
        return int(count)

    def put_log(self, log: TrustedLog) -> None:
        """Write a log's row whole."""
        self._db.execute(
            f"INSERT OR REPLACE INTO log ({_COLUMNS}) VALUES (?,?,?,?,?,?,?,?)",  # noqa: S608 - constant names
            (
                log.origin,
                log.vkey,
                int(log.trusted),
                log.size,
                log.root,
                log.note,
                log.time,
                log.claimed,
            ),
        )

    def add_evidence(self, found: Evidence) -> bool:
        """Keep two contradicting checkpoints; False where they were kept before.

        At most MAX_EVIDENCE a log and kind.
        """
        (count,) = self._db.execute(
            "SELECT count(*) FROM evidence WHERE origin = ? AND kind = ?",
            (found.origin, str(found.kind)),
        ).fetchone()
        if count >= MAX_EVIDENCE:
            return False
        done = self._db.execute(
            "INSERT OR IGNORE INTO evidence (origin, kind, theirs, ours) "
            "VALUES (?,?,?,?)",
            (found.origin, str(found.kind), found.theirs, found.ours),
        )
        return done.rowcount == 1


def _find_log(db: sqlite3.Connection, origin: str) -> TrustedLog | None:
    row = db.execute(
        f"SELECT {_COLUMNS} FROM log WHERE origin = ?",  # noqa: S608 - constant names
        (origin,),
    ).fetchone()
    return None if row is None else _make_log(row)


def _make_log(
    row: tuple[str, str, int, int, bytes, bytes | None, int, int],
) -> TrustedLog:
    origin, vkey, trusted, size, root, note, time, claimed = row
    return TrustedLog(origin, vkey, bool(trusted), size, root, note, time, claimed)


class WitnessStore:
    """The witness's files below the data directory.

    ``at_step`` is called with the name of each step of a change that could be cut off:
    "checked" (nothing written), "written" (not committed), "committed" (not marked),
    "marked" (not answered). Nothing is created before the first change.
    """

    def __init__(
        self, folder: Path, *, at_step: Callable[[str], None] = lambda _name: None
    ) -> None:
        self.folder = folder
        self.at_step = at_step
        self.failure: BaseException | None = None
        self._lock = threading.RLock()
        self._db: sqlite3.Connection | None = None

    @property
    def path(self) -> Path:
        """The database file."""
        return self.folder / DATABASE

    @property
    def mark_path(self) -> Path:
        """The mark's file."""
        return self.folder / MARK

    # --- reading

    def find_log(self, origin: str) -> TrustedLog | None:
        """Return what is known of a log. Raises StorageFailed."""
        with self._reading() as db:
            return None if db is None else _find_log(db, origin)

    def list_logs(self) -> list[TrustedLog]:
        """Return every log, by origin. Raises StorageFailed."""
        with self._reading() as db:
            if db is None:
                return []
            rows = db.execute(f"SELECT {_COLUMNS} FROM log ORDER BY origin")  # noqa: S608 - constant names
            return [_make_log(row) for row in rows]

    def list_evidence(self) -> list[Evidence]:
        """Return what logs have been caught at, by origin. Raises StorageFailed."""
        with self._reading() as db:
            if db is None:
                return []
            rows = db.execute(
                "SELECT origin, kind, ours, theirs FROM evidence "
                "ORDER BY origin, kind, theirs"
            )
            return [Evidence(row[0], EvidenceKind(row[1]), *row[2:]) for row in rows]

    def find_trouble(self) -> str | None:
        """Say why this state can cosign nothing, None where it can."""
        try:
            with self._reading() as db:
                mark = read_mark(self.mark_path)
                if db is not None and mark is not None:
                    _require_not_older(db, mark)
            if mark is None and any(log.note for log in self.list_logs()):
                return f"{MARK} is missing: the database was put back from a copy"
        except (WitnessStateLost, StorageFailed) as error:
            return str(error)
        return None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection | None]:
        with self._lock:
            # Made by another process meanwhile, perhaps: looked at each time.
            if self._db is None and not self.path.exists():
                yield None
                return
            try:
                yield self._open()
            except sqlite3.Error as error:
                raise StorageFailed(f"couldn't read {self.path}: {error}") from error

    # --- writing

    @contextmanager
    def change(self) -> Iterator[Change]:
        """Run one transaction; committed, and marked, when the block has ended.

        An exception in the block undoes it. Raises WitnessStopped, WitnessStateLost,
        StorageFailed.
        """
        with self._lock, self._alone():
            if self.failure is not None:
                raise WitnessStopped()
            try:
                with self._transaction() as change:
                    yield change
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                    # Somebody copies the file just now; nothing was written.
                    raise Unavailable(retry_after_seconds=5) from error
                raise self._fail(error) from error
            except sqlite3.Error as error:
                raise self._fail(error) from error
            except StorageFailed as error:
                self.failure = error
                raise

    def _fail(self, error: sqlite3.Error) -> StorageFailed:
        self.failure = StorageFailed(f"couldn't write {self.path}: {error}")
        return self.failure

    @contextmanager
    def _transaction(self) -> Iterator[Change]:
        db = self._open()
        mark = read_mark(self.mark_path)
        db.execute("BEGIN IMMEDIATE")
        try:
            if mark is not None:
                _require_not_older(db, mark)
            change = Change(db, mark)
            yield change
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        self.at_step("committed")
        # Only now: a mark ahead of the database would look like a restored copy.
        if change.mark is not None and change.mark != mark:
            write_mark(self.mark_path, change.mark)
        self.at_step("marked")

    def forget_mark(self) -> None:
        """Remove the mark: on the way to a new key only. Raises StorageFailed."""
        with self._lock, self._alone():
            self.mark_path.unlink(missing_ok=True)
            fsync_directory(self.folder)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the lock file; a second process waits for as long as a change takes."""
        make_private_folder(self.folder)
        handle = os.open(self.folder / LOCK, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _open(self) -> sqlite3.Connection:
        if self._db is None:
            if not self.path.exists():
                # SQLite gives its journals the mode of the file they belong to.
                self.path.touch(mode=0o600)
            db = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False
            )
            db.execute("PRAGMA journal_mode=TRUNCATE")
            db.execute("PRAGMA synchronous=FULL")
            db.execute("PRAGMA secure_delete=ON")
            db.execute("PRAGMA temp_store=MEMORY")
            db.executescript(SCHEMA)
            self._db = db
        return self._db

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            if self._db is not None:
                self._db.close()
                self._db = None


def _require_not_older(db: sqlite3.Connection, mark: Mark) -> None:
    """Raise WitnessStateLost where the mark has seen more, or another history."""
    rows = db.execute("SELECT origin, size, root FROM log")
    found = {origin: (size, root) for origin, size, root in rows}
    for origin, (size, root) in mark.logs.items():
        have, have_root = found.get(origin, (-1, b""))
        if have < size or (have == size and have_root.hex() != root):
            raise WitnessStateLost(
                problem=f"this witness has cosigned {origin} at size {size}, and its "
                "database does not know of it: it was put back from a copy. See "
                "docs/operate/witnesses.md"
            )
