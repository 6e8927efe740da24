"""One log in memory: its right edge, its state, and how to read any leaf or node."""

from __future__ import annotations

import json
import sqlite3
from collections import OrderedDict
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from undersigned_verify import entry, merkle, tile
from undersigned_verify.count import LogState

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import LogSettings
from undersigned.ledger.notes import LogKey
from undersigned.ledger.store import BUNDLE_LEVEL

CELL_BLOCK = 4096
_CACHED_BUNDLES = 64


def encode_settings(settings: LogSettings) -> str:
    """Return the settings as JSON text, times in seconds."""
    values = asdict(settings)
    if settings.closes_at is not None:
        values["closes_at"] = int(settings.closes_at.timestamp())
    return json.dumps(values, sort_keys=True)


def decode_settings(text: str) -> LogSettings:
    """Return what ``encode_settings`` wrote."""
    values = json.loads(text)
    values["uncounted_keys"] = tuple(values["uncounted_keys"])
    if values["closes_at"] is not None:
        values["closes_at"] = datetime.fromtimestamp(values["closes_at"], tz=UTC)
    return LogSettings(**values)


class OpenLog:
    """A log's working state. Changed by the writer thread only.

    ``edge``: for each tile level the hashes of its last, partial tile; level
    ``BUNDLE_LEVEL`` is ``tail``: the leaves of the last, partial bundle.
    """

    def __init__(
        self,
        *,
        log_id: int,
        settings: LogSettings,
        public: Path,
        key: LogKey | None,
    ) -> None:
        self.log_id = log_id
        self.settings = settings
        self.folder = public / settings.path
        self.key = key
        self.size = 0
        self.durable_size = 0
        self.accepting = True
        self.frontier = merkle.Frontier()
        self.tail: list[bytes] = []
        self.edge: dict[int, bytearray] = {}
        self.state = LogState(self.read_leaf)
        # Bundles and tiles that a publication has made and files do not yet hold.
        self.unwritten: dict[tuple[int, int], bytes] = {}
        # Sizes whose partial tiles are still in files, oldest first.
        self.recent_sizes: list[int] = []
        # By when what is pooled in an interval (counted since 1970) is published.
        self.publish_by: tuple[int, datetime] | None = None
        self._cache: OrderedDict[tuple[int, int], bytes] = OrderedDict()

    @property
    def origin(self) -> str:
        """The log's name."""
        return self.settings.origin

    @property
    def root(self) -> bytes:
        """The root over everything appended."""
        return self.frontier.root()

    @property
    def is_closed(self) -> bool:
        """Whether the close leaf is in the log."""
        return self.state.closed

    def load(self, connection: sqlite3.Connection) -> None:
        """Rebuild from the database. Raises StorageFailed if it contradicts itself."""
        row = connection.execute(
            "SELECT size, frontier, accepting, durable_size FROM log WHERE id=?",
            (self.log_id,),
        ).fetchone()
        self.size, frontier, accepting, self.durable_size = row
        self.accepting = bool(accepting)
        self.frontier = merkle.Frontier.restore(
            self.size,
            [frontier[at : at + 32] for at in range(0, len(frontier), 32)],
        )
        for level, n, data in connection.execute(
            "SELECT level, n, data FROM tile WHERE log=?", (self.log_id,)
        ):
            self.unwritten[level, n] = data
        self._load_edge()
        controls = (
            (index, entry.parse(leaf))
            for index, leaf in connection.execute(
                "SELECT idx, leaf FROM published_control WHERE log=? ORDER BY idx",
                (self.log_id,),
            )
        )
        cells = b"".join(
            data
            for (data,) in connection.execute(
                "SELECT data FROM cells WHERE log=? ORDER BY block", (self.log_id,)
            )
        )
        if len(cells) != self.size:
            raise StorageFailed(
                f"{self.origin}: {len(cells)} cells, {self.size} leaves"
            )
        self.state = LogState.restore(self.read_leaf, controls, cells, self.size)
        self.recent_sizes = [self.size]

    def _load_edge(self) -> None:
        count, level = self.size, BUNDLE_LEVEL
        while count or level == BUNDLE_LEVEL:
            width = count % tile.WIDTH
            if width:
                data = self.unwritten.get((level, count // tile.WIDTH))
                if data is None:
                    raise StorageFailed(
                        f"{self.origin}: the edge of tile level {level} is missing"
                    )
                if level == BUNDLE_LEVEL:
                    self.tail = tile.parse_bundle(data)
                else:
                    self.edge[level] = bytearray(data)
            if level != BUNDLE_LEVEL:
                count //= tile.WIDTH
            level += 1

    def append(self, leaves: list[bytes]) -> set[tuple[int, int]]:
        """Append to the edge and the tree; return the (level, n) of touched tiles.

        Only memory changes. The caller commits ``unwritten`` before anybody sees it.
        """
        touched: set[tuple[int, int]] = set()
        for leaf in leaves:
            leaf_hash = merkle.leaf_hash(leaf)
            self.frontier.append(leaf_hash)
            self.tail.append(leaf)
            self._append_hash(0, self.size, leaf_hash, touched)
            self.size += 1
            if len(self.tail) == tile.WIDTH:
                n = (self.size - 1) // tile.WIDTH
                self.unwritten[BUNDLE_LEVEL, n] = tile.encode_bundle(self.tail)
                touched.add((BUNDLE_LEVEL, n))
                self.tail = []
        if self.tail:
            n = self.size // tile.WIDTH
            self.unwritten[BUNDLE_LEVEL, n] = tile.encode_bundle(self.tail)
            touched.add((BUNDLE_LEVEL, n))
        for level, hashes in self.edge.items():
            n = self.size >> (tile.HEIGHT * (level + 1))
            if hashes and (level, n) in touched:
                self.unwritten[level, n] = bytes(hashes)
        return touched

    def _append_hash(
        self, level: int, position: int, value: bytes, touched: set[tuple[int, int]]
    ) -> None:
        edge = self.edge.setdefault(level, bytearray())
        edge += value
        n = position // tile.WIDTH
        touched.add((level, n))
        if len(edge) == 32 * tile.WIDTH:
            full = bytes(edge)
            self.unwritten[level, n] = full
            edge.clear()
            hashes = [full[at : at + 32] for at in range(0, len(full), 32)]
            self._append_hash(level + 1, n, merkle.root_of(hashes), touched)

    def read_leaf(self, index: int) -> bytes:
        """Return the leaf at ``index`` from memory or file. Raises StorageFailed."""
        if not 0 <= index < self.size:
            raise StorageFailed(f"{self.origin}: no leaf {index}")
        n, offset = divmod(index, tile.WIDTH)
        if n == self.size // tile.WIDTH:
            return self.tail[offset]
        return tile.parse_bundle(self._read(BUNDLE_LEVEL, n))[offset]

    def _read(self, level: int, n: int) -> bytes:
        data = self.unwritten.get((level, n))
        if data is not None:
            return data
        data = self._cache.get((level, n))
        if data is not None:
            return data
        name = tile.tile_path("entries" if level == BUNDLE_LEVEL else level, n)
        try:
            data = (self.folder / name).read_bytes()
        except OSError as error:
            raise StorageFailed(f"{self.origin}: couldn't read {name}") from error
        self._cache[level, n] = data
        if len(self._cache) > _CACHED_BUNDLES:
            self._cache.popitem(last=False)
        return data
