"""What uvicorn does not limit: connections, a request's head, the time it may take.

Every server of ours speaks HTTP through this class: the instance's own, with the short
way for signatures (``protocol``), and the stand-alone witness.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Browsers send a few kilobytes in some twenty lines; a ticket adds a few hundred bytes.
HEAD_LIMIT_BYTES = 32_768
HEAD_LIMIT_LINES = 100
# A little longer than forms are awaited (wire.PAGE_BODY_SECONDS), which are told why.
ARRIVAL_SECONDS = 75.0


class HeadTooLarge(Exception):
    """More header bytes or lines than any client of ours sends."""


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's own protocol over httptools, with the limits that neither has."""

    # Set on a subclass: uvicorn makes an instance for each connection.
    max_connections: int

    # When the present request began to arrive; None while none is under way.
    arriving_since: float | None = None
    # Since when a kept connection has been silent; None while something is under way.
    silent_since: float | None = None
    _is_taken = False
    # Whether what comes next belongs to a head; its bytes and lines so far.
    _awaits_head = True
    _head_bytes = 0
    _head_lines = 0
    # Heads and whole requests so far.
    _steps = 0

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Take a connection, or hang up at once where there are too many.

        Files are opened by the same process: without some left, storage would fail.
        """
        if len(self.connections) >= self.max_connections:
            transport.abort()
            return
        self._is_taken = True
        super().connection_made(transport)
        self.arriving_since = self.loop.time()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Forget a connection, if it was taken."""
        if self._is_taken:
            super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        """Read; refuse a head that does not end."""
        if not self._is_taken:
            return
        self.silent_since = None
        steps = self._steps
        super().data_received(data)
        if self._steps != steps:
            self._head_bytes = 0
        elif self._awaits_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_LIMIT_BYTES and not self.transport.is_closing():
                self.send_400_response("The head of this request is too large.")

    @override
    def on_message_begin(self) -> None:
        """Begin to count."""
        super().on_message_begin()
        self._head_lines = 0
        if self.arriving_since is None:
            self.arriving_since = self.loop.time()

    @override
    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a line of head or trailer; httptools makes a 400 of the error."""
        self._head_lines += 1
        if self._head_lines > HEAD_LIMIT_LINES:
            raise HeadTooLarge
        super().on_header(name, value)

    @override
    def on_headers_complete(self) -> None:
        """A head has ended."""
        self.note_head()
        super().on_headers_complete()

    def note_head(self) -> None:
        """Take note that a head has ended."""
        self._steps += 1
        self._awaits_head = False

    @override
    def on_message_complete(self) -> None:
        """A request has ended."""
        self.note_message()
        super().on_message_complete()

    @override
    def on_response_complete(self) -> None:
        """A request is answered: begin the next, or wait for one in silence.

        As uvicorn's own, but for a timer set and cancelled with every request, which
        cost as much as parsing it: ``close_late`` looks at all connections instead.
        """
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        else:
            self.silent_since = self.loop.time()

    def is_late(self, now: float) -> bool:
        """Say whether to hang up: a request does not end, or none comes any more."""
        if self.arriving_since is not None:
            return now - self.arriving_since > ARRIVAL_SECONDS
        silent = self.silent_since
        return silent is not None and now - silent > self.timeout_keep_alive

    def note_message(self) -> None:
        """Take note that a request has arrived whole."""
        self._steps += 1
        self._awaits_head = True
        self.arriving_since = None


def close_late(connections: Iterable[object], *, now: float) -> None:
    """Hang up on connections that are late.

    ``now``: of the event loop's clock. Called every few seconds: one look at all of
    them costs less than a timer for each.
    """
    for connection in list(connections):
        if isinstance(connection, LimitedProtocol) and connection.is_late(now):
            connection.transport.close()
