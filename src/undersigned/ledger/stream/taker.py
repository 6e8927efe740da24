"""Takes frames from the stream into the pool: one thread beside the sequencer.

For each round: what has come is pooled in transactions of at most 1,000 signatures;
then the nodes are told; then the frames are acknowledged, which removes them. If the
process ends

- before the commit: the frames are given out again, to whoever takes next;
- after it, before the acknowledgement: likewise, and each nonce is found to be there;
- after the acknowledgement: nothing is left to do.

Nothing here decides whether a signature counts: the pool does, by its nonce, and by
whether the log takes any in that very transaction. So a frame that was kept over a
closing adds nothing, and nobody had been told that it would.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from typing import Final

from nats.aio.client import Client
from nats.aio.msg import Msg

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.inbox import MAX_BATCH, Arrival, Fate, Key, pool_signatures
from undersigned.ledger.pg.session import Session
from undersigned.ledger.stream.address import BrokerAddress
from undersigned.ledger.stream.broker import (
    ANSWERS,
    CONSUMER,
    MAX_TAKEN,
    STREAM,
    TAKER,
    TROUBLE,
    BrokerAway,
    ensure_stream,
    open_broker,
)
from undersigned.ledger.stream.frame import Answer, Frame, FrameNotValid, Seal

# How long one request for frames stands; then it is asked anew.
ASK_SECONDS: Final = 5.0
AGAIN_SECONDS: Final = 1.0
_STOP_SECONDS: Final = 15.0
_NEXT: Final = f"$JS.API.CONSUMER.MSG.NEXT.{STREAM}.{CONSUMER}"
_ASKED: Final = json.dumps(
    {"batch": MAX_TAKEN, "expires": int(ASK_SECONDS * 1e9)}
).encode()

_RUN_OUT: Final = "408"

_logger = logging.getLogger("undersigned.stream")


class StreamTaker:
    """The thread. ``connect`` opens a session that may add to the pool.

    ``at_step`` is called with ``pooled`` and ``answered``, for tests that stop there.
    """

    def __init__(
        self,
        *,
        address: BrokerAddress,
        seal: Seal,
        connect: Callable[[], Session],
        at_step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self._address = address
        self._seal = seal
        self._connect = connect
        self._at_step = at_step
        self._session: Session | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._stopping = threading.Event()
        self._trouble = ""
        self._thread = threading.Thread(target=self._run, name="stream", daemon=True)

    def start(self) -> None:
        """Start the thread; where the servers are away it asks until they are not."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after the transaction that it is in."""
        self._stopping.set()
        loop, task = self._loop, self._task
        if loop is not None and task is not None:
            with contextlib.suppress(RuntimeError):
                # It had ended by itself.
                loop.call_soon_threadsafe(task.cancel)
        if self._thread.is_alive():
            self._thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            asyncio.run(self._take_for_ever())
        self._close_session()

    async def _take_for_ever(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        while not self._stopping.is_set():
            try:
                await self._take_while_connected()
            except StorageFailed as error:
                self._tell(str(error))
            except Exception as error:  # noqa: BLE001 - the thread's outer loop
                # The library's errors are many; no frame is lost by beginning anew.
                self._tell(f"{type(error).__name__}: {error}")
            await asyncio.sleep(AGAIN_SECONDS)

    def _tell(self, trouble: str) -> None:
        """Say once what ails it, and once that it is over."""
        if bool(trouble) != bool(self._trouble):
            if trouble:
                _logger.error("nothing is taken from the stream: %s", trouble)
            else:
                _logger.warning("the stream is taken from again")
        self._trouble = trouble

    async def _take_while_connected(self) -> None:
        client = await open_broker(self._address, inbox=TAKER)
        try:
            await ensure_stream(client.jetstream())
            arrived: asyncio.Queue[Msg] = asyncio.Queue()

            async def keep(message: Msg) -> None:
                arrived.put_nowait(message)

            inbox = client.new_inbox()
            await client.subscribe(inbox, cb=keep)
            while not self._stopping.is_set():
                await client.publish(_NEXT, _ASKED, reply=inbox)
                await self._take_asked(client, arrived)
                if not client.is_connected:
                    raise BrokerAway("the connection is lost")
        finally:
            with contextlib.suppress(*TROUBLE):
                await client.close()

    async def _take_asked(self, client: Client, arrived: asyncio.Queue[Msg]) -> None:
        """Take what one request brings, until it has brought all or has run out."""
        left = MAX_TAKEN
        while left > 0:
            try:
                async with asyncio.timeout(ASK_SECONDS + AGAIN_SECONDS):
                    messages = [await arrived.get()]
            except TimeoutError:
                # Whoever led the stream is gone, and the request with it.
                return
            while not arrived.empty():
                messages.append(arrived.get_nowait())
            # A server's own word: that the request has run out, or cannot be met.
            said = [(one.headers or {}).get("Status", "") for one in messages]
            statuses = set(filter(None, said))
            frames = [
                one for one, status in zip(messages, said, strict=True) if not status
            ]
            left -= len(frames)
            if frames:
                await self._take(client, frames)
            if statuses - {_RUN_OUT}:
                # The consumer is led by another, or gone with all that led it.
                raise BrokerAway(f"status {max(statuses)}")
            if statuses:
                return

    async def _take(self, client: Client, messages: list[Msg]) -> None:
        opened: list[tuple[Msg, Frame]] = []
        for message in messages:
            try:
                opened.append((message, self._seal.open_frame(message.data)))
            except FrameNotValid as error:
                # Not from our nodes: it never becomes better.
                _logger.error("a frame was thrown away: %s", error)
                await message.term()
        for group in _split(opened):
            arrivals = [one for _m, frame in group for one in frame.list_arrivals()]
            try:
                # Told to stop meanwhile, the thread ends when the transaction has.
                fates = await asyncio.shield(asyncio.to_thread(self._pool, arrivals))
            except StorageFailed:
                for message, _frame in group:
                    await message.nak(delay=AGAIN_SECONDS)
                raise
            self._at_step("pooled")
            for message, frame in group:
                await self._answer(client, frame, fates)
                self._at_step("answered")
                await message.ack()
        self._tell("")

    def _pool(self, arrivals: list[Arrival]) -> dict[Key, Fate]:
        try:
            if self._session is None:
                self._session = self._connect()
            return pool_signatures(session=self._session, arrivals=arrivals)
        except StorageFailed:
            # It is not known what was committed: the pool knows, next time.
            self._close_session()
            raise

    async def _answer(
        self, client: Client, frame: Frame, fates: dict[Key, Fate]
    ) -> None:
        taken = [
            fates[log_id, nonce] is not Fate.CLOSED
            for log_id, nonce, _leaf, _shown in frame.items
        ]
        answer = self._seal.seal_answer(Answer(frame.number, taken))
        await client.publish(ANSWERS + frame.node.hex(), answer)

    def _close_session(self) -> None:
        session, self._session = self._session, None
        if session is not None:
            session.close()


def _split(opened: list[tuple[Msg, Frame]]) -> Iterator[list[tuple[Msg, Frame]]]:
    """Cut into groups of at most MAX_BATCH signatures; a frame is never cut."""
    group: list[tuple[Msg, Frame]] = []
    count = 0
    for one in opened:
        size = len(one[1].items)
        if group and count + size > MAX_BATCH:
            yield group
            group, count = [], 0
        group.append(one)
        count += size
    if group:
        yield group
