"""Reads of logs: from the static files and the reading connection, never the writer."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from undersigned_verify import entry, merkle, tile
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note
from undersigned_verify.proof import InclusionProof

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import CheckpointRow
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.store import SPINE_ID


class FileTiles:
    """The tiles of one log as the public sees them, at one published size."""

    def __init__(self, folder: Path, size: int) -> None:
        self.folder = folder
        self.size = size

    def read_leaf(self, index: int) -> bytes:
        """Return the leaf at ``index`` < size. Raises OSError."""
        n, offset = divmod(index, tile.WIDTH)
        width = min(tile.WIDTH, self.size - n * tile.WIDTH)
        data = (self.folder / tile.tile_path("entries", n, width)).read_bytes()
        return tile.parse_bundle(data)[offset]

    def read_tile(self, level: int, n: int, width: int) -> bytes:
        """Return the bytes of a hash tile. Raises OSError."""
        return (self.folder / tile.tile_path(level, n, width)).read_bytes()


def find_index(*, ledger: Ledger, log: OpenLog, nonce: bytes) -> int | None:
    """Return the index of a published nonce, or None."""
    rows = ledger.read(
        "SELECT idx FROM nonce WHERE log=? AND nonce=?", (log.log_id, nonce)
    )
    return int(rows[0][0]) if rows else None


def is_pooled(*, ledger: Ledger, log: OpenLog, nonce: bytes) -> bool:
    """Say whether a nonce waits for publication."""
    rows = ledger.read(
        "SELECT 1 FROM inbox WHERE log=? AND nonce=?", (log.log_id, nonce)
    )
    return bool(rows)


def find_receipt(*, ledger: Ledger, log: OpenLog, nonce: bytes) -> bytes | None:
    """Return the receipt of a published signature, or None while there is none.

    Two C2SP tlog-proofs one after another: the leaf in its log (``extra``: the leaf),
    and that log's checkpoint in the spine (``extra``: the spine's leaf), each against
    a checkpoint on disk. The first alone where there is no spine.
    """
    index = find_index(ledger=ledger, log=log, nonce=nonce)
    if index is None:
        return None
    for _attempt in range(3):
        try:
            return _prove(ledger, log, index)
        except FileNotFoundError:
            # The partial tiles of that checkpoint went while we read: take the next.
            continue
    return None


def _prove(ledger: Ledger, log: OpenLog, index: int) -> bytes | None:
    """Return the receipt of the leaf at ``index``. Raises FileNotFoundError."""
    spine = ledger.spine.tree
    if not ledger.spine.shown_size:
        note = (log.folder / "checkpoint").read_bytes()
        size = _size_of(note)
        # Committed, perhaps, but the files are a moment behind.
        return _prove_leaf(log.folder, index, size, note) if index < size else None
    spine_note = (spine.folder / "checkpoint").read_bytes()
    spine_size = _size_of(spine_note)
    places = ledger.read(
        "SELECT size, idx FROM spine_checkpoint WHERE log=? AND size>? AND idx<? "
        "ORDER BY size DESC LIMIT 1",
        (log.log_id, index, spine_size),
    )
    if not places:
        return None
    size, place = places[0]
    note = (log.folder / "checkpoints" / str(size)).read_bytes()
    return _prove_leaf(log.folder, index, size, note) + _prove_leaf(
        spine.folder, place, spine_size, spine_note
    )


def _size_of(note: bytes) -> int:
    return Checkpoint.parse(parse_note(note).text).size


def _prove_leaf(folder: Path, index: int, size: int, note: bytes) -> bytes:
    """Return the proof of one leaf against a checkpoint. Raises FileNotFoundError."""
    tiles = FileTiles(folder, size)
    read_node = tile.node_reader(size, tiles.read_tile)
    return InclusionProof(
        index=index,
        hashes=tuple(merkle.inclusion_proof(index, size, read_node)),
        checkpoint=note,
        extra=tiles.read_leaf(index),
    ).encode()


def read_newest_spine_checkpoint(*, ledger: Ledger) -> bytes | None:
    """Return the spine's newest checkpoint with its cosignatures, shown or not yet."""
    rows = ledger.read(
        "SELECT note FROM checkpoint WHERE log=0 ORDER BY size DESC LIMIT 1"
    )
    return bytes(rows[0][0]) if rows else None


