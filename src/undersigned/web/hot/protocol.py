"""A short way through uvicorn for the two requests that come by the hundred thousand.

``POST c/ID/issue`` and ``POST c/ID/sign`` with a plain header and a body of announced
length are answered by the connection itself: no task, no event, no ASGI messages, one
write. Everything else, and whatever is the least unusual about these two (a body in
chunks, ``Expect``, a second request before the first is answered, a reader who does
not read, people who wait in line), goes the ASGI way and gets the same bytes from the
same functions. Why this is worth its lines: docs/adr/0013.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, cast

from typing_extensions import override
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from undersigned.safety.turns import Stage
from undersigned.signatures.book import BookEntry
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.limits import LimitedProtocol
from undersigned.web.hot.sign import (
    ISSUE_LIMIT_BYTES,
    ISSUE_MEDIA,
    ISSUED_HEADERS,
    SIGN_LIMIT_BYTES,
    SIGN_MEDIA,
    SIGNED_HEADERS,
    TURN_HEADER,
    Done,
    SigningPaths,
    find_ticket,
)
from undersigned.web.hot.wire import SAFE, SAME_ORIGIN, Headers
from undersigned.web.shared.problem import as_anticipated, problem

_logger = logging.getLogger("undersigned.server")

RequestHeaders = list[tuple[bytes, bytes]]
Start = Callable[[SigningPaths, BookEntry, RequestHeaders, bytes, Done], None]


def _start_issue(
    paths: SigningPaths,
    book_entry: BookEntry,
    headers: RequestHeaders,
    body: bytes,
    done: Done,
) -> None:
    paths.start_issue(book_entry, find_ticket(headers), body, done)


def _start_sign(
    paths: SigningPaths,
    book_entry: BookEntry,
    _headers: RequestHeaders,
    body: bytes,
    done: Done,
) -> None:
    paths.start_sign(book_entry, body, done)


def _encode_head(status: HTTPStatus, headers: Headers) -> bytes:
    """Return an answer's head up to the value of its content-length."""
    first = f"HTTP/1.1 {status.value} {status.phrase}".encode()
    lines = [name + b": " + value for name, value in (*headers, *SAFE, *SAME_ORIGIN)]
    return b"\r\n".join([first, *lines, b"content-length: "])


# By the last part of the address: media type, limit in bytes, what takes it, the head
# of its good answer up to the length.
_WAYS: dict[bytes, tuple[bytes, int, Start, bytes]] = {
    b"issue": (
        ISSUE_MEDIA,
        ISSUE_LIMIT_BYTES,
        _start_issue,
        _encode_head(HTTPStatus.OK, ISSUED_HEADERS),
    ),
    b"sign": (
        SIGN_MEDIA,
        SIGN_LIMIT_BYTES,
        _start_sign,
        _encode_head(HTTPStatus.OK, SIGNED_HEADERS),
    ),
}


_STAGES: dict[bytes, Stage] = {b"issue": "issue", b"sign": "sign"}


class _EventNobodyAwaits:
    """Stands where uvicorn sets an event to wake a task: here there is no task."""

    def set(self) -> None:
        """Do nothing."""


