"""One pass over a log, in order: everything that "a log is accepted iff" demands.

``reading`` runs ahead with the files, ``replay`` with the state machine, ``crew``
verifies tokens and hashes leaves in other processes, ``joining`` joins the results in
order; nonces are compared here. Memory does not grow with the log but for one byte a
leaf and eight a kept checkpoint (forty where their roots are wanted too).
"""

from collections.abc import Callable
from typing import Final

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import parse as parse_json
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.chunk import Checked, Context
from undersigned_verify.count import LogState, count_json
from undersigned_verify.crew import Crew
from undersigned_verify.errors import Fault
from undersigned_verify.joining import Joiner, find_kept, stream
from undersigned_verify.lookup import Lookup
from undersigned_verify.merkle import HASH_SIZE, leaf_hash
from undersigned_verify.note import VerifierKey
from undersigned_verify.opening import (
    MAX_SMALL,
    open_key,
    open_newest,
    read_file,
    read_whole,
)
from undersigned_verify.position import Found, Rank, first_of
from undersigned_verify.reading import Kept, Reader
from undersigned_verify.replay import Replay
from undersigned_verify.source import Source
from undersigned_verify.spill import Spill
from undersigned_verify.statement import MAX_STATEMENT, check_form, digest
from undersigned_verify.tile import WIDTH, parse_bundle

# Below this many leaves starting worker processes takes longer than it saves.
MIN_PARALLEL: Final = 16_384

Progress = Callable[[int, int], None]
OnKept = Callable[[int, bytes], None]


class Recount:
    """Recounts one log. After ``run`` without a Fault, everything below is verified."""

    def __init__(
        self,
        source: Source,
        *,
        workers: int,
        tokens: bool = True,
        progress: Progress | None = None,
        on_kept: OnKept | None = None,
        on_checked: Callable[[Checked], None] | None = None,
    ) -> None:
        """``tokens=False`` leaves token signatures aside and checks all else.

        ``on_kept`` is told size and root of each kept checkpoint with leaves, in
        order; ``on_checked`` each chunk's result, whose nonces it may look at.
        """
        self.source = source
        self.key: VerifierKey | None = None
        self.newest: Checkpoint | None = None
        self.state = LogState(lambda index: b"")
        self.checkpoints = 0  # how many kept ones were verified
        self.tokens = 0  # how many tokens were verified
        self.leaves = 0  # how many leaves were read and hashed
        self._workers = workers
        self._with_tokens = tokens
        self._progress = progress
        self._on_kept = on_kept
        self._on_checked = on_checked
        self._count_size = 0
        self._count_root = b""

    def run(self) -> None:
        """Read and check the whole log; raise the first Fault, or Unreadable."""
        # Before the checkpoint: a live server may publish between the two, and its
        # count must not be ahead of what is read.
        count = read_file(self.source, "count.json", MAX_SMALL)
        key = self.key = open_key(self.source)
        newest = self.newest = open_newest(self.source, key)
        kept, self.checkpoints = find_kept(self.source, newest, key)
        lookup = Lookup(self.source, newest)
        header = _read_header(self.source, newest, lookup)
        _check_statement(self.source, header)
        count_size = self._count_size = self._find_count_size(newest, kept, count)
        self.state = LogState(lookup.read_leaf)
        replay = Replay(self.state, kept, count_size)
        reader = Reader(self.source, newest.size, kept, replay)
        joiner = Joiner(self.source, newest, kept, lookup, self._take_kept)
        context = Context(key.vkey, header.challenge.digest, self._with_tokens)
        workers = self._workers if newest.size >= MIN_PARALLEL else 1
        with Crew(workers, context) as crew, Spill() as spill:

            def take(done: Checked) -> None:
                spill.add(done.nonces, done.parts)
                if self._on_checked is not None:
                    self._on_checked(done)
                joiner.join(done, reader.noted)
                self._add(done, newest.size)

            found = stream(reader, crew, joiner, take)
            found += _find_repeat(lookup, context.challenge_digest, crew, spill)
        if found:
            raise first_of(found).fault
        recounted = count_json(
            newest.origin, count_size, self._count_root, replay.totals
        )
        if count != recounted:
            raise Fault("count-mismatch", path="count.json")

    def _take_kept(self, size: int, root: bytes) -> None:
        """Note a kept checkpoint that is the root of its prefix."""
        if size == self._count_size:
            self._count_root = root
        if self._on_kept is not None:
            self._on_kept(size, root)

    def _add(self, done: Checked, size: int) -> None:
        """Add to the figures, and tell how far it is."""
        self.tokens += done.tokens
        self.leaves += done.leaves
        self.checkpoints += len(done.edges)
        if self._progress is not None:
            self._progress(self.leaves, size)

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
