"""Group commit of signatures: the one thread that writes the ledger.

A signature is queued with a callback. The thread takes what has gathered (at most
``MAX_BATCH``), has the store commit it durably, sorted by nonce, in one transaction,
and only then calls back. Everything else that writes (publication,
control leaves, closing) is a task on the same thread, between two batches.

Crash before the commit: nobody was told anything, the client sends the same body
again. Crash after it: the retry finds its own row and is answered as the first time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from undersigned.kernel.batching import BatchThread, StoreStopped
from undersigned.kernel.errors import Refused, StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.store import Store

MAX_BATCH = 1000
GATHER_SECONDS = 0.005

Done = Callable[[BaseException | None], None]


class LogNotAccepting(Refused):
    """The log takes no more signatures."""

    code: ClassVar[str] = "campaign-closed"


@dataclass(slots=True)
class _Submission:
    log: OpenLog
    pooled: PooledSignature
    done: Done


class Writer(BatchThread[_Submission]):
    """Owns the store's writing side and its thread."""

    def __init__(
        self,
        store: Store,
        *,
        on_failure: Callable[[BaseException], None],
        gather_seconds: float = GATHER_SECONDS,
    ) -> None:
        self._store = store
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
        try:
            refused = self._store.pool(
                [(item.log.log_id, item.pooled) for item in batch if item.log.accepting]
            )
        except StorageFailed:
            for item in batch:
                item.done(StoreStopped())
            raise
        for item in batch:
            if item.log.accepting:
                key = (item.log.log_id, item.pooled.nonce)
                item.done(LogNotAccepting() if key in refused else None)
            else:
                item.done(None if self._is_known(item) else LogNotAccepting())

    def _is_known(self, item: _Submission) -> bool:
        """Whether a closed log holds it already: the same body, the same answer."""
        key = (item.log.log_id, item.pooled.nonce)
        return bool(
            self._store.query(
                "SELECT 1 FROM nonce WHERE log=? AND nonce=? "
                "UNION ALL SELECT 1 FROM inbox WHERE log=? AND nonce=?",
                (*key, *key),
            )
        )