def find_place_in_spine(*, ledger: Ledger, origin: str) -> int | None:
    """Return where a log's newest checkpoint stands in the spine, None if nowhere."""
    log = ledger.get_log(origin)
    rows = ledger.read(
        "SELECT idx FROM spine_checkpoint WHERE log=? AND size=?",
        (log.log_id, log.size),
    )
    return int(rows[0][0]) if rows else None


def list_spine_checkpoints(
    *, ledger: Ledger, origin: str, size: int, most: int
) -> list[bytes]:
    """Return the spine's checkpoints that hold a log's checkpoint of ``size``.

    Signed notes as they are published, with their cosignatures, oldest first, at most
    ``most``; none where that checkpoint is not entered yet, or not shown.
    """
    log = ledger.get_log(origin)
    rows = ledger.read(
        "SELECT kept.note FROM spine_checkpoint AS place JOIN checkpoint AS kept "
        "ON kept.log=? AND kept.size>place.idx AND kept.size<=? "
        "WHERE place.log=? AND place.size=? ORDER BY kept.size LIMIT ?",
        (SPINE_ID, ledger.spine.shown_size, log.log_id, size, most),
    )
    return [bytes(note) for (note,) in rows]


def list_checkpoints(*, ledger: Ledger, origin: str) -> list[CheckpointRow]:
    """Return every kept checkpoint of a log, oldest first."""
    log = ledger.get_log(origin)
    return [
        CheckpointRow(
            size=size,
            net=net,
            at=datetime.fromtimestamp(at, tz=UTC),
        )
        for size, net, at in ledger.read(
            "SELECT size, net, at FROM checkpoint WHERE log=? ORDER BY size",
            (log.log_id,),
        )
    ]


def list_controls(*, ledger: Ledger, origin: str) -> list[tuple[int, entry.Entry]]:
    """Return the published control leaves but withdrawals, in order, parsed."""
    log = ledger.get_log(origin)
    return [
        (index, entry.parse(leaf))
        for index, leaf in ledger.read(
            "SELECT idx, leaf FROM published_control WHERE log=? ORDER BY idx",
            (log.log_id,),
        )
    ]


def count_records(*, ledger: Ledger, origin: str, kind: str) -> int:
    """Return how many public records of a kind the log has, or will with the next."""
    log = ledger.get_log(origin)
    leaves = ledger.read(
        "SELECT leaf FROM published_control WHERE log=? "
        "UNION ALL SELECT leaf FROM control WHERE log=?",
        (log.log_id, log.log_id),
    )
    records = [entry.parse(leaf) for (leaf,) in leaves]
    return sum(
        isinstance(one, entry.PublicRecord) and one.kind == kind for one in records
    )


def count_pooled(*, ledger: Ledger, origin: str) -> dict[int, int]:
    """Return how many signatures wait, by key index."""
    log = ledger.get_log(origin)
    return {
        int.from_bytes(key): count
        for key, count in ledger.read(
            "SELECT substr(leaf, 3, 2), count(*) FROM inbox WHERE log=? GROUP BY 1",
            (log.log_id,),
        )
    }


def read_count(*, ledger: Ledger, origin: str) -> dict[str, Any]:
    """Return the members of the published count.json. Raises LogNotFound."""
    log = ledger.get_log(origin)
    found = json.loads((log.folder / "count.json").read_bytes())
    if not isinstance(found, dict):
        raise StorageFailed(f"{origin}: count.json is not an object")
    return found


def find_checkpoint_at(*, ledger: Ledger, origin: str, size: int) -> datetime | None:
    """Return the rounded time of the kept checkpoint of ``size``, or None."""
    log = ledger.get_log(origin)
    rows = ledger.read(
        "SELECT at FROM checkpoint WHERE log=? AND size=?", (log.log_id, size)
    )
    return datetime.fromtimestamp(rows[0][0], tz=UTC) if rows else None


def find_origin(*, ledger: Ledger, nonce: bytes) -> str | None:
    """Return the log in which a signature is pooled or published, or None."""
    for log in list(ledger.logs.values()):
        key = (log.log_id, nonce)
        if ledger.read(
            "SELECT 1 FROM nonce WHERE log=? AND nonce=? "
            "UNION ALL SELECT 1 FROM inbox WHERE log=? AND nonce=?",
            (*key, *key),
        ):
            return log.origin
    return None
