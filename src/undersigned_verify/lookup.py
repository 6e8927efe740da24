"""Single leaves of a log, and who is to blame where entries and hashes differ."""

from collections import OrderedDict
from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.chunk import is_signature, tile_rows
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.merkle import inclusion_proof, leaf_hash, verify_inclusion
from undersigned_verify.opening import open_nodes, read_whole
from undersigned_verify.source import Source
from undersigned_verify.tile import WIDTH, parse_bundle, split_hashes, tile_path
from undersigned_verify.token import nonce_prefix

# Bundles kept at hand; withdrawals may aim anywhere.
_KEPT_BUNDLES: Final = 32


class Lookup:
    """Reads single leaves of the log under a checkpoint."""

    def __init__(self, source: Source, newest: Checkpoint) -> None:
        self._source = source
        self._newest = newest
        self._bundles: OrderedDict[int, list[bytes]] = OrderedDict()

    def read_leaf(self, index: int) -> bytes:
        """Return the bytes of a leaf, as the source has them."""
        number, inside = divmod(index, WIDTH)
        leaves = self._bundles.get(number)
        if leaves is None:
            leaves = parse_bundle(read_whole(self._source, self.path_of(index)))
            self._bundles[number] = leaves
            if len(self._bundles) > _KEPT_BUNDLES:
                self._bundles.popitem(last=False)
        return leaves[inside]

    def path_of(self, index: int, level: int | None = None) -> str:
        """Return the path of the bundle or, with ``level=0``, tile of a leaf."""
        number = index // WIDTH
        width = min(WIDTH, self._newest.size - number * WIDTH)
        return tile_path("entries" if level is None else level, number, width)

    def find_second(self, repeated: Iterable[bytes], challenge_digest: bytes) -> int:
        """Return the first leaf whose nonce is among these for the second time.

        Reads the log again: nonces are not kept with their indexes, because this
        happens once in the life of a broken log.
        """
        prefix = nonce_prefix(challenge_digest)
        repeated, seen = set(repeated), set[bytes]()
        for index in range(self._newest.size):
            data = self.read_leaf(index)
            if is_signature(data):
                nonce = sha256(prefix + data[4:101]).digest()
                if nonce in seen:
                    return index
                if nonce in repeated:
                    seen.add(nonce)
        raise Unreadable(f"{self._source.name} changed while it was read.")

    def blame(self, index: int) -> Fault:
        """Return the fault of whichever is wrong, a leaf or its hash in the tile.

        What leads to the newest checkpoint's root is what the log committed to.
        """
        path, hash_path = self.path_of(index), self.path_of(index, 0)
        leaves = parse_bundle(read_whole(self._source, path))
        hashes = split_hashes(read_whole(self._source, hash_path))
        number = index // WIDTH
        entries_lead = self._leads(number, [leaf_hash(data) for data in leaves])
        hashes_lead = self._leads(number, hashes)
        if entries_lead and not hashes_lead:
            return Fault("tile-mismatch", index=index, path=hash_path)
        if hashes_lead and not entries_lead:
            return Fault("entries-mismatch", index=index, path=path)
        detail = f"It differs from {hash_path}; neither leads to the newest root hash."
        return Fault("entries-mismatch", detail, index=index, path=path)

    def _leads(self, number: int, hashes: list[bytes]) -> bool:
        """Tell whether a tile of these leaf hashes leads to the newest root hash."""
        first, size, rows = number * WIDTH, self._newest.size, tile_rows(hashes)
        others = open_nodes(self._source, size)

        def read_node(level: int, n: int) -> bytes:
            inside = (n << level) - first
            if 0 <= inside < WIDTH and inside + (1 << level) <= len(hashes):
                return rows[level][inside >> level]
            return others(level, n)

        try:
            verify_inclusion(
                leaf_hash=hashes[0],
                index=first,
                size=size,
                proof=inclusion_proof(first, size, read_node),
                root=self._newest.root,
            )
        except Fault:
            return False
        return True
