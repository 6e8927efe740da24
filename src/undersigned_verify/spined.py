"""What a spine says of one campaign, against that campaign's recounted log.

``take`` is told of the spine's leaves of this origin in order; ``finish`` decides.
A log may run ahead of a live spine, and a spine ahead of a log that was read before
it: ``lacks_leaves`` and ``beyond`` say so, and ``spine_audit`` looks again.
"""

from collections.abc import Callable
from dataclasses import dataclass

from undersigned_verify import spine
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.errors import Evidence, Fault
from undersigned_verify.facts import LogFacts
from undersigned_verify.fork import check_prefix, prefix_root
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.opening import open_nodes, open_state, read_file

# Returns the spine's leaf of this index, and what proves it: see ``spine_audit``.
ProveLeaf = Callable[[int], tuple[Evidence, ...]]


@dataclass(frozen=True)
class _Objection:
    """The first contradiction, before it is proven."""

    code: str
    detail: str
    index: int | None  # of the spine's leaf; None where one is missing
    checkpoint: spine.CheckpointLeaf | None  # that leaf, where it is a checkpoint


class Spined:
    """One campaign in the spine."""

    def __init__(self, facts: LogFacts) -> None:
        self.facts = facts
        # Checkpoints in the spine that are larger than the log as it was read.
        self.beyond: list[tuple[int, spine.CheckpointLeaf]] = []
        self._named = False
        self._met = 0  # how many kept checkpoints stand in the spine
        self._size = 0  # of the newest of these
        self._last_at = 0  # index of the leaf that says so
        self._keys: dict[int, tuple[int, str]] = {}
        self._totals: dict[int, int] = {}
        self._objection: _Objection | None = None

    @property
    def lacks_leaves(self) -> bool:
        """Whether the spine may only be late: nothing contradicts, something lacks."""
        lacking = not self._named or self._met < len(self.facts.kept)
        return self._objection is None and lacking

    def take(self, index: int, leaf: spine.OfCampaign) -> None:
        """Compare one leaf; what follows the first contradiction is passed over."""
        if self._objection is not None:
            return
        match leaf:
            case spine.CampaignLeaf():
                self._named = True
                if leaf.header_sha256 != self.facts.header_sha256:
                    self._object("spine-header", "", index)
            case spine.KeyLeaf():
                self._keys[leaf.key_index] = index, leaf.spki_sha256
            case spine.CheckpointLeaf():
                self._take_checkpoint(index, leaf)
            case spine.IssuedLeaf():
                self._totals[leaf.key_index] = leaf.total

    def _object(
        self,
        code: str,
        detail: str,
        index: int | None = None,
        checkpoint: spine.CheckpointLeaf | None = None,
    ) -> None:
        self._objection = _Objection(code, detail, index, checkpoint)

    def _take_checkpoint(self, index: int, leaf: spine.CheckpointLeaf) -> None:
        if leaf.size > self.facts.newest.size:
            self.beyond.append((index, leaf))
            return
        kept = self.facts.kept
        # Sizes rise on both sides, so one look at the next kept one is enough.
        if self._met == len(kept) or kept.sizes[self._met] > leaf.size:
            detail = f"The spine has a checkpoint of {leaf.size} leaves, the log none."
            self._object("spine-unkept", detail, index, leaf)
        elif kept.sizes[self._met] < leaf.size:
            self._object_absent()
        elif kept.root(self._met).hex() != leaf.root:
            self._object("spine-fork", "", index, leaf)
        else:
            self._met += 1
            self._size, self._last_at = leaf.size, index
            self._check_announced(index)

    def _object_absent(self) -> None:
        size = self.facts.kept.sizes[self._met]
        detail = f"The kept checkpoint of {size} leaves does not stand in the spine."
        self._object("spine-absent", detail)

    def _check_announced(self, index: int) -> None:
        """Check that the keys a checkpoint covers stand in the spine before it."""
        for key in self.facts.keys:
            if key.announced_at < self._size and key.key_index not in self._keys:
                detail = (
                    f"Key {key.key_index} of the log does not stand in the spine "
                    "before the checkpoint that covers it."
                )
                self._object("spine-keys", detail, index)
                return

    def finish(self, prove: ProveLeaf) -> None:
        """Raise the Fault that the whole of the spine's leaves amounts to."""
        if self._objection is None:
            self._check_whole()
        if self._objection is None and self.beyond:
            _check_growth(self.facts, self.beyond, prove)
        if self._objection is not None:
            raise self._prove(self._objection, prove)

    def _check_whole(self) -> None:
        if not self._named:
            self._object("spine-absent", "The spine does not name this log.")
        elif self._met < len(self.facts.kept):
            self._object_absent()
        else:
            self._check_keys()
        closed_at = self.facts.closed_at
        if self._objection is None and closed_at is not None:
            self._check_totals()

    def _check_keys(self) -> None:
        """Check the keys of the spine against the log's.

        One behind the last checkpoint may be on its way into the log.
        """
        announced = {key.key_index: key.spki_sha256 for key in self.facts.keys}
        for key_index, (index, spki_sha256) in self._keys.items():
            expected = announced.get(key_index)
            if expected is None and index > self._last_at:
                continue
            if expected != spki_sha256:
                what = "another" if expected is not None else "no"
                detail = f"The log announces {what} key {key_index}."
                self._object("spine-keys", detail, index)
                return

    def _check_totals(self) -> None:
        """Check a closed log, whose every checkpoint stands in the spine."""
        for key_index, count in self.facts.signatures.items():
            total = self._totals.get(key_index, 0)
            if count > total:
                detail = (
                    f"{count} signatures stand under key {key_index}, and the spine "
                    f"says that {total} were issued."
                )
                self._object("spine-total", detail)
                return

    def _prove(self, found: _Objection, prove: ProveLeaf) -> Fault:
        """Return the fault with the log's signed state and the spine's leaf, whole."""
        source, newest = self.facts.source, self.facts.newest
        code, detail, path = found.code, found.detail, "checkpoint"
        if found.index is None:
            return Fault(code, detail, path=path)
        if found.checkpoint is not None:
            size = found.checkpoint.size
            if self.facts.kept.has(size):
                path = f"checkpoints/{size}"
            read_node = open_nodes(source, newest.size)
            if prefix_root(size, newest, read_node).hex() != found.checkpoint.root:
                # Not only left out: another history.
                code, detail = "spine-fork", ""
        fault = Fault(code, detail, index=found.index, path=spine.PATH)
        return fault.proven_by(_note(self.facts, path), *prove(found.index))


