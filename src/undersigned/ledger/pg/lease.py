"""The right to move a log: a lock so that somebody does, a comparison so that one does.

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
    durable_size: int,
) -> None:
    """Grow the log, inside the transaction that holds what it grew by.

    First or last in it, that makes no difference: a rival waits at this row until the
    transaction ends, and then finds it moved. ``frontier``: the concatenated hashes of
    32 bytes. Raises LeaseLost; the caller's transaction must not commit then.
    """
    moved = connection.execute(
        "UPDATE log SET size = %s, epoch = %s, frontier = %s, durable_size = %s "
        "WHERE origin = %s AND size = %s AND epoch <= %s",
        (
            new_size,
            lease.epoch,
            frontier,
            durable_size,
            lease.origin,
            old_size,
            lease.epoch,
        ),
    ).rowcount
    if moved != 1:
        raise LeaseLost(f"{lease.origin}: another sequencer has moved or taken it")
