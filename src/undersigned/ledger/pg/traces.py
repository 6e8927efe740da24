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

from psycopg import Connection

from undersigned.ledger.pg.session import Session


def settle_inbox(*, session: Session) -> int:
    """Write what still waits anew, in order of nonce; return how many rows it is.

    All rows then bear one transaction, this one, and the file with their old places
    is removed. Batches that arrive meanwhile wait for as long as that takes.
    """
    with session.transaction() as connection:
        connection.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
        connection.execute(
            "CREATE TEMPORARY TABLE kept ON COMMIT DROP AS SELECT * FROM inbox"
        )
        connection.execute("TRUNCATE inbox")
        return connection.execute(
            "INSERT INTO inbox SELECT * FROM kept ORDER BY log, nonce"
        ).rowcount


def drop_journal(connection: Connection[Any]) -> None:
    """Begin a new journal file and let the server remove those before it.

    Needs what docs/operate/postgresql.md grants the role ``ledger`` (CHECKPOINT, and
    pg_switch_wal) and ``wal_recycle`` off. Files that a standby has not received yet
    stay until the next time. Not inside a transaction.
    """
    connection.execute("SELECT pg_switch_wal()")
    connection.execute("CHECKPOINT")
