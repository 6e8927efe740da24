"""Leaving no order of requests in the server's files.

PostgreSQL notes in each row which transaction wrote it, puts rows where there is room
in order of arrival, overwrites nothing when it deletes, and writes all of it to its
journal. Measured on 15 (docs/adr/0017): DELETE and VACUUM leave the bytes where they
were; TRUNCATE removes the file; a journal file that is recycled keeps its content under
a new name, one that is removed does not.

So after a publication the pool is written anew, in one transaction and sorted, and the
journal before it is let go. What remains until then is what docs/operate/postgresql.md
tells operators; what remains after it are freed blocks of the disk.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql
from psycopg.errors import InsufficientPrivilege

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.session import Session

# What waits for a publication beside the pool, each with what its rows are sorted by.
# Short, and touched by the sequencer alone.
_QUEUES = {
    "control": "log, leaf_hash",
    "withdrawal": "log, nonce",
    "waiting": "log, key_index",
    "shown": "log, nonce",
    "erasure": "log, nonce",
}


def settle_inbox(*, session: Session) -> int:
    """Write what still waits anew, in order of nonce; return how many rows it is.

    All rows then bear one transaction, this one, and the file with their old places
    is removed. Batches that arrive meanwhile wait for as long as that takes.
    """
    with session.transaction() as connection:
        return _write_anew(connection, "inbox", "log, nonce")


def settle_queues(*, session: Session) -> None:
    """Write anew what else waits: withdrawals, leaves of moderators, erasures.

    For the sequencer, between two publications: nobody else touches these.
    """
    with session.transaction() as connection:
        for table, order in _QUEUES.items():
            _write_anew(connection, table, order)


def _write_anew(connection: Connection[Any], table: str, order: str) -> int:
    name, columns = sql.Identifier(table), sql.SQL(order)
    held = connection.execute("SELECT pg_relation_size(%s::regclass)", (table,))
    if held.fetchone() == (0,):
        # Written anew when it was empty, and nothing has come since.
        return 0
    connection.execute(sql.SQL("LOCK TABLE {} IN ACCESS EXCLUSIVE MODE").format(name))
    connection.execute(
        sql.SQL(
            "CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM {}"
        ).format(name)
    )
    connection.execute(sql.SQL("TRUNCATE {}").format(name))
    rows = connection.execute(
        sql.SQL("INSERT INTO {} SELECT * FROM kept ORDER BY {}").format(name, columns)
    ).rowcount
    connection.execute("DROP TABLE kept")
    return rows


def drop_journal(connection: Connection[Any]) -> None:
    """Begin a new journal file and let the server remove those before it.

    Needs what docs/operate/postgresql.md grants the role ``ledger`` (CHECKPOINT, and
    pg_switch_wal) and ``wal_recycle`` off. Files that a standby has not received yet
    stay until the next time. Not inside a transaction.
    """
    try:
        connection.execute("SELECT pg_switch_wal()")
        connection.execute("CHECKPOINT")
    except InsufficientPrivilege as error:
        raise StorageFailed(
            "the ledger's role may not let the journal go (CHECKPOINT, pg_switch_wal): "
            "see docs/operate/postgresql.md"
        ) from error
