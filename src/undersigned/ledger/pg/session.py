"""A connection whose commits are what they say they are.

Two things that libpq lets pass are failures here. A commit that did not wait for its
synchronous standby: PostgreSQL then commits on this machine alone and says so in a
warning. And a session that does not wait for the disk at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Connection, IsolationLevel
from psycopg.errors import Diagnostic

from undersigned.kernel.errors import StorageFailed

# Settings without which "committed" means nothing.
_DURABLE = ("fsync", "full_page_writes", "synchronous_commit")


class NotDurable(StorageFailed):
    """The server does not do what durability asks of it."""


class Session:
    """One connection of one thread, outside a transaction but for ``transaction``."""

    def __init__(self, url: str) -> None:
        """Connect. Raises StorageFailed (NotDurable where the server is careless)."""
        try:
            self.connection: Connection[Any] = psycopg.connect(url, autocommit=True)
        except psycopg.Error as error:
            # libpq's text names host and role, never the password.
            raise StorageFailed(f"couldn't reach the ledger: {error}") from None
        # What inbox and lease rest on: each statement sees what is committed by then.
        self.connection.isolation_level = IsolationLevel.READ_COMMITTED
        self._warnings: list[str] = []
        self.connection.add_notice_handler(self._hear)
        self._require_durable()

    def _hear(self, notice: Diagnostic) -> None:
        if notice.severity_nonlocalized == "WARNING":
            self._warnings.append(notice.message_primary or "")

    def _require_durable(self) -> None:
        rows = self.connection.execute(
            "SELECT name, setting FROM pg_settings WHERE name = ANY(%s)",
            (list(_DURABLE),),
        ).fetchall()
        for name, setting in rows:
            if setting == "off":
                self.connection.close()
                raise NotDurable(f"the ledger's server has {name} off")

    @contextmanager
    def transaction(self) -> Iterator[Connection[Any]]:
        """Run a transaction; committed, on every disk that was asked for, at its end.

        Any error of the database is a StorageFailed: whether a commit whose answer
        was lost stands is not known, so nothing may be retried in place.
        """
        del self._warnings[:]
        try:
            with self.connection.transaction():
                yield self.connection
        except psycopg.Error as error:
            raise StorageFailed(f"couldn't commit: {type(error).__name__}") from error
        if self._warnings:
            raise NotDurable(f"committed on one machine only: {self._warnings[0]}")

    def close(self) -> None:
        """Close; what is not committed is not there."""
        self.connection.close()
