"""Through the stream: what somebody is told is taken is in the pool, once."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time

import pytest
from nats.aio.msg import Msg

from tests.ledger.pg.conftest import make_arrival, publish
from tests.ledger.pg.stream.conftest import Way, add, add_all, wait_until
from tests.ledger.pg.test_inbox import read_pool
from undersigned.config.env import parse_stream_url
from undersigned.drills.postgres import Server
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.inbox import Arrival, end_intake, pool_signatures
from undersigned.ledger.pg.session import Session
from undersigned.ledger.stream import broker
from undersigned.ledger.stream.broker import SUBJECT, open_broker
from undersigned.ledger.stream.frame import Seal, make_frame, make_node_name
from undersigned.web.node import stream as node_stream

pytestmark = pytest.mark.slow


def nonces(batch: list[Arrival]) -> set[bytes]:
    return {one.pooled.nonce for one in batch}


def told_taken(batch: list[Arrival], told: list[bool | None]) -> set[bytes]:
    return {one.pooled.nonce for one, taken in zip(batch, told, strict=True) if taken}


class TestCarrying:
    def test_each_is_pooled_once_and_then_removed(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        way.start_taker()
        batch = [make_arrival(log_id, shown=b'{"a":1}') for _ in range(700)]

        async def send() -> int:
            async with way.node() as one, way.node() as other:
                # The same at both nodes, and twice at one.
                told = await asyncio.gather(
                    add_all(one, batch), add_all(other, batch), add_all(one, batch)
                )
                assert all(set(one) == {True} for one in told)
            return await way.count_frames()

        asyncio.run(send())
        found = read_pool(ledger, log_id)
        assert found == {
            one.pooled.nonce: (one.pooled.leaf, one.pooled.shown) for one in batch
        }

        async def wait() -> None:
            async with asyncio.timeout(10):
                while await way.count_frames():
                    await asyncio.sleep(0.1)

        asyncio.run(wait())

    def test_large_ones_are_cut_to_what_a_server_takes(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        way.start_taker()
        batch = [make_arrival(log_id, shown=b"x" * 5000) for _ in range(300)]

        async def send() -> None:
            async with way.node() as node:
                assert set(await add_all(node, batch)) == {True}

        asyncio.run(send())
        assert read_pool(ledger, log_id).keys() == nonces(batch)

    def test_the_servers_files_tell_no_signature_and_soon_no_frame(
        self, way: Way, log_id: int
    ) -> None:
        batch = [make_arrival(log_id, shown=b"Asha was here") for _ in range(50)]
        frame = Seal("x" * 40).seal_frame(make_frame(make_node_name(), 1, batch))

        async def send(data: bytes) -> None:
            client = await open_broker(parse_stream_url(way.trio.url("node")))
            await client.jetstream().publish(SUBJECT, data)
            await client.close()

        def read_streams() -> bytes:
            found = []
            for path in way.trio.folder.rglob("*"):
                # The servers' own journal has it for some minutes more.
                if "_js_" not in path.parts and path.is_file():
                    with contextlib.suppress(FileNotFoundError):
                        found.append(path.read_bytes())
            return b"".join(found)

        asyncio.run(send(frame))
        kept = read_streams()
        assert frame[-100:] in kept
        assert b"Asha was here" not in kept
        assert not any(one.pooled.nonce in kept for one in batch)
        # Of another secret: thrown away, and removed as what is taken is.
        way.start_taker()
        asyncio.run(wait_until(lambda: frame[-100:] not in read_streams()))


class TestWhoTakes:
    @pytest.mark.parametrize("step", ["pooled", "answered"])
    def test_killed_in_the_middle_each_counts_once(
        self, way: Way, ledger: Session, log_id: int, step: str
    ) -> None:
        class Killed(Exception):
            pass

        killed = threading.Event()

        def die(name: str) -> None:
            if name == step and not killed.is_set():
                killed.set()
                raise Killed

        batch = [make_arrival(log_id) for _ in range(300)]
        way.start_taker(at_step=die)

        async def send() -> list[bool | None]:
            async with way.node() as node:
                told = await add_all(node, batch)
                assert killed.is_set()
                return told

        told = asyncio.run(send())
        assert False not in told
        # Committed before it died: publish some, and let the rest be given out again.
        assert read_pool(ledger, log_id).keys() >= told_taken(batch, told)
        with ledger.transaction():
            for index, one in enumerate(batch[:10]):
                publish(ledger, one, index)

        async def wait() -> None:
            async with asyncio.timeout(40):
                while await way.count_frames():
                    await asyncio.sleep(0.2)

        asyncio.run(wait())
        assert read_pool(ledger, log_id).keys() == nonces(batch[10:])

    def test_a_database_that_is_away_loses_nothing(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        is_away = threading.Event()
        is_away.set()

        def connect() -> Session:
            if is_away.is_set():
                raise StorageFailed("couldn't reach the ledger")
            return way.connect()

        way.start_taker(connect=connect)
        batch = [make_arrival(log_id) for _ in range(20)]

        async def send() -> None:
            async with way.node() as node:
                # Nobody is told anything, and each would go the direct way.
                assert set(await add_all(node, batch)) == {None}

        asyncio.run(send())
        assert read_pool(ledger, log_id) == {}
        is_away.clear()
        asyncio.run(
            wait_until(lambda: read_pool(ledger, log_id).keys() == nonces(batch))
        )

    def test_what_others_put_in_is_thrown_away_and_the_rest_taken(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        batch = [make_arrival(log_id) for _ in range(3)]

        async def send() -> None:
            client = await open_broker(parse_stream_url(way.trio.url("node")))
            stream = client.jetstream()
            frame = make_frame(make_node_name(), 1, [make_arrival(log_id)])
            for data in (b"", b"garbage", Seal("y" * 40).seal_frame(frame)):
                await stream.publish(SUBJECT, data)
            await client.close()
            way.start_taker()
            async with way.node() as node:
                assert set(await add_all(node, batch)) == {True}

        asyncio.run(send())
        assert read_pool(ledger, log_id).keys() == nonces(batch)


class TestTheClose:
    def test_what_was_told_taken_is_there_and_nothing_comes_later(
        self, way: Way, server: Server, ledger: Session, log_id: int
    ) -> None:
        way.start_taker()
        batch = [make_arrival(log_id) for _ in range(600)]
        ending = Session(server.url("ledger", user="ledger"))

        async def race() -> list[bool | None]:
            async with way.node() as one, way.node() as other:

                async def send(number: int) -> bool | None:
                    await asyncio.sleep(number / 600)
                    node = one if number % 2 else other
                    return await add(node, batch[number])

                sent = [asyncio.ensure_future(send(n)) for n in range(len(batch))]
                await asyncio.sleep(0.5)
                await asyncio.to_thread(end_intake, session=ending, log_id=log_id)
                at_the_end = read_pool(ledger, log_id).keys()
                told = await asyncio.gather(*sent)
                # The last batch is made of what is there when the intake has ended.
                assert told_taken(batch, told) <= at_the_end
                assert read_pool(ledger, log_id).keys() == at_the_end
                return told

        told = asyncio.run(race())
        ending.close()
        assert True in told
        assert False in told, "all came in time: the race was none"

    def test_what_lay_in_the_stream_over_it_adds_nothing(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        batch = [make_arrival(log_id) for _ in range(5)]

        async def send() -> list[bool | None]:
            async with way.node() as node:
                return await add_all(node, batch)

        # Nobody takes: nobody is told that it counts.
        assert set(asyncio.run(send())) == {None}
        pool_signatures(session=ledger, arrivals=batch[:2])
        end_intake(session=ledger, log_id=log_id)
        way.start_taker()

        async def wait() -> None:
            async with asyncio.timeout(20):
                while await way.count_frames():
                    await asyncio.sleep(0.1)

        asyncio.run(wait())
        assert read_pool(ledger, log_id).keys() == nonces(batch[:2])
        # Again after the close: who is in the pool is told so, and the others not.
        assert asyncio.run(send()) == [True, True, False, False, False]


class TestTheServers:
    def test_one_of_three_killed_loses_nothing_that_was_acknowledged(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        way.start_taker()
        batch = [make_arrival(log_id) for _ in range(4000)]
        leader = way.trio.find_leader()

        async def send() -> list[bool | None]:
            async with way.node() as one, way.node() as other:

                async def send_one(number: int) -> bool | None:
                    await asyncio.sleep(number / 500)
                    node = one if number % 2 else other
                    return await add(node, batch[number])

                async def kill() -> None:
                    await asyncio.sleep(3)
                    await asyncio.to_thread(way.trio.kill, leader)

                *told, _none = await asyncio.gather(
                    *(send_one(number) for number in range(len(batch))), kill()
                )
                # It carries again.
                more = make_arrival(log_id)
                async with asyncio.timeout(40):
                    while not await add(one, more):
                        await asyncio.sleep(0.2)
                return told

        begun = time.monotonic()
        try:
            told = asyncio.run(send())
        finally:
            way.trio.start(leader)
        assert False not in told
        acknowledged = told_taken(batch, told)
        # At least what came before, and by a node that lost nothing.
        assert len(acknowledged) > 1000
        assert acknowledged <= read_pool(ledger, log_id).keys()
        # Who was told nothing has gone the direct way meanwhile: each is there once.
        left = [one for one, taken in zip(batch, told, strict=True) if taken is None]
        pool_signatures(session=ledger, arrivals=left[:1000])
        assert read_pool(ledger, log_id).keys() >= nonces(left[:1000])
        assert time.monotonic() - begun < 90

    def test_all_three_killed_give_out_again_what_they_had(
        self, way: Way, ledger: Session, log_id: int
    ) -> None:
        is_away = threading.Event()
        is_away.set()

        def connect() -> Session:
            if is_away.is_set():
                raise StorageFailed("couldn't reach the ledger")
            return way.connect()

        way.start_taker(connect=connect)
        batch = [make_arrival(log_id) for _ in range(600)]

        async def send() -> None:
            async with way.node() as node:
                assert set(await add_all(node, batch)) == {None}

        asyncio.run(send())
        for number in range(3):
            way.trio.kill(number)
        for number in range(3):
            way.trio.start(number)
        is_away.clear()
        asyncio.run(
            wait_until(lambda: read_pool(ledger, log_id).keys() == nonces(batch))
        )

    def test_a_full_stream_is_no_way(
        self, way: Way, log_id: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(broker, "MAX_BYTES", 300_000)
        asyncio.run(way.make_anew())
        batch = [make_arrival(log_id) for _ in range(2000)]

        async def send() -> float:
            async with way.node() as node:
                assert set(await add_all(node, batch)) == {None}
                assert not node.is_usable
                begun = time.monotonic()
                assert await add(node, batch[0]) is None
                return time.monotonic() - begun

        assert asyncio.run(send()) < 0.1

    def test_no_stream_is_no_way(self, log_id: int) -> None:
        node = node_stream.StreamIntake(
            address=parse_stream_url("nats://node:x@127.0.0.1:9"),
            seal=Seal("s" * 32),
            now=time.monotonic,
        )

        async def send() -> bool | None:
            node.start()
            await asyncio.sleep(0.1)
            try:
                return await add(node, make_arrival(log_id))
            finally:
                await node.stop()

        assert asyncio.run(send()) is None

    def test_a_nodes_password_hears_no_other_nodes_frames(
        self, way: Way, log_id: int
    ) -> None:
        way.start_taker()
        batch = [make_arrival(log_id) for _ in range(50)]
        heard: list[bytes] = []

        async def listen() -> None:
            client = await open_broker(parse_stream_url(way.trio.url("node")))

            async def hear(message: Msg) -> None:
                heard.append(message.data)

            for subject in (">", "_TAKER.>", "_INBOX.>", SUBJECT, "$JS.>"):
                await client.subscribe(subject, cb=hear)
            await client.flush()
            try:
                async with way.node() as node:
                    assert set(await add_all(node, batch)) == {True}
                await client.flush()
            finally:
                await client.close()

        asyncio.run(listen())
        # That the servers have stored a frame is told where it can hear it.
        assert heard
        assert max(map(len, heard)) < 1000

    def test_a_nodes_password_takes_nothing_out(self, way: Way) -> None:
        async def ask() -> None:
            client = await open_broker(parse_stream_url(way.trio.url("node")))
            try:
                with pytest.raises(broker.TROUBLE):
                    await client.jetstream(timeout=1).stream_info(broker.STREAM)
            finally:
                await client.close()

        asyncio.run(ask())
