"""Debian's PostgreSQL, in a temporary folder, for the length of a ``with`` block."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from bench import _programs

_CANDIDATES = ("postgres", "nobody")
# The defaults, written out: every commit waits for the disk. No socket file is needed.
_OPTIONS = {
    "listen_addresses": _programs.HOST,
    "unix_socket_directories": "",
    "synchronous_commit": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "max_connections": "50",
}


class NoPostgres(Exception):
    """There is no PostgreSQL here, or nobody it may run as."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server."""

    pid: int
    dsn: str
    version: str


def _find_bin() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise NoPostgres("no PostgreSQL: apt-get install postgresql-15")
    for path in found:
        if path.parts[-3] == "15":
            return path.parent
    return found[-1].parent


def _find_user() -> int | None:
    """Return whom to run as: PostgreSQL refuses root. None: as we are."""
    if os.geteuid() != 0:
        return None
    for name in _CANDIDATES:
        try:
            return pwd.getpwnam(name).pw_uid
        except KeyError:
            continue
    raise NoPostgres("root may not run PostgreSQL, and there is no other user")


@contextmanager
def start(folder: Path) -> Iterator[Postgres]:
    """Run a fresh server. ``folder``: for its output. Raises NoPostgres."""
    programs, user = _find_bin(), _find_user()
    # Not below the checkout: the other user must reach it through every folder.
    top = Path(tempfile.mkdtemp(prefix="undersigned-floor-"))
    try:
        if user is not None:
            os.chown(top, user, -1)
        environment = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"}
        command = [str(programs / "initdb"), "-D", str(top / "data"), "-A", "trust"]
        command += ["-U", "bench", "-E", "UTF8"]
        made = subprocess.run(
            command,
            env=environment,
            cwd="/",
            user=user,
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode != 0:
            raise NoPostgres(f"initdb failed: {made.stderr[-1000:]}")
        port = _programs.find_port()
        command = [str(programs / "postgres"), "-D", str(top / "data"), "-p", str(port)]
        for name, value in _OPTIONS.items():
            command += ["-c", f"{name}={value}"]
        said = folder / "postgres.txt"
        with _programs.start(
            command, environment, port=port, said=said, user=user
        ) as pid:
            dsn = f"host={_programs.HOST} port={port} user=bench dbname=postgres"
            yield Postgres(pid, dsn, _read_version(dsn))
    finally:
        shutil.rmtree(top, ignore_errors=True)


def _read_version(dsn: str) -> str:
    with _connect(dsn) as connection:
        row = connection.execute("SHOW server_version").fetchone()
    return str(row[0]).split()[0] if row else "?"


def _connect(dsn: str) -> psycopg.Connection[tuple[object, ...]]:
    # It listens a moment before it is ready.
    until = time.monotonic() + 30
    while True:
        try:
            return psycopg.connect(dsn, autocommit=True)
        except psycopg.OperationalError:
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def make_table(dsn: str) -> None:
    """Make the floor's one table, empty."""
    with _connect(dsn) as connection:
        connection.execute("DROP TABLE IF EXISTS inbox")
        connection.execute(
            "CREATE TABLE inbox (nonce bytea PRIMARY KEY, leaf bytea NOT NULL)"
        )


def count_rows(dsn: str) -> int:
    """Return how many rows the floor has written."""
    with _connect(dsn) as connection:
        row = connection.execute("SELECT count(*) FROM inbox").fetchone()
    return int(str(row[0])) if row else 0
