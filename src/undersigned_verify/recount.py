"""One pass over a log, in order: everything that "a log is accepted iff" demands.

``reading`` runs ahead with the files and the state machine, ``crew`` verifies tokens
and hashes leaves in other processes, and the results are joined here in order: roots
of kept checkpoints, tiles of the upper levels, order across chunks, nonces. Memory
does not grow with the log but for one byte a leaf and eight a kept checkpoint.
"""

from array import array
from bisect import bisect_right
from collections.abc import Callable
from typing import Final

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import parse as parse_json
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.chunk import Checked, Context, Edge, tile_rows
from undersigned_verify.count import LogState, count_json
from undersigned_verify.crew import Crew
from undersigned_verify.errors import Fault
from undersigned_verify.lookup import Lookup
from undersigned_verify.merkle import HASH_SIZE, Frontier, fold, leaf_hash
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import (
    MAX_SMALL,
    open_key,
    open_newest,
    read_file,
    read_whole,
)
from undersigned_verify.position import FirstFault, Found, Rank, first_of
from undersigned_verify.reading import CHUNK_LEAVES, Kept, Reader
from undersigned_verify.source import Source
from undersigned_verify.spill import Spill
from undersigned_verify.statement import MAX_STATEMENT, check_form, digest
from undersigned_verify.tile import HEIGHT, WIDTH, parse_bundle, tile_path

# Below this many leaves starting worker processes takes longer than it saves.
MIN_PARALLEL: Final = 16_384

Progress = Callable[[int, int], None]


class Recount:
    """Recounts one log. After ``run`` without a Fault, everything below is verified."""

    def __init__(
        self,
        source: Source,
        *,
        workers: int,
        tokens: bool = True,
        progress: Progress | None = None,
    ) -> None:
        """``tokens=False`` leaves token signatures aside and checks all else."""
        self.source = source
        self.newest: Checkpoint | None = None
        self.state = LogState(lambda index: b"")
        self.checkpoints = 0  # how many kept ones were verified
        self.tokens = 0  # how many tokens were verified
        self.leaves = 0  # how many leaves were read and hashed
        self._workers = workers
        self._with_tokens = tokens
        self._progress = progress

    def run(self) -> None:
        """Read and check the whole log; raise the first Fault, or Unreadable."""
        # Before the checkpoint: a live server may publish between the two, and its
        # count must not be ahead of what is read.
        count = read_file(self.source, "count.json", MAX_SMALL)
        key = open_key(self.source)
        newest = self.newest = open_newest(self.source, key)
        kept = self._find_kept(newest, key)
        lookup = Lookup(self.source, newest)
        header = _read_header(self.source, newest, lookup)
        _check_statement(self.source, header)
        count_size = self._find_count_size(newest, kept, count)
        self.state = LogState(lookup.read_leaf)
        reader = Reader(self.source, newest.size, kept, self.state, count_size)
        joiner = Joiner(self.source, newest, kept, lookup, count_size)
        context = Context(key.vkey, header.challenge.digest, self._with_tokens)
        workers = self._workers if newest.size >= MIN_PARALLEL else 1
        with Crew(workers, context) as crew, Spill() as spill:
            found = self._stream(reader, joiner, crew, spill)
            found += _find_repeat(lookup, context.challenge_digest, crew, spill)
        if found:
            raise first_of(found).fault
        if count != count_json(newest.origin, count_size, joiner.root, reader.totals):
            raise Fault("count-mismatch", path="count.json")

    def _find_kept(self, newest: Checkpoint, key: VerifierKey) -> Kept:
        """List the kept checkpoints; the newest must be among them."""
        sizes = self.source.list_kept(newest.size)
        if sizes and sizes[-1] > newest.size:
            beyond = sizes[bisect_right(sizes, newest.size)]
            raise Fault("checkpoint-beyond", path=f"checkpoints/{beyond}")
        if not sizes or sizes[-1] != newest.size:
            raise Fault("file-missing", path=f"checkpoints/{newest.size}")
        if sizes[0] == 0:
            # The root of no leaves; nothing in the pass comes across it.
            _open_empty(self.source, key)
            self.checkpoints = 1
            sizes = sizes[1:]
        return Kept(array("q", sizes))

    def _find_count_size(self, newest: Checkpoint, kept: Kept, count: bytes) -> int:
        """Return the size of the prefix that count.json claims to count.

        An export's is of the newest checkpoint. A live server writes it a moment
        after the checkpoint, so there it may be of an earlier kept one.
        """
        if not self.source.live:
            return newest.size
        try:
            value = parse_json(count)
        except Fault as fault:
            raise fault.at(path="count.json") from fault
        size = value.get("tree_size") if isinstance(value, dict) else None
        if type(size) is not int or size not in kept:
            detail = "count.json names a size that is no kept checkpoint's."
            raise Fault("count-mismatch", detail, path="count.json")
        return size

    def _stream(
        self, reader: Reader, joiner: "Joiner", crew: Crew, spill: Spill
    ) -> list[Found]:
        """Pass over all leaves; return the first fault but repeated nonces, if any."""

        def take(done: object) -> None:
            assert isinstance(done, Checked)
            spill.add(done.nonces, done.parts)
            joiner.join(done, reader.noted)
            self.tokens += done.tokens
            self.leaves += done.leaves
            self.checkpoints += len(done.edges)
            if self._progress is not None and self.newest is not None:
                self._progress(self.leaves, self.newest.size)

        try:
            for chunk in reader.chunks():
                for result in crew.do(chunk):
                    take(result)
            for result in crew.finish():
                take(result)
            joiner.end()
        except FirstFault as first:
            # Chunks under way are of no use any more.
            for _ in crew.finish():
                pass
            return [first.found]
        return []