def _note(facts: LogFacts, path: str) -> Evidence:
    """Return a signed state of a log as evidence."""
    data = read_file(facts.source, path, MAX_NOTE)
    return Evidence(f"{facts.source.name}/{path}", data)


def _check_growth(
    facts: LogFacts, beyond: list[tuple[int, spine.CheckpointLeaf]], prove: ProveLeaf
) -> None:
    """Check the spine's checkpoints that are larger than the log was when it was read.

    An export should hold both as they were at one time. A live log has grown
    meanwhile: it must show those checkpoints now, each one a continuation of what was
    read. Leaves that came since are not recounted.
    """
    index, last = beyond[-1]
    newer, note = facts.newest, _note(facts, "checkpoint")
    before = note
    if facts.source.live:
        before = _note(facts, f"checkpoints/{facts.newest.size}")
        newer, data = open_state(facts.source, facts.key)
        note = Evidence(note.name, data)
    if newer.size < last.size:
        detail = (
            f"The spine has a checkpoint of {last.size} leaves, and the log that is "
            f"shown has {newer.size}."
        )
        fault = Fault("spine-beyond", detail, index=index, path=spine.PATH)
        raise fault.proven_by(note, *prove(index))
    read_node = open_nodes(facts.source, newer.size)
    check_prefix(facts.newest, newer, read_node, evidence=(before, note))
    for at, leaf in beyond:
        root = prefix_root(leaf.size, newer, read_node).hex()
        if root != leaf.root:
            fault = Fault("spine-fork", index=at, path=spine.PATH)
            raise fault.proven_by(note, *prove(at))
        path = f"checkpoints/{leaf.size}"
        data_kept = facts.source.read(path, MAX_NOTE)
        if data_kept is None:
            raise Fault("spine-unkept", path=path).proven_by(note, *prove(at))
        _check_kept(data_kept, path, leaf, facts.key)


def _check_kept(
    data: bytes, path: str, leaf: spine.CheckpointLeaf, key: VerifierKey
) -> None:
    """Check that a kept checkpoint says what the spine says."""
    try:
        kept = open_checkpoint(data, key)
        if kept.size != leaf.size:
            raise Fault("checkpoint-size")
        if kept.root.hex() != leaf.root:
            raise Fault("checkpoint-root")
    except Fault as fault:
        raise fault.at(path=path) from fault
