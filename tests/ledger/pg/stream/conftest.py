"""Three real servers of a stream, nodes and takers over it, and the pool behind it."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from nats.js import JetStreamContext
from nats.js.errors import BadRequestError, NotFoundError

from tests.support import skip_or_fail
from undersigned.config.env import parse_stream_url
from undersigned.drills.brokers import NoBrokers, Trio
from undersigned.drills.postgres import Server
from undersigned.ledger.pg.inbox import Arrival
from undersigned.ledger.pg.session import Session
from undersigned.ledger.stream.broker import STREAM, ensure_stream, open_broker
from undersigned.ledger.stream.frame import Seal
from undersigned.ledger.stream.taker import StreamTaker
from undersigned.web.node.stream import StreamIntake

SECRET = "what both sides were given, and nobody else"


@pytest.fixture(scope="session")
def trio() -> Iterator[Trio]:
    """Three servers, one killed now and then."""
    try:
        found = Trio()
    except NoBrokers as error:
        skip_or_fail(str(error))
    with found:
        yield found


@dataclass
class Way:
    """The way from nodes to the pool. ``takers``: stopped at the end, if not before."""

    trio: Trio
    url: str
    takers: list[StreamTaker] = field(default_factory=list)

    def connect(self) -> Session:
        """Open a session as the sequencer's role."""
        return Session(self.url)

    def start_taker(
        self,
        *,
        connect: Callable[[], Session] | None = None,
        at_step: Callable[[str], None] = lambda _name: None,
    ) -> StreamTaker:
        """Start to take."""
        taker = StreamTaker(
            address=parse_stream_url(self.trio.url("issuer")),
            seal=Seal(SECRET),
            connect=connect or self.connect,
            at_step=at_step,
        )
        self.takers.append(taker)
        taker.start()
        return taker

    @asynccontextmanager
    async def node(self) -> AsyncIterator[StreamIntake]:
        """Run a node's side, connected."""
        node = StreamIntake(
            address=parse_stream_url(self.trio.url("node")),
            seal=Seal(SECRET),
            now=time.monotonic,
        )
        node.start()
        try:
            async with asyncio.timeout(20):
                while not node.is_usable:
                    await asyncio.sleep(0.01)
            yield node
        finally:
            await node.stop()

    async def count_frames(self) -> int:
        """Return how many frames the stream keeps."""
        client = await open_broker(parse_stream_url(self.trio.url("issuer")))
        try:
            info = await client.jetstream().stream_info(STREAM)
            return info.state.messages
        finally:
            await client.close()

    async def make_anew(self) -> None:
        """Make the stream, empty."""
        client = await open_broker(parse_stream_url(self.trio.url("issuer")))
        try:
            stream = client.jetstream(timeout=20)
            with contextlib.suppress(NotFoundError):
                await stream.delete_stream(STREAM)
            async with asyncio.timeout(40):
                while not await self._try_to_make(stream):
                    await asyncio.sleep(0.2)
        finally:
            await client.close()

    async def _try_to_make(self, stream: JetStreamContext) -> bool:
        """Make it; False while a server that was killed is not back yet."""
        try:
            await ensure_stream(stream)
        except BadRequestError:
            return False
        return True


@pytest.fixture
def way(trio: Trio, server: Server, log_id: int) -> Iterator[Way]:
    """An empty stream that nobody takes from."""
    way = Way(trio, server.url("ledger", user="ledger"))
    asyncio.run(way.make_anew())
    yield way
    for taker in way.takers:
        taker.stop()


async def add(node: StreamIntake, arrival: Arrival) -> bool | None:
    """Add one; return what the node is told of it."""
    told: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()
    node.submit(arrival.log_id, arrival.pooled, told.set_result)
    return await told


async def add_all(node: StreamIntake, arrivals: list[Arrival]) -> list[bool | None]:
    """Add them all at once, each as a request of its own."""
    return await asyncio.gather(*(add(node, one) for one in arrivals))


async def wait_until(holds: Callable[[], bool]) -> None:
    """Wait until something is so, half a minute at most."""
    async with asyncio.timeout(30):
        while not holds():
            await asyncio.sleep(0.02)
