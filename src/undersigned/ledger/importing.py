"""Bringing a log in the database to where a verified mirror shows it to be.

Leaf by leaf, through the same state machine and tree as a publication; committed at
kept checkpoints only, so that a recovery that is cut off leaves a state that was
published once. What waited in the pool and is found in the mirror leaves the pool. What
signers show is in no mirror: only what waited beside a pooled signature goes on.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from typing_extensions import override

from undersigned_verify import entry, merkle, tile, token
from undersigned_verify import spine as spine_leaves
from undersigned_verify.errors import Fault

from undersigned.kernel.batching import split_by_size
from undersigned.kernel.durable import (
    make_public_folder,
    sync_names,
    write_atomic,
    write_durable,
)
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger import export
from undersigned.ledger.data import LogSettings
from undersigned.ledger.mirrors import (
    Mirror,
    OnLeaves,
    Walk,
    list_kept,
    read_bundle,
    read_growth,
    read_note,
    read_statement,
)
from undersigned.ledger.open_log import CELL_BLOCK, OpenLog, encode_settings
from undersigned.ledger.recovery import LogPlan
from undersigned.ledger.spine import SPINE_PATH
from undersigned.ledger.store import BUNDLE_LEVEL, SPINE_ID, Store
from undersigned.ledger.tree import TileTree

# Leaves gathered before a commit, at the least; a checkpoint is never split.
COMMIT_LEAVES = 32_768
_CHUNKS = (256, 64, 16, 4, 1)
_NOTHING_SHOWN = bytes(32)
# The number of a log that has no row yet; none is negative and as large.
_NEW = -(1 << 40)

# Of a log that the database does not know: its settings, and whether it goes on.
Describe = Callable[[entry.Header, list[entry.IssuerKey]], tuple[LogSettings, bool]]


@dataclass(frozen=True, slots=True)
class Imported:
    """What was taken over of one log.

    ``pooled``: signatures that had waited in the pool and are published already.
    ``shows``: signatures that were made to show something; ``shown``: those of them
    whose record waited in the pool.
    """

    leaves: int
    pooled: int = 0
    shows: int = 0
    shown: int = 0


def reserve_origins(*, store: Store, origins: list[str]) -> None:
    """See to it that no log of these names begins here again. Idempotent."""
    with store.transaction():
        store.change_each(
            "INSERT INTO reserved VALUES (?) ON CONFLICT DO NOTHING",
            [(one,) for one in origins],
        )


def import_log(
    *,
    store: Store,
    plan: LogPlan,
    public: Path,
    describe: Describe,
    at: datetime,
    on_leaves: OnLeaves | None = None,
) -> Imported:
    """Take over what a plan's mirror has beyond the database, and missing tiles.

    ``at``: noted for checkpoints of which the mirror does not say when they were made.
    A log without anything to import is left as it stands. Raises MirrorRefused if the
    mirror is not any more what was planned with, StorageFailed.
    """
    mirror, walked, log = plan.mirror, plan.walked, plan.tree
    if mirror is None or walked is None:
        return Imported(leaves=0)
    accepting = True
    if log is None:
        settings, accepting = _describe(mirror, walked, describe)
        log = OpenLog(log_id=_NEW, settings=settings, public=public, key=None)
    if not isinstance(log, OpenLog):
        raise StorageFailed(f"{plan.origin} is no campaign's log")
    taker = _LogTaker(store, log, mirror, walked, accepting=accepting, at=at)
    taker.take(on_leaves)
    taker.write_files()
    return taker.done


def import_spine(
    *,
    store: Store,
    plan: LogPlan,
    public: Path,
    at: datetime,
    on_leaves: OnLeaves | None = None,
) -> Imported:
    """Take over what a plan's mirror has of the spine; after all logs.

    What the logs have published and the spine does not hold, the next start enters.
    Raises as ``import_log``.
    """
    mirror, walked, tree = plan.mirror, plan.walked, plan.tree
    if mirror is None or walked is None:
        return Imported(leaves=0)
    if tree is None:
        tree = TileTree(
            tree_id=SPINE_ID, origin=plan.origin, public=public, path=SPINE_PATH
        )
    taker = _SpineTaker(store, tree, mirror, walked, at=at)
    taker.take(on_leaves)
    taker.write_files()
    return Imported(leaves=tree.size - plan.old_size)


def _describe(
    mirror: Mirror, walked: Walk, describe: Describe
) -> tuple[LogSettings, bool]:
    first = [entry.parse(leaf) for leaf in read_bundle(mirror, walked, 0)]
    header = first[0]
    if not isinstance(header, entry.Header):
        raise StorageFailed(f"{mirror.origin}: no header in an audited log")
    keys = [leaf for leaf in first if isinstance(leaf, entry.IssuerKey)]
    return describe(header, keys)


@dataclass(slots=True)
class _Kept:
    """A kept checkpoint on its way into the database."""

    size: int
    note: bytes
    at: int
    net: int


class _Taker(ABC):
    """Takes one tree's leaves over, checkpoint by checkpoint."""

    def __init__(
        self,
        store: Store,
        tree: TileTree,
        mirror: Mirror,
        walked: Walk,
        *,
        at: datetime,
    ) -> None:
        self._store = store
        self._tree = tree
        self._mirror = mirror
        self._walked = walked
        self._committed = tree.size
        self._kept: list[_Kept] = []
        rows = store.query(
            "SELECT at FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
            (tree.tree_id,),
        )
        # When the checkpoint was made, as far as anybody says; never later than now:
        # the log's clock goes on from there, and with it what signers are promised.
        self._now = int(at.timestamp())
        self._tick: int | None = int(rows[0][0]) if rows else None

    def take(self, on_leaves: OnLeaves | None) -> None:
        """Fill gaps, append and commit until the mirror's size."""
        tree, begun = self._tree, self._tree.size
        make_public_folder(tree.folder)
        self._fill_gaps(tree.size // tile.WIDTH)
        leaves = self._read_leaves(tree.size)
        try:
            for size in list_kept(self._mirror, tree.size):
                self._append([next(leaves) for _n in range(size - tree.size)])
                self._keep(size)
                last = size == self._mirror.size
                if last or size - self._committed >= COMMIT_LEAVES:
                    self._commit()
                    if on_leaves is not None:
                        on_leaves(size - begun, self._mirror.size - begun)
        except Fault as fault:
            # The audit let it pass: the rows that it follows are not what they were.
            raise StorageFailed(f"{tree.origin}: {fault}") from fault
        if tree.root != self._mirror.root or tree.size != self._mirror.size:
            # Each bundle was compared with the walk: only a fault of our own ends here.
            raise StorageFailed(f"{tree.origin}: the import came out at another root")

    def _read_leaves(self, first: int) -> Iterator[bytes]:
        for n in range(first // tile.WIDTH, len(self._walked.digests)):
            leaves = read_bundle(self._mirror, self._walked, n)
            yield from leaves[max(0, first - n * tile.WIDTH) :]

    def _fill_gaps(self, full: int) -> None:
        """Write full tiles that are missing below what the database holds."""
        folder = self._tree.folder
        for n in range(full):
            bundle = folder / tile.tile_path("entries", n)
            hashes = folder / tile.tile_path(0, n)
            if not (bundle.exists() and hashes.exists()):
                leaves = read_bundle(self._mirror, self._walked, n)
                self._put(bundle, tile.encode_bundle(leaves))
                row = b"".join(merkle.leaf_hash(leaf) for leaf in leaves)
                self._put(hashes, row)
        level, roots = 1, self._walked.tile_roots[:full]
        while len(roots) >= tile.WIDTH:
            above = []
            for n in range(len(roots) // tile.WIDTH):
                part = roots[n * tile.WIDTH : (n + 1) * tile.WIDTH]
                path = folder / tile.tile_path(level, n)
                if not path.exists():
                    self._put(path, b"".join(part))
                above.append(tile.tile_root(part))
            level, roots = level + 1, above

    def _put(self, path: Path, data: bytes) -> None:
        """Make a public file durable, with the names of the folders that it is in."""
        tree = self._tree
        try:
            make_public_folder(path.parent)
            if not path.is_file() or path.read_bytes() != data:
                write_durable(path, data, mode=0o644)
        except OSError as error:
            raise StorageFailed(f"couldn't write {path}: {error}") from error
        if path.parent not in tree.synced_folders:
            sync_names(path.parent, below=tree.public)
            tree.synced_folders.add(path.parent)

    def _append(self, leaves: list[bytes]) -> None:
        """Append to the tree in memory, and note what the database shall hold."""
        for index, leaf in enumerate(leaves, start=self._tree.size):
            self._take_leaf(index, leaf)
        self._tree.append(leaves)

    def _keep(self, size: int) -> None:
        """Note the checkpoint of this size, as the mirror has it."""
        note = read_note(self._mirror, size, self._tree.root)
        at = self._now if self._tick is None else self._tick
        self._kept.append(_Kept(size, note, at, 0))

    def _commit(self) -> None:
        """Make what was appended durable: files first, since the database forgets."""
        tree, store = self._tree, self._store
        full = [key for key in tree.unwritten if tree.is_full(*key)]
        for level, n in sorted(full):
            name = tile.tile_path("entries" if level == BUNDLE_LEVEL else level, n)
            self._put(tree.folder / name, tree.unwritten[level, n])
        tree.note_written(full)
        with store.transaction():
            self._write_size(b"".join(tree.frontier.hashes))
            tree.write_rows(store, set(tree.unwritten))
            store.change_each(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?, ?)",
                [
                    (tree.tree_id, kept.size, kept.note, kept.at, kept.net)
                    for kept in self._kept
                ],
            )
            self._write_rows()
        self._kept = []
        self._committed = tree.size

    def write_files(self) -> None:
        """Make the public files those of the database as it is now."""
        key = self._tree.folder / "log.vkey"
        try:
            if not key.exists():
                self._put(key, f"{self._mirror.key.vkey}\n".encode())
            self._export()
        except OSError as error:
            raise StorageFailed(
                f"{self._tree.origin}: couldn't export: {error}"
            ) from error

    @abstractmethod
    def _take_leaf(self, index: int, leaf: bytes) -> None:
        """Note what the database shall hold of a leaf. Raises Fault."""

    @abstractmethod
    def _write_size(self, frontier: bytes) -> None:
        """Move the tree's own row from the size committed before."""

    @abstractmethod
    def _write_rows(self) -> None:
        """Write what was noted."""

    @abstractmethod
    def _export(self) -> None:
        """Write the files that are made from the database."""


# --- campaigns


@dataclass(slots=True)
class _Rows:
    """What the next commit writes of a campaign's log."""

    controls: list[tuple[int, bytes]] = field(default_factory=list)
    # Nonce, index, stance, key index.
    signatures: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    # Hashes of control leaves, which may have waited here too.
    taken: list[bytes] = field(default_factory=list)
    withdrawn: list[bytes] = field(default_factory=list)


class _LogTaker(_Taker):
    """Takes a campaign's log over."""

    def __init__(
        self,
        store: Store,
        log: OpenLog,
        mirror: Mirror,
        walked: Walk,
        *,
        accepting: bool,
        at: datetime,
    ) -> None:
        super().__init__(store, log, mirror, walked, at=at)
        self._log = log
        self._accepting = accepting
        self._rows = _Rows()
        self._stored_cells = bytes(log.state.cells)
        self._times = read_growth(mirror)
        self._begun = log.size
        self._pooled = self._shows = self._shown = 0

    @property
    def done(self) -> Imported:
        """What was taken over so far."""
        return Imported(
            leaves=self._log.size - self._begun,
            pooled=self._pooled,
            shows=self._shows,
            shown=self._shown,
        )

    @override
    def take(self, on_leaves: OnLeaves | None) -> None:
        """As for every tree; and what has closed takes no signatures."""
        super().take(on_leaves)
        if self._log.is_closed:
            self._store.stop_accepting(self._log.log_id)

    @override
    def _take_leaf(self, index: int, leaf: bytes) -> None:
        log, rows = self._log, self._rows
        parsed = entry.parse(leaf)
        log.state.apply(index, parsed)
        if isinstance(parsed, entry.Signature):
            nonce = self._nonce_of(leaf)
            rows.signatures.append((nonce, index, parsed.stance, parsed.key_index))
            self._shows += parsed.public_hash != _NOTHING_SHOWN
            return
        rows.taken.append(merkle.leaf_hash(leaf))
        if isinstance(parsed, entry.Withdrawal):
            # Of an earlier interval: it is in the tree.
            rows.withdrawn.append(self._nonce_of(log.read_leaf(parsed.target)))
        else:
            rows.controls.append((index, leaf))

    def _nonce_of(self, leaf: bytes) -> bytes:
        signature = entry.parse(leaf)
        if not isinstance(signature, entry.Signature):
            raise StorageFailed(f"{self._log.origin}: a withdrawal of no signature")
        return token.nonce(
            self._log.state.challenge.digest,
            signature.stance,
            signature.public_hash,
            signature.withdraw_hash,
            signature.r,
        )

    @override
    def _keep(self, size: int) -> None:
        self._log.state.checkpoint(size)
        told = min(self._times.get(size, self._now), self._now)
        if size not in self._times and self._tick is not None:
            told = self._tick
        self._tick = told if self._tick is None else max(told, self._tick)
        super()._keep(size)
        self._kept[-1].net = int(str(self._log.state.totals()["net"]))

    @override
    def _write_size(self, frontier: bytes) -> None:
        log, store = self._log, self._store
        if log.log_id == _NEW:
            log.log_id = log.tree_id = store.add_log(
                origin=log.origin,
                settings=encode_settings(log.settings),
                accepting=self._accepting,
            )
            store.take(log.log_id, log.origin)
        store.move_log(
            log.log_id,
            old_size=self._committed,
            new_size=log.size,
            frontier=frontier,
        )

    @override
    def _write_rows(self) -> None:
        log, store, rows = self._log, self._store, self._rows
        store.change_each(
            "INSERT INTO published_control VALUES (?, ?, ?)",
            [(log.log_id, *row) for row in rows.controls],
        )
        store.change_each(
            "INSERT INTO nonce VALUES (?, ?, ?)",
            sorted((log.log_id, row[0], row[1]) for row in rows.signatures),
        )
        fresh = bytes(log.state.cells)
        for block, at in enumerate(range(0, len(fresh), CELL_BLOCK)):
            piece = fresh[at : at + CELL_BLOCK]
            if piece != self._stored_cells[at : at + CELL_BLOCK]:
                store.change(
                    "INSERT INTO cells VALUES (?, ?, ?) "
                    "ON CONFLICT (log, block) DO UPDATE SET data=excluded.data",
                    (log.log_id, block, piece),
                )
        self._stored_cells = fresh
        self._drop_waiting()
        self._rows = _Rows()

    def _drop_waiting(self) -> None:
        """Take from what waits what was published before, and let nothing be lost.

        A record that waited beside a pooled signature is handed to the pages database
        as after a publication, unless its signer has withdrawn.
        """
        log, store, rows = self._log, self._store, self._rows
        by_nonce = {row[0]: row for row in rows.signatures}
        for chunk in split_by_size(sorted(by_nonce), _CHUNKS):
            marks = ", ".join("?" * len(chunk))
            found = store.query(
                f"SELECT nonce, shown FROM inbox WHERE log=? AND nonce IN ({marks})",  # noqa: S608 - question marks only
                (log.log_id, *chunk),
            )
            for nonce, shown in found:
                _nonce, index, stance, _key = by_nonce[nonce]
                if shown is not None:
                    store.change(
                        "INSERT INTO shown VALUES (?, ?, ?, ?, ?) "
                        "ON CONFLICT DO NOTHING",
                        (log.log_id, nonce, index, stance, shown),
                    )
                store.change(
                    "DELETE FROM inbox WHERE log=? AND nonce=?", (log.log_id, nonce)
                )
                self._pooled += 1
                self._shown += shown is not None
        keys = {row[3] for row in rows.signatures}
        store.change_each(
            "DELETE FROM waiting WHERE log=? AND key_index=?",
            [(log.log_id, key) for key in keys],
        )
        store.change_each(
            "DELETE FROM control WHERE log=? AND leaf_hash=?",
            [(log.log_id, leaf_hash) for leaf_hash in rows.taken],
        )
        for nonce in rows.withdrawn:
            key = (log.log_id, nonce)
            store.change("DELETE FROM withdrawal WHERE log=? AND nonce=?", key)
            store.change("DELETE FROM shown WHERE log=? AND nonce=?", key)
            store.change(
                "INSERT INTO erasure VALUES (?, ?) ON CONFLICT DO NOTHING", key
            )

    @override
    def _export(self) -> None:
        log, header = self._log, self._log.state.header
        statement = log.folder / "statement"
        if header is not None and not statement.exists():
            self._put(statement, read_statement(self._mirror, header.statement_sha256))
        export.write_all(log, self._store)


# --- the spine


class _SpineTaker(_Taker):
    """Takes the spine over. Of a log that is lost it holds the leaves and no rows."""

    def __init__(
        self,
        store: Store,
        tree: TileTree,
        mirror: Mirror,
        walked: Walk,
        *,
        at: datetime,
    ) -> None:
        super().__init__(store, tree, mirror, walked, at=at)
        rows = store.query("SELECT client FROM spine")
        self._client: str | None = rows[0][0] if rows else None
        self._ids: dict[str, int] = dict(store.query("SELECT origin, id FROM log"))
        self._checkpoints: list[tuple[int, int, int]] = []
        self._issued: list[tuple[int, int, int]] = []
        self._retired: list[tuple[int]] = []

    @override
    def _take_leaf(self, index: int, leaf: bytes) -> None:
        parsed = spine_leaves.parse(leaf)
        if isinstance(parsed, spine_leaves.ClientLeaf):
            self._client = parsed.sha256
            return
        log_id = self._ids.get(parsed.origin)
        if log_id is None:
            return
        match parsed:
            case spine_leaves.CheckpointLeaf():
                self._checkpoints.append((log_id, parsed.size, index))
            case spine_leaves.IssuedLeaf():
                self._issued.append((log_id, parsed.key_index, parsed.total))
            case spine_leaves.RetiredLeaf():
                self._retired.append((log_id,))

    @override
    def _write_size(self, frontier: bytes) -> None:
        self._store.move_spine(
            old_size=self._committed,
            new_size=self._tree.size,
            frontier=frontier,
            client=self._client,
        )

    @override
    def _write_rows(self) -> None:
        store = self._store
        store.change_each(
            "INSERT INTO spine_checkpoint VALUES (?, ?, ?)", self._checkpoints
        )
        # What of a total was issued before the present record began is set when that
        # record is reopened; the one of before is lost.
        store.change_each(
            "INSERT INTO spine_issued (log, key_index, total) VALUES (?, ?, ?) "
            "ON CONFLICT (log, key_index) DO UPDATE SET total=excluded.total",
            self._issued,
        )
        store.change_each(
            "INSERT INTO spine_retired VALUES (?) ON CONFLICT DO NOTHING", self._retired
        )
        self._checkpoints, self._issued, self._retired = [], [], []

    @override
    def _export(self) -> None:
        tree = self._tree
        export.write_tiles(tree)
        newest = export.write_kept(tree, self._store)
        if newest is not None:
            write_atomic(tree.folder / "checkpoint", newest)
        export.drop_all_stale_partials(tree)
