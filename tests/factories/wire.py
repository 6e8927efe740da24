"""A real uvicorn over a socket, and requests as bytes."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import uvicorn

from tests.factories.asgi import Answer
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.limits import close_late
from undersigned.web.hot.protocol import SigningProtocol, make_protocol

PATIENCE_SECONDS = 10


def make_request(
    method: str, path: str, body: bytes, *, chunked: bool = False, **headers: str
) -> bytes:
    """Return a request's bytes; ``_`` in a header's name stands for ``-``."""
    lines = [f"{method} {path} HTTP/1.1", "Host: undersigned.example"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    if chunked:
        lines.append("Transfer-Encoding: chunked")
        body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if body else b"0\r\n\r\n"
    elif "content_length" not in headers:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


class Connection:
    """One connection to the server."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(
            ("127.0.0.1", port), timeout=PATIENCE_SECONDS
        )
        self._file = self._socket.makefile("rb")

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._socket.sendall(data)

    def read(self) -> Answer:
        """Read one answer; status 0 when the server has hung up."""
        try:
            first = self._file.readline()
        except ConnectionResetError:
            # It had not read all that was sent.
            first = b""
        if not first:
            return Answer(0, {}, b"")
        headers: dict[str, str] = {}
        while (line := self._file.readline()) not in (b"\r\n", b""):
            name, _colon, value = line.decode("latin-1").rstrip("\r\n").partition(": ")
            assert name not in headers, "a header stands twice"
            headers[name] = value
        if headers.get("transfer-encoding") == "chunked":
            body = b"".join(iter(self._read_chunk, b""))
        else:
            body = self._file.read(int(headers.get("content-length", 0)))
        return Answer(int(first.split()[1]), headers, body)

    def _read_chunk(self) -> bytes:
        data = self._file.read(int(self._file.readline(), 16))
        self._file.readline()
        return data

    def close(self) -> None:
        """Hang up."""
        self._file.close()
        self._socket.close()


@dataclass
class Wire:
    """A running server. ``taken``: how many requests went the short way."""

    port: int
    server: uvicorn.Server
    taken: list[str] = field(default_factory=list)

    def wait_for_connections(self, count: int) -> None:
        """Wait until the server has taken so many."""
        until = time.monotonic() + PATIENCE_SECONDS
        while len(self.server.server_state.connections) < count:
            assert time.monotonic() < until
            time.sleep(0.005)

    def close_late(self, *, after: float) -> None:
        """Let the server look for late requests, so many seconds from now."""
        done = threading.Event()

        def look() -> None:
            now = asyncio.get_running_loop().time() + after
            close_late(self.server.server_state.connections, now=now)
            done.set()

        # Any connection knows the loop that it runs on.
        connection = next(iter(self.server.server_state.connections))
        connection.loop.call_soon_threadsafe(look)
        assert done.wait(PATIENCE_SECONDS)

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Open a connection for the length of a ``with`` block."""
        connection = Connection(self.port)
        try:
            yield connection
        finally:
            connection.close()

    def ask(self, *requests: bytes) -> list[Answer]:
        """Send requests at once over one connection; return their answers."""
        with self.connect() as connection:
            connection.send(b"".join(requests))
            return [connection.read() for _request in requests]


@contextmanager
def serve(front: HotApp, *, max_connections: int = 1_000) -> Iterator[Wire]:
    """Run uvicorn with the product's protocol in a thread."""
    taken: list[str] = []

    class Watched(make_protocol(front, max_connections=max_connections)):  # type: ignore[misc]  # a class made at run time
        def _find_direct(self) -> object:
            found = SigningProtocol._find_direct(self)
            if found is not None:
                taken.append(self.url.decode())
            return found

    config = uvicorn.Config(
        front,
        http=Watched,
        lifespan="off",
        access_log=False,
        log_level="error",
        server_header=False,
        date_header=False,
    )
    server = uvicorn.Server(config)
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(
        target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
    )
    thread.start()
    try:
        yield Wire(listener.getsockname()[1], server, taken)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)
        listener.close()
        assert not thread.is_alive(), "the server does not end"
