"""The right to move a log: a lock so that somebody does, a comparison so that one does.

The spine, log 0, is such a log too. Its lease is the instance's: who holds it sequences
every log, and takes each one's lease before reading it.

*Liveness.* A sequencer holds a session-level advisory lock on its log. When its process
dies, or its server, the lock is gone and another takes it. Nothing rests on it: after a
fail-over, or over a network that came apart, two may believe that they hold it.

*Safety.* Whoever takes the lease raises the log's epoch by one, durably, before doing
anything else. A publication moves the log inside its own transaction, by an UPDATE that
names the size it grew from and the sequencer's epoch. Of two that grew from one size
the second finds no row; so does one whose successor has taken over, even if it has
published nothing yet. No row is LeaseLost, and the whole transaction with its leaves,
tiles and checkpoint is rolled back. No checkpoint leaves before that commit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from psycopg import Connection

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.schema import LOCK_LEASE
from undersigned.ledger.pg.session import Session
from undersigned.ledger.store import SPINE_ID


class LeaseLost(StorageFailed):
    """Another sequencer has taken this log or moved it: what was prepared is void.

    Fatal: this process's memory of the log is not the log any more. A restart reads
    it anew, and waits for the lease.
    """


@dataclass(frozen=True, slots=True)
class Lease:
    """A log's lease as its holder believes to hold it."""

    log_id: int
    origin: str
    epoch: int


def try_take_lease(*, session: Session, origin: str) -> Lease | None:
    """Take the lease of a log; None while another session holds it.

    Held until ``release_lease`` or the end of the session. The log must be read after
    this, not before. Raises StorageFailed, also for a log that is not there.
    """
    with session.transaction() as connection:
        # The lock is the session's: the transaction's end does not give it back.
        row = connection.execute(
            "SELECT id, pg_try_advisory_lock(%s, id) FROM log WHERE origin = %s",
            (LOCK_LEASE, origin),
        ).fetchone()
        if row is None:
            raise StorageFailed(f"{origin}: there is no such log")
        log_id, taken = row
        if not taken:
            return None
        raised = connection.execute(
            "UPDATE log SET epoch = epoch + 1 WHERE id = %s RETURNING epoch", (log_id,)
        ).fetchone()
    assert raised is not None
    return Lease(log_id=log_id, origin=origin, epoch=int(raised[0]))


def try_take_spine(*, session: Session) -> Lease | None:
    """Take the lease of the spine; None while another session holds it.

    Its commit waits for the synchronous standby, and so for everything that was
    committed before it: what is read from now on is there, too. Raises StorageFailed.
    """
    with session.transaction() as connection:
        row = connection.execute(
            "SELECT pg_try_advisory_lock(%s, %s)", (LOCK_LEASE, SPINE_ID)
        ).fetchone()
        if row != (True,):
            return None
        raised = connection.execute(
            "UPDATE spine SET epoch = epoch + 1 WHERE id = 0 RETURNING epoch"
        ).fetchone()
    if raised is None:
        raise StorageFailed("the ledger has no row for its spine")
    return Lease(log_id=SPINE_ID, origin="spine", epoch=int(raised[0]))


def release_lease(*, session: Session, lease: Lease) -> None:
    """Give the lease back, so that another need not wait for this session's end."""
    with session.transaction() as connection:
        connection.execute(
            "SELECT pg_advisory_unlock(%s, %s)", (LOCK_LEASE, lease.log_id)
        )


def move_log(
    connection: Connection[Any],
    *,
    lease: Lease,
    old_size: int,
    new_size: int,
    frontier: bytes,
) -> None:
    """Grow the log, inside the transaction that holds what it grew by.

    First or last in it, that makes no difference: a rival waits at this row until the
    transaction ends, and then finds it moved. ``frontier``: the concatenated hashes of
    32 bytes. Raises LeaseLost; the caller's transaction must not commit then.
    """
    moved = connection.execute(
        "UPDATE log SET size = %s, epoch = %s, frontier = %s "
        "WHERE origin = %s AND size = %s AND epoch <= %s",
        (new_size, lease.epoch, frontier, lease.origin, old_size, lease.epoch),
    ).rowcount
    _require_moved(lease, moved)


def move_spine(
    connection: Connection[Any],
    *,
    lease: Lease,
    old_size: int,
    new_size: int,
    frontier: bytes,
    client: str | None,
) -> None:
    """Grow the spine, inside the transaction that holds what it grew by.

    ``lease``: of ``try_take_spine``; else as ``move_log``.
    """
    moved = connection.execute(
        "UPDATE spine SET size = %s, epoch = %s, frontier = %s, client = %s "
        "WHERE id = 0 AND size = %s AND epoch <= %s",
        (new_size, lease.epoch, frontier, client, old_size, lease.epoch),
    ).rowcount
    _require_moved(lease, moved)


def _require_moved(lease: Lease, rows: int) -> None:
    if rows != 1:
        raise LeaseLost(f"{lease.origin}: another sequencer has moved or taken it")
