"""Reading ahead: chunks of a log in order, with its rules run over them.

This is the part of an audit that cannot be shared out. Which rules is for a follower
to know: ``replay`` has those of a campaign's log, ``spine_pass`` those of a spine.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from undersigned_verify.chunk import Chunk
from undersigned_verify.errors import Fault
from undersigned_verify.note import MAX_NOTE
from undersigned_verify.opening import read_tiles
from undersigned_verify.position import Found, Rank
from undersigned_verify.source import Source
from undersigned_verify.tile import WIDTH, tile_path

# 2,048 leaves: some 50 ms of work for a worker, 735 kB to send.
CHUNK_BUNDLES: Final = 8
CHUNK_LEAVES: Final = CHUNK_BUNDLES * WIDTH


class Kept:
    """The sizes of a log's kept checkpoints, sorted; eight bytes each."""

    def __init__(self, sizes: "array[int]") -> None:
        self._sizes = sizes

    def __contains__(self, size: int) -> bool:
        at = bisect_left(self._sizes, size)
        return at < len(self._sizes) and self._sizes[at] == size

    def between(self, low: int, high: int) -> list[int]:
        """Return the sizes with low < size <= high."""
        sizes = self._sizes
        return list(sizes[bisect_right(sizes, low) : bisect_right(sizes, high)])


class Follower(Protocol):
    """The rules of one log, told of its leaves in order."""

    def apply(self, data: bytes, first: int, width: int) -> None:
        """Take a bundle that should have ``width`` leaves from ``first`` on.

        Raises the first Fault in it, with the leaf's index where one is to blame.
        """

    def list_spkis(self) -> dict[int, bytes]:
        """Return the issuer keys announced so far, by key index."""


class Reader:
    """Reads the chunks of one log once; ``noted`` holds the fault that ended it."""

    def __init__(
        self, source: Source, size: int, kept: Kept, follower: Follower
    ) -> None:
        self.noted: list[Found] = []
        self._source = source
        self._size = size
        self._kept = kept
        self._follower = follower

    def chunks(self) -> Iterator[Chunk]:
        """Yield the chunks in order; after a fault, the one that holds it is last."""
        for first in range(0, self._size, CHUNK_LEAVES):
            chunk = self._read_chunk(first)
            self._apply_chunk(chunk)
            chunk.spkis = self._follower.list_spkis()
            yield chunk
            if self.noted:
                return

    def _read_chunk(self, first: int) -> Chunk:
        """Read what a chunk holds, up to a file that is missing."""
        end = min(self._size, first + CHUNK_LEAVES)
        starts = range(first, end, WIDTH)
        bundles, tiles = (
            self._read_before(
                [tile_path(level, at // WIDTH, min(WIDTH, end - at)) for at in starts],
                [(at, Rank.FILE) for at in starts],
                lambda paths: read_tiles(self._source, paths),
            )
            for level in ("entries", 0)
        )
        sizes = self._kept.between(first, end)
        notes = self._read_before(
            [f"checkpoints/{size}" for size in sizes],
            [(size - 1, Rank.NOTE) for size in sizes],
            lambda paths: self._source.read_many(paths, MAX_NOTE),
        )
        both = min(len(bundles), len(tiles))
        return Chunk(
            first,
            bundles[:both],
            tiles[:both],
            list(zip(sizes, notes, strict=False)),
            first in self._kept,
            {},
        )

    def _read_before(
        self,
        paths: list[str],
        places: list[tuple[int, Rank]],
        read: Callable[[list[str]], list[bytes | None]],
    ) -> list[bytes]:
        """Return the files before the first that is missing or too large; note that."""
        try:
            found = read(paths)
        except Fault as fault:
            # Only one that is too large. Its path may be that of the full tile, where
            # a live log's partial one is gone.
            bad = next(i for i, path in enumerate(paths) if _same(path, fault.path))
            self.noted.append(Found(*places[bad], fault))
            return self._read_before(paths[:bad], places[:bad], read)
        data: list[bytes] = []
        for path, place, item in zip(paths, places, found, strict=True):
            if item is None:
                self.noted.append(Found(*place, Fault("file-missing", path=path)))
                break
            data.append(item)
        return data

    def _apply_chunk(self, chunk: Chunk) -> None:
        """Run the rules over a chunk; at a fault, cut off what follows."""
        for number, data in enumerate(chunk.bundles):
            at = chunk.first + number * WIDTH
            width = min(WIDTH, self._size - at)
            try:
                self._follower.apply(data, at, width)
            except Fault as fault:
                bad = at if fault.index is None else fault.index
                placed = fault.at(bad, tile_path("entries", at // WIDTH, width))
                self.noted.append(Found(bad, Rank.STATE, placed))
                # Workers look at no bundle that was not looked at here, nor at one
                # that cannot be cut into its leaves.
                end = number + (fault.code != "entries-form")
                del chunk.bundles[end:], chunk.tiles[end:]
                return


def _same(path: str, named: str | None) -> bool:
    return named is not None and path.partition(".p/")[0] == named.partition(".p/")[0]
