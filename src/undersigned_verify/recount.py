"""One pass over a log, in order: everything that "a log is accepted iff" demands.

The process that calls this stays thin. It reads files, cuts bundles by columns and
runs the state machine of ``count``; ``crew`` verifies tokens and hashes leaves; the
results come back in order and are joined here: roots of kept checkpoints, tiles of
the upper levels, order across chunks, nonces.

Every fault has a position, so that the first one is named whichever check finds it:
the leaf it concerns, then how near to the bytes the check is. Memory does not grow
with the log except for one byte a leaf and eight a kept checkpoint.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator
from hashlib import sha256
from typing import Final

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import parse as parse_json
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.chunk import (
    STRIDE,
    Checked,
    Chunk,
    Context,
    Edge,
    is_uniform,
    tile_rows,
)
from undersigned_verify.count import LogState, count_json
from undersigned_verify.crew import Crew
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.merkle import (
    EMPTY_ROOT,
    HASH_SIZE,
    Frontier,
    fold,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import (
    MAX_SMALL,
    open_key,
    open_newest,
    open_nodes,
    read_file,
    read_tiles,
    read_whole,
)
from undersigned_verify.source import Source
from undersigned_verify.spill import Spill
from undersigned_verify.statement import MAX_STATEMENT, check_form, digest
from undersigned_verify.tile import (
    HEIGHT,
    WIDTH,
    parse_bundle,
    split_hashes,
    tile_path,
)
from undersigned_verify.token import nonce_prefix

# 2,048 leaves: some 50 ms of work for a worker, 735 kB to send.
CHUNK_BUNDLES: Final = 8
# Below this many leaves starting worker processes takes longer than it saves.
MIN_PARALLEL: Final = 16_384
# Bundles kept for looking up what withdrawals aim at.
_LOOKUPS: Final = 32

# Ranks of faults at one position; ``chunk`` has 0 (mismatch), 2, 3 and 4.
_FILE, _STATE, _ORDER, _NOTE, _ROOT, _UPPER = -1, 1, 3, 4, 5, 6

Position = tuple[int, int]
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
        self.state = LogState(self.read_leaf)
        self.checkpoints = 0  # how many kept ones were verified
        self.tokens = 0  # how many tokens were verified
        self.leaves = 0  # how many leaves were read and hashed
        self._workers = workers
        self._with_tokens = tokens
        self._progress = progress
        self._kept: array[int] = array("q")
        self._upper = Frontier()  # of the roots of full bundles
        self._rows: list[list[bytes]] = []  # unfinished tiles of level 1 and up
        self._last_rank = b""
        self._noted: list[tuple[Position, Fault]] = []
        self._count_size = -1
        self._count_totals: dict[str, object] = {}
        self._count_root = b""
        self._lookups: OrderedDict[int, list[bytes]] = OrderedDict()

    def run(self) -> None:
        """Read and check the whole log; raise the first Fault, or Unreadable."""
        # Before the checkpoint: a live server may publish between the two, and its
        # count must not be ahead of what is read.
        count = self._read("count.json", MAX_SMALL)
        key = open_key(self.source)
        newest = self.newest = open_newest(self.source, key)
        self._check_header(newest)
        self._find_kept(newest, key)
        self._find_count_size(newest, count)
        context = Context(key.vkey, self.state.challenge.digest, self._with_tokens)
        # The header was applied to learn the challenge; the pass begins anew.
        self.state = LogState(self.read_leaf)
        workers = self._workers if newest.size >= MIN_PARALLEL else 1
        with Crew(workers, context) as crew, Spill() as spill:
            found = [self._stream(newest, crew, spill), self._find_repeat(crew, spill)]
        faults = [item for item in found if item is not None]
        if faults:
            raise min(faults, key=lambda item: item.position).fault
        self._check_count(count)

    # --- before the pass ----------------------------------------------------------

    def _read(self, path: str, limit: int) -> bytes:
        return read_file(self.source, path, limit)

    def _check_header(self, newest: Checkpoint) -> None:
        """Check leaf 0 against its hash, the checkpoint's origin and the statement."""
        width = min(WIDTH, newest.size)
        path = tile_path("entries", 0, width)
        try:
            first = parse_bundle(read_whole(self.source, path))[:1]
            tile = read_whole(self.source, tile_path(0, 0, width))
            if first and leaf_hash(first[0]) != tile[:HASH_SIZE]:
                raise self._blame(0)
            entry = leaf.parse(b"".join(first))
            self.state.apply(0, entry)
        except Fault as fault:
            raise fault.at(0, path) from fault
        header = self.state.header
        assert header is not None
        if header.origin != newest.origin:
            raise Fault("checkpoint-origin", index=0, path=path)
        if self.source.path not in (None, header.origin.partition("/")[2]):
            detail = f"The log of {header.origin} lies at {self.source.path}."
            raise Fault("origin-path", detail, path="checkpoint")
        statement = self._read("statement", MAX_STATEMENT)
        if digest(statement) != header.statement_sha256:
            raise Fault("statement-mismatch", path="statement")
        try:
            check_form(statement)
        except Fault as fault:
            raise fault.at(path="statement") from fault

    def _find_kept(self, newest: Checkpoint, key: VerifierKey) -> None:
        """List the kept checkpoints; the newest must be among them."""
        kept = self.source.list_kept(newest.size)
        if kept and kept[-1] > newest.size:
            beyond = kept[bisect_right(kept, newest.size)]
            raise Fault("checkpoint-beyond", path=f"checkpoints/{beyond}")
        if not kept or kept[-1] != newest.size:
            raise Fault("file-missing", path=f"checkpoints/{newest.size}")
        if kept[0] == 0:
            # The root of no leaves; nothing in the pass comes across it.
            self._open_empty(key)
            kept = kept[1:]
            self.checkpoints = 1
        self._kept = kept

    def _open_empty(self, key: VerifierKey) -> None:
        path = "checkpoints/0"
        try:
            empty = open_checkpoint(self._read(path, MAX_NOTE), key)
        except Fault as fault:
            raise fault.at(path=path) from fault
        if empty.size != 0:
            raise Fault("checkpoint-size", path=path)
        if empty.root != EMPTY_ROOT:
            raise Fault("checkpoint-root", path=path)

    def _find_count_size(self, newest: Checkpoint, count: bytes) -> None:
        """Find out which prefix count.json claims to count.

        An export's is of the newest checkpoint. A live server writes it a moment
        after the checkpoint, so there it may be of an earlier kept one.
        """
        self._count_size = newest.size
        if not self.source.live:
            return
        try:
            value = parse_json(count)
        except Fault as fault:
            raise fault.at(path="count.json") from fault
        size = value.get("tree_size") if isinstance(value, dict) else None
        if type(size) is not int or not self._is_kept(size):
            detail = "count.json names a size that is no kept checkpoint's."
            raise Fault("count-mismatch", detail, path="count.json")
        self._count_size = size

    def _is_kept(self, size: int) -> bool:
        at = bisect_left(self._kept, size)
        return at < len(self._kept) and self._kept[at] == size

    # --- the pass: reading ahead --------------------------------------------------

    def _stream(self, newest: Checkpoint, crew: Crew, spill: Spill) -> "_First | None":
        """Pass over all leaves; return the first fault but repeated nonces."""
        try:
            for chunk in self._chunks(newest.size):
                for result in crew.do(chunk):
                    assert isinstance(result, Checked)
                    self._take(result, newest, spill)
            for result in crew.finish():
                assert isinstance(result, Checked)
                self._take(result, newest, spill)
            self._end()
        except _First as first:
            # Chunks under way are of no use any more.
            for _ in crew.finish():
                pass
            return first
        return None

    def _chunks(self, size: int) -> Iterator[Chunk]:
        """Read chunks and run the state machine over them; stop at a fault."""
        bundles = -(-size // WIDTH)
        for low in range(0, bundles, CHUNK_BUNDLES):
            numbers = range(low, min(low + CHUNK_BUNDLES, bundles))
            chunk = self._read_chunk(numbers, size)
            at = chunk.first
            for number, data in enumerate(chunk.bundles):
                width = min(WIDTH, size - at)
                try:
                    self._apply(data, at, width)
                except Fault as fault:
                    path = tile_path("entries", low + number, width)
                    bad = at if fault.index is None else fault.index
                    self._note((bad, _STATE), fault.at(path=path))
                    # What follows was not looked at; nor can a worker look at a
                    # bundle that cannot be cut into its leaves.
                    end = number + (fault.code != "entries-form")
                    del chunk.bundles[end:], chunk.tiles[end:]
                    break
                at += width
            chunk.spkis = {i: key.spki for i, key in self.state.keys.items()}
            yield chunk
            if self._noted:
                return

    def _read_chunk(self, numbers: range, size: int) -> Chunk:
        """Read what a chunk holds, up to a file that is missing."""
        first = numbers[0] * WIDTH
        end = min(size, first + len(numbers) * WIDTH)
        widths = [min(WIDTH, size - n * WIDTH) for n in numbers]
        pairs = list(zip(numbers, widths, strict=True))
        bundles, tiles = (
            self._read_run([tile_path(level, n, width) for n, width in pairs], first)
            for level in ("entries", 0)
        )
        low, high = bisect_right(self._kept, first), bisect_right(self._kept, end)
        notes = self._read_notes(list(self._kept[low:high]))
        both = min(len(bundles), len(tiles))
        starts = self._is_kept(first)
        return Chunk(first, bundles[:both], tiles[:both], notes, starts, {})

    def _read_run(self, paths: list[str], first: int) -> list[bytes]:
        """Return the files before the first that is missing or too large."""
        places = [(first + WIDTH * i, _FILE) for i in range(len(paths))]
        return self._read_before(
            paths, places, lambda names: read_tiles(self.source, names)
        )

    def _read_notes(self, sizes: list[int]) -> list[tuple[int, bytes]]:
        """Return the notes of these sizes before the first that is missing."""
        paths = [f"checkpoints/{size}" for size in sizes]
        places = [(size - 1, _NOTE) for size in sizes]
        found = self._read_before(
            paths, places, lambda names: self.source.read_many(names, MAX_NOTE)
        )
        return list(zip(sizes, found, strict=False))

    def _read_before(
        self,
        paths: list[str],
        places: list[Position],
        read: Callable[[list[str]], list[bytes | None]],
    ) -> list[bytes]:
        """Read files up to the first that is missing or too large, and note that."""
        try:
            found = read(paths)
        except Fault as fault:
            # Only one that is too large; the path is that of the full tile where a
            # live log's partial one is gone.
            bad = next(i for i, path in enumerate(paths) if _same(path, fault.path))
            self._note(places[bad], fault)
            return self._read_before(paths[:bad], places[:bad], read)
        data: list[bytes] = []
        for path, place, item in zip(paths, places, found, strict=True):
            if item is None:
                self._note(place, Fault("file-missing", path=path))
                break
            data.append(item)
        return data

    def _note(self, position: Position, fault: Fault) -> None:
        self._noted.append((position, fault))

    def _apply(self, data: bytes, first: int, width: int) -> None:
        """Run the state machine over one bundle."""
        uniform = is_uniform(data) and max(data[6::STRIDE]) <= 2
        leaves = [] if uniform else parse_bundle(data)
        count = len(data) // STRIDE if uniform else len(leaves)
        if count != width:
            raise Fault("entries-form", f"The bundle has {count} leaves, not {width}.")
        at = 0
        for end in self._cuts(first, width):
            if uniform:
                columns = data[at * STRIDE : end * STRIDE]
                pairs = zip(columns[4::STRIDE], columns[5::STRIDE], strict=True)
                indexes = [high << 8 | low for high, low in pairs]
                self.state.apply_signatures(indexes, columns[6::STRIDE])
            else:
                self._apply_leaves(leaves[at:end], first + at)
            at = end
            if self._is_kept(first + end):
                self.state.checkpoint(first + end)
            if first + end == self._count_size:
                self._count_totals = self.state.totals()

    def _cuts(self, first: int, width: int) -> Iterator[int]:
        """Yield where intervals end in a bundle, and the bundle's own end."""
        at = bisect_right(self._kept, first)
        while at < len(self._kept) and self._kept[at] < first + width:
            yield self._kept[at] - first
            at += 1
        yield width

    def _apply_leaves(self, leaves: list[bytes], first: int) -> None:
        """Apply any leaves, signatures in runs."""
        indexes: list[int] = []
        stances = bytearray()
        for index, data in enumerate(leaves, first):
            if (
                len(data) == leaf.SIGNATURE_SIZE
                and data[:2] == leaf.SIGNATURE_PREFIX
                and data[4] <= 2
            ):
                indexes.append(data[2] << 8 | data[3])
                stances.append(data[4])
                continue
            self.state.apply_signatures(indexes, bytes(stances))
            indexes, stances = [], bytearray()
            try:
                entry = leaf.parse(data)
            except Fault as fault:
                raise fault.at(index) from fault
            self.state.apply(index, entry)
        self.state.apply_signatures(indexes, bytes(stances))

    def read_leaf(self, index: int) -> bytes:
        """Return the bytes of a leaf, as the source has them."""
        assert self.newest is not None
        number, inside = divmod(index, WIDTH)
        leaves = self._lookups.get(number)
        if leaves is None:
            width = min(WIDTH, self.newest.size - number * WIDTH)
            path = tile_path("entries", number, width)
            leaves = parse_bundle(read_whole(self.source, path))
            self._lookups[number] = leaves
            if len(self._lookups) > _LOOKUPS:
                self._lookups.popitem(last=False)
        return leaves[inside]

    # --- the pass: joining results ------------------------------------------------

    def _take(self, done: Checked, newest: Checkpoint, spill: Spill) -> None:
        """Join one chunk to what came before; raise _First if it has a fault."""
        spill.add(done.nonces, done.parts)
        faults = list(done.faults)
        # A chunk whose first file is missing has no ranks.
        if b"" < done.first_rank < self._last_rank and not self._is_kept(done.first):
            fault = Fault("order-in-interval", index=done.first)
            faults.append(((done.first, _ORDER), fault))
        self._last_rank = done.last_rank
        try:
            self._join(done, newest)
        except _First as first:
            faults.append((first.position, first.fault))
        end = done.first + CHUNK_BUNDLES * WIDTH
        faults += [item for item in self._noted if item[0][0] < end]
        if faults:
            position, fault = min(faults, key=lambda item: item[0])
            if fault.code == "tile-mismatch" and position[1] == 0:
                fault = self._blame(fault.index or 0)
            elif fault.index is not None and fault.path is None:
                fault = fault.at(path=self._bundle_path(fault.index))
            raise _First(position, fault)
        self.tokens += done.tokens
        self.leaves += done.leaves
        if self._progress is not None:
            self._progress(self.leaves, newest.size)

    def _join(self, done: Checked, newest: Checkpoint) -> None:
        bundles = done.first // WIDTH
        roots = iter(done.roots)
        for edge in done.edges:
            while bundles < edge.size // WIDTH:
                self._push(next(roots))
                bundles += 1
            self._check_edge(edge, newest)
        for root in roots:
            self._push(root)

    def _check_edge(self, edge: Edge, newest: Checkpoint) -> None:
        root = fold([*self._upper.hashes, *edge.peaks])
        if root != edge.root:
            fault = Fault("checkpoint-root", path=f"checkpoints/{edge.size}")
            raise _First((edge.size - 1, _ROOT), fault)
        if edge.size == newest.size and root != newest.root:
            fault = Fault("checkpoint-root", path="checkpoint")
            raise _First((edge.size - 1, _ROOT), fault)
        self.checkpoints += 1
        if edge.size == self._count_size:
            self._count_root = root

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
        position = self._upper.size * WIDTH - 1, _UPPER
        try:
            data = read_whole(self.source, path)
        except Fault as fault:
            raise _First(position, fault) from fault
        if len(data) != HASH_SIZE * len(row):
            raise _First(position, Fault("tile-trailing", path=path))
        if data != b"".join(row):
            raise _First(position, Fault("tile-mismatch", path=path))

    def _end(self) -> None:
        """Check the partial tiles at the right edge."""
        if self._noted:
            first = min(self._noted, key=lambda item: item[0])
            raise _First(*first)
        for level, row in enumerate(self._rows):
            if row:
                self._check_upper(level, row)

    # --- after the pass -----------------------------------------------------------

    def _check_count(self, count: bytes) -> None:
        assert self.newest is not None
        totals, size = self._count_totals, self._count_size
        if count != count_json(self.newest.origin, size, self._count_root, totals):
            raise Fault("count-mismatch", path="count.json")

    def _find_repeat(self, crew: Crew, spill: Spill) -> "_First | None":
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
            return None
        index = self._find_second(repeated)
        path = self._bundle_path(index)
        return _First((index, _STATE), Fault("nonce-again", index=index, path=path))

    def _find_second(self, repeated: set[bytes]) -> int:
        """Return the first leaf whose nonce is among these for the second time.

        Reads the log again: nonces are not kept with their indexes, because this
        happens once in the life of a broken log.
        """
        assert self.newest is not None
        prefix = nonce_prefix(self.state.challenge.digest)
        seen: set[bytes] = set()
        for index in range(self.newest.size):
            data = self.read_leaf(index)
            if data[:2] == leaf.SIGNATURE_PREFIX:
                nonce = sha256(prefix + data[4:101]).digest()
                if nonce in seen:
                    return index
                if nonce in repeated:
                    seen.add(nonce)
        raise Unreadable(f"{self.source.name} changed while it was read.")

    def _bundle_path(self, index: int) -> str:
        assert self.newest is not None
        number = index // WIDTH
        width = min(WIDTH, self.newest.size - number * WIDTH)
        return tile_path("entries", number, width)

    def _blame(self, index: int) -> Fault:
        """Tell which is at fault where an entry and its hash in a tile differ.

        Whichever leads to the newest checkpoint's root is what the log committed to.
        """
        assert self.newest is not None
        number = index // WIDTH
        path = self._bundle_path(index)
        width = min(WIDTH, self.newest.size - number * WIDTH)
        hash_path = tile_path(0, number, width)
        entries = [
            leaf_hash(data) for data in parse_bundle(read_whole(self.source, path))
        ]
        hashes = split_hashes(read_whole(self.source, hash_path))
        right, left = self._leads(number, entries), self._leads(number, hashes)
        if right and not left:
            return Fault("tile-mismatch", index=index, path=hash_path)
        if left and not right:
            return Fault("entries-mismatch", index=index, path=path)
        detail = f"It differs from {hash_path}; neither leads to the newest root hash."
        return Fault("entries-mismatch", detail, index=index, path=path)

    def _leads(self, number: int, hashes: list[bytes]) -> bool:
        """Tell whether a tile of these leaf hashes leads to the newest root hash."""
        assert self.newest is not None
        size, rows = self.newest.size, tile_rows(hashes)
        others = open_nodes(self.source, size)

        def read_node(level: int, n: int) -> bytes:
            inside = (n << level) - number * WIDTH
            if 0 <= inside < WIDTH and inside + (1 << level) <= len(hashes):
                return rows[level][inside >> level]
            return others(level, n)

        first = number * WIDTH
        try:
            verify_inclusion(
                leaf_hash=hashes[0],
                index=first,
                size=size,
                proof=inclusion_proof(first, size, read_node),
                root=self.newest.root,
            )
        except Fault:
            return False
        return True


class _First(Exception):
    """The first fault of a pass, and where it is."""

    def __init__(self, position: Position, fault: Fault) -> None:
        super().__init__(position, fault)
        self.position = position
        self.fault = fault


def _same(path: str, named: str | None) -> bool:
    return named is not None and path.partition(".p/")[0] == named.partition(".p/")[0]
