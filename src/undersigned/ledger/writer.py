"""Group commit of signatures: the one thread that writes the ledger file.

A signature is queued with a callback. The thread takes what has gathered (at most
``MAX_BATCH``), sorts it by nonce, commits it in one transaction with
synchronous=FULL, and only then calls back. Everything else that writes (publication,
control leaves, closing) is a task on the same thread, between two batches.

Crash before the commit: nobody was told anything, the client sends the same body
again. Crash after it: the retry finds its own row and is answered as the first time.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from undersigned.kernel.batching import BatchThread, StoreStopped, split_by_size
from undersigned.kernel.errors import Refused, StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.open_log import OpenLog

MAX_BATCH = 1000
GATHER_SECONDS = 0.005

Done = Callable[[BaseException | None], None]

# A batch is a few statements of many rows, not many of one: see split_by_size.
CHUNKS = (256, 64, 16, 4, 1)


def _make_insert(rows: int) -> str:
    marks = ", ".join(["(?, ?, ?, ?)"] * rows)
    return f"INSERT OR IGNORE INTO inbox (log, nonce, leaf, shown) VALUES {marks}"  # noqa: S608 - question marks only


def _make_select(rows: int) -> str:
    # A list for one log: for pairs, (log, nonce) IN (VALUES …), SQLite reads the whole
    # table, which is every signature ever published.
    marks = ", ".join("?" * rows)
    return f"SELECT nonce FROM nonce WHERE log=? AND nonce IN ({marks})"  # noqa: S608 - question marks only


_SELECTS = {rows: _make_select(rows) for rows in CHUNKS}
_INSERTS = {rows: _make_insert(rows) for rows in CHUNKS}


class LogNotAccepting(Refused):
    """The log takes no more signatures."""

    code: ClassVar[str] = "campaign-closed"


@dataclass(slots=True)
class _Submission:
    log: OpenLog
    pooled: PooledSignature
    done: Done


class Writer(BatchThread[_Submission]):
    """Owns the writing connection and its thread."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        *,
        on_failure: Callable[[BaseException], None],
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self.connection = connection
        super().__init__(
            name="ledger-writer",
            commit=self._commit_batch,
            refuse=lambda item: item.done(StoreStopped()),
            on_failure=on_failure,
            max_batch=MAX_BATCH,
            gather_seconds=gather_seconds,
        )

    def submit(self, log: OpenLog, pooled: PooledSignature, done: Done) -> None:
        """Queue one signature. ``done(None)`` once durable, else ``done(error)``.

        ``done`` runs on the writer thread and must return at once.
        """
        self.put(_Submission(log, pooled, done))

    def _commit_batch(self, batch: list[_Submission]) -> None:
        accepted = [item for item in batch if item.log.accepting]
        # Sorted, so that rows committed together do not show who came first.
        accepted.sort(key=lambda item: (item.log.log_id, item.pooled.nonce))
        try:
            self.connection.execute("BEGIN IMMEDIATE")
            for log_id, of_log in groupby(accepted, lambda item: item.log.log_id):
                for chunk in split_by_size(list(of_log), CHUNKS):
                    self._insert(log_id, chunk)
            self.connection.execute("COMMIT")
        except sqlite3.Error as error:
            for item in batch:
                item.done(StoreStopped())
            raise StorageFailed(f"couldn't commit signatures: {error}") from error
        for item in batch:
            if item.log.accepting or self._is_known(item):
                item.done(None)
            else:
                item.done(LogNotAccepting())

    def _is_known(self, item: _Submission) -> bool:
        """Whether a closed log holds it already: the same body, the same answer."""
        key = (item.log.log_id, item.pooled.nonce)
        found = self.connection.execute(
            "SELECT 1 FROM nonce WHERE log=? AND nonce=? "
            "UNION ALL SELECT 1 FROM inbox WHERE log=? AND nonce=?",
            (*key, *key),
        ).fetchone()
        return found is not None

    def _insert(self, log_id: int, chunk: list[_Submission]) -> None:
        """Pool what is neither pooled nor published yet, all of one log."""
        db = self.connection
        found = db.execute(
            _SELECTS[len(chunk)], [log_id, *(item.pooled.nonce for item in chunk)]
        ).fetchall()
        if found:
            published = {nonce for (nonce,) in found}
            chunk = [item for item in chunk if item.pooled.nonce not in published]
        values = [
            value
            for item in chunk
            for value in (
                log_id,
                item.pooled.nonce,
                item.pooled.leaf,
                item.pooled.shown,
            )
        ]
        if chunk:
            db.execute(
                _INSERTS.get(len(chunk)) or _make_insert(len(chunk)),
                values,
            )
