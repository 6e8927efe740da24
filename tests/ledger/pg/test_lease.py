"""One sequencer moves a log, also when two believe that they do."""

from __future__ import annotations

import itertools
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest
from psycopg import Connection

from tests.ledger.pg.conftest import Connect
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.lease import (
    Lease,
    LeaseLost,
    move_log,
    release_lease,
    try_take_lease,
)
from undersigned.ledger.pg.schema import add_log
from undersigned.ledger.pg.session import Session


def read_log(session: Session, log_id: int) -> tuple[int, int]:
    """Return size and epoch."""
    row = session.connection.execute(
        "SELECT size, epoch FROM log WHERE id = %s", (log_id,)
    ).fetchone()
    assert row is not None
    return row[0], row[1]


def grow(session: Session, lease: Lease, old: int, new: int) -> None:
    with session.transaction() as connection:
        write(connection, lease, old, new)


def write(connection: Connection[Any], lease: Lease, old: int, new: int) -> None:
    """Do what a publication does: rows of its own, and the move."""
    connection.execute(
        "INSERT INTO checkpoint (log, size, note, at, net) VALUES (%s, %s, '', %s, %s)",
        (lease.log_id, new, lease.epoch, old),
    )
    move_log(
        connection,
        lease=lease,
        old_size=old,
        new_size=new,
        frontier=bytes(32),
    )


class TestTheLease:
    def test_one_session_has_it(
        self, connect: Connect, ledger: Session, log_id: int, origin: str
    ) -> None:
        mine = try_take_lease(session=ledger, origin=origin)
        assert mine == Lease(log_id=log_id, origin=origin, epoch=1)
        other = connect("ledger")
        assert try_take_lease(session=other, origin=origin) is None
        assert read_log(ledger, log_id) == (0, 1)
        release_lease(session=ledger, lease=mine)
        theirs = try_take_lease(session=other, origin=origin)
        assert theirs is not None
        assert theirs.epoch == 2

    def test_it_is_free_when_its_holder_is_gone(
        self, connect: Connect, log_id: int, origin: str
    ) -> None:
        gone = connect("ledger")
        assert try_take_lease(session=gone, origin=origin)
        gone.close()
        other, until = connect("ledger"), time.monotonic() + 30
        while (found := try_take_lease(session=other, origin=origin)) is None:
            assert time.monotonic() < until
        assert found.epoch == 2

    def test_each_log_has_its_own(
        self, connect: Connect, ledger: Session, log_id: int, origin: str
    ) -> None:
        add_log(ledger.connection, origin=f"{origin}/2", settings="{}")
        assert try_take_lease(session=ledger, origin=origin)
        assert try_take_lease(session=connect("ledger"), origin=f"{origin}/2")

    def test_a_log_that_is_not_there_has_none(self, ledger: Session) -> None:
        with pytest.raises(StorageFailed, match="no such log"):
            try_take_lease(session=ledger, origin="undersigned.example/c/nothing")


class TestAMove:
    def test_it_grows_the_log_with_what_it_grew_by(
        self, ledger: Session, log_id: int, origin: str
    ) -> None:
        lease = try_take_lease(session=ledger, origin=origin)
        assert lease is not None
        grow(ledger, lease, 0, 20)
        grow(ledger, lease, 20, 21)
        assert read_log(ledger, log_id) == (21, 1)

    @pytest.mark.parametrize("old", [1, 19, 21])
    def test_it_refuses_another_size_and_leaves_nothing(
        self, ledger: Session, log_id: int, origin: str, old: int
    ) -> None:
        lease = try_take_lease(session=ledger, origin=origin)
        assert lease is not None
        grow(ledger, lease, 0, 20)
        with pytest.raises(LeaseLost):
            grow(ledger, lease, old, 22)
        rows = ledger.connection.execute(
            "SELECT size FROM checkpoint WHERE log = %s", (log_id,)
        ).fetchall()
        assert (rows, read_log(ledger, log_id)) == ([(20,)], (20, 1))


