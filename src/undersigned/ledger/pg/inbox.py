"""Intake of signatures from any number of processes, into one pool.

One batch is one transaction: a shared advisory lock, an INSERT of the whole batch as
arrays, and a look at the published nonces. Two races decide its shape.

*A retry against a publication.* The sequencer deletes a nonce from the pool and writes
it among the published in one transaction. An insert of the same nonce waits for that
transaction at the unique index; when it has committed, the pool's row is gone and the
insert would succeed. So the published nonces are asked for **after** the insert, by a
statement of its own, which under READ COMMITTED sees everything committed by then. What
it finds rolls the batch back, and the rest is inserted again.

*A signature against the close.* Who ends the intake takes the advisory lock that every
batch shares, so that after it no batch that found the log open is still uncommitted:
nothing that was acknowledged can come too late to be published.

*A repetition against a standby.* Who waited in vain for the standby has told nobody
anything; but its row can be seen here from then on. A transaction that only finds rows
writes nothing, and PostgreSQL lets it wait for nothing: the same body again would be
answered from one disk. So where nothing was new, something is written, and its commit
waits, as PostgreSQL's journal is one line, for all that stands before it.

Rows of a batch are sorted by (log, nonce): two batches that share nonces lock them in
one order, and rows committed together do not show who came first. The order of batches
does show, until ``traces`` clears it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from psycopg import Connection

from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.schema import LOCK_INTAKE
from undersigned.ledger.pg.session import Session

MAX_BATCH = 1000


class Fate(Enum):
    """What became of a signature. All but the last are durable and a success."""

    NEW = "new"  # pooled by this batch
    POOLED = "pooled"  # in the pool before: the same body again
    PUBLISHED = "published"  # in the log already
    CLOSED = "closed"  # the log takes no more, and does not hold it


@dataclass(frozen=True, slots=True)
class Arrival:
    """One verified signature and the id of its log."""

    log_id: int
    pooled: PooledSignature

    @property
    def key(self) -> tuple[int, bytes]:
        """What must differ."""
        return self.log_id, self.pooled.nonce


Key = tuple[int, bytes]

_LOCK = "SELECT pg_advisory_xact_lock_shared(%s, id) FROM unnest(%s::int[]) AS id"
_ACCEPTING = "SELECT id FROM log WHERE id = ANY(%s) AND accepting"
_INSERT = """
INSERT INTO inbox (log, nonce, leaf, shown)
SELECT * FROM unnest(%b::int[], %b::bytea[], %b::bytea[], %b::bytea[])
    AS arrived (log, nonce, leaf, shown)
ORDER BY log, nonce
ON CONFLICT (log, nonce) DO NOTHING
RETURNING log, nonce
"""
_AMONG = """
SELECT asked.log, asked.nonce FROM unnest(%b::int[], %b::bytea[]) AS asked (log, nonce)
WHERE EXISTS (
    SELECT FROM {table} held WHERE held.log = asked.log AND held.nonce = asked.nonce
)
"""
# A record in the journal and nowhere else, for a commit to have something to wait for.
_WAIT = "SELECT pg_logical_emit_message(true, 'undersigned', '')"
_PUBLISHED = _AMONG.format(table="nonce")
_POOLED = _AMONG.format(table="inbox")


class _Again(Exception):
    """Some of the batch is published: leave it out."""


def pool_signatures(
    *, session: Session, arrivals: Sequence[Arrival]
) -> dict[Key, Fate]:
    """Add a batch to the pool; return what became of each (log, nonce).

    Durable once returned, on the synchronous standby too where there is one. A nonce
    that stands twice in the batch is one signature: the first body counts. Raises
    StorageFailed: then nobody may be told anything.
    """
    found: dict[Key, Fate] = {}
    first: dict[Key, Arrival] = {}
    for arrival in arrivals:
        first.setdefault(arrival.key, arrival)
    left = [first[key] for key in sorted(first)]
    while left:
        try:
            with session.transaction() as connection:
                found |= _pool(connection, left, found)
            break
        except _Again:
            left = [one for one in left if one.key not in found]
    fates = set(found.values())
    if Fate.NEW not in fates and fates & {Fate.POOLED, Fate.PUBLISHED}:
        with session.transaction() as connection:
            connection.execute(_WAIT)
    return found


def _pool(
    connection: Connection[Any], batch: list[Arrival], found: dict[Key, Fate]
) -> dict[Key, Fate]:
    """Insert a sorted batch. Raises _Again, and says in ``found`` what is published."""
    logs = sorted({one.log_id for one in batch})
    with connection.pipeline():
        connection.execute(_LOCK, (LOCK_INTAKE, logs))
        # A statement of its own: its view begins when the lock is held.
        accepting = connection.execute(_ACCEPTING, (logs,))
    is_open = {log_id for (log_id,) in accepting.fetchall()}
    taken = [one for one in batch if one.log_id in is_open]
    fates = dict.fromkeys((one.key for one in taken), Fate.POOLED)
    if taken:
        with connection.pipeline():
            inserted = connection.execute(_INSERT, _make_columns(taken), binary=True)
            published = connection.execute(_PUBLISHED, _make_keys(taken), binary=True)
        if late := dict.fromkeys(published.fetchall(), Fate.PUBLISHED):
            found |= late
            raise _Again
        fates |= dict.fromkeys(inserted.fetchall(), Fate.NEW)
    refused = [one for one in batch if one.log_id not in is_open]
    if refused:
        fates |= _find_known(connection, refused)
    return fates


def _find_known(connection: Connection[Any], batch: list[Arrival]) -> dict[Key, Fate]:
    """Return what a closed log holds already: the same body, the same answer."""
    fates = dict.fromkeys((one.key for one in batch), Fate.CLOSED)
    keys = _make_keys(batch)
    # The pool first: what leaves it in between is published by then.
    for statement, fate in ((_POOLED, Fate.POOLED), (_PUBLISHED, Fate.PUBLISHED)):
        rows = connection.execute(statement, keys, binary=True).fetchall()
        fates |= dict.fromkeys(rows, fate)
    return fates


def _make_keys(batch: list[Arrival]) -> tuple[list[int], list[bytes]]:
    return [one.log_id for one in batch], [one.pooled.nonce for one in batch]


def _make_columns(
    batch: list[Arrival],
) -> tuple[list[int], list[bytes], list[bytes], list[bytes | None]]:
    return (
        *_make_keys(batch),
        [one.pooled.leaf for one in batch],
        [one.pooled.shown for one in batch],
    )


def end_intake(*, session: Session, log_id: int) -> None:
    """Let a log take no more; on return no batch that found it open is unfinished."""
    with session.transaction() as connection:
        connection.execute(
            "SELECT pg_advisory_xact_lock(%s, %s)", (LOCK_INTAKE, log_id)
        )
        connection.execute("UPDATE log SET accepting = false WHERE id = %s", (log_id,))
