"""RFC 6962 hashing, and the proofs of RFC 9162 sections 2.1.3 and 2.1.4.

A leaf hashes as SHA-256(0x00 || leaf), a node as SHA-256(0x01 || left || right), and
an empty tree as SHA-256 of nothing. Node ``(level, n)`` is the root of the complete
subtree over leaves ``n * 2**level`` up to ``(n + 1) * 2**level``.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Final, Self

from undersigned_verify.errors import Fault

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = sha256(b"").digest()
# Sizes and indexes travel as 64-bit integers elsewhere; no tree grows past 2**63.
MAX_SIZE: Final = 2**63 - 1

ReadNode = Callable[[int, int], bytes]


def leaf_hash(data: bytes) -> bytes:
    """Return the 32-byte hash of one leaf."""
    return sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of an inner node."""
    return sha256(b"\x01" + left + right).digest()


def fold(hashes: Sequence[bytes]) -> bytes:
    """Return the root over perfect subtrees given from the largest to the smallest."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


def root_of(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree over these leaf hashes."""
    return Frontier().extend(hashes).root()


class Frontier:
    """The right edge of a growing tree: all that is needed to append and to hash.

    ``hashes`` holds one root for each set bit of ``size``, largest subtree first: at
    most 63 hashes whatever the size.
    """

    def __init__(self) -> None:
        self.size = 0
        self.hashes: list[bytes] = []

    @classmethod
    def restore(cls, size: int, hashes: Iterable[bytes]) -> Self:
        """Return the frontier that had this state; Fault if it cannot have had."""
        frontier = cls()
        frontier.size, frontier.hashes = size, list(hashes)
        if not 0 <= size <= MAX_SIZE:
            raise Fault("proof-index")
        if len(frontier.hashes) != size.bit_count():
            raise Fault("proof-length")
        return frontier

    def append(self, leaf: bytes) -> None:
        """Add one leaf hash of 32 bytes."""
        size = self.size
        while size & 1:
            leaf = node_hash(self.hashes.pop(), leaf)
            size >>= 1
        self.hashes.append(leaf)
        self.size += 1

    def extend(self, leaves: Iterable[bytes]) -> Self:
        """Add leaf hashes in order."""
        for leaf in leaves:
            self.append(leaf)
        return self

    def root(self) -> bytes:
        """Return the root hash of the tree so far."""
        return fold(self.hashes)