class Believer:
    """A sequencer on a thread of its own, which nobody told that it lost the lease."""

    STEPS = ("take", "read", "move", "commit")

    def __init__(self, session: Session, origin: str, step: int) -> None:
        self.session, self.origin, self.by = session, origin, step
        self.lease: Lease | None = None
        self.old = -1
        self.outcome = ""
        self._transaction: AbstractContextManager[Connection[Any]] | None = None
        self._thread = ThreadPoolExecutor(1)
        self._futures: list[Future[None]] = []

    def begin(self, name: str) -> None:
        """Do a step, after those begun before."""
        self._futures.append(self._thread.submit(getattr(self, name)))

    @property
    def is_busy(self) -> bool:
        return not all(future.done() for future in self._futures)

    def finish(self) -> None:
        for future in self._futures:
            future.result(60)
        self._thread.shutdown()

    def take(self) -> None:
        self.lease = try_take_lease(session=self.session, origin=self.origin)
        assert self.lease is not None
        # The server has forgotten the lock, as after a fail-over: the next may take it.
        release_lease(session=self.session, lease=self.lease)

    def read(self) -> None:
        assert self.lease is not None
        self.old, _epoch = read_log(self.session, self.lease.log_id)

    def move(self) -> None:
        assert self.lease is not None
        transaction = self.session.transaction()
        connection = transaction.__enter__()
        try:
            write(connection, self.lease, self.old, self.old + self.by)
        except LeaseLost as error:
            self.outcome = "lost"
            transaction.__exit__(LeaseLost, error, error.__traceback__)
        else:
            self._transaction = transaction

    def commit(self) -> None:
        if self._transaction is not None:
            self._transaction.__exit__(None, None, None)
            self.outcome = "won"


def wait(watcher: Session, believer: Believer) -> None:
    """Wait until a step is done, or waits itself for the other's transaction."""
    pid = believer.session.connection.info.backend_pid
    until = time.monotonic() + 60
    while believer.is_busy:
        assert time.monotonic() < until
        row = watcher.connection.execute(
            "SELECT cardinality(pg_blocking_pids(%s))", (pid,)
        ).fetchone()
        if row is not None and row[0]:
            return


# Which of the eight steps are the first sequencer's: every way to mix the two.
ORDERS = [
    "".join("A" if at in mine else "B" for at in range(8))
    for mine in itertools.combinations(range(8), 4)
]


def predict(order: str) -> dict[str, str]:
    """Return who must win: the last to take the lease, and the other only before."""
    at = {who: [i for i, one in enumerate(order) if one == who] for who in "AB"}
    first, last = sorted("AB", key=lambda who: at[who][0])
    return {last: "won", first: "won" if at[first][2] < at[last][0] else "lost"}


@pytest.mark.parametrize("order", ORDERS)
def test_of_two_believers_one_moves_the_log(
    connect: Connect, ledger: Session, log_id: int, origin: str, order: str
) -> None:
    believers = {
        "A": Believer(connect("ledger"), origin, 1),
        "B": Believer(connect("ledger"), origin, 2),
    }
    steps = {who: iter(Believer.STEPS) for who in believers}
    for who in order:
        believers[who].begin(next(steps[who]))
        wait(ledger, believers[who])
    for believer in believers.values():
        believer.finish()
    assert {who: one.outcome for who, one in believers.items()} == predict(order)
    # What stands in the database is one chain, and each winner's move is in it.
    rows = ledger.connection.execute(
        "SELECT net, size FROM checkpoint WHERE log = %s ORDER BY size", (log_id,)
    ).fetchall()
    assert [old for old, _new in rows] == [0, *(new for _old, new in rows)][: len(rows)]
    assert len(rows) == sum(one.outcome == "won" for one in believers.values())
    assert read_log(ledger, log_id) == (rows[-1][1], 2)
