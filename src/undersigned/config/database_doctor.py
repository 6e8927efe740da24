"""What is unsafe about the pages database where PostgreSQL keeps it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from undersigned.cli.context import Finding
from undersigned.config.env import DatabaseAddress, Environment

# Settings of the server that anybody may read, as this role sees them.
_SETTINGS: Final = (
    "archive_mode",
    "fsync",
    "full_page_writes",
    "log_min_duration_statement",
    "log_min_error_statement",
    "log_statement",
    "synchronous_commit",
    "track_commit_timestamp",
)


def examine_database(environment: Environment) -> Iterator[Finding]:
    """Ask the server and return findings; nothing for a file of SQLite's."""
    if environment.database is not None:
        facts = read_facts()
        yield from judge_role(facts)
        yield from judge_way(environment.database)
        yield from judge_durability(facts)
        yield from judge_traces(facts)


def read_facts() -> dict[str, str]:
    """Return the server's settings by name, and the powers of our role."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
            [list(_SETTINGS)],
        )
        facts = {str(name): str(setting) for name, setting in cursor.fetchall()}
        cursor.execute(
            "SELECT concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END, "
            "CASE WHEN rolreplication THEN 'replication' END, "
            "CASE WHEN rolcreaterole THEN 'createrole' END) "
            "FROM pg_roles WHERE rolname = current_user"
        )
        facts["powers"] = str(cursor.fetchone()[0])
    return facts


def judge_role(facts: Mapping[str, str]) -> Iterator[Finding]:
    """A leaked password must open these tables and no others."""
    if facts["powers"]:
        yield Finding(
            "danger",
            "database-role-too-strong",
            f"the role of the pages database is {facts['powers']}: whoever has its "
            "password has every other database of that server too",
        )
    else:
        yield Finding("ok", "database-role", "the pages database has a role of its own")


def judge_way(address: DatabaseAddress) -> Iterator[Finding]:
    """What goes over a network is encrypted, and to the right server."""
    if address.is_local or address.tls == "verify-full":
        yield Finding("ok", "database-way", "nobody reads on the way to the database")
    elif address.tls in ("require", "verify-ca"):
        yield Finding(
            "warning",
            "database-unproved",
            f"sslmode={address.tls}: whoever sits on the way to the database can pose "
            "as it; use verify-full",
        )
    else:
        yield Finding(
            "danger",
            "database-in-clear",
            f"sslmode={address.tls}: the way to the database on {address.host} may be "
            "unencrypted; use verify-full",
        )


def judge_durability(facts: Mapping[str, str]) -> Iterator[Finding]:
    """What was confirmed survives a power cut."""
    off = [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if facts[name] == "off"
    ]
    if off:
        yield Finding(
            "danger",
            "database-not-durable",
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a power cut "
            "takes back what was confirmed, or damages the database",
        )


def judge_traces(facts: Mapping[str, str]) -> Iterator[Finding]:
    """The server keeps no times and no copies beside its tables."""
    if facts["track_commit_timestamp"] == "on":
        yield Finding(
            "danger",
            "database-keeps-times",
            "track_commit_timestamp is on: the database notes the instant of every "
            "commit",
        )
    if (
        facts["log_statement"] in ("mod", "all")
        or int(facts["log_min_duration_statement"]) >= 0
    ):
        yield Finding(
            "danger",
            "database-logs-statements",
            "the database logs statements: its log holds what signers show and "
            "erase, with times (log_statement, log_min_duration_statement)",
        )
    if facts["log_min_error_statement"] not in ("fatal", "panic"):
        yield Finding(
            "warning",
            "database-logs-failures",
            "a statement that fails is written to the database's log with its values: "
            "set log_min_error_statement to panic",
        )
    if facts["archive_mode"] != "off":
        yield Finding(
            "warning",
            "database-archives",
            "archive_mode is on: the archived journal keeps what was erased, and the "
            "order in which everything came",
        )
