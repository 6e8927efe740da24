"""Adds to the pool by way of the stream: many nodes' signatures in one transaction.

A signature counts as taken when the pool's own commit has been told back, and never
because the stream has it (docs/adr/0023). Whatever the stream does not settle in time
goes the direct way as well: the pool takes each once, by its nonce. So a stream that is
away, full, slow or forgetful costs a moment, and nothing else.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival
from undersigned.ledger.stream.address import BrokerAddress
from undersigned.ledger.stream.broker import (
    ANSWERS,
    SUBJECT,
    TROUBLE,
    BrokerAway,
    open_broker,
)
from undersigned.ledger.stream.frame import (
    MAX_BYTES,
    MAX_SIGNATURES,
    Answer,
    FrameNotValid,
    Seal,
    make_frame,
    make_node_name,
)

# How long the first of a frame waits for others: as in the pool's own thread.
GATHER_SECONDS: Final = 0.005
# For three disks, and for the pool's commit after it. A person waits no longer for the
# stream than both; then the direct way is tried.
STORE_SECONDS: Final = 1.0
POOL_SECONDS: Final = 2.0
# Who has found it wanting, asks no more of it for this long.
AWAY_SECONDS: Final = 1.0
# Of a frame, beside what a signature shows.
_ROW_BYTES: Final = 420

_logger = logging.getLogger("undersigned.node")


# True: pooled. False: the log is closed. None: not known.
Done = Callable[[bool | None], None]


@dataclass(slots=True)
class _Waiting:
    arrival: Arrival
    done: Done

    @property
    def size(self) -> int:
        return _ROW_BYTES + len(self.arrival.pooled.shown or b"")


class StreamIntake:
    """One node's way into the stream. On the event loop.

    ``now``: seconds that only go forward.
    """

    def __init__(
        self, *, address: BrokerAddress, seal: Seal, now: Callable[[], float]
    ) -> None:
        self._address = address
        self._seal = seal
        self._now = now
        self._name = make_node_name()
        self._numbers = itertools.count(1)
        self._client: Client | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._waiting: list[_Waiting] = []
        self._gathering: asyncio.TimerHandle | None = None
        self._answers: dict[int, asyncio.Future[Answer]] = {}
        self._carrying: set[asyncio.Task[None]] = set()
        self._away_until = 0.0

    def start(self) -> None:
        """Begin to connect; until that is done everything goes the direct way."""
        if self._connecting is None:
            self._connecting = asyncio.ensure_future(self._connect())

    async def _connect(self) -> None:
        async def on_change() -> None:
            if self._client is not None:
                state = "back" if self._client.is_connected else "away"
                _logger.warning("the stream is %s", state)

        while self._client is None:
            try:
                client = await open_broker(
                    self._address, is_patient=True, on_change=on_change
                )
                await client.subscribe(ANSWERS + self._name.hex(), cb=self._hear)
                self._client = client
            except (BrokerAway, *TROUBLE) as error:
                _logger.error("the stream cannot be used: %s", error)
                await asyncio.sleep(AWAY_SECONDS)

    @property
    def is_usable(self) -> bool:
        """Whether it is worth a try."""
        return (
            self._client is not None
            and self._client.is_connected
            and self._now() >= self._away_until
        )

    def submit(self, log_id: int, pooled: PooledSignature, done: Done) -> None:
        """Send one signature. ``done(True)`` once it is in the pool.

        ``done(False)`` where its log is closed. ``done(None)``: neither is known, and
        the direct way must be taken. It runs on the loop, and must return at once.
        """
        if not self.is_usable:
            done(None)
            return
        self._waiting.append(_Waiting(Arrival(log_id, pooled), done))
        if len(self._waiting) >= MAX_SIGNATURES:
            self._send()
        elif self._gathering is None:
            loop = asyncio.get_running_loop()
            self._gathering = loop.call_later(GATHER_SECONDS, self._send)

    def _send(self) -> None:
        """Send all that has gathered."""
        if self._gathering is not None:
            self._gathering.cancel()
            self._gathering = None
        while self._waiting:
            batch = _cut(self._waiting)
            del self._waiting[: len(batch)]
            task = asyncio.ensure_future(self._carry(batch))
            self._carrying.add(task)
            task.add_done_callback(self._carrying.discard)

    async def _carry(self, batch: list[_Waiting]) -> None:
        """Send one frame and tell its people what became of them."""
        # In order of nonce: a frame does not tell who came first.
        batch.sort(key=lambda one: one.arrival.key)
        number = next(self._numbers)
        answered = asyncio.get_running_loop().create_future()
        self._answers[number] = answered
        taken: list[bool] | None = None
        try:
            frame = make_frame(self._name, number, [one.arrival for one in batch])
            await self._store(self._seal.seal_frame(frame))
            async with asyncio.timeout(POOL_SECONDS):
                taken = (await answered).taken
        except (TimeoutError, BrokerAway):
            self._away_until = self._now() + AWAY_SECONDS
        finally:
            del self._answers[number]
            if taken is None or len(taken) != len(batch):
                taken_or_not: list[bool | None] = [None] * len(batch)
            else:
                taken_or_not = [*taken]
            for one, is_taken in zip(batch, taken_or_not, strict=True):
                one.done(is_taken)

    async def _store(self, data: bytes) -> None:
        """Return once the stream's servers keep a frame. Raises BrokerAway."""
        client = self._client
        if client is None or not client.is_connected:
            raise BrokerAway("not connected")
        try:
            # Raises also where the stream is full, or not there.
            await client.jetstream().publish(SUBJECT, data, timeout=STORE_SECONDS)
        except TROUBLE as error:
            raise BrokerAway(type(error).__name__) from None

    async def _hear(self, message: Msg) -> None:
        try:
            answer = self._seal.open_answer(message.data)
        except FrameNotValid:
            # From nobody whose word counts.
            return
        answered = self._answers.get(answer.number)
        if answered is not None and not answered.done():
            answered.set_result(answer)

    async def stop(self) -> None:
        """End: who still waits is told that nothing is known."""
        if self._connecting is not None:
            self._connecting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._connecting
        for task in list(self._carrying):
            task.cancel()
        for one in self._waiting:
            one.done(None)
        client, self._client = self._client, None
        if client is not None:
            with contextlib.suppress(*TROUBLE):
                await client.close()


def _cut(waiting: list[_Waiting]) -> list[_Waiting]:
    """Return the first of them that make one frame: at least one, at most so many."""
    size, count = 0, 0
    for one in waiting[:MAX_SIGNATURES]:
        size += one.size
        if count and size > MAX_BYTES:
            break
        count += 1
    return waiting[:count]
