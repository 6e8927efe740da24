"""Asking the issuer's process: whole answers, or a plain word that there is none."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from undersigned.web.node.upstream import MAX_CONNECTIONS, IssuerAway, Upstream

Answer = Callable[[bytes, asyncio.StreamWriter], Awaitable[None]]


class Server:
    """Answers each request's head with what ``answer`` writes."""

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self.connections = 0
        self.heads: list[bytes] = []

    async def __aenter__(self) -> Upstream:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        self.upstream = Upstream("127.0.0.1", port)
        return self.upstream

    async def __aexit__(self, *_error: object) -> None:
        self.upstream.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.heads.append(head)
                length = (
                    head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]
                )
                await reader.readexactly(int(length or b"0"))
                await self._answer(head, writer)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


def answering(*parts: bytes, close: bool = False) -> Answer:
    """Return what writes these bytes, and perhaps hangs up."""

    async def answer(_head: bytes, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await asyncio.sleep(0)
        if close:
            writer.close()

    return answer


OK = b'HTTP/1.1 200 OK\r\nContent-Length: 4\r\nETag: "x"\r\n\r\ntext'


def test_connections_are_used_again() -> None:
    server = Server(answering(OK))

    async def ask() -> None:
        async with server as upstream:
            for _time in range(5):
                reply = await upstream.ask("GET", b"/x", [(b"host", b"h")])
                assert (reply.status, reply.body) == (200, b"text")
                assert reply.headers == [(b"etag", b'"x"')]
        assert server.connections == 1

    asyncio.run(ask())


@pytest.mark.parametrize(
    "parts, body",
    [
        ((OK[:9], OK[9:40], OK[40:]), b"text"),
        (
            (
                b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nte\r\n",
                b"2\r\nxt\r\n0\r\n\r\n",
            ),
            b"text",
        ),
        ((b'HTTP/1.1 304 Not Modified\r\nETag: "x"\r\n\r\n',), b""),
        ((b"HTTP/1.1 204 No Content\r\n\r\n",), b""),
    ],
)
def test_an_answer_may_come_in_any_form(parts: tuple[bytes, ...], body: bytes) -> None:
    async def ask() -> None:
        async with Server(answering(*parts)) as upstream:
            for _time in range(2):
                assert (await upstream.ask("GET", b"/x", [])).body == body

    asyncio.run(ask())


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (OK[:30],),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntext",),
        (b"this is no answer\r\n\r\n",),
    ],
)
def test_half_an_answer_is_none(parts: tuple[bytes, ...]) -> None:
    async def ask() -> None:
        async with Server(answering(*parts, close=True)) as upstream:
            with pytest.raises(IssuerAway):
                await upstream.ask("POST", b"/x", [], b"body")

    asyncio.run(ask())


def test_nothing_is_sent_twice() -> None:
    server = Server(answering(close=True))

    async def ask() -> None:
        async with server as upstream:
            with pytest.raises(IssuerAway):
                await upstream.ask("POST", b"/x", [], b"body")
        assert len(server.heads) == 1

    asyncio.run(ask())


def test_nobody_there_and_nobody_who_answers_in_time() -> None:
    async def ask() -> None:
        with pytest.raises(IssuerAway):
            await Upstream("127.0.0.1", 9).ask("GET", b"/x", [])
        async with Server(answering()) as upstream:
            with pytest.raises(IssuerAway):
                await upstream.ask("GET", b"/x", [], seconds=0.05)

    asyncio.run(ask())


def test_there_are_never_more_connections_than_that() -> None:
    server = Server(answering(OK))

    async def ask() -> None:
        async with server as upstream:
            asked = [
                upstream.ask("GET", b"/x", []) for _n in range(3 * MAX_CONNECTIONS)
            ]
            assert {reply.status for reply in await asyncio.gather(*asked)} == {200}
        assert server.connections <= MAX_CONNECTIONS

    asyncio.run(ask())


def test_an_answer_that_comes_late_is_not_the_next_ones() -> None:
    """Who gave up leaves a connection on which an answer is still to come."""
    late = asyncio.Event()

    async def answer(head: bytes, writer: asyncio.StreamWriter) -> None:
        if b"/slow" in head:
            await late.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + head[4:9])

    async def ask() -> None:
        async with Server(answer) as upstream:
            with pytest.raises(IssuerAway):
                await upstream.ask("GET", b"/slow", [], seconds=0.05)
            late.set()
            assert (await upstream.ask("GET", b"/fast", [])).body == b"/fast"

    asyncio.run(ask())
