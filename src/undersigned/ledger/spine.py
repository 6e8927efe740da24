"""The instance's spine log: every log's checkpoints and keys, in the order they came.

Runs on the writer thread, after publications. Only the spine is shown to witnesses, so
that one exchange vouches for all logs of the instance (PROTOCOL §5, §8). Numbered as
the crash drill kills it:

1. choose   what the spine does not hold yet: read from the tables of the logs, so that
            whatever a crash left out is entered the next time.
2. append   to the tree in memory.
3. commit   tiles, checkpoint, and what was entered. Before this line nobody saw it.
4. mark     the high-water file.
5. export   tiles and the kept checkpoint.
6. show     the newest checkpoint: at once, or after at most a second with witnesses.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from undersigned_verify import entry
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import parse_note

from undersigned.kernel.clock import round_down
from undersigned.kernel.durable import (
    make_public_folder,
    write_atomic,
    write_durable,
)
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger import export
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.notes import LogKey
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.store import SPINE_ID, Store
from undersigned.ledger.tree import TileKey, TileTree

SPINE_PATH = "spine"
# A total is told again once it has grown by as much: a finer one would be a clock of
# single requests.
ISSUED_STEP = 50
INTERVAL_SECONDS = 60

_logger = logging.getLogger("undersigned.ledger")


def spine_origin(host: str) -> str:
    """Return the name of an instance's spine log."""
    return f"{host}/{SPINE_PATH}"


def checkpoint_leaf(origin: str, size: int, root: bytes) -> bytes:
    """Return the spine's leaf for a campaign log's checkpoint."""
    return encode_json(
        {"kind": "checkpoint", "origin": origin, "size": size, "root": root.hex()}
    )


def leaf_digest(leaf: bytes) -> str:
    """Return what a ``campaign`` leaf says of a log's header."""
    return sha256(leaf).hexdigest()


def spki_digest(spki: bytes) -> str:
    """Return what a ``key`` leaf says of an issuer key: its token key id."""
    return sha256(spki).hexdigest()


@dataclass(slots=True)
class _Batch:
    """What one publication of the spine enters."""

    # Rank by kind, and the leaf: within a kind they stand in order of their bytes.
    facts: list[tuple[int, bytes]] = field(default_factory=list)
    # In order of origin and size; they come between the other kinds and RETIRED.
    checkpoints: list[tuple[OpenLog, int, bytes]] = field(default_factory=list)
    issued: dict[tuple[int, int], int] = field(default_factory=dict)
    retired: list[OpenLog] = field(default_factory=list)
    client: str | None = None

    def __bool__(self) -> bool:
        return bool(self.facts or self.checkpoints or self.retired)

    def add(self, rank: int, values: Mapping[str, object]) -> None:
        """Enter one leaf that is no checkpoint's."""
        self.facts.append((rank, encode_json(values)))

    def order(self) -> list[bytes]:
        """Return the leaves in the order in which they are entered."""
        return [
            *(leaf for _rank, leaf in sorted(self.facts)),
            *(
                checkpoint_leaf(log.origin, size, root)
                for log, size, root in self.checkpoints
            ),
            *(
                encode_json({"kind": "retired", "origin": log.origin})
                for log in self.retired
            ),
        ]

    def list_places(self, first: int) -> list[tuple[int, int, int]]:
        """Return log, size and index of each checkpoint's leaf."""
        start = first + len(self.facts)
        return [
            (log.log_id, size, start + offset)
            for offset, (log, size, _root) in enumerate(self.checkpoints)
        ]


_PUT_ISSUED = (
    "INSERT INTO spine_issued VALUES (?, ?, ?, ?) ON CONFLICT (log, key_index) "
    "DO UPDATE SET total=excluded.total, before=excluded.before"
)
_CLIENT, _CAMPAIGN, _KEY, _ISSUED = range(4)


def _add_line(note: bytes, line: str) -> bytes:
    """Return the note with one more signature line; Fault where it is no note then."""
    longer = note + line.encode()
    parse_note(longer)
    return longer


