"""Clients in this process: whole journeys over many connections, and latency."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import uvloop

from bench._programs import HOST, NotStarted
from bench._wrk import CONNECTIONS, Load

Journey = Callable[["Client"], Awaitable[None]]


class Refused(Exception):
    """An answer was not 200."""


@dataclass(slots=True)
class Client:
    """One kept connection, with its times.

    ``spans``: seconds of each request. A server that closes is connected to anew.
    """

    port: int
    spans: list[float] = field(default_factory=list)
    _reader: asyncio.StreamReader | None = None
    _writer: asyncio.StreamWriter | None = None

    async def send(self, request: bytes) -> bytes:
        """Send one whole request; return the answer's body. Raises Refused."""
        begun = time.perf_counter()
        if self._reader is not None and self._reader.at_eof():
            # It was silent for so long that the server has hung up, as on browsers.
            self.close()
        if self._reader is None or self._writer is None:
            self._reader, self._writer = await asyncio.open_connection(HOST, self.port)
        self._writer.write(request)
        head = await self._reader.readuntil(b"\r\n\r\n")
        lines = head.lower().split(b"\r\n")
        fields = dict(line.split(b": ", 1) for line in lines[1:] if b": " in line)
        body = await self._reader.readexactly(int(fields[b"content-length"]))
        self.spans.append(time.perf_counter() - begun)
        if fields.get(b"connection") == b"close":
            self.close()
        if lines[0].split()[1] != b"200":
            raise Refused(f"{lines[0]!r} {body[:300]!r}")
        return body

    def close(self) -> None:
        """Close the connection."""
        if self._writer is not None:
            self._writer.close()
        self._reader = self._writer = None


def make_request(
    method: str, path: str, body: bytes = b"", *, media: str = "", extra: str = ""
) -> bytes:
    """Return the bytes of a request. ``extra``: further header lines, each ended."""
    head = f"{method} {path} HTTP/1.1\r\nHost: {HOST}\r\n{extra}"
    if body:
        head += f"Content-Type: {media}\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body


def run_journeys(
    *, port: int, journeys: Iterator[Journey], connections: int = CONNECTIONS
) -> Load:
    """Run every journey, ``connections`` at a time, each client one after another."""

    async def work(client: Client) -> int:
        done = 0
        try:
            for journey in journeys:
                await journey(client)
                done += 1
        finally:
            client.close()
        return done

    async def work_all() -> tuple[int, list[float], float]:
        clients = [Client(port) for _number in range(connections)]
        begun = time.perf_counter()
        done = await asyncio.gather(*(work(client) for client in clients))
        seconds = time.perf_counter() - begun
        return sum(done), [s for client in clients for s in client.spans], seconds

    try:
        done, spans, seconds = uvloop.run(work_all())
    except (Refused, OSError, asyncio.IncompleteReadError, KeyError) as error:
        raise NotStarted(f"a journey failed: {error!r}") from error
    spans.sort()
    return Load(
        accepted=done,
        refused=0,
        repeated=0,
        seconds=seconds,
        p50_ms=1e3 * spans[len(spans) // 2],
        p99_ms=1e3 * spans[len(spans) * 99 // 100],
    )


def run_at_rate(
    *, port: int, journeys: Iterator[Journey], rate: float, seconds: float
) -> Load:
    """Begin ``rate`` journeys a second, whether earlier ones have ended or not.

    The times are of whole journeys, from the moment when each should have begun: what
    waits in this process counts too. One that finds no free connection opens another.
    """
    free: list[Client] = []
    spans: list[float] = []

    async def take(journey: Journey, due: float) -> None:
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        client = free.pop() if free else Client(port)
        await journey(client)
        free.append(client)
        spans.append(time.perf_counter() - due)

    async def take_all() -> float:
        begun = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            for number in range(round(rate * seconds)):
                group.create_task(take(next(journeys), begun + number / rate))
        for client in free:
            client.close()
        return time.perf_counter() - begun

    try:
        took = uvloop.run(take_all())
    except ExceptionGroup as errors:
        raise NotStarted(f"a journey failed: {errors.exceptions[0]!r}") from errors
    except StopIteration as error:
        raise NotStarted("there are too few journeys for this time") from error
    spans.sort()
    return Load(
        accepted=len(spans),
        refused=0,
        repeated=0,
        seconds=took,
        p50_ms=1e3 * spans[len(spans) // 2],
        p99_ms=1e3 * spans[len(spans) * 99 // 100],
    )


def post_bodies(*, port: int, path: str, bodies: Path, seconds: float) -> Load:
    """Post the bodies of a file, one a line, until the time is over."""
    until = time.perf_counter() + seconds

    def each() -> Iterator[Journey]:
        with bodies.open("rb") as lines:
            for line in lines:
                if time.perf_counter() >= until:
                    return
                request = make_request(
                    "POST", path, line.rstrip(b"\n"), media="application/json"
                )
                yield _one(request)
        raise NotStarted("there are too few bodies for this time")

    return run_journeys(port=port, journeys=each())


def _one(request: bytes) -> Journey:
    async def journey(client: Client) -> None:
        await client.send(request)

    return journey
