"""What is kept of a recounted log, to compare it with its instance's spine."""

from array import array
from bisect import bisect_left
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from undersigned_verify import entry as leaf
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.merkle import HASH_SIZE
from undersigned_verify.note import VerifierKey
from undersigned_verify.recount import Recount
from undersigned_verify.source import Source


@dataclass
class KeptRoots:
    """Kept checkpoints that hold, in order: 40 bytes each."""

    sizes: "array[int]" = field(default_factory=lambda: array("q"))
    _roots: bytearray = field(default_factory=bytearray)

    def add(self, size: int, root: bytes) -> None:
        """Note the next one; sizes rise."""
        self.sizes.append(size)
        self._roots += root

    def __len__(self) -> int:
        return len(self.sizes)

    def root(self, number: int) -> bytes:
        """Return the root hash of the one that is ``number`` in order, from 0."""
        return bytes(self._roots[HASH_SIZE * number : HASH_SIZE * (number + 1)])

    def has(self, size: int) -> bool:
        """Tell whether one of this size is kept."""
        at = bisect_left(self.sizes, size)
        return at < len(self.sizes) and self.sizes[at] == size


@dataclass(frozen=True)
class AnnouncedKey:
    """An issuer key as its log announces it."""

    key_index: int
    spki_sha256: str
    announced_at: int  # leaf index


@dataclass(frozen=True)
class LogFacts:
    """A recounted log without fault."""

    source: Source
    key: VerifierKey
    newest: Checkpoint
    header_sha256: str
    keys: tuple[AnnouncedKey, ...]  # in order of announcement
    kept: KeptRoots
    closed_at: int | None  # leaf index
    signatures: dict[int, int]  # how many stand under each key index

    @classmethod
    def of(cls, recount: Recount, kept: KeptRoots) -> Self:
        """Take the facts of a recount that has run without a Fault."""
        state, key, newest = recount.state, recount.key, recount.newest
        assert key is not None
        assert newest is not None
        assert state.header is not None
        # Each leaf has one form: what was parsed is encoded to the same bytes.
        header = leaf.encode(state.header)
        found = sorted(state.keys.values(), key=lambda item: item.announced_at)
        return cls(
            recount.source,
            key,
            newest,
            sha256(header).hexdigest(),
            tuple(
                AnnouncedKey(
                    item.key_index, sha256(item.spki).hexdigest(), item.announced_at
                )
                for item in found
            ),
            kept,
            state.closed_at,
            state.signatures_by_key(),
        )
