"""The ledger's spine as those who ask witnesses see it, and what their word decides."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import show_spine
from undersigned.ledger.queries import read_newest_spine_checkpoint


class SpineView:
    """``witness.dialogue.Spine`` over a running ledger; from any thread."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def newest(self) -> bytes | None:
        """Return the newest signed checkpoint, None before the first."""
        return read_newest_spine_checkpoint(ledger=self._ledger)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof between two sizes of the spine."""
        tree = self._ledger.spine.tree
        # On the writer's thread: the right edge changes under nobody's hands there.
        return self._ledger.writer.run(partial(tree.prove_growth, old, new))

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        """Show the checkpoint of ``size`` with these lines."""
        show_spine(ledger=self._ledger, size=size, cosignatures=list(lines))
