"""The ledger in PostgreSQL, as ``ledger.store`` asks of it: the sequencer's side.

Two sessions: one belongs to the writer's thread and holds the leases, so that they end
with it; the other reads. Neither is ever made anew behind the writer's back: after an
error nothing this process believes about the ledger is sure, and the next one reads it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg import Connection

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival, Fate, end_intake, pool_signatures
from undersigned.ledger.pg.lease import (
    Lease,
    LeaseLost,
    move_log,
    move_spine,
    try_take_lease,
    try_take_spine,
)
from undersigned.ledger.pg.schema import add_log, make_schema
from undersigned.ledger.pg.session import Session
from undersigned.ledger.pg.traces import drop_journal, settle_inbox, settle_queues
from undersigned.ledger.store import SPINE_ID, Key, Row

# The role of web processes, as docs/operate/postgresql.md names it.
INTAKE = "intake"
# A predecessor's sessions end one after another, some moments after its process.
TAKE_SECONDS = 10.0
_STEP_SECONDS = 0.05
# Rows that a stream fetches at a time.
_FETCH = 2000


@lru_cache(maxsize=256)
def _translate(statement: str) -> str:
    """Return a statement with psycopg's marks for its values."""
    return statement.replace("?", "%s")


class PostgresStore:
    """``store.Store`` over a server. ``try_take_over`` comes before everything else."""

    # Whoever stood by on another machine has that one's files.
    is_shared = True

    def __init__(self, url: str) -> None:
        """Connect as the role ``ledger`` and make the tables where there are none.

        ``url``: libpq's, or its words. Raises StorageFailed, NotDurable.
        """
        self._url = url
        self._session = Session(url)
        self._leases: dict[int, Lease] = {}
        self._reader_lock = threading.Lock()
        self._reader: Session | None = None
        try:
            with _failing():
                make_schema(self._connection, intake=INTAKE)
        except BaseException:
            self._session.close()
            raise

    @property
    def _connection(self) -> Connection[Any]:
        return self._session.connection

    def try_take_over(self) -> bool:
        """Become the instance's sequencer; False while another one lives."""
        lease = try_take_spine(session=self._session)
        if lease is not None:
            self._leases[SPINE_ID] = lease
        return lease is not None

    def take(self, log_id: int, origin: str) -> None:
        """Take a log's lease. Raises LeaseLost where another keeps it.

        The spine's is held, so that whoever has this one is on its way out.
        """
        until = time.monotonic() + TAKE_SECONDS
        while True:
            lease = try_take_lease(session=self._session, origin=origin)
            if lease is not None:
                self._leases[log_id] = lease
                return
            if time.monotonic() > until:
                raise LeaseLost(f"{origin}: another sequencer holds it")
            time.sleep(_STEP_SECONDS)

    def note_checked(self) -> None:
        """Let those that stand by raise their high-water marks after this ledger's."""
        epoch = self._leases[SPINE_ID].epoch
        with self.transaction():
            noted = self.change(
                "UPDATE spine SET checked=? WHERE id=0 AND epoch=?", (epoch, epoch)
            )
            if noted != 1:
                raise LeaseLost("spine: another sequencer has taken it")

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows."""
        with _failing():
            return self._execute(statement, parameters).fetchall()

    def stream(
        self, statement: str, parameters: Sequence[object] = ()
    ) -> Iterator[Row]:
        """Yield rows through a cursor of the server's, some thousands at a time."""
        with (
            _failing(),
            self._connection.transaction(),
            self._connection.cursor(name="stream") as cursor,
        ):
            cursor.itersize = _FETCH
            cursor.execute(_translate(statement), parameters or None)
            yield from cursor

    def change(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Return how many rows were changed."""
        with _failing():
            return self._execute(statement, parameters).rowcount

    def change_each(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Change with each row of values, sent without waiting in between."""
        with _failing(), self._connection.cursor() as cursor:
            cursor.executemany(_translate(statement), rows)

    def _execute(
        self, statement: str, parameters: Sequence[object]
    ) -> psycopg.Cursor[Row]:
        return self._connection.execute(_translate(statement), parameters or None)

    @contextmanager
    def transaction(self) -> Iterator[object]:
        """Run a transaction; durable on every disk that was asked for, at its end.

        Raises LeaseLost, and no other StorageFailed, where another sequencer has taken
        over: of two that publish the same nonces the second meets the first one's rows
        before it comes to compare epochs, and its operator needs to know why it ended.
        """
        try:
            with self._session.transaction() as connection:
                yield connection
        except LeaseLost:
            raise
        except StorageFailed as error:
            if self._is_superseded():
                raise LeaseLost("spine: another sequencer has taken it") from error
            raise

    def _is_superseded(self) -> bool:
        """Ask whose epoch it is, after an error; False where that can't be known."""
        lease = self._leases.get(SPINE_ID)
        if lease is None:
            return False
        try:
            return self.query("SELECT epoch FROM spine") != [(lease.epoch,)]
        except StorageFailed:
            return False

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return rows over a session of its own, from any thread.

        It changes nothing, so that a session that broke is opened again.
        """
        with self._reader_lock:
            for is_last in (False, True):
                try:
                    if self._reader is None:
                        self._reader = Session(self._url)
                        self._reader.connection.read_only = True
                    with _failing():
                        return self._reader.connection.execute(
                            _translate(statement), parameters or None
                        ).fetchall()
                except StorageFailed:
                    if self._reader is not None:
                        self._reader.close()
                        self._reader = None
                    if is_last:
                        raise
        raise AssertionError("unreachable")

    def add_log(self, *, origin: str, settings: str, accepting: bool = True) -> int:
        """Insert the row, where there is none, and return its id."""
        with _failing():
            return add_log(
                self._connection, origin=origin, settings=settings, accepting=accepting
            )

    def pool(self, arrivals: Sequence[tuple[int, PooledSignature]]) -> set[Key]:
        """As every web process does: see ``inbox``."""
        if not arrivals:
            return set()
        fates = pool_signatures(
            session=self._session, arrivals=[Arrival(*one) for one in arrivals]
        )
        return {key for key, fate in fates.items() if fate is Fate.CLOSED}

    def stop_accepting(self, log_id: int) -> None:
        """Wait for every process's batches that found the log open."""
        end_intake(session=self._session, log_id=log_id)

    def publish_signatures(
        self,
        log_id: int,
        *,
        numbered: Sequence[tuple[bytes, int]],
        shown: Sequence[tuple[bytes, int, int, bytes]],
    ) -> None:
        """In three statements, the rows as arrays."""
        nonces = [nonce for nonce, _index in numbered]
        indexes = [index for _nonce, index in numbered]
        with _failing():
            execute = self._connection.execute
            execute(
                "INSERT INTO nonce (log, nonce, idx) "
                "SELECT %b::int, nonce, idx "
                "FROM unnest(%b::bytea[], %b::bigint[]) AS one (nonce, idx)",
                (log_id, nonces, indexes),
                binary=True,
            )
            execute(
                "DELETE FROM inbox USING unnest(%b::bytea[]) AS one (nonce) "
                "WHERE inbox.log = %b::int AND inbox.nonce = one.nonce",
                (nonces, log_id),
                binary=True,
            )
            if shown:
                columns = [list(column) for column in zip(*shown, strict=True)]
                execute(
                    "INSERT INTO shown (log, nonce, idx, stance, data) "
                    "SELECT %b::int, one.* FROM unnest(%b::bytea[], %b::bigint[], "
                    "%b::smallint[], %b::bytea[]) AS one (nonce, idx, stance, data) "
                    "ON CONFLICT DO NOTHING",
                    (log_id, *columns),
                    binary=True,
                )

    def move_log(
        self, log_id: int, *, old_size: int, new_size: int, frontier: bytes
    ) -> None:
        """Compare with the size it grew from and with our epoch. Raises LeaseLost."""
        with _failing():
            move_log(
                self._connection,
                lease=self._leases[log_id],
                old_size=old_size,
                new_size=new_size,
                frontier=frontier,
            )

    def move_spine(
        self, *, old_size: int, new_size: int, frontier: bytes, client: str | None
    ) -> None:
        """Compare with the size it grew from and with our epoch. Raises LeaseLost."""
        with _failing():
            move_spine(
                self._connection,
                lease=self._leases[SPINE_ID],
                old_size=old_size,
                new_size=new_size,
                frontier=frontier,
                client=client,
            )

    def empty_journal(self) -> None:
        """Not after each publication: a server's checkpoint is dear. See ``settle``."""

    def settle(self) -> None:
        """Write anew what waits, and let the journal go that has its order.

        Raises LeaseLost where another sequencer has taken over: one that has nothing to
        publish would not hear of it.
        """
        if self.query("SELECT epoch FROM spine") != [(self._leases[SPINE_ID].epoch,)]:
            raise LeaseLost("spine: another sequencer has taken it")
        settle_inbox(session=self._session)
        settle_queues(session=self._session)
        with _failing():
            drop_journal(self._connection)

    def close(self) -> None:
        """Close both sessions; the leases end with the writer's."""
        with self._reader_lock:
            if self._reader is not None:
                self._reader.close()
                self._reader = None
        self._session.close()


@contextmanager
def _failing() -> Iterator[None]:
    """Any error of the server's is fatal; its text may quote what a signer wrote."""
    try:
        yield
    except psycopg.Error as error:
        raise StorageFailed(
            f"the ledger's server failed: {type(error).__name__}"
        ) from error
