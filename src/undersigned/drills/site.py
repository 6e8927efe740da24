"""Two ways to the product: over a socket, and straight into its ASGI application.

Both answer the same question, so that one drill runs over either: over the wire where
the live product is meant, without it where the clock must stand still.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import MutableMapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

from undersigned.drills.isolated import HOST
from undersigned.web.hot.wire import ASGIApp

FORM = "application/x-www-form-urlencoded"
JSON = "application/json"
TOKEN_REQUEST = "application/private-token-request"  # noqa: S105 - a media type


Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class SiteGone(Exception):
    """The connection broke before a whole answer came: the server died or never ran."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One whole answer; header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.body.decode()

    @property
    def code(self) -> str:
        """The ``code`` of a problem+json, or an empty string."""
        if self.headers.get("content-type") != "application/problem+json":
            return ""
        return str(json.loads(self.body)["code"])

    @property
    def said(self) -> str:
        """Status and code, for details of checks."""
        return f"{self.status} {self.code}".strip()


class Site(Protocol):
    """Whatever answers requests for the product."""

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Return the answer. Raises SiteGone."""
        ...


async def get(site: Site, path: str, **headers: str) -> Answer:
    """Return the answer to a GET."""
    return await site.request("GET", path, headers=headers)


async def post_form(
    site: Site, path: str, fields: dict[str, str], headers: dict[str, str] | None = None
) -> Answer:
    """Return the answer to a form."""
    return await site.request(
        "POST",
        path,
        headers={"content-type": FORM, **(headers or {})},
        body=urlencode(fields).encode(),
    )


class NetSite:
    """A server on this machine, over kept-alive connections."""

    def __init__(self, port: int, *, local: str | None = None) -> None:
        """``local``: the loopback address to come from."""
        self.port = port
        self._local = (local, 0) if local else None
        self._idle: list[Stream] = []

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Return the answer. Raises SiteGone."""
        lines = [f"{method} {path} HTTP/1.1", f"host: {HOST}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if body or method == "POST":
            lines.append(f"content-length: {len(body)}")
        sent = ("\r\n".join(lines) + "\r\n\r\n").encode() + body
        while self._idle:
            stream = self._idle.pop()
            try:
                return await self._exchange(stream, method, sent)
            except SiteGone:
                # An idle connection that the server had closed meanwhile: the next.
                stream[1].close()
        try:
            stream = await self._connect()
        except OSError as error:
            raise SiteGone(str(error)) from error
        return await self._exchange(stream, method, sent)

    async def _exchange(self, stream: Stream, method: str, sent: bytes) -> Answer:
        reader, writer = stream
        try:
            writer.write(sent)
            answer = await _read_answer(reader, method)
        except (OSError, asyncio.IncompleteReadError, ValueError) as error:
            writer.close()
            raise SiteGone(str(error)) from error
        if answer.headers.get("connection", "").lower() == "close":
            writer.close()
        else:
            self._idle.append(stream)
        return answer

    async def _connect(self) -> Stream:
        return await asyncio.open_connection(
            "127.0.0.1", self.port, local_addr=self._local, limit=1 << 20
        )

    def drop(self, port: int) -> None:
        """Forget every connection: the server was restarted on ``port``."""
        self.port = port
        for _reader, writer in self._idle:
            writer.close()
        self._idle.clear()

    async def close(self) -> None:
        """Close every connection."""
        idle, self._idle = self._idle, []
        for _reader, writer in idle:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _read_answer(reader: asyncio.StreamReader, method: str) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    status = int(head[0].split(" ", 2)[1])
    headers = {}
    for line in head[1:]:
        name, colon, value = line.partition(":")
        if colon:
            headers[name.strip().lower()] = value.strip()
    if method == "HEAD" or status in (204, 304):
        return Answer(status, headers, b"")
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, headers, await _read_chunks(reader))
    length = int(headers.get("content-length", "0"))
    return Answer(status, headers, await reader.readexactly(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    parts = []
    while True:
        size = int((await reader.readuntil(b"\r\n")).split(b";")[0], 16)
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
        if size == 0:
            return b"".join(parts)


class AppSite:
    """The ASGI application of an engine in this process."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def request(
        self,
        method: str,
        path: str,
        *,
        headers: dict[str, str] | None = None,
        body: bytes = b"",
    ) -> Answer:
        """Return the answer."""
        target, _mark, query = path.partition("?")
        given = {"host": HOST, "content-length": str(len(body)), **(headers or {})}
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": target,
            "raw_path": target.encode(),
            "query_string": query.encode(),
            "root_path": "",
            "headers": [(n.encode(), v.encode()) for n, v in given.items()],
            "client": ("127.0.0.1", 50_000),
            "server": (HOST, 80),
        }
        sent: list[MutableMapping[str, Any]] = []
        asked = False

        async def receive() -> MutableMapping[str, Any]:
            nonlocal asked
            if asked:
                # As a client that has sent everything and waits for the answer.
                await asyncio.sleep(3600)
            asked = True
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        start = sent[0]
        return Answer(
            status=start["status"],
            headers={n.decode().lower(): v.decode() for n, v in start["headers"]},
            body=b"".join(message.get("body", b"") for message in sent[1:]),
        )
