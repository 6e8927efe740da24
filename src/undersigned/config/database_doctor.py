"""What is unsafe about the pages database and the ledger, where PostgreSQL has them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from undersigned.cli.context import Finding
from undersigned.config.env import DatabaseAddress, Environment
from undersigned.config.ledger import make_conninfo
from undersigned.kernel.errors import StorageFailed

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
    "wal_recycle",
)


@dataclass(frozen=True, slots=True)
class _Subject:
    """What is looked at: first part of its codes, and its name for people."""

    code: str
    name: str


PAGES = _Subject("database", "pages database")
LEDGER = _Subject("ledger", "ledger's database")


def examine_database(environment: Environment) -> Iterator[Finding]:
    """Ask the servers and return findings; nothing for a file of SQLite's."""
    if environment.database is not None:
        yield from _judge(PAGES, environment.database, read_facts())
    if environment.ledger is not None:
        try:
            facts = read_ledger_facts(environment.ledger)
        except StorageFailed as error:
            yield Finding("danger", "ledger-unreachable", str(error))
        else:
            yield from _judge(LEDGER, environment.ledger, facts)
            yield from judge_journal(facts)


def _judge(
    subject: _Subject, address: DatabaseAddress, facts: Mapping[str, str]
) -> Iterator[Finding]:
    yield from judge_role(facts, subject)
    yield from judge_way(address, subject)
    yield from judge_durability(facts, subject)
    yield from judge_traces(facts, subject)


_ASK_SETTINGS = "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)"
_ASK_POWERS = (
    "SELECT concat_ws(', ', CASE WHEN rolsuper THEN 'superuser' END, "
    "CASE WHEN rolreplication THEN 'replication' END, "
    "CASE WHEN rolcreaterole THEN 'createrole' END) "
    "FROM pg_roles WHERE rolname = current_user"
)


def read_facts() -> dict[str, str]:
    """Return the settings of the pages' server by name, and the powers of our role."""
    from django.db import connection

    with connection.cursor() as cursor:
        cursor.execute(_ASK_SETTINGS, [list(_SETTINGS)])
        facts = {str(name): str(setting) for name, setting in cursor.fetchall()}
        cursor.execute(_ASK_POWERS)
        facts["powers"] = str(cursor.fetchone()[0])
    return facts


def read_ledger_facts(address: DatabaseAddress) -> dict[str, str]:
    """Return the same of the ledger's server. Raises StorageFailed."""
    import psycopg

    try:
        with psycopg.connect(make_conninfo(address)) as connection:
            rows = connection.execute(_ASK_SETTINGS, [list(_SETTINGS)]).fetchall()
            facts = {str(name): str(setting) for name, setting in rows}
            powers = connection.execute(_ASK_POWERS).fetchone()
    except psycopg.Error as error:
        # libpq's text names host and role, never the password.
        raise StorageFailed(f"couldn't reach the ledger: {error}") from None
    assert powers is not None
    return facts | {"powers": str(powers[0])}


def judge_journal(facts: Mapping[str, str]) -> Iterator[Finding]:
    """The journal, which has the order of signing, goes when it is let go."""
    if facts["wal_recycle"] != "off":
        yield Finding(
            "danger",
            "ledger-recycles-journal",
            "wal_recycle is on: old journal files of the ledger's server stay under "
            "other names, and with them the order in which people signed",
        )


def judge_role(
    facts: Mapping[str, str], subject: _Subject = PAGES
) -> Iterator[Finding]:
    """A leaked password must open these tables and no others."""
    if facts["powers"]:
        yield Finding(
            "danger",
            f"{subject.code}-role-too-strong",
            f"the role of the {subject.name} is {facts['powers']}: whoever has its "
            "password has every other database of that server too",
        )
    else:
        yield Finding(
            "ok", f"{subject.code}-role", f"the {subject.name} has a role of its own"
        )


def judge_way(address: DatabaseAddress, subject: _Subject = PAGES) -> Iterator[Finding]:
    """What goes over a network is encrypted, and to the right server."""
    if address.is_local or address.tls == "verify-full":
        yield Finding(
            "ok",
            f"{subject.code}-way",
            f"nobody reads on the way to the {subject.name}",
        )
    elif address.tls in ("require", "verify-ca"):
        yield Finding(
            "warning",
            f"{subject.code}-unproved",
            f"sslmode={address.tls}: whoever sits on the way to the database can pose "
            "as it; use verify-full",
        )
    else:
        yield Finding(
            "danger",
            f"{subject.code}-in-clear",
            f"sslmode={address.tls}: the way to the database on {address.host} may be "
            "unencrypted; use verify-full",
        )


def judge_durability(
    facts: Mapping[str, str], subject: _Subject = PAGES
) -> Iterator[Finding]:
    """What was confirmed survives a power cut."""
    off = [
        name
        for name in ("fsync", "full_page_writes", "synchronous_commit")
        if facts[name] == "off"
    ]
    if off:
        yield Finding(
            "danger",
            f"{subject.code}-not-durable",
            f"{' and '.join(off)} {'is' if len(off) == 1 else 'are'} off: a power cut "
            "takes back what was confirmed, or damages the database",
        )


def judge_traces(
    facts: Mapping[str, str], subject: _Subject = PAGES
) -> Iterator[Finding]:
    """The server keeps no times and no copies beside its tables."""
    if facts["track_commit_timestamp"] == "on":
        yield Finding(
            "danger",
            f"{subject.code}-keeps-times",
            "track_commit_timestamp is on: the database notes the instant of every "
            "commit",
        )
    if (
        facts["log_statement"] in ("mod", "all")
        or int(facts["log_min_duration_statement"]) >= 0
    ):
        yield Finding(
            "danger",
            f"{subject.code}-logs-statements",
            "the database logs statements: its log holds what signers show and "
            "erase, with times (log_statement, log_min_duration_statement)",
        )
    if facts["log_min_error_statement"] not in ("fatal", "panic"):
        yield Finding(
            "warning",
            f"{subject.code}-logs-failures",
            "a statement that fails is written to the database's log with its values: "
            "set log_min_error_statement to panic",
        )
    if facts["archive_mode"] != "off":
        yield Finding(
            "warning",
            f"{subject.code}-archives",
            "archive_mode is on: the archived journal keeps what was erased, and the "
            "order in which everything came",
        )
