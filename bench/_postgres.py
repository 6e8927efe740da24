"""Debian's PostgreSQL, in a temporary folder, for the length of a ``with`` block."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg

from undersigned.drills.postgres import Cluster

_OWNER = "bench"


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server whose every commit waits for the disk."""

    pid: int
    dsn: str
    version: str


@contextmanager
def start() -> Iterator[Postgres]:
    """Run a fresh server. Raises NoPostgres, PostgresFailed."""
    with Cluster(durable=True) as cluster:
        server = cluster.start_primary()
        dsn = server.make_database("floor", owner=_OWNER)
        version = server.run_sql("SHOW server_version").split()[0]
        yield Postgres(server.pid, dsn, version)


def make_table(dsn: str) -> None:
    """Make the floor's one table, empty."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("DROP TABLE IF EXISTS inbox")
        connection.execute(
            "CREATE TABLE inbox (nonce bytea PRIMARY KEY, leaf bytea NOT NULL)"
        )


def count_rows(dsn: str) -> int:
    """Return how many rows the floor has written."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        row = connection.execute("SELECT count(*) FROM inbox").fetchone()
    return int(str(row[0])) if row else 0
