"""Asking the issuer's process: HTTP/1.1 over connections that are kept for a while."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from typing import ClassVar, Final

import httptools
from typing_extensions import override

from undersigned.kernel.errors import Unavailable
from undersigned.web.hot.wire import Headers

CONNECT_SECONDS: Final = 3.0
# Longer than a page is awaited there.
ANSWER_SECONDS: Final = 60.0
# Shorter than the other side keeps one: no request meets a closing door.
IDLE_SECONDS: Final = 10.0
MAX_CONNECTIONS: Final = 64
# Who finds none free within this is told to come back.
WAIT_SECONDS: Final = 10.0
LARGEST_BYTES: Final = 64 << 20
RETRY_SECONDS: Final = 30


class IssuerAway(Unavailable):
    """The process that issues, confirms and publishes does not answer."""

    code: ClassVar[str] = "issuer-away"


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. Names of headers are in lower case; none are of one hop."""

    status: int
    headers: Headers
    body: bytes

    def find(self, name: bytes) -> bytes | None:
        """Return the value of a header, or None."""
        for key, value in self.headers:
            if key == name:
                return value
        return None


# Of one hop, or made anew by whoever sends the answer on.
HOP: Final = frozenset(
    b"connection keep-alive proxy-authenticate proxy-authorization te trailer "
    b"transfer-encoding upgrade content-length date server".split()
)


class _Connection(asyncio.Protocol):
    """One connection with one request at a time on it."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.is_closed = False
        self.idle_since = 0.0
        self._answered: asyncio.Future[Reply] | None = None
        self._method = b""
        self._begin()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers: Headers = []
        self._body = bytearray()
        self._keeps = False

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio."""
        self.transport = transport  # type: ignore[assignment]  # a stream's, always

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self.is_closed = True
        self._fail()

    def _fail(self) -> None:
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(IssuerAway(retry_after_seconds=RETRY_SECONDS))

    @override
    def data_received(self, data: bytes) -> None:
        """See asyncio."""
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        """See httptools."""
        self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """See httptools."""
        self._keeps = self._parser.should_keep_alive()
        if self._method == b"HEAD" or self._parser.get_status_code() == 304:
            # What is announced does not come, and the parser would wait for it.
            self._finish()

    def on_body(self, body: bytes) -> None:
        """See httptools."""
        self._body += body
        if len(self._body) > LARGEST_BYTES:
            self.close()

    def on_message_complete(self) -> None:
        """See httptools."""
        self._finish()

    def _finish(self) -> None:
        if self._answered is None or self._answered.done():
            return
        headers = [one for one in self._headers if one[0] not in HOP]
        self._answered.set_result(
            Reply(self._parser.get_status_code(), headers, bytes(self._body))
        )

    def close(self) -> None:
        """Hang up; whoever waits is told that nobody answers."""
        self.is_closed = True
        if self.transport is not None:
            self.transport.abort()
        self._fail()

    async def ask(self, method: bytes, head: bytes, body: bytes) -> Reply:
        """Send a request and return its answer. Raises IssuerAway."""
        self._begin()
        self._method = method
        self._answered = asyncio.get_running_loop().create_future()
        assert self.transport is not None
        self.transport.write(head + body)
        reply = await self._answered
        if not self._keeps:
            self.close()
        return reply


class Upstream:
    """The issuer's process. ``host`` and ``port``: where it listens."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self._idle: list[_Connection] = []
        self._places: asyncio.Semaphore | None = None

    async def ask(
        self,
        method: str,
        target: bytes,
        headers: Headers,
        body: bytes = b"",
        *,
        seconds: float = ANSWER_SECONDS,
    ) -> Reply:
        """Return the answer to one request. Raises IssuerAway.

        ``headers``: without those of one hop. Nothing is sent twice.
        """
        if self._places is None:
            self._places = asyncio.Semaphore(MAX_CONNECTIONS)
        lines = [
            method.encode() + b" " + target + b" HTTP/1.1",
            *(name + b": " + value for name, value in headers),
        ]
        if body or method not in ("GET", "HEAD"):
            lines.append(b"content-length: %d" % len(body))
        head = b"\r\n".join([*lines, b"", b""])
        try:
            async with asyncio.timeout(WAIT_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            raise IssuerAway(retry_after_seconds=RETRY_SECONDS) from None
        try:
            connection = await self._connect()
            done = False
            try:
                async with asyncio.timeout(seconds):
                    reply = await connection.ask(method.encode(), head, body)
                done = True
            finally:
                if done:
                    self._keep(connection)
                else:
                    # Also when whoever asked has gone: what comes late is nobody's.
                    connection.close()
            return reply
        except (OSError, TimeoutError):
            raise IssuerAway(retry_after_seconds=RETRY_SECONDS) from None
        finally:
            self._places.release()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed:
                if loop.time() - connection.idle_since < IDLE_SECONDS:
                    return connection
                connection.close()
        async with asyncio.timeout(CONNECT_SECONDS):
            _transport, connection = await loop.create_connection(
                _Connection, self._host, self._port
            )
        return connection

    def _keep(self, connection: _Connection) -> None:
        if not connection.is_closed:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)

    def close(self) -> None:
        """Hang up everywhere."""
        for connection in self._idle:
            with contextlib.suppress(RuntimeError):
                connection.close()
        self._idle.clear()
