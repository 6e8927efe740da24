"""One pass over a spine log: everything that holds for it alone.

Its key, its newest checkpoint and all kept ones, its tiles, and each leaf's form and
place. Runs in one process: a spine has a leaf for every checkpoint of a campaign, not
for every signature. Memory does not grow with it but for eight bytes a kept checkpoint
and a few words a campaign and key.
"""

from collections.abc import Callable

from undersigned_verify import spine
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.chunk import Checked, Context
from undersigned_verify.crew import Crew
from undersigned_verify.errors import Fault
from undersigned_verify.joining import Joiner, find_kept, stream
from undersigned_verify.lookup import Lookup
from undersigned_verify.note import VerifierKey
from undersigned_verify.opening import open_key, open_state
from undersigned_verify.position import first_of
from undersigned_verify.reading import Reader
from undersigned_verify.source import Source
from undersigned_verify.tile import parse_bundle

OnLeaf = Callable[[int, spine.Leaf], None]


class SpinePass:
    """Reads one spine. After ``run`` without a Fault, everything below is verified."""

    def __init__(
        self,
        source: Source,
        *,
        on_leaf: OnLeaf | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        """``on_leaf`` is told index and leaf of each, before the whole is verified."""
        self.source = source
        self.key: VerifierKey | None = None
        self.newest: Checkpoint | None = None
        self.note = b""  # the newest checkpoint, signed and perhaps cosigned
        self.state: spine.SpineState | None = None
        self.checkpoints = 0  # how many kept ones were verified
        self.leaves = 0
        self._on_leaf = on_leaf
        self._progress = progress

    def run(self) -> None:
        """Read and check the whole spine; raise the first Fault, or Unreadable.

        Paths in a Fault are relative to the spine's folder.
        """
        key = self.key = open_key(self.source)
        self.newest, self.note = open_state(self.source, key)
        newest = self.newest
        try:
            self.state = spine.SpineState(newest.origin)
        except Fault as fault:
            raise fault.at(path="checkpoint") from fault
        kept, self.checkpoints = find_kept(self.source, newest, key)
        follower = _SpineFollower(self.state, self._on_leaf)
        reader = Reader(self.source, newest.size, kept, follower)
        lookup = Lookup(self.source, newest)
        joiner = Joiner(self.source, newest, kept, lookup, lambda size, root: None)

        def take(done: Checked) -> None:
            joiner.join(done, reader.noted)
            self.leaves += done.leaves
            self.checkpoints += len(done.edges)
            if self._progress is not None:
                self._progress(self.leaves, newest.size)

        context = Context(key.vkey, b"", tokens=False, ordered=False)
        with Crew(1, context) as crew:
            found = stream(reader, crew, joiner, take)
        if found:
            raise first_of(found).fault


class _SpineFollower:
    """Runs the rules of a spine over its bundles."""

    def __init__(self, state: spine.SpineState, on_leaf: OnLeaf | None) -> None:
        self._state = state
        self._on_leaf = on_leaf

    def list_spkis(self) -> dict[int, bytes]:
        """Return nothing: no leaf of a spine holds a token."""
        return {}

    def apply(self, data: bytes, first: int, width: int) -> None:
        """Check one bundle's leaves in order."""
        leaves = parse_bundle(data)
        if len(leaves) != width:
            detail = f"The bundle has {len(leaves)} leaves, not {width}."
            raise Fault("entries-form", detail)
        for index, item in enumerate(leaves, first):
            try:
                leaf = spine.parse(item)
                self._state.apply(leaf)
            except Fault as fault:
                raise fault.at(index) from fault
            if self._on_leaf is not None:
                self._on_leaf(index, leaf)
