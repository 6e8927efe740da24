"""The pages database: a file of SQLite's, or PostgreSQL where a URL is set.

The same tables and operations on both. SQLite's IMMEDIATE makes every transaction that
writes the only one; PostgreSQL does not, so whatever rests on being alone says so
where it does (``audit.operations``), and the rest are filtered updates whose row count
is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from undersigned.config.env import DatabaseAddress, Environment

# As long as SQLite's writers wait for each other.
LOCK_SECONDS = 20
# Connections are made anew after this long; a broken one is noticed before its use.
KEEP_SECONDS = 60
_MIGRATION_LOCK = 0x756E6465


def describe_database(environment: Environment) -> str:
    """Return where the pages database is, for people; never with a password."""
    if environment.database is None:
        return str(environment.data / "app.sqlite3")
    return environment.database.describe()


def make_database_settings(environment: Environment) -> dict[str, Any]:
    """Return Django's settings of the pages database."""
    if environment.database is not None:
        return _make_postgresql_settings(environment.database)
    return {
        "ENGINE": "django.db.backends.sqlite3",
        "NAME": environment.data / "app.sqlite3",
        "OPTIONS": {
            # A write takes its lock at once: no deadlock between two readers that
            # both want to write.
            "transaction_mode": "IMMEDIATE",
            "timeout": LOCK_SECONDS,
            "init_command": (
                "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; "
                "PRAGMA secure_delete=ON; PRAGMA temp_store=MEMORY;"
            ),
        },
    }


def _make_postgresql_settings(address: DatabaseAddress) -> dict[str, Any]:
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": address.name,
        "USER": address.user,
        "PASSWORD": address.password,
        "HOST": address.host,
        "PORT": address.port,
        "CONN_MAX_AGE": KEEP_SECONDS,
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": {
            # A host that is gone must not hold a page's thread for minutes.
            "connect_timeout": 10,
            "tcp_user_timeout": 30_000,
            "application_name": "undersigned",
            "options": f"-c lock_timeout={LOCK_SECONDS}s",
            **address.parameters,
            "sslmode": address.tls,
        },
    }


def drop_broken_connection() -> None:
    """Let a thread that lives long connect anew after its connection failed.

    Django does this between requests; clock and writer are never between requests.
    """
    from django.db import connection

    if connection.errors_occurred:
        connection.close_if_unusable_or_obsolete()


@contextmanager
def hold_migration_lock() -> Iterator[None]:
    """Let one process at a time change the tables: several may start at once.

    Nothing to hold for SQLite, whose one process has the writer lock or waits.
    """
    from django.db import connection

    if connection.vendor != "postgresql":
        yield
        return
    with connection.cursor() as cursor:
        cursor.execute("SET lock_timeout = 0")
        cursor.execute("SELECT pg_advisory_lock(%s)", [_MIGRATION_LOCK])
        cursor.execute("RESET lock_timeout")
    try:
        yield
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(%s)", [_MIGRATION_LOCK])
