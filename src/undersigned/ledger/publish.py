"""The sequencer: from pool to checkpoint, in one transaction (PROTOCOL §4.6, §5).

Runs on the writer thread. Numbered as the crash drill kills it:

1. choose   what may be published now: control leaves that still apply, signatures of
            keys whose crowd is large enough. A crash here loses nothing: only memory.
2. append   to the tree in memory.
3. commit   leaves, edge tiles, checkpoint, nonce index, pool deletions. A crash before
            this line rolls back: nobody saw anything. After it the log has grown.
4. mark     the high-water file. A crash before it: the mark is behind the database,
            which is allowed; the next start publishes the same files.
5. export   tiles, checkpoint, count. A crash here: ``export.write_all`` repeats it.
6. hand on  shown records and the notice to others. Idempotent by nonce and by size.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from undersigned_verify import entry, merkle
from undersigned_verify.errors import Fault

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger import export
from undersigned.ledger.data import PooledSignature, Published, ShownRecord
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.open_log import CELL_BLOCK, OpenLog
from undersigned.ledger.store import Store
from undersigned.ledger.tree import TileKey

_logger = logging.getLogger("undersigned.ledger")

# One checkpoint takes at most this many signatures; what is left follows at once in a
# checkpoint of its own. Bounds the memory of a publication after a burst.
MAX_SIGNATURES = 65_536
WAITED_LONG_SECONDS = 24 * 3600
_SIGNATURE_PREFIX = bytes([1, 1])

Step = Callable[[str], None]
# Says whether a signature that somebody pooled is what it should be.
CheckPooled = Callable[[OpenLog, PooledSignature], bool]


@dataclass(slots=True)
class _Batch:
    controls: list[tuple[bytes, entry.Entry]] = field(default_factory=list)
    refused: list[bytes] = field(default_factory=list)
    signatures: list[tuple[bytes, bytes, bytes, bytes | None]] = field(
        default_factory=list
    )  # leaf hash, nonce, leaf, shown
    more: bool = False

    def __bool__(self) -> bool:
        return bool(self.controls or self.signatures or self.refused)


@contextmanager
def _fatal(log: OpenLog) -> Iterator[None]:
    try:
        yield
    except StorageFailed:
        raise
    except Exception as error:
        raise StorageFailed(
            f"{log.origin}: publishing failed: {type(error).__name__}: {error}"
        ) from error


def _share_out(keys: dict[int, int], *, k: int) -> dict[int, int]:
    """Return how many signatures of each key go into one checkpoint.

    Whole keys while they fit. A key that alone is too large is cut so that what stays
    behind is a crowd too: neither part may be smaller than ``k``.
    """
    quota: dict[int, int] = {}
    room = MAX_SIGNATURES
    for key, count in sorted(keys.items()):
        if count <= room:
            quota[key] = count
            room -= count
        elif not quota:
            quota[key] = min(MAX_SIGNATURES, max(count - k, k))
            break
    return quota


class Sequencer:
    """Publishes logs over one store and one high-water file."""

    def __init__(
        self,
        store: Store,
        high_water: HighWater,
        *,
        on_shown: Callable[[list[ShownRecord]], None],
        on_erased: Callable[[list[bytes]], object],
        on_published: Callable[[Published], None],
        at_step: Step = lambda _name: None,
        check_pooled: CheckPooled | None = None,
    ) -> None:
        """``at_step`` is told each step's name: drills stop the process there.

        ``check_pooled``: for a pool that other processes add to. One of them that was
        broken into could add anything; what does not pass is taken out before crowds
        are counted, and never published. None: only this process adds.
        """
        self._store = store
        self._high_water = high_water
        self._on_shown = on_shown
        self._on_erased = on_erased
        self._on_published = on_published
        self._at_step = at_step
        self._check_pooled = check_pooled
        # By log: what waits and was checked, nonces with the leaf's two bytes of key.
        self._checked: dict[int, dict[bytes, bytes]] = {}
        self._stored_cells: dict[int, bytes] = {}

    def adopt(self, log: OpenLog) -> None:
        """Note what the database holds of a log just loaded or created."""
        self._stored_cells[log.log_id] = bytes(log.state.cells)

    def publish(
        self, log: OpenLog, *, at: datetime, ignore_crowd: bool = False
    ) -> list[Published]:
        """Publish what may be published now; several checkpoints after a burst.

        An error that nobody foresaw is fatal like a storage failure: the state in
        memory may be ahead of the database by then.

        ``at``: the tick of the clock, already rounded to the interval.
        ``ignore_crowd``: for closing, when everything pooled must come out.
        Raises StorageFailed, which ends the writer.
        """
        done: list[Published] = []
        while True:
            with _fatal(log):
                self._at_step("choose")
                batch = self._choose(log, at=at, ignore_crowd=ignore_crowd)
                if not batch:
                    self.hand_on(log)
                    return done
                done.append(self._publish_batch(log, batch, at=at))
                if not batch.more:
                    return done

    def publish_close(self, log: OpenLog, *, reason: str, at: datetime) -> Published:
        """Append the close leaf, alone in its interval."""
        leaf = entry.encode(entry.Close(reason=reason, totals=log.state.totals()))
        batch = _Batch(controls=[(leaf, entry.parse(leaf))])
        with _fatal(log):
            log.state.apply(log.size, batch.controls[0][1])
            return self._publish_batch(log, batch, at=at)

    def publish_first(
        self, log: OpenLog, leaves: list[bytes], *, at: datetime
    ) -> Published:
        """Append a new log's header and first keys in one checkpoint."""
        ordered = sorted(leaves, key=lambda leaf: (leaf[1], merkle.leaf_hash(leaf)))
        batch = _Batch()
        self._apply_controls(log, ordered, batch)
        if batch.refused:
            raise StorageFailed(f"{log.origin}: its first leaves contradict each other")
        return self._publish_batch(log, batch, at=at)

    # 1. choose

    def _choose(self, log: OpenLog, *, at: datetime, ignore_crowd: bool) -> _Batch:
        batch = _Batch()
        self._resolve_withdrawals(log)
        leaves = [
            leaf
            for (leaf,) in self._store.query(
                "SELECT leaf FROM control WHERE log=?", (log.log_id,)
            )
        ]
        leaves.sort(key=lambda leaf: (leaf[1], merkle.leaf_hash(leaf)))
        self._apply_controls(log, leaves, batch)
        self._sift(log)
        keys = self._publishable_keys(log, at=at, ignore_crowd=ignore_crowd)
        if keys:
            self._take_signatures(log, keys, batch)
        return batch

    def _resolve_withdrawals(self, log: OpenLog) -> None:
        """Turn withdrawals whose target is public by now into control leaves."""
        found = self._store.query(
            "SELECT w.nonce, w.w, n.idx FROM withdrawal w JOIN nonce n "
            "ON n.log = w.log AND n.nonce = w.nonce WHERE w.log=?",
            (log.log_id,),
        )
        if not found:
            return
        leaves = [
            entry.encode(entry.Withdrawal(target=index, w=w))
            for _nonce, w, index in found
        ]
        with self._store.transaction():
            self._store.change_each(
                "INSERT INTO control VALUES (?, ?, ?) ON CONFLICT DO NOTHING",
                [(log.log_id, merkle.leaf_hash(leaf), leaf) for leaf in leaves],
            )
            self._store.change_each(
                "DELETE FROM withdrawal WHERE log=? AND nonce=?",
                [(log.log_id, nonce) for nonce, _w, _index in found],
            )

    def _apply_controls(
        self, log: OpenLog, leaves: Iterable[bytes], batch: _Batch
    ) -> None:
        for leaf in leaves:
            parsed = entry.parse(leaf)
            try:
                log.state.apply(log.size + len(batch.controls), parsed)
            except Fault:
                # Something published since it was handed in made it void: a removal
                # of a signature withdrawn meanwhile, a second withdrawal.
                batch.refused.append(leaf)
            else:
                batch.controls.append((leaf, parsed))

    def _sift(self, log: OpenLog) -> None:
        """Take out of the pool what was not made by a signer, and note the rest."""
        if self._check_pooled is None:
            return
        before = self._checked.get(log.log_id, {})
        good: dict[bytes, bytes] = {}
        bad: list[bytes] = []
        rows = self._store.stream(
            "SELECT nonce, leaf, shown FROM inbox WHERE log=?", (log.log_id,)
        )
        for nonce, leaf, shown in rows:
            # Nobody but the sequencer can change or remove a row.
            if nonce in before or self._check_pooled(
                log, PooledSignature(nonce, leaf, shown)
            ):
                good[nonce] = leaf[2:4]
            else:
                bad.append(nonce)
        self._checked[log.log_id] = good
        if not bad:
            return
        _logger.critical(
            "%s: %d rows in the pool are no signatures and were removed: whoever adds "
            "to it, as the role intake, is not to be trusted any more",
            log.origin,
            len(bad),
        )
        with self._store.transaction():
            self._store.change_each(
                "DELETE FROM inbox WHERE log=? AND nonce=?",
                [(log.log_id, nonce) for nonce in bad],
            )

    def _count_waiting(self, log: OpenLog) -> Iterable[tuple[bytes, int]]:
        """Return how many wait under each key, as the leaf's two bytes."""
        if self._check_pooled is not None:
            return Counter(self._checked[log.log_id].values()).items()
        return self._store.query(
            "SELECT substr(leaf, 3, 2), count(*) FROM inbox WHERE log=? GROUP BY 1",
            (log.log_id,),
        )

    def _publishable_keys(
        self, log: OpenLog, *, at: datetime, ignore_crowd: bool
    ) -> dict[int, int]:
        """Return the keys that may be published now, with how many wait under each."""
        counts = self._count_waiting(log)
        settings = log.settings
        chosen: dict[int, int] = {}
        tick = int(at.timestamp())
        for raw, count in counts:
            key_index = int.from_bytes(raw)
            if (
                ignore_crowd
                or settings.mode == "standard"
                or key_index in settings.uncounted_keys
                or count >= settings.k
                or (
                    settings.mode == "careful"
                    and self._has_waited_long(log, key_index, tick)
                )
            ):
                chosen[key_index] = count
        return chosen

    def _has_waited_long(self, log: OpenLog, key_index: int, tick: int) -> bool:
        rows = self._store.query(
            "SELECT since FROM waiting WHERE log=? AND key_index=?",
            (log.log_id, key_index),
        )
        if rows:
            return bool(tick - rows[0][0] >= WAITED_LONG_SECONDS)
        with self._store.transaction():
            self._store.change(
                "INSERT INTO waiting VALUES (?, ?, ?)", (log.log_id, key_index, tick)
            )
        return False

    def _take_signatures(
        self, log: OpenLog, keys: dict[int, int], batch: _Batch
    ) -> None:
        quota = _share_out(keys, k=log.settings.k)
        batch.more = quota != keys
        left = {key.to_bytes(2): count for key, count in quota.items()}
        rows = self._store.stream(
            "SELECT nonce, leaf, shown FROM inbox WHERE log=?", (log.log_id,)
        )
        # What has come since it was looked at waits for the next time.
        checked = self._checked.get(log.log_id, {})
        for nonce, leaf, shown in rows:
            if self._check_pooled is not None and nonce not in checked:
                continue
            if left.get(leaf[2:4], 0):
                left[leaf[2:4]] -= 1
                batch.signatures.append((merkle.leaf_hash(leaf), nonce, leaf, shown))
        batch.signatures.sort(key=lambda row: row[0])
        first = log.size + len(batch.controls)
        for offset, (_hash, _nonce, leaf, _shown) in enumerate(batch.signatures):
            try:
                log.state.apply(first + offset, entry.parse(leaf))
            except Fault as fault:
                raise StorageFailed(
                    f"{log.origin}: a pooled signature does not apply: {fault}"
                ) from fault

    # 2. append, 3. commit, 4. mark, 5. export, 6. hand on

    def _publish_batch(self, log: OpenLog, batch: _Batch, *, at: datetime) -> Published:
        first = log.size
        leaves = [leaf for leaf, _parsed in batch.controls]
        leaves += [leaf for _hash, _nonce, leaf, _shown in batch.signatures]
        if not leaves:
            with self._store.transaction():
                self._forget_refused(log, batch)
            return self._published(log, batch)
        self._at_step("append")
        touched = log.append(leaves)
        log.state.checkpoint(log.size)
        if log.key is None:
            raise StorageFailed(f"{log.origin}: the log key is missing")
        note = log.key.sign_checkpoint(log.size, log.root)
        net = int(log.state.totals()["net"])
        tick = log.published_at = int(at.timestamp())
        self._at_step("before-commit")
        with self._store.transaction():
            self._write(log, batch, first=first, touched=touched)
            self._store.change(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)",
                (log.log_id, log.size, note, tick, net),
            )
        self._at_step("after-commit")
        self._store.empty_journal()
        self._high_water.raise_to(log.origin, log.size, log.root)
        self._at_step("after-mark")
        self._export(log, note=note, net=net, tick=tick)
        self._at_step("after-export")
        self.hand_on(log)
        published = self._published(log, batch)
        self._on_published(published)
        self._at_step("after-hand-on")
        return published

    def _published(self, log: OpenLog, batch: _Batch) -> Published:
        return Published(
            origin=log.origin,
            size=log.size,
            root=log.root,
            signatures=len(batch.signatures),
            refused=tuple(batch.refused),
        )

    def _write(
        self,
        log: OpenLog,
        batch: _Batch,
        *,
        first: int,
        touched: set[TileKey],
    ) -> None:
        store, log_id = self._store, log.log_id
        start = first + len(batch.controls)
        store.change_each(
            "INSERT INTO published_control VALUES (?, ?, ?)",
            [
                (log_id, first + offset, leaf)
                for offset, (leaf, parsed) in enumerate(batch.controls)
                if not isinstance(parsed, entry.Withdrawal)
            ],
        )
        store.publish_signatures(
            log_id,
            numbered=sorted(
                (nonce, start + offset)
                for offset, (_hash, nonce, _leaf, _shown) in enumerate(batch.signatures)
            ),
            shown=sorted(
                (nonce, start + offset, leaf[4], shown)
                for offset, (_hash, nonce, leaf, shown) in enumerate(batch.signatures)
                if shown is not None
            ),
        )
        keys = {leaf[2:4] for _hash, _nonce, leaf, _shown in batch.signatures}
        store.change_each(
            "DELETE FROM waiting WHERE log=? AND key_index=?",
            [(log_id, int.from_bytes(key)) for key in keys],
        )
        store.change_each(
            "DELETE FROM control WHERE log=? AND leaf_hash=?",
            [(log_id, merkle.leaf_hash(leaf)) for leaf, _parsed in batch.controls],
        )
        self._forget_refused(log, batch)
        log.write_rows(store, touched)
        self._write_cells(log)
        store.move_log(
            log_id,
            old_size=first,
            new_size=log.size,
            frontier=b"".join(log.frontier.hashes),
        )

    def _write_cells(self, log: OpenLog) -> None:
        cells, stored = log.state.cells, self._stored_cells.get(log.log_id, b"")
        fresh = bytes(cells)
        rows = []
        for block, at in enumerate(range(0, len(fresh), CELL_BLOCK)):
            piece = fresh[at : at + CELL_BLOCK]
            if piece != stored[at : at + CELL_BLOCK]:
                rows.append((log.log_id, block, piece))
        self._store.change_each(
            "INSERT INTO cells VALUES (?, ?, ?) "
            "ON CONFLICT (log, block) DO UPDATE SET data=excluded.data",
            rows,
        )
        self._stored_cells[log.log_id] = fresh

    def _forget_refused(self, log: OpenLog, batch: _Batch) -> None:
        for leaf in batch.refused:
            # Whoever handed it in was told that it was taken. What it says stays out
            # of the message: it may hold a withdrawal's secret.
            _logger.warning(
                "%s: a %s handed in before does not apply any more; not published",
                log.origin,
                type(entry.parse(leaf)).__name__,
            )
        self._store.change_each(
            "DELETE FROM control WHERE log=? AND leaf_hash=?",
            [(log.log_id, merkle.leaf_hash(leaf)) for leaf in batch.refused],
        )

    def _export(self, log: OpenLog, *, note: bytes, net: int, tick: int) -> None:
        try:
            full = export.write_tiles(log)
            export.append_growth(log, size=log.size, net=net, at=tick)
            export.write_checkpoint(log, size=log.size, note=note)
            export.drop_old_partials(log)
        except OSError as error:
            raise StorageFailed(f"{log.origin}: couldn't export: {error}") from error
        log.note_written(full)

    def hand_on(self, log: OpenLog) -> None:
        """Give the pages database what is to be shown, and what no longer is.

        Whatever ails that database, the log is published by then and owes it nothing:
        the rows stay here and go at the next tick or start. Raises StorageFailed when
        the ledger itself fails.
        """
        shown = self._store.query(
            "SELECT nonce, idx, stance, data FROM shown WHERE log=?", (log.log_id,)
        )
        erased = self._store.query(
            "SELECT nonce FROM erasure WHERE log=?", (log.log_id,)
        )
        if not shown and not erased:
            return
        try:
            if shown:
                self._on_shown([ShownRecord(log.origin, *row) for row in shown])
            if erased:
                self._on_erased([nonce for (nonce,) in erased])
        except Exception as error:  # noqa: BLE001 - any failure of the other database
            # Its text could quote what a signer wrote: only its kind is told.
            _logger.error(
                "%s: what signers show or erased waits for the pages database: %s",
                log.origin,
                type(error).__name__,
            )
            return
        with self._store.transaction():
            for table in ("shown", "erasure"):
                self._store.change(
                    f"DELETE FROM {table} WHERE log=?",  # noqa: S608 - two fixed names
                    (log.log_id,),
                )
        self._store.empty_journal()

    def finish_interrupted(self, log: OpenLog) -> None:
        """After a start: repeat steps 4 to 6 of a publication that was cut off."""
        if log.size:
            self._high_water.raise_to(log.origin, log.size, log.root)
        export.write_all(log, self._store)
        log.note_written([key for key in log.unwritten if log.is_full(*key)])
        self.hand_on(log)
