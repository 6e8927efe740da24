"""The ledger's tables in PostgreSQL, and who may do what with them.

The same tables as ``ledger.embedded`` has, and the same promise: no time finer than a
publication interval, no column that keeps an order of arrival. PostgreSQL itself keeps
one, in each row's ``xmin`` and in its journal, until ``traces`` clears it.

Roles, each with a password of its own (docs/operate/postgresql.md makes them):

``ledger``  owns this database and no other: the sequencer's.
``intake``  the web processes': may add signatures and ask whether a nonce is there.
            It reads neither leaves nor what signers show, and changes no log.
``pages``   Django's, in a database that neither of the others may enter.
"""

from __future__ import annotations

from typing import Any

from psycopg import Connection, sql

# A transaction's advisory locks come in classes, so that two uses never meet.
LOCK_INTAKE = 0x756E01  # shared by those who add, exclusive to who ends the intake
LOCK_LEASE = 0x756E02  # the sequencer of a log, for as long as its session lives
LOCK_SCHEMA = 0x756E03  # whoever makes the tables

SCHEMA = """
CREATE TABLE log (
    id integer PRIMARY KEY,
    origin text NOT NULL UNIQUE,
    settings text NOT NULL,
    size bigint NOT NULL DEFAULT 0 CHECK (size >= 0),
    frontier bytea NOT NULL DEFAULT '',
    accepting boolean NOT NULL DEFAULT true,
    -- The last sequencer's: who comes later has a higher one.
    epoch bigint NOT NULL DEFAULT 0
);
-- Signatures waiting for publication.
CREATE TABLE inbox (
    log integer NOT NULL,
    nonce bytea NOT NULL CHECK (length(nonce) = 32),
    leaf bytea NOT NULL,
    shown bytea,
    PRIMARY KEY (log, nonce)
);
-- Control leaves waiting for publication, complete but for what depends on position.
CREATE TABLE control (
    log integer NOT NULL, leaf_hash bytea NOT NULL, leaf bytea NOT NULL,
    PRIMARY KEY (log, leaf_hash)
);
-- Withdrawals whose target is not published yet, so that they have no index.
CREATE TABLE withdrawal (
    log integer NOT NULL, nonce bytea NOT NULL, w bytea NOT NULL,
    PRIMARY KEY (log, nonce)
);
-- Since which tick of the clock a key has had too small a crowd to publish.
CREATE TABLE waiting (
    log integer NOT NULL, key_index integer NOT NULL, since bigint NOT NULL,
    PRIMARY KEY (log, key_index)
);
-- Every published nonce, for the refusal of a second use and for receipts.
CREATE TABLE nonce (
    log integer NOT NULL, nonce bytea NOT NULL, idx bigint NOT NULL,
    PRIMARY KEY (log, nonce)
);
-- Tiles not yet durable as full files: level -1 holds entry bundles.
CREATE TABLE tile (
    log integer NOT NULL, level integer NOT NULL, n bigint NOT NULL,
    data bytea NOT NULL,
    PRIMARY KEY (log, level, n)
);
-- Published control leaves, to rebuild the state without reading every entry.
CREATE TABLE published_control (
    log integer NOT NULL, idx bigint NOT NULL, leaf bytea NOT NULL,
    PRIMARY KEY (log, idx)
);
-- One byte a leaf, in blocks: see undersigned_verify.count.LogState.cells.
CREATE TABLE cells (
    log integer NOT NULL, block bigint NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (log, block)
);
-- Of the logs, and with log 0 of the spine.
CREATE TABLE checkpoint (
    log integer NOT NULL, size bigint NOT NULL, note bytea NOT NULL,
    at bigint NOT NULL, net bigint NOT NULL,
    PRIMARY KEY (log, size)
);
-- Shown records of published signatures on their way to the pages database.
CREATE TABLE shown (
    log integer NOT NULL, nonce bytea NOT NULL, idx bigint NOT NULL,
    stance smallint NOT NULL, data bytea NOT NULL,
    PRIMARY KEY (log, nonce)
);
-- Nonces whose shown record must leave the pages database: withdrawn, or erased.
CREATE TABLE erasure (
    log integer NOT NULL, nonce bytea NOT NULL,
    PRIMARY KEY (log, nonce)
);
-- The spine log: one row. Its tiles and checkpoints have log 0. Whose epoch this is,
-- sequences the instance; "checked" is the last that has found the ledger fit to go on.
CREATE TABLE spine (
    id integer PRIMARY KEY CHECK (id = 0),
    size bigint NOT NULL, frontier bytea NOT NULL, client text,
    epoch bigint NOT NULL DEFAULT 0,
    checked bigint NOT NULL DEFAULT -1
);
INSERT INTO spine (id, size, frontier) VALUES (0, 0, '');
-- Which checkpoint stands where in the spine.
CREATE TABLE spine_checkpoint (
    log integer NOT NULL, size bigint NOT NULL, idx bigint NOT NULL,
    PRIMARY KEY (log, size)
);
-- The totals of issued tokens that the spine has told last, and what of them was
-- issued before the present record of issuing began.
CREATE TABLE spine_issued (
    log integer NOT NULL, key_index integer NOT NULL, total bigint NOT NULL,
    before bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (log, key_index)
);
CREATE TABLE spine_retired (log integer PRIMARY KEY);
CREATE TABLE reserved (origin text PRIMARY KEY);
-- Leaves of 357 bytes are not worth compressing, nor a second table.
ALTER TABLE inbox ALTER leaf SET STORAGE PLAIN;
"""

# All that a web process needs, column by column.
GRANTS = """
GRANT SELECT (id, origin, accepting) ON log TO {intake};
GRANT INSERT, SELECT (log, nonce) ON inbox TO {intake};
GRANT SELECT (log, nonce) ON nonce TO {intake};
"""


def make_schema(connection: Connection[Any], *, intake: str) -> None:
    """Make the tables as the owner, and let the role ``intake`` add signatures.

    Where the tables are, they stay; where there is no such role, nobody is let in. May
    be called again, and by several processes at once.
    """
    with connection.transaction():
        connection.execute("SELECT pg_advisory_xact_lock(%s, 0)", (LOCK_SCHEMA,))
        found = connection.execute(
            "SELECT to_regclass('log') IS NOT NULL, "
            "EXISTS (SELECT FROM pg_roles WHERE rolname = %s)",
            (intake,),
        ).fetchone()
        assert found is not None
        is_made, has_intake = found
        if not is_made:
            connection.execute(SCHEMA)
        if has_intake:
            connection.execute(sql.SQL(GRANTS).format(intake=sql.Identifier(intake)))


def add_log(
    connection: Connection[Any], *, origin: str, settings: str, accepting: bool = True
) -> int:
    """Record a log and return its id; the id of one that is there already.

    ``settings``: as ``open_log.encode_settings`` writes them.
    """
    with connection.transaction():
        # Two that come at once: the second waits, and then finds the first's row.
        connection.execute("LOCK TABLE log IN SHARE ROW EXCLUSIVE MODE")
        connection.execute(
            "INSERT INTO log (id, origin, settings, accepting) "
            "SELECT coalesce(max(id), 0) + 1, %s, %s, %s FROM log "
            "ON CONFLICT (origin) DO NOTHING",
            (origin, settings, accepting),
        )
        found = connection.execute("SELECT id FROM log WHERE origin = %s", (origin,))
        row = found.fetchone()
    assert row is not None
    return int(row[0])
