"""One pass over any log: its kept checkpoints, and what chunks contribute, joined.

``reading`` runs ahead with the files and the log's rules, ``crew`` checks chunks, and
the results meet here in order: roots of kept checkpoints, tiles of the upper levels,
order across chunks. Memory does not grow with the log but for eight bytes a kept
checkpoint.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable, Iterable

from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.chunk import Checked, Edge, tile_rows
from undersigned_verify.crew import Crew, Result
from undersigned_verify.errors import Fault
from undersigned_verify.lookup import Lookup
from undersigned_verify.merkle import HASH_SIZE, Frontier, fold
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import read_file, read_whole
from undersigned_verify.position import FirstFault, Found, Rank, first_of
from undersigned_verify.reading import CHUNK_LEAVES, Kept, Reader
from undersigned_verify.source import Source
from undersigned_verify.tile import HEIGHT, WIDTH, tile_path


def find_kept(source: Source, newest: Checkpoint, key: VerifierKey) -> tuple[Kept, int]:
    """Return the sizes of kept checkpoints but 0, and 1 if one of 0 is kept, else 0.

    The newest must be among them.
    """
    sizes = source.list_kept(newest.size)
    if sizes and sizes[-1] > newest.size:
        beyond = sizes[bisect_right(sizes, newest.size)]
        raise Fault("checkpoint-beyond", path=f"checkpoints/{beyond}")
    if not sizes or sizes[-1] != newest.size:
        raise Fault("file-missing", path=f"checkpoints/{newest.size}")
    if sizes[0] != 0:
        return Kept(sizes), 0
    # The root of no leaves; nothing in the pass comes across it.
    _open_empty(source, key)
    return Kept(array("q", sizes[1:])), 1


def _open_empty(source: Source, key: VerifierKey) -> None:
    path = "checkpoints/0"
    try:
        empty = open_checkpoint(read_file(source, path, MAX_NOTE), key)
    except Fault as fault:
        raise fault.at(path=path) from fault
    if empty.size != 0:
        raise Fault("checkpoint-size", path=path)


class Joiner:
    """Joins what chunks contribute, in order."""

    def __init__(
        self,
        source: Source,
        newest: Checkpoint,
        kept: Kept,
        lookup: Lookup,
        on_kept: Callable[[int, bytes], None],
    ) -> None:
        """``on_kept`` is told size and root of each kept checkpoint that holds."""
        self._source = source
        self._newest = newest
        self._kept = kept
        self._lookup = lookup
        self._on_kept = on_kept
        self._upper = Frontier()  # of the roots of full bundles
        self._rows: list[list[bytes]] = []  # unfinished tiles of level 1 and up
        self._last_rank = b""

    def join(self, done: Checked, noted: list[Found]) -> None:
        """Join one chunk to what came before; raise FirstFault if it has a fault.

        ``noted``: what reading ahead has found, perhaps in later chunks.
        """
        found = [*done.faults]
        # A chunk whose first file is missing has no ranks.
        if b"" < done.first_rank < self._last_rank and done.first not in self._kept:
            fault = Fault("order-in-interval", index=done.first)
            found.append(Found(done.first, Rank.ORDER, fault))
        self._last_rank = done.last_rank
        try:
            self._grow(done)
        except FirstFault as first:
            found.append(first.found)
        end = done.first + CHUNK_LEAVES
        found += [item for item in noted if item.leaf < end]
        if found:
            raise FirstFault(self._name(first_of(found)))

    def _name(self, first: Found) -> Found:
        """Complete a fault with the file that it is in."""
        fault, index = first.fault, first.fault.index
        if index is not None:
            if fault.code == "tile-mismatch":
                fault = self._lookup.blame(index)
            fault = fault.at(path=self._lookup.path_of(index))
        return Found(first.leaf, first.rank, fault)

    def _grow(self, done: Checked) -> None:
        bundles = done.first // WIDTH
        roots = iter(done.roots)
        for edge in done.edges:
            while bundles < edge.size // WIDTH:
                self._push(next(roots))
                bundles += 1
            self._check_edge(edge)
        for root in roots:
            self._push(root)

    def _check_edge(self, edge: Edge) -> None:
        """Check that a kept checkpoint is the root of its prefix."""
        root = fold([*self._upper.hashes, *edge.peaks])
        paths = [f"checkpoints/{edge.size}"] if root != edge.root else []
        if edge.size == self._newest.size and root != self._newest.root:
            paths.append("checkpoint")
        if paths:
            fault = Fault("checkpoint-root", path=paths[0])
            raise FirstFault(Found(edge.size - 1, Rank.ROOT, fault))
        self._on_kept(edge.size, root)

    def _push(self, root: bytes) -> None:
        """Add the root of a full bundle to the tree and to the upper tiles."""
        self._upper.append(root)
        level = 0
        while True:
            if level == len(self._rows):
                self._rows.append([])
            row = self._rows[level]
            row.append(root)
            if len(row) < WIDTH:
                return
            self._check_upper(level, row)
            root = tile_rows(row)[-1][0]
            row.clear()
            level += 1

    def _check_upper(self, level: int, row: list[bytes]) -> None:
        """Compare a tile of level 1 or up; ``level`` counts from there."""
        span = self._upper.size >> HEIGHT * level
        path = tile_path(level + 1, (span - 1) // WIDTH, len(row))
        try:
            data = read_whole(self._source, path)
            if len(data) != HASH_SIZE * len(row):
                raise Fault("tile-trailing", path=path)
            if data != b"".join(row):
                raise Fault("tile-mismatch", path=path)
        except Fault as fault:
            last = self._upper.size * WIDTH - 1
            raise FirstFault(Found(last, Rank.UPPER_TILE, fault)) from fault

    def end(self) -> None:
        """Check the partial tiles at the right edge."""
        for level, row in enumerate(self._rows):
            if row:
                self._check_upper(level, row)


def stream(
    reader: Reader, crew: Crew, joiner: Joiner, take: Callable[[Checked], None]
) -> list[Found]:
    """Pass over all leaves; return the first fault, if any.

    ``take`` is given what each chunk contributes, in order, and joins it.
    """

    def pass_on(results: Iterable[Result]) -> None:
        for done in results:
            assert isinstance(done, Checked)
            take(done)

    try:
        for chunk in reader.chunks():
            pass_on(crew.do(chunk))
        pass_on(crew.finish())
        joiner.end()
    except FirstFault as first:
        # Chunks under way are of no use any more.
        for _ in crew.finish():
            pass
        return [first.found]
    return []
