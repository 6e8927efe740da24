"""Where a test's ledger lies: in a file, or on the server of a run on PostgreSQL."""

from __future__ import annotations

import itertools
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit, urlunsplit

from undersigned.config.env import NAME_OF_TEST_LEDGER
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.store import Store

LEDGER = "ledger.sqlite3"
PATIENCE_SECONDS = 10.0
_numbers = itertools.count(1)
# Databases of this test, to be removed after it.
_made: list[str] = []


class Home(Protocol):
    """One ledger's place. What is done to it, is done while the ledger is stopped."""

    def open(self) -> Store:
        """Open it as the sequencer does."""

    def copy(self, folder: Path) -> Home:
        """Return the home of a copy as it is now; a file's lies in ``folder``."""

    def become(self, other: Home) -> None:
        """Hold what another one holds, and nothing else."""

    def lose(self) -> None:
        """Hold nothing."""

    def damage(self, statement: str) -> None:
        """Change rows behind everybody's back."""


def is_on_server() -> bool:
    """Whether this run's ledgers are on a server."""
    return NAME_OF_TEST_LEDGER in os.environ


def make_home(folder: Path) -> Home:
    """Return where a new ledger lies."""
    return ServerHome() if is_on_server() else FileHome(folder)


class FileHome:
    """A ledger in a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def open(self) -> Store:
        """Open the file, making it where it is new."""
        self.folder.mkdir(parents=True, exist_ok=True)
        return EmbeddedStore(self.folder / LEDGER)

    def copy(self, folder: Path) -> Home:
        """Copy the file, as a careless operator's backup does."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / LEDGER).exists():
            shutil.copyfile(self.folder / LEDGER, folder / LEDGER)
        return FileHome(folder)

    def become(self, other: Home) -> None:
        """Put another file in this one's place."""
        assert isinstance(other, FileHome)
        self.lose()
        shutil.copyfile(other.folder / LEDGER, self.folder / LEDGER)

    def lose(self) -> None:
        """Remove the file and its journal."""
        for path in self.folder.glob(f"{LEDGER}*"):
            path.unlink()

    def damage(self, statement: str) -> None:
        """Change rows by another connection."""
        with closing(sqlite3.connect(self.folder / LEDGER)) as db, db:
            db.execute(statement)


class ServerHome:
    """A ledger in a database of its own."""

    def __init__(self, template: str = "ledger_template") -> None:
        self.name = f"ledger_{os.getpid()}_{next(_numbers)}"
        self._make(template)
        _made.append(self.name)

    @property
    def url(self) -> str:
        """How the role ``ledger`` reaches it."""
        parts = urlsplit(os.environ[NAME_OF_TEST_LEDGER])
        return urlunsplit(parts._replace(path=f"/{self.name}"))

    def _make(self, template: str) -> None:
        _run(f'CREATE DATABASE "{self.name}" TEMPLATE "{template}" OWNER ledger')

    def open(self) -> Store:
        """Connect, and become the sequencer."""
        from undersigned.config.env import parse_database_url
        from undersigned.config.ledger import make_conninfo, take_over
        from undersigned.ledger.pg.store import PostgresStore

        store = PostgresStore(make_conninfo(parse_database_url(self.url)))
        try:
            take_over(store)
        except BaseException:
            store.close()
            raise
        return store

    def copy(self, folder: Path) -> Home:
        """Copy the database."""
        return ServerHome(self.name)

    def become(self, other: Home) -> None:
        """Make the database anew from another one."""
        assert isinstance(other, ServerHome)
        self._drop()
        self._make(other.name)

    def lose(self) -> None:
        """Make the database anew, with nothing in it."""
        self._drop()
        self._make("ledger_template")

    def damage(self, statement: str) -> None:
        """Change rows by another session."""
        import psycopg

        with psycopg.connect(self.url) as connection:
            connection.execute(statement.encode())

    def _drop(self) -> None:
        _drop(self.name)


def copy_server(url: str) -> ServerHome:
    """Return the home of a copy of the stopped ledger at ``url``."""
    return ServerHome(urlsplit(url).path.removeprefix("/"))


def drop_homes() -> None:
    """Remove the databases of a test."""
    while _made:
        _drop(_made.pop())


def _drop(name: str) -> None:
    """Remove a database, whoever is in it still.

    A process of the server's own (a checkpoint of statistics, a worker) cannot be sent
    away by a role without rights; it leaves by itself.
    """
    import psycopg

    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            _run(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')
            return
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectInUse):
            if time.monotonic() > until:
                raise
            time.sleep(0.1)


def _run(statement: str) -> None:
    import psycopg

    with psycopg.connect(
        os.environ[NAME_OF_TEST_LEDGER], autocommit=True
    ) as connection:
        connection.execute(statement.encode())