def verify_inclusion(
    *, leaf_hash: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that a leaf hash stands at ``index`` of the tree; raise Fault if not.

    ``proof``: sibling hashes from the leaf up. Source: RFC 9162 section 2.1.3.2.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise Fault("proof-index", f"Index {index} is not in a tree of size {size}.")
    siblings = _hashes([leaf_hash, root, *proof])[2:]
    node, last, result = index, size - 1, leaf_hash
    for sibling in siblings:
        if last == 0:
            raise Fault("proof-length", "The proof has too many hashes.")
        if node & 1 or node == last:
            result = node_hash(sibling, result)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            result = node_hash(result, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise Fault("proof-length", "The proof has too few hashes.")
    if result != root:
        raise Fault("proof-root")


def verify_consistency(
    *,
    old_size: int,
    new_size: int,
    old_root: bytes,
    new_root: bytes,
    proof: Sequence[bytes],
    allow_empty: bool = False,
) -> None:
    """Check that the old tree is a prefix of the new one; raise Fault if not.

    A proof from size 0 says nothing, so it is refused unless ``allow_empty`` (a
    witness's first call sends one). Source: RFC 9162 section 2.1.4.2.
    """
    if not 0 <= old_size <= new_size <= MAX_SIZE:
        raise Fault("proof-index", f"No tree grows from {old_size} to {new_size}.")
    hashes = _hashes(proof)
    if old_size == 0:
        if not allow_empty:
            raise Fault("proof-index", "A proof from an empty tree shows nothing.")
        if old_root != EMPTY_ROOT:
            raise Fault("proof-root")
    if old_size in (0, new_size):
        if hashes:
            raise Fault("proof-length", "This proof must be empty.")
        if old_size == new_size and old_root != new_root:
            raise Fault("proof-root")
        return
    _verify_growth(old_size, new_size, old_root, new_root, hashes)


def _verify_growth(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: list[bytes]
) -> None:
    """RFC 9162 section 2.1.4.2 for 0 < old_size < new_size."""
    if old_size & (old_size - 1) == 0:
        proof = [old_root, *proof]
    if not proof:
        raise Fault("proof-length", "The proof has too few hashes.")
    node, last = old_size - 1, new_size - 1
    while node & 1:
        node >>= 1
        last >>= 1
    old = new = proof[0]
    for sibling in proof[1:]:
        if last == 0:
            raise Fault("proof-length", "The proof has too many hashes.")
        if node & 1 or node == last:
            old = node_hash(sibling, old)
            new = node_hash(sibling, new)
            while not node & 1 and node:
                node >>= 1
                last >>= 1
        else:
            new = node_hash(new, sibling)
        node >>= 1
        last >>= 1
    if last:
        raise Fault("proof-length", "The proof has too few hashes.")
    if old != old_root or new != new_root:
        raise Fault("proof-root")


def _hashes(proof: Sequence[bytes]) -> list[bytes]:
    if any(len(item) != HASH_SIZE for item in proof):
        raise Fault("proof-form", "A hash is not 32 bytes long.")
    return list(proof)


def inclusion_proof(index: int, size: int, read_node: ReadNode) -> list[bytes]:
    """Return the siblings from leaf ``index`` up, for ``verify_inclusion``."""
    if not 0 <= index < size <= MAX_SIZE:
        raise Fault("proof-index", f"Index {index} is not in a tree of size {size}.")
    return _path(index, 0, size, read_node)


def _path(index: int, low: int, high: int, read_node: ReadNode) -> list[bytes]:
    """Siblings of ``index`` within leaves ``low`` to ``high`` (RFC 9162 2.1.3.1)."""
    if high - low == 1:
        return []
    middle = low + _split(high - low)
    if index < middle:
        below = _path(index, low, middle, read_node)
        return [*below, range_hash(middle, high, read_node)]
    below = _path(index, middle, high, read_node)
    return [*below, range_hash(low, middle, read_node)]


def consistency_proof(old: int, new: int, read_node: ReadNode) -> list[bytes]:
    """Return the hashes that show the tree of ``old`` leaves within that of ``new``."""
    if not 0 < old <= new <= MAX_SIZE:
        raise Fault("proof-index", f"No tree grows from {old} to {new}.")
    return _growth(old, 0, new, read_node, known=True)


def _growth(
    old: int, low: int, high: int, read_node: ReadNode, *, known: bool
) -> list[bytes]:
    """RFC 9162 section 2.1.4.1, SUBPROOF; ``known``: the verifier has this root."""
    if old == high:
        return [] if known else [range_hash(low, high, read_node)]
    middle = low + _split(high - low)
    if old <= middle:
        below = _growth(old, low, middle, read_node, known=known)
        return [*below, range_hash(middle, high, read_node)]
    below = _growth(old, middle, high, read_node, known=False)
    return [*below, range_hash(low, middle, read_node)]


def _split(width: int) -> int:
    """Return the largest power of two below ``width`` (at least 2)."""
    return 1 << (width - 1).bit_length() - 1


def range_hash(low: int, high: int, read_node: ReadNode) -> bytes:
    """Return the root over leaves ``low`` to ``high`` from complete subtrees.

    ``low`` must be a multiple of the largest power of two within the range, as it is
    for every range that a proof meets.
    """
    hashes = []
    while low < high:
        level = (high - low).bit_length() - 1
        hashes.append(read_node(level, low >> level))
        low += 1 << level
    return fold(hashes)