class Joiner:
    """Joins what chunks contribute; ``root`` is that of the counted prefix."""

    def __init__(
        self,
        source: Source,
        newest: Checkpoint,
        kept: Kept,
        lookup: Lookup,
        count_size: int,
    ) -> None:
        self.root = b""
        self._source = source
        self._newest = newest
        self._kept = kept
        self._lookup = lookup
        self._count_size = count_size
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
        if edge.size == self._count_size:
            self.root = root

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


def _open_empty(source: Source, key: VerifierKey) -> None:
    path = "checkpoints/0"
    try:
        empty = open_checkpoint(read_file(source, path, MAX_NOTE), key)
    except Fault as fault:
        raise fault.at(path=path) from fault
    if empty.size != 0:
        raise Fault("checkpoint-size", path=path)


def _read_header(source: Source, newest: Checkpoint, lookup: Lookup) -> leaf.Header:
    """Return leaf 0, checked against its hash, the checkpoint and its place."""
    path, hash_path = lookup.path_of(0), lookup.path_of(0, 0)
    try:
        first = parse_bundle(read_whole(source, path))[:1]
        tile = read_whole(source, hash_path)
        if len(tile) != HASH_SIZE * min(WIDTH, newest.size):
            raise Fault("tile-trailing", path=hash_path)
        if not first:
            raise Fault("entries-form", "The bundle is empty.")
        if leaf_hash(first[0]) != tile[:HASH_SIZE]:
            raise lookup.blame(0)
        header = leaf.parse(first[0])
        if not isinstance(header, leaf.Header):
            raise Fault("header-missing")
        if header.origin != newest.origin:
            raise Fault("checkpoint-origin")
    except Fault as fault:
        raise fault.at(0, path) from fault
    if source.path not in (None, header.origin.partition("/")[2]):
        detail = f"The log of {header.origin} lies at {source.path}."
        raise Fault("origin-path", detail, path="checkpoint")
    return header


def _check_statement(source: Source, header: leaf.Header) -> None:
    statement = read_file(source, "statement", MAX_STATEMENT)
    if digest(statement) != header.statement_sha256:
        raise Fault("statement-mismatch", path="statement")
    try:
        check_form(statement)
    except Fault as fault:
        raise fault.at(path="statement") from fault


def _find_repeat(
    lookup: Lookup, challenge_digest: bytes, crew: Crew, spill: Spill
) -> list[Found]:
    """Return the first signature whose nonce stands earlier, among those read."""
    repeated: set[bytes] = set()
    for part in spill.parts():
        for result in crew.do(part):
            assert isinstance(result, set)
            repeated |= result
    for result in crew.finish():
        assert isinstance(result, set)
        repeated |= result
    if not repeated:
        return []
    index = lookup.find_second(repeated, challenge_digest)
    fault = Fault("nonce-again", index=index, path=lookup.path_of(index))
    return [Found(index, Rank.STATE, fault)]
