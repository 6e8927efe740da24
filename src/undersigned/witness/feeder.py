"""Asking our witnesses for cosignatures, each on a thread of its own.

A new spine checkpoint is offered to all of them at once, and a second later at most it
is handed back with the cosignatures that have come; later ones are added to the same
checkpoint (PROTOCOL §5). Only showing the spine waits for that, and no thread but this
module's own. A witness that fails is asked again after longer and longer pauses, of ten
minutes at most; one that is slow is asked and not waited for.

Threads exist, and the network is touched, only while there are witnesses.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from typing import ClassVar, Final

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from undersigned.kernel.clock import Clock
from undersigned.kernel.errors import StorageFailed
from undersigned.witness.data import ALARMING, OurWitness, Report, Standing
from undersigned.witness.dialogue import Dialogue, Outcome, Spine, Transport

_log = logging.getLogger("undersigned.witness")

WAIT_SECONDS: Final = 1.0
FIRST_PAUSE_SECONDS: Final = 2.0
LONGEST_PAUSE_SECONDS: Final = 600.0
JOIN_SECONDS: Final = 2.0


class BehindWitness(StorageFailed):
    """A witness has seen more of our spine, or another one: this database is older."""

    code: ClassVar[str] = "behind-witness"


def _size_of(note: bytes) -> int:
    return Checkpoint.parse(parse_note(note).text).size


class _Worker:
    """One witness: its conversation, and how the last one ended.

    Every field but ``dialogue`` is guarded by the feeder's condition.
    """

    def __init__(self, dialogue: Dialogue) -> None:
        self.dialogue = dialogue
        self.thread: threading.Thread | None = None
        self.removed = False
        self.outcome = Outcome(Standing.UNKNOWN, None)
        # The size offered when a conversation last ended, and when one ended well.
        self.attempted = -1
        self.done = -1
        self.failures = 0
        self.not_before = 0.0
        self.is_slow = False
        # A line that came in time for a feed that is waiting.
        self.line: str | None = None

    @property
    def witness(self) -> OurWitness:
        return self.dialogue.witness

    def report(self) -> Report:
        found = self.outcome
        return Report(
            name=self.witness.name,
            url=self.witness.url,
            standing=found.standing,
            size=found.size,
            detail=found.detail,
        )


class Feeder:
    """Keeps our witnesses fed with the newest spine checkpoint.

    ``list_witnesses`` is asked at each feed, so that a change takes effect at once.
    ``on_alarm``: told once when a witness begins to say that it is ahead of us or on
    another history; it is logged in any case.
    """

    def __init__(
        self,
        *,
        spine: Spine,
        transport: Transport,
        list_witnesses: Callable[[], Sequence[OurWitness]],
        clock: Clock,
        on_alarm: Callable[[Report], None] = lambda _report: None,
        wait_seconds: float = WAIT_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._spine = spine
        self._transport = transport
        self._list_witnesses = list_witnesses
        self._clock = clock
        self._on_alarm = on_alarm
        self._wait_seconds = wait_seconds
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._workers: dict[tuple[str, str], _Worker] = {}
        # The checkpoint to be cosigned, and the size a feed waits for (None: no feed).
        self._target: tuple[int, bytes] | None = None
        self._collecting: int | None = None
        # What the collector's thread is to take up next.
        self._offered: bytes | None = None
        self._is_collecting = False
        self._collector: threading.Thread | None = None
        self._stopping = False

    # --- for whoever publishes

    def offer(self, note: bytes) -> None:
        """Have a new checkpoint cosigned; returns at once, from any thread.

        ``Spine.add_cosignatures`` is called with what has come within a second, and
        again for what comes later.
        """
        with self._changed:
            if self._stopping:
                return
            self._offered = note
            if self._collector is None:
                self._collector = threading.Thread(
                    target=self._collect, name="witnesses", daemon=True
                )
                self._collector.start()
            self._changed.notify_all()

    def feed(self, note: bytes) -> list[str]:
        """Offer a checkpoint and wait; return the verified lines that came in time.

        By one thread at a time. Raises StorageFailed where our list of witnesses cannot
        be read.
        """
        return self._gather(note, self._wait_seconds, everyone=False)

    def _collect(self) -> None:
        while True:
            with self._changed:
                while self._offered is None and not self._stopping:
                    self._changed.wait()
                note, self._offered = self._offered, None
                self._is_collecting = note is not None
            if note is None:
                return
            lines: list[str] = []
            try:
                lines = self.feed(note)
            except Exception as error:  # noqa: BLE001 - the thread's outer loop
                # A list that cannot be read: the spine is shown all the same.
                _log.error("could not ask the witnesses: %s", error)
            self._hand_on(_size_of(note), lines)
            with self._changed:
                self._is_collecting = False
                self._changed.notify_all()

    def require_not_behind(self, *, seconds: float = 5.0) -> list[Report]:
        """Ask every witness where it stands; return the reports. At start.

        Cosignatures that come are added to the spine. A witness that does not answer
        proves nothing, and is in the reports. Raises BehindWitness when one has seen
        more of the spine than there is, or another history of it: PROTOCOL §5.
        """
        note = self._spine.newest()
        lines = [] if note is None else self._gather(note, seconds, everyone=True)
        reports = self.list_reports()
        for report in reports:
            if report.standing in ALARMING:
                raise BehindWitness(
                    f"the witness {report.name} contradicts this database: "
                    f"{report.detail}. Going on would fork the spine. See "
                    "docs/operate/witnesses.md"
                )
        if note is not None and lines:
            self._spine.add_cosignatures(_size_of(note), lines)
        return reports

    def list_reports(self) -> list[Report]:
        """Return how it stands with each witness, by name."""
        with self._changed:
            reports = [worker.report() for worker in self._workers.values()]
        return sorted(reports, key=lambda report: report.name)

    def wake(self) -> None:
        """Read the list of witnesses again, and ask those that failed at once."""
        self._take_list()
        with self._changed:
            for worker in self._workers.values():
                worker.not_before = 0.0
            self._changed.notify_all()

    def stop(self) -> None:
        """Hand back what was offered, within its second, and end the threads.

        A command that publishes and ends at once has its cosignatures, too. No other
        conversation is waited for.
        """
        with self._changed:
            end = self._monotonic() + self._wait_seconds + JOIN_SECONDS
            while self._offered is not None or self._is_collecting:
                if not self._changed.wait(max(0.0, end - self._monotonic())):
                    break
            self._stopping = True
            self._changed.notify_all()
            threads = [worker.thread for worker in self._workers.values()]
            threads.append(self._collector)
        deadline = self._monotonic() + JOIN_SECONDS
        for thread in threads:
            if thread is not None:
                thread.join(max(0.0, deadline - self._monotonic()))

    # --- one feed

    def _gather(self, note: bytes, seconds: float, *, everyone: bool) -> list[str]:
        self._take_list()
        size = _size_of(note)
        with self._changed:
            now = self._monotonic()
            awaited = []
            for worker in self._workers.values():
                worker.line = None
                if everyone:
                    worker.not_before, worker.attempted, worker.done = 0.0, -1, -1
                if everyone or (not worker.is_slow and worker.not_before <= now):
                    awaited.append(worker)
            self._target, self._collecting = (size, note), size
            self._changed.notify_all()
            deadline = now + seconds
            while any(one.attempted < size and not one.removed for one in awaited):
                left = deadline - self._monotonic()
                if left <= 0 or self._stopping:
                    break
                self._changed.wait(left)
            self._collecting = None
            return [one.line for one in self._workers.values() if one.line]

    def _take_list(self) -> None:
        """Have one worker for each listed witness, and none for others."""
        listed = {(one.key.vkey, one.url): one for one in self._list_witnesses()}
        with self._changed:
            if self._stopping:
                return
            for identity in [one for one in self._workers if one not in listed]:
                self._workers.pop(identity).removed = True
            for identity, witness in listed.items():
                if identity not in self._workers:
                    self._workers[identity] = self._make_worker(witness)
            self._changed.notify_all()

    def _make_worker(self, witness: OurWitness) -> _Worker:
        worker = _Worker(Dialogue(witness, self._transport))
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name="witness", daemon=True
        )
        worker.thread.start()
        return worker

    # --- one worker's thread

    def _work(self, worker: _Worker) -> None:
        while (target := self._wait_for_work(worker)) is not None:
            size, note = target
            begun = self._monotonic()
            try:
                at = int(self._clock.now().timestamp())
                outcome = worker.dialogue.offer(self._spine, note, at_seconds=at)
            except Exception as error:  # noqa: BLE001 - the thread's outer loop
                # Of our own making: a spine that cannot be read. The others go on.
                _log.exception("could not ask a witness: %s", type(error).__name__)
                outcome = Outcome(
                    Standing.UNKNOWN, None, detail=f"our own fault: {error}"
                )
            self._end(worker, size, outcome, took=self._monotonic() - begun)

    def _wait_for_work(self, worker: _Worker) -> tuple[int, bytes] | None:
        with self._changed:
            while not (self._stopping or worker.removed):
                if self._target is None or worker.done >= self._target[0]:
                    self._changed.wait()
                    continue
                left = worker.not_before - self._monotonic()
                if left <= 0:
                    return self._target
                self._changed.wait(left)
            return None

    def _end(
        self, worker: _Worker, size: int, outcome: Outcome, *, took: float
    ) -> None:
        """Note how a conversation ended, and hand its line on."""
        is_new = outcome.standing is not worker.outcome.standing
        with self._changed:
            worker.outcome, worker.attempted = outcome, size
            worker.is_slow = took > self._wait_seconds
            if outcome.standing is Standing.GOOD:
                worker.failures, worker.not_before, worker.done = 0, 0.0, size
            else:
                pause = FIRST_PAUSE_SECONDS * 2 ** min(worker.failures, 10)
                worker.failures += 1
                worker.not_before = self._monotonic() + min(
                    pause, LONGEST_PAUSE_SECONDS
                )
            in_time = self._collecting == size
            if in_time:
                worker.line = outcome.line
            removed = worker.removed
            self._changed.notify_all()
        if is_new:
            self._tell(worker.report())
        if outcome.line and not in_time and not removed:
            self._hand_on(size, [outcome.line])

    def _hand_on(self, size: int, lines: list[str]) -> None:
        try:
            self._spine.add_cosignatures(size, lines)
        except Exception as error:  # noqa: BLE001 - of the spine; it stops itself
            _log.error("could not add cosignatures: %s", error)

    def _tell(self, report: Report) -> None:
        if report.standing in ALARMING:
            _log.critical("the witness %s: %s", report.name, report.detail)
            self._on_alarm(report)
        elif report.standing is not Standing.GOOD:
            _log.warning("the witness %s: %s", report.name, report.detail)
