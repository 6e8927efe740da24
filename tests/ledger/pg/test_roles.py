"""A leaked password opens its own tables and no others."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors, sql

from tests.ledger.pg.conftest import Connect, make_arrival
from undersigned.drills.postgres import Server
from undersigned.ledger.embedded import SCHEMA as SQLITE_SCHEMA
from undersigned.ledger.pg.inbox import pool_signatures
from undersigned.ledger.pg.session import Session


@pytest.mark.parametrize(
    "role, database",
    [("pages", "ledger"), ("ledger", "pages"), ("intake", "pages")],
)
def test_no_role_enters_the_others_database(
    server: Server, role: str, database: str
) -> None:
    with pytest.raises(
        psycopg.OperationalError, match="permission denied for database"
    ):
        psycopg.connect(server.url(database, user=role))


@pytest.mark.parametrize("role", ["pages", "ledger", "intake"])
def test_no_role_is_more_than_it_says(server: Server, role: str) -> None:
    database = "pages" if role == "pages" else "ledger"
    others = {"pages", "ledger", "intake", "postgres"} - {role}
    with psycopg.connect(server.url(database, user=role), autocommit=True) as found:
        for other in others:
            with pytest.raises(errors.InsufficientPrivilege):
                found.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(other)))
        for attempt in (
            "SELECT pg_read_file('/etc/passwd')",
            "COPY (SELECT 1) TO PROGRAM 'id'",
            "CREATE EXTENSION dblink",
            "CREATE EXTENSION postgres_fdw",
            "SELECT rolpassword FROM pg_authid",
            "ALTER SYSTEM SET fsync = off",
            "CREATE ROLE mallory SUPERUSER",
            "SELECT pg_ls_waldir()",
        ):
            with pytest.raises(errors.InsufficientPrivilege):
                found.execute(attempt)


@pytest.mark.parametrize(
    "attempt",
    [
        "SELECT leaf FROM inbox",
        "SELECT shown FROM inbox",
        "SELECT xmin FROM inbox",
        "SELECT * FROM inbox",
        "DELETE FROM inbox",
        "UPDATE inbox SET shown = NULL",
        "TRUNCATE inbox",
        "COPY inbox TO STDOUT",
        "SELECT idx FROM nonce",
        "DELETE FROM nonce",
        "INSERT INTO nonce VALUES (1, '', 1)",
        "SELECT settings FROM log",
        "UPDATE log SET size = size + 1",
        "UPDATE log SET epoch = 9",
        "UPDATE log SET accepting = true",
        "SELECT * FROM log FOR SHARE",
        "SELECT * FROM control",
        "INSERT INTO control VALUES (1, '', '')",
        "SELECT * FROM withdrawal",
        "SELECT * FROM shown",
        "SELECT * FROM erasure",
        "SELECT * FROM tile",
        "SELECT * FROM checkpoint",
        "CREATE TABLE mine (x int)",
        "CREATE TEMPORARY TABLE mine (x int)",
        "DROP TABLE inbox",
        "CHECKPOINT",
        "SELECT pg_switch_wal()",
    ],
)
def test_a_web_process_only_adds(
    connect: Connect, intake: Session, log_id: int, attempt: str
) -> None:
    pool_signatures(session=intake, arrivals=[make_arrival(log_id, shown=b"{}")])
    with pytest.raises(errors.InsufficientPrivilege):
        intake.connection.execute(attempt.encode())


def test_the_tables_are_those_of_the_embedded_ledger(ledger: Session) -> None:
    import sqlite3

    file = sqlite3.connect(":memory:")
    file.executescript(SQLITE_SCHEMA)
    embedded = {
        name: [column[1] for column in file.execute(f"PRAGMA table_info({name})")]
        for (name,) in file.execute("SELECT name FROM sqlite_master WHERE type='table'")
    }
    file.close()
    rows = ledger.connection.execute(
        "SELECT table_name, column_name FROM information_schema.columns "
        "WHERE table_schema = 'public' ORDER BY table_name, ordinal_position"
    ).fetchall()
    here: dict[str, list[str]] = {}
    for table, column in rows:
        here.setdefault(table, []).append(column)
    # A column that is of no use any more is only where older files have it.
    embedded["log"].remove("durable_size")
    assert here.pop("log") == [*embedded.pop("log"), "epoch"]
    assert here.pop("spine") == [*embedded.pop("spine"), "epoch", "checked"]
    assert here == embedded


def test_no_column_keeps_an_order(ledger: Session) -> None:
    rows = ledger.connection.execute(
        "SELECT data_type, column_default, is_identity FROM information_schema.columns "
        "WHERE table_schema = 'public'"
    ).fetchall()
    assert not {kind for kind, _default, _identity in rows} & {
        "timestamp with time zone",
        "timestamp without time zone",
        "date",
        "xid",
    }
    assert not any("nextval" in str(default) for _kind, default, _identity in rows)
    assert {identity for _kind, _default, identity in rows} == {"NO"}
