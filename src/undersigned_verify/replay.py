"""The state machine of a campaign's log, run over its bundles.

It does as little as it can: bundles that hold signatures only are cut by columns, not
leaf by leaf.
"""

from undersigned_verify import entry as leaf
from undersigned_verify.chunk import STRIDE, is_signature, is_uniform
from undersigned_verify.count import LogState
from undersigned_verify.errors import Fault
from undersigned_verify.reading import Kept
from undersigned_verify.tile import parse_bundle


class Replay:
    """Follows a log with its state; ``totals`` is the recount of one prefix."""

    def __init__(self, state: LogState, kept: Kept, count_size: int) -> None:
        """``count_size``: the kept size whose totals are wanted."""
        self.totals: dict[str, object] = {}
        self._state = state
        self._kept = kept
        self._count_size = count_size

    def list_spkis(self) -> dict[int, bytes]:
        """Return the issuer keys announced so far, by key index."""
        return {index: key.spki for index, key in self._state.keys.items()}

    def apply(self, data: bytes, first: int, width: int) -> None:
        """Run the state machine over one bundle."""
        uniform = is_uniform(data) and max(data[6::STRIDE]) <= 2
        leaves = [] if uniform else parse_bundle(data)
        count = len(data) // STRIDE if uniform else len(leaves)
        if count != width:
            raise Fault("entries-form", f"The bundle has {count} leaves, not {width}.")
        at = 0
        cuts = [size - first for size in self._kept.between(first, first + width - 1)]
        for end in (*cuts, width):
            if uniform:
                columns = data[at * STRIDE : end * STRIDE]
                pairs = zip(columns[4::STRIDE], columns[5::STRIDE], strict=True)
                indexes = [high << 8 | low for high, low in pairs]
                self._state.apply_signatures(indexes, columns[6::STRIDE])
            else:
                self._apply_leaves(leaves[at:end], first + at)
            at = end
            if first + end in self._kept:
                self._state.checkpoint(first + end)
            if first + end == self._count_size:
                self.totals = self._state.totals()

    def _apply_leaves(self, leaves: list[bytes], first: int) -> None:
        """Apply any leaves, signatures in runs."""
        indexes: list[int] = []
        stances = bytearray()
        for index, data in enumerate(leaves, first):
            if is_signature(data) and data[4] <= 2:
                indexes.append(data[2] << 8 | data[3])
                stances.append(data[4])
                continue
            self._state.apply_signatures(indexes, bytes(stances))
            indexes, stances = [], bytearray()
            try:
                entry = leaf.parse(data)
            except Fault as fault:
                raise fault.at(index) from fault
            self._state.apply(index, entry)
        self._state.apply_signatures(indexes, bytes(stances))
