"""The ledger's spine as the feeder of witnesses sees it, and how the two are joined."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from undersigned.config.witnesses import HttpTransport
from undersigned.kernel.clock import Clock
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.queries import read_newest_spine_checkpoint
from undersigned.witness.data import OurWitness
from undersigned.witness.dialogue import Transport
from undersigned.witness.feeder import Feeder
from undersigned.witness.policy import read_witness_list
from undersigned.witness.witnessing import Witnessing

Result = TypeVar("Result")


class LedgerSpine:
    """``witness.dialogue.Spine`` over a ledger: the writer's thread does each step.

    Before the writer runs, whoever asks does it, one at a time: witnesses are asked
    then whether this database may be started at all. What they sign meanwhile is added
    once it is.
    """

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._spine = ledger.spine
        self._lock = threading.Lock()
        self._runs = False
        self._early: list[tuple[int, list[str]]] = []

    def start_ledger(self) -> None:
        """Start the writer; from now on everything goes through it."""
        with self._lock:
            self._ledger.start()
            self._runs = True
        for size, lines in self._early:
            self.add_cosignatures(size, lines)

    def _run(self, step: Callable[[], Result]) -> Result:
        with self._lock:
            if not self._runs:
                return step()
        return self._ledger.writer.run(step)

    def newest(self) -> bytes | None:
        """Return the newest signed checkpoint, None while there is none."""
        return read_newest_spine_checkpoint(ledger=self._ledger)

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the proof between two sizes."""
        return self._run(partial(self._spine.tree.prove_growth, old, new))

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        """Show a checkpoint with what has come, or add what came late."""
        with self._lock:
            if not self._runs:
                # Nothing is shown of a database that may yet be refused.
                self._early.append((size, list(lines)))
                return
        self._run(partial(self._spine.show, size, list(lines)))


def start_witnessed(
    ledger: Ledger,
    witnessing: Witnessing,
    *,
    clock: Clock,
    transport: Transport | None = None,
) -> Feeder:
    """Start the ledger with its spine's witnesses asked first; return their feeder.

    Raises BehindWitness where one of them has seen more of the spine than there is, and
    what ``Ledger.start`` raises.
    """

    def list_witnesses() -> tuple[OurWitness, ...]:
        return read_witness_list(witnessing.folder).witnesses

    spine = LedgerSpine(ledger)
    feeder = Feeder(
        spine=spine,
        transport=transport or HttpTransport(),
        list_witnesses=list_witnesses,
        clock=clock,
    )

    def offer(note: bytes) -> bool:
        # On the writer's thread. Where nobody is to be asked nothing is waited for.
        if not witnessing.has_witnesses():
            return False
        feeder.offer(note)
        return True

    try:
        feeder.require_not_behind()
        ledger.spine.on_checkpoint = offer
        spine.start_ledger()
    except BaseException:
        feeder.stop()
        raise
    witnessing.feeder = feeder
    return feeder
