"""A growing log as tiles: its right edge in memory, and how its rows are kept.

Campaign logs and the spine are both such trees; what their leaves mean is elsewhere.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path

from undersigned_verify import merkle, tile

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.store import BUNDLE_LEVEL, Store

_CACHED_BUNDLES = 64

# (level, n); level BUNDLE_LEVEL holds entry bundles.
TileKey = tuple[int, int]


def list_full_tiles(size: int) -> Iterator[tuple[int, int]]:
    """Yield (level, n) of every full tile and bundle of a tree."""
    for n, width in tile.bundles_of(size):
        if width == tile.WIDTH:
            yield BUNDLE_LEVEL, n
    for level, n, width in tile.tiles_of(size):
        if width == tile.WIDTH:
            yield level, n


class TileTree:
    """The working state of one log. Changed by the writer thread only.

    ``tree_id``: the number its rows have in the ``tile`` and ``checkpoint`` tables.
    ``edge``: for each tile level the hashes of its last, partial tile; level
    ``BUNDLE_LEVEL`` is ``tail``: the leaves of the last, partial bundle.
    """

    def __init__(self, *, tree_id: int, origin: str, public: Path, path: str) -> None:
        """``public``: root of the static files; ``path``: the log's folder in it."""
        self.tree_id = tree_id
        self.origin = origin
        self.public = public
        self.folder = public / path
        self.size = 0
        self.frontier = merkle.Frontier()
        self.tail: list[bytes] = []
        self.edge: dict[int, bytearray] = {}
        # Bundles and tiles that a publication has made and files do not yet hold.
        self.unwritten: dict[TileKey, bytes] = {}
        # Full tiles that files hold for good: the database may forget them.
        self.full_on_disk: list[TileKey] = []
        # Folders of full tiles whose names, up to ``public``, are durable.
        self.synced_folders: set[Path] = set()
        # Sizes whose partial tiles are still in files, oldest first.
        self.recent_sizes: list[int] = []
        self._cache: OrderedDict[TileKey, bytes] = OrderedDict()

    @property
    def root(self) -> bytes:
        """The root over everything appended."""
        return self.frontier.root()

    def restore(self, store: Store, *, size: int, frontier: bytes) -> None:
        """Take up what the database holds. Raises StorageFailed where it is torn."""
        self.size = size
        self.frontier = merkle.Frontier.restore(
            size, [frontier[at : at + 32] for at in range(0, len(frontier), 32)]
        )
        for level, n, data in store.query(
            "SELECT level, n, data FROM tile WHERE log=?", (self.tree_id,)
        ):
            self.unwritten[level, n] = data
        self._restore_edge()
        self.recent_sizes = [size]

    def _restore_edge(self) -> None:
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

    def append(self, leaves: Iterable[bytes]) -> set[TileKey]:
        """Append to the edge and the tree; return the touched tiles.

        Only memory changes. The caller commits ``unwritten`` before anybody sees it.
        """
        touched: set[TileKey] = set()
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
        self, level: int, position: int, value: bytes, touched: set[TileKey]
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

    def write_rows(self, store: Store, touched: set[TileKey]) -> None:
        """Write the touched tiles' rows, in the caller's transaction.

        Rows of tiles that an earlier publication left full and durable in files go.
        """
        store.change_each(
            "DELETE FROM tile WHERE log=? AND level=? AND n=?",
            [(self.tree_id, level, n) for level, n in self.full_on_disk],
        )
        self.full_on_disk = []
        store.change_each(
            "INSERT INTO tile VALUES (?, ?, ?, ?) "
            "ON CONFLICT (log, level, n) DO UPDATE SET data=excluded.data",
            [
                (self.tree_id, level, n, self.unwritten[level, n])
                for level, n in sorted(touched)
            ],
        )

    def note_written(self, full: list[TileKey]) -> None:
        """Take note that files hold these full tiles for good."""
        for key in full:
            del self.unwritten[key]
        self.full_on_disk += full

    def is_full(self, level: int, n: int) -> bool:
        """Say whether tile ``n`` of ``level`` holds its 256 elements."""
        bits = 0 if level == BUNDLE_LEVEL else tile.HEIGHT * level
        return (n + 1) * tile.WIDTH << bits <= self.size

    def read_leaf(self, index: int) -> bytes:
        """Return the leaf at ``index`` from memory or file. Raises StorageFailed."""
        if not 0 <= index < self.size:
            raise StorageFailed(f"{self.origin}: no leaf {index}")
        n, offset = divmod(index, tile.WIDTH)
        if n == self.size // tile.WIDTH:
            return self.tail[offset]
        return tile.parse_bundle(self._read(BUNDLE_LEVEL, n))[offset]

    def read_tile(self, level: int, n: int, width: int) -> bytes:
        """Return the first ``width`` hashes of a tile. Raises StorageFailed."""
        edge = self.edge.get(level)
        if edge is not None and n == self.size >> tile.HEIGHT * (level + 1):
            return bytes(edge[: 32 * width])
        return self._read(level, n)[: 32 * width]

    def prove_growth(self, old: int, new: int) -> list[bytes]:
        """Return the proof that the tree of ``old`` leaves is within that of ``new``.

        Empty where there is nothing to prove. Raises StorageFailed.
        """
        if not 0 < old < new:
            return []
        return merkle.consistency_proof(old, new, tile.node_reader(new, self.read_tile))

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