class _Direct:
    """One request on the short way; to uvicorn it looks like a request's cycle."""

    message_event = _EventNobodyAwaits()

    def __init__(
        self,
        protocol: SigningProtocol,
        start: Start,
        head: bytes,
        book_entry: BookEntry,
    ) -> None:
        self._protocol = protocol
        self._start = start
        self._head = head
        self._book_entry = book_entry
        self._headers = protocol.headers
        self.keep_alive = protocol.parser.should_keep_alive()
        self.body = bytearray()
        self.response_complete = False
        self.disconnected = False

    def run(self, paths: SigningPaths) -> None:
        """The body is whole: begin."""
        try:
            self._start(
                paths, self._book_entry, self._headers, bytes(self.body), self._done
            )
        except Exception as error:  # noqa: BLE001 - answered, or told and answered
            self._done(error)

    def _done(self, result: bytes | BaseException) -> None:
        if isinstance(result, bytes):
            self._answer(self._head, result)
        elif (error := as_anticipated(result)) is not None:
            number, body, headers = problem(error)
            self._answer(_encode_head(HTTPStatus(number), headers), body)
        else:
            _logger.error("a signing request failed", exc_info=result)
            self.keep_alive = False
            status = HTTPStatus.INTERNAL_SERVER_ERROR
            headers = [(b"content-type", b"text/plain; charset=utf-8")]
            self._answer(_encode_head(status, headers), status.phrase.encode())

    def _answer(self, head: bytes, body: bytes) -> None:
        if self.response_complete:
            return
        self.response_complete = True
        transport = self._protocol.transport
        if self.disconnected or transport.is_closing():
            return
        end = b"\r\n\r\n" if self.keep_alive else b"\r\nconnection: close\r\n\r\n"
        transport.write(b"%b%d%b%b" % (head, len(body), end, body))
        if not self.keep_alive:
            transport.close()
        self._protocol.on_response_complete()


class SigningProtocol(LimitedProtocol):
    """The limited protocol, with the short way in it."""

    # Set by make_protocol: uvicorn makes an instance for each connection.
    front: HotApp

    @override
    def on_headers_complete(self) -> None:
        """Take the short way if everything about the request is plain."""
        direct = self._find_direct()
        if direct is None:
            super().on_headers_complete()
        else:
            self.note_head()
            self.cycle = cast("RequestResponseCycle", direct)

    def _find_direct(self) -> _Direct | None:
        base, _slash, action = self.url.rpartition(b"/")
        way = _WAYS.get(action)
        if (
            way is None
            or self.parser.get_method() != b"POST"
            or self.parser.get_http_version() != "1.1"
            or self.expect_100_continue
            or self.root_path
            or self.flow.write_paused
            or self.limit_concurrency is not None
            or self.server_state.default_headers
            or not (self.cycle is None or self.cycle.response_complete)
            # Where there is a line, a request needs its address and its turn.
            or not self.front.signing.is_open(_STAGES[action])
        ):
            return None
        media, limit, start, head = way
        if not _is_plain(self.headers, media=media, limit=limit):
            return None
        book_entry = self.front.services.book.find(base[1:].decode("latin-1"))
        if book_entry is None:
            return None
        return _Direct(self, start, head, book_entry)

    @override
    def on_body(self, body: bytes) -> None:
        """Collect; its length was announced and is small."""
        cycle: Any = self.cycle
        if isinstance(cycle, _Direct):
            cycle.body += body
        else:
            super().on_body(body)

    @override
    def on_message_complete(self) -> None:
        """Begin with a request of the short way."""
        cycle: Any = self.cycle
        if isinstance(cycle, _Direct):
            self.note_message()
            cycle.run(self.front.signing)
        else:
            super().on_message_complete()


def _is_plain(headers: RequestHeaders, *, media: bytes, limit: int) -> bool:
    """Say whether media type and length are just as they should be."""
    length = given = None
    for name, value in headers:
        if name == b"content-length":
            length = value
        elif name == b"content-type":
            given = value
        elif name in (b"transfer-encoding", b"upgrade"):
            return False
        elif name == TURN_HEADER and value:
            # A place in line is used up, or kept, where it is known whose it is.
            return False
    return (
        given == media
        and length is not None
        and length.isdigit()
        and len(length) < 9
        and int(length) <= limit
    )


def make_protocol(
    front: HotApp, *, max_connections: int = 10_000
) -> type[SigningProtocol]:
    """Return the protocol class over one application."""
    members = {"front": front, "max_connections": max_connections}
    return cast(
        "type[SigningProtocol]",
        type("SigningProtocolOfOne", (SigningProtocol,), members),
    )
