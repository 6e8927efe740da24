"""The pages database in PostgreSQL, copied and put back by PostgreSQL's own programs.

``pg_dump`` reads at one moment and writes living rows only. The password goes through
the environment: a command line is there for everybody on the machine to read.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import ClassVar, Protocol

from undersigned.kernel.errors import Conflict, Refused, StorageFailed

DUMP = "app.pgdump"


class PagesAddress(Protocol):
    """Where the pages are (``config.env.DatabaseAddress``)."""

    @property
    def host(self) -> str: ...

    @property
    def port(self) -> str: ...

    @property
    def user(self) -> str: ...

    @property
    def password(self) -> str: ...

    @property
    def parameters(self) -> dict[str, str]: ...

    @property
    def tls(self) -> str: ...

    @property
    def name(self) -> str: ...

    def describe(self) -> str:
        """Return it without the password."""
        ...


class PagesElsewhere(Refused):
    """The pages are in a database of another kind, or PostgreSQL's programs are not
    installed (`postgresql-client`, of the server's version or later)."""

    code: ClassVar[str] = "pages-elsewhere"


class PagesNotEmpty(Conflict):
    """The database that the pages would be put into has tables already."""

    code: ClassVar[str] = "pages-not-empty"


def dump_pages(address: PagesAddress, target: Path, *, database: str) -> None:
    """Write a database to a new file of pg_dump's custom format.

    Raises PagesElsewhere, StorageFailed.
    """
    target.touch(mode=0o600)
    _run(
        address,
        database,
        ["pg_dump", "--format=custom", "--no-owner", "--no-privileges"],
        [f"--file={target}"],
    )


def restore_pages(address: PagesAddress, source: Path) -> None:
    """Put a dump into an empty database, all of it or nothing.

    Raises PagesElsewhere, PagesNotEmpty, StorageFailed.
    """
    _require_empty(address)
    words = ["pg_restore", "--no-owner", "--no-privileges", "--single-transaction"]
    _run(address, address.name, [*words, "--exit-on-error"], [str(source)])


def _require_empty(address: PagesAddress) -> None:
    import psycopg

    tables = (
        "SELECT count(*) FROM pg_tables "
        "WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
    )
    try:
        with psycopg.connect(
            _make_conninfo(address, address.name), password=address.password or None
        ) as connection:
            row = connection.execute(tables).fetchone()
    except psycopg.Error as error:
        # libpq's text names host and role, never the password.
        raise StorageFailed(f"couldn't reach the pages: {error}") from None
    if row is None or row[0]:
        raise PagesNotEmpty(database=address.describe())


def _make_conninfo(address: PagesAddress, database: str) -> str:
    from psycopg.conninfo import make_conninfo

    values: dict[str, str] = {
        **address.parameters,
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "sslmode": address.tls,
    }
    given = {name: value for name, value in values.items() if value}
    return make_conninfo("", dbname=database, **given)


def _run(
    address: PagesAddress, database: str, command: list[str], files: list[str]
) -> None:
    program = shutil.which(command[0])
    if program is None:
        raise PagesElsewhere(missing=command[0])
    environment = {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C"}
    if address.password:
        environment["PGPASSWORD"] = address.password
    conninfo = _make_conninfo(address, database)
    done = subprocess.run(
        [program, *command[1:], f"--dbname={conninfo}", *files],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no reason given"]
        raise StorageFailed(f"{command[0]}: {lines[0]}")