class Spine:
    """The spine in memory. ``show`` is called by whoever asks witnesses; see there."""

    def __init__(
        self,
        *,
        host: str,
        public: Path,
        store: Store,
        high_water: HighWater,
        at_step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.tree = TileTree(
            tree_id=SPINE_ID, origin=spine_origin(host), public=public, path=SPINE_PATH
        )
        self.key: LogKey | None = None
        # Told of each new checkpoint; whether it takes it up, and will call ``show``
        # with its size within a second. Else it is shown at once.
        self.on_checkpoint: Callable[[bytes], bool] = lambda _note: False
        self.shown_size = 0
        self._store = store
        self._high_water = high_water
        self._at_step = at_step
        # What stands in the spine: by log, the largest checkpoint; ended logs; by log
        # and key, the total of tokens told last.
        self._entered: dict[int, int] = {}
        self._retired: set[int] = set()
        self._issued: dict[tuple[int, int], int] = {}
        # Issued before the present record of issuing began.
        self._before: dict[tuple[int, int], int] = {}
        self._client: str | None = None
        # Closed logs that are to be ended at the next occasion.
        self._retiring: set[int] = set()
        # Totals to tell at the next occasion.
        self._totals: dict[tuple[int, int], int] = {}
        self._new_client: str | None = None
        # A crash may have come between a publication and its entry.
        self._unchecked = True

    @property
    def origin(self) -> str:
        """The spine's name."""
        return self.tree.origin

    @property
    def size(self) -> int:
        """How many leaves are in the spine."""
        return self.tree.size

    @property
    def is_behind(self) -> bool:
        """Whether something waits to be entered or shown."""
        return (
            self._unchecked
            or bool(self._totals)
            or self._new_client is not None
            or self.shown_size < self.tree.size
        )

    def load(self) -> None:
        """Take up what the database holds. Raises StorageFailed and RolledBack."""
        store = self._store
        for size, frontier, client in store.query(
            "SELECT size, frontier, client FROM spine"
        ):
            self._client = client
            self.tree.restore(store, size=size, frontier=frontier)
        self._entered = dict(
            store.query("SELECT log, max(size) FROM spine_checkpoint GROUP BY log")
        )
        self._retired = {log for (log,) in store.query("SELECT log FROM spine_retired")}
        for log, key, total, before in store.query(
            "SELECT log, key_index, total, before FROM spine_issued"
        ):
            self._issued[log, key] = total
            self._before[log, key] = before
        roots = dict(self._list_roots())
        self._high_water.check(self.origin, self.tree.size, roots)

    def _list_roots(self) -> Iterable[tuple[int, bytes]]:
        for size, note in self._store.query(
            "SELECT size, note FROM checkpoint WHERE log=?", (SPINE_ID,)
        ):
            yield size, Checkpoint.parse(parse_note(note).text).root

    def finish_interrupted(self) -> None:
        """After a start: repeat steps 4 to 6 of what was cut off."""
        tree = self.tree
        if not tree.size:
            return
        self._high_water.raise_to(tree.origin, tree.size, tree.root)
        try:
            self._write_files()
            export.write_kept(tree, self._store)
            self._show(tree.size)
            export.drop_all_stale_partials(tree)
        except OSError as error:
            raise StorageFailed(f"{self.origin}: couldn't export: {error}") from error

    # what is to be entered

    def note_client(self, sha256: str) -> None:
        """Have the signing client's digest (hex) entered, where it is a new one."""
        self._new_client = sha256 if sha256 != self._client else None

    def note_issued(
        self, log: OpenLog, totals: dict[int, int], *, final: bool = False
    ) -> None:
        """Have totals of tokens issued (by key index) entered once they have grown.

        ``totals``: of the present record of issuing. ``final``: the keys are about to
        be destroyed, so any growth is told.
        """
        for key_index, count in totals.items():
            place = (log.log_id, key_index)
            total = self._before.get(place, 0) + count
            grown = total - self._issued.get(place, 0)
            if grown >= (1 if final else ISSUED_STEP):
                self._totals[place] = total

    def note_retired(self, log: OpenLog) -> None:
        """Have the end of a closed log entered, once."""
        self._retiring.add(log.log_id)

    def has_retired(self, log: OpenLog) -> bool:
        """Whether nothing of a log counts any more."""
        return log.log_id in self._retired | self._retiring

    def begin_record(self, log: OpenLog, pooled: Mapping[int, int]) -> None:
        """Count on from what is certain: a lost record of issuing begins anew.

        At least as many tokens were issued as the spine has told, and as stand in the
        log and its pool (``pooled``: by key index). Durable when it returns.
        """
        rows = []
        for key_index in log.state.keys:
            place = (log.log_id, key_index)
            told = self._issued.get(place, 0)
            seen = log.state.count_of_key(key_index) + pooled.get(key_index, 0)
            self._before[place] = max(told, seen)
            rows.append((*place, told, self._before[place]))
        with self._store.transaction():
            self._store.change_each(_PUT_ISSUED, rows)
        self.note_issued(log, dict.fromkeys(log.state.keys, 0), final=True)

    def advance(self, logs: Iterable[OpenLog], *, at: datetime) -> None:
        """Enter what the logs have published since. Raises StorageFailed.

        A checkpoint that nobody has shown since the last time is shown: whoever was to
        ask the witnesses has died or is late.
        """
        if self.key is None:
            # Locked: nothing is published either.
            return
        try:
            if self.shown_size < self.tree.size:
                self._show(self.tree.size)
            by_id = {log.log_id: log for log in logs}
            batch = _Batch()
            self._choose_client(batch)
            for log in sorted(by_id.values(), key=lambda log: log.origin):
                if log.log_id not in self._retired:
                    self._choose_log(log, batch)
            if batch:
                self._publish(batch, at=at)
            self._unchecked = False
        except OSError as error:
            raise StorageFailed(f"{self.origin}: {error}") from error

    def _choose_client(self, batch: _Batch) -> None:
        if self._new_client is not None:
            batch.add(_CLIENT, {"kind": "client", "sha256": self._new_client})
            batch.client = self._new_client

    def _choose_log(self, log: OpenLog, batch: _Batch) -> None:
        entered = self._entered.get(log.log_id, 0)
        rows = self._store.query(
            "SELECT size, note FROM checkpoint WHERE log=? AND size>? ORDER BY size",
            (log.log_id, entered),
        )
        if rows and not entered:
            digest = leaf_digest(log.read_leaf(0))
            values: dict[str, object] = {"kind": "campaign", "origin": log.origin}
            batch.add(_CAMPAIGN, values | {"header_sha256": digest})
        if rows:
            self._choose_keys(log, entered, rows[-1][0], batch)
        if log.is_closed:
            self._note_certain_totals(log)
        self._choose_issued(log, batch)
        for size, note in rows:
            root = Checkpoint.parse(parse_note(note).text).root
            batch.checkpoints.append((log, size, root))
        if log.log_id in self._retiring and (rows or entered):
            batch.retired.append(log)

    def _note_certain_totals(self, log: OpenLog) -> None:
        """At the end, let no total be less than the signatures under its key.

        Where the record of issuing was lost, nobody could count tokens that were in
        people's hands by then; of a log closed before there was a spine, none.
        """
        for key_index in log.state.keys:
            place = (log.log_id, key_index)
            told = max(self._issued.get(place, 0), self._totals.get(place, 0))
            if log.state.count_of_key(key_index) > told:
                self._totals[place] = log.state.count_of_key(key_index)

    def _choose_keys(
        self, log: OpenLog, entered: int, size: int, batch: _Batch
    ) -> None:
        for (leaf,) in self._store.query(
            "SELECT leaf FROM published_control WHERE log=? AND idx>=? AND idx<?",
            (log.log_id, entered, size),
        ):
            parsed = entry.parse(leaf)
            if isinstance(parsed, entry.IssuerKey):
                values: dict[str, object] = {"kind": "key", "origin": log.origin}
                digest = spki_digest(parsed.spki)
                values |= {"key_index": parsed.key_index, "spki_sha256": digest}
                batch.add(_KEY, values)

    def _choose_issued(self, log: OpenLog, batch: _Batch) -> None:
        for (log_id, key_index), total in sorted(self._totals.items()):
            if log_id == log.log_id and total > self._issued.get(
                (log_id, key_index), 0
            ):
                values: dict[str, object] = {"kind": "issued", "origin": log.origin}
                batch.add(_ISSUED, values | {"key_index": key_index, "total": total})
                batch.issued[log_id, key_index] = total

    # 2. append, 3. commit, 4. mark, 5. export, 6. show

    def _publish(self, batch: _Batch, *, at: datetime) -> None:
        tree, key = self.tree, self.key
        assert key is not None
        first = tree.size
        if not first:
            # So that a crash before the first mark doesn't pass for a restored copy.
            self._high_water.begin(self.origin)
        leaves = batch.order()
        touched = tree.append(leaves)
        note = key.sign_checkpoint(tree.size, tree.root)
        tick = int(round_down(at, seconds=INTERVAL_SECONDS).timestamp())
        self._at_step("spine-before-commit")
        client = batch.client or self._client
        with self._store.transaction():
            self._write_rows(batch, touched, first=first)
            self._store.change(
                "INSERT INTO checkpoint VALUES (?, ?, ?, ?, 0)",
                (SPINE_ID, tree.size, note, tick),
            )
            self._store.move_spine(
                old_size=first,
                new_size=tree.size,
                frontier=b"".join(tree.frontier.hashes),
                client=client,
            )
        self._take_note(batch, client)
        self._at_step("spine-after-commit")
        self._high_water.raise_to(self.origin, tree.size, tree.root)
        self._at_step("spine-after-mark")
        self._write_files()
        write_durable(tree.folder / "checkpoints" / str(tree.size), note, mode=0o644)
        export.drop_old_partials(tree)
        self._at_step("spine-after-export")
        if not self.on_checkpoint(note):
            self._show(tree.size)

    def _write_rows(self, batch: _Batch, touched: set[TileKey], *, first: int) -> None:
        store = self._store
        self.tree.write_rows(store, touched)
        store.change_each(
            "INSERT INTO spine_checkpoint VALUES (?, ?, ?)", batch.list_places(first)
        )
        store.change_each(
            _PUT_ISSUED,
            [
                (*place, total, self._before.get(place, 0))
                for place, total in sorted(batch.issued.items())
            ],
        )
        store.change_each(
            "INSERT INTO spine_retired VALUES (?)",
            [(log.log_id,) for log in batch.retired],
        )

    def _take_note(self, batch: _Batch, client: str | None) -> None:
        for log, size, _root in batch.checkpoints:
            self._entered[log.log_id] = size
        self._retired.update(log.log_id for log in batch.retired)
        self._issued.update(batch.issued)
        for place, total in batch.issued.items():
            if self._totals.get(place) == total:
                del self._totals[place]
        self._client, self._new_client = client, None

    def _write_files(self) -> None:
        tree = self.tree
        make_public_folder(tree.folder / "checkpoints")
        if self.key is not None:
            write_atomic(tree.folder / "log.vkey", f"{self.key.vkey}\n".encode())
        export.write_tiles(tree)
        tree.note_written([place for place in tree.unwritten if tree.is_full(*place)])

    def show(self, size: int, cosignatures: Iterable[str]) -> None:
        """Show the checkpoint of ``size``, with what witnesses have said of it by now.

        ``cosignatures``: verified signature lines with their line feeds. May be called
        again for the same checkpoint when more have come. Raises StorageFailed.
        """
        try:
            if self._add_lines(size, cosignatures) or size > self.shown_size:
                self._show(size)
        except OSError as error:
            raise StorageFailed(f"{self.origin}: {error}") from error

    def _add_lines(self, size: int, cosignatures: Iterable[str]) -> bool:
        note = self._read_note(size)
        if note is None:
            return False
        longer = note
        for line in cosignatures:
            # The same witness may answer twice: its first word stands.
            with suppress(Fault):
                longer = _add_line(longer, line)
        if longer == note:
            return False
        with self._store.transaction():
            self._store.change(
                "UPDATE checkpoint SET note=? WHERE log=? AND size=?",
                (longer, SPINE_ID, size),
            )
        write_durable(self.tree.folder / "checkpoints" / str(size), longer, mode=0o644)
        return True

    def _read_note(self, size: int) -> bytes | None:
        rows = self._store.query(
            "SELECT note FROM checkpoint WHERE log=? AND size=?", (SPINE_ID, size)
        )
        return bytes(rows[0][0]) if rows else None

    def _show(self, size: int) -> None:
        """Make it the newest checkpoint, unless a larger one is shown already."""
        if size < self.shown_size:
            return
        note = self._read_note(size)
        if note is not None:
            write_atomic(self.tree.folder / "checkpoint", note, stamped=True)
            self.shown_size = size
