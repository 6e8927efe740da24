"""What keeps the ledger: the seam between the logs and the database they lie in.

``embedded`` keeps them in one file of SQLite's, under one writer; ``pg.store`` in
PostgreSQL, for several web processes and a sequencer that another may follow. What is
appended, signed and exported is the same for both; so are most statements, which are
written in the SQL that both read, with ``?`` for each value. Where the two must differ
for speed, or to keep apart processes that only one of them has, there is a method.

Everything but ``read`` belongs to one thread: the writer's, or whoever holds the store
before the writer runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

from undersigned.ledger.data import PooledSignature

# The level of tile rows that hold entry bundles.
BUNDLE_LEVEL = -1
# The number under which the spine keeps its tiles and checkpoints.
SPINE_ID = 0

Row = tuple[Any, ...]
# What must differ among pooled and published signatures: the log's id and the nonce.
Key = tuple[int, bytes]


class Store(Protocol):
    """A ledger's rows. Whatever fails raises StorageFailed, and nothing may go on."""

    @property
    def is_shared(self) -> bool:
        """Whether the last process to move a log may have had another disk."""

    def query(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a reading statement."""

    def stream(
        self, statement: str, parameters: Sequence[object] = ()
    ) -> Iterator[Row]:
        """Yield the rows of a reading statement, to its end, however many."""

    def change(self, statement: str, parameters: Sequence[object] = ()) -> int:
        """Run a writing statement and return how many rows it changed."""

    def change_each(self, statement: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a writing statement once for each row of values."""

    def transaction(self) -> AbstractContextManager[object]:
        """Group statements: durable together at its end, or none after an error."""

    def read(self, statement: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return rows as committed by now. From any thread."""

    def take(self, log_id: int, origin: str) -> None:
        """Take the right to move a log, before anything of it is read."""

    def note_checked(self) -> None:
        """Say to processes that stand by that this ledger may go on as it is."""

    def add_log(self, *, origin: str, settings: str, accepting: bool = True) -> int:
        """Record a log, where there is none of this origin, and return its id.

        ``settings``: as ``open_log.encode_settings`` writes them.
        """

    def pool(self, arrivals: Sequence[tuple[int, PooledSignature]]) -> set[Key]:
        """Pool verified signatures, each with its log's id; durable once returned.

        What is pooled or published already is left as it is. Returns what a log that
        takes no more has refused and does not hold.
        """

    def stop_accepting(self, log_id: int) -> None:
        """Let a log take no more: on return every batch that found it open is done."""

    def publish_signatures(
        self,
        log_id: int,
        *,
        numbered: Sequence[tuple[bytes, int]],
        shown: Sequence[tuple[bytes, int, int, bytes]],
    ) -> None:
        """Move signatures from the pool among the published, within a transaction.

        ``numbered``: nonces with their indexes; ``shown``: nonce, index, stance and
        record of those that show something. Both sorted.
        """

    def move_log(
        self,
        log_id: int,
        *,
        old_size: int,
        new_size: int,
        frontier: bytes,
    ) -> None:
        """Grow a log, within the transaction that holds what it grew by.

        ``frontier``: the concatenated hashes. Raises StorageFailed where the log is
        not at ``old_size`` or not this process's any more: nothing is committed then.
        """

    def move_spine(
        self, *, old_size: int, new_size: int, frontier: bytes, client: str | None
    ) -> None:
        """Grow the spine; as ``move_log``."""

    def empty_journal(self) -> None:
        """Clear the order of requests, where it costs little. Outside transactions."""

    def settle(self) -> None:
        """Clear the order of requests, once a tick. Outside transactions."""

    def close(self) -> None:
        """Close; what is not committed is not there."""
