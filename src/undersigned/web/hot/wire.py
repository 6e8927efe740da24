"""Reading requests and writing answers in plain ASGI."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, TypeAlias

from undersigned.kernel.errors import NotFound, Refused

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
ASGIApp: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

SAFE: Headers = [
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-embedder-policy", b"require-corp"),
    (b"x-frame-options", b"DENY"),
    (
        b"permissions-policy",
        b"camera=(), microphone=(), geolocation=(), browsing-topics=(), payment=()",
    ),
]
SAME_ORIGIN: Headers = [(b"cross-origin-resource-policy", b"same-origin")]
CROSS_ORIGIN: Headers = [
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"access-control-allow-origin", b"*"),
]
# A receipt is the largest thing that a form takes: 64 kB.
PAGE_LIMIT_BYTES = 1 << 18
PAGE_BODY_SECONDS = 60.0
NO_STORE: tuple[bytes, bytes] = (b"cache-control", b"no-store")


class BodyTooLarge(Refused):
    """More bytes than this address reads."""

    code: ClassVar[str] = "body-too-large"


class BodyTooSlow(Refused):
    """The rest of the body did not come in time."""

    code: ClassVar[str] = "body-too-slow"


class BodyNotValid(Refused):
    """Not the JSON, or not the bytes, that this address reads."""

    code: ClassVar[str] = "body-not-valid"


class MediaTypeWrong(Refused):
    """The request names another media type."""

    code: ClassVar[str] = "media-type-wrong"


class MethodNotTaken(Refused):
    """This address does not take this method."""

    code: ClassVar[str] = "method-not-taken"


class NothingHere(NotFound):
    """No such address."""

    code: ClassVar[str] = "nothing-here"


class ClientGone(Exception):
    """The client hung up before its body was complete."""


def find_header(scope: Scope, name: bytes) -> bytes | None:
    """Return the value of a header (lower-case name), or None."""
    for key, value in scope["headers"]:
        if key == name:
            return bytes(value)
    return None


async def read_body(scope: Scope, receive: Receive, *, limit: int) -> bytes:
    """Return the whole body. Raises BodyTooLarge, ClientGone."""
    length = find_header(scope, b"content-length")
    if length is not None and (not length.isdigit() or int(length) > limit):
        raise BodyTooLarge(limit_bytes=limit)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientGone()
    # Not bytes: adding drop by drop to those takes the square of their number.
    body = bytearray(message.get("body", b""))
    while message.get("more_body") and len(body) <= limit:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientGone()
        body += message.get("body", b"")
    if len(body) > limit:
        raise BodyTooLarge(limit_bytes=limit)
    return bytes(body)


def find_address(scope: Scope) -> str | None:
    """Return the address that a request came from, as the trusted proxy has it."""
    client = scope.get("client")
    return str(client[0]) if client else None


async def receive_whole(scope: Scope, receive: Receive) -> bytes:
    """Return a body once it is here, whole.

    A page thread that waits for a body waits as long as its sender likes, and there
    are two of them: a body is awaited here, where waiting costs nothing, for a minute
    at most. Raises BodyTooLarge, BodyTooSlow, ClientGone.
    """
    try:
        async with asyncio.timeout(PAGE_BODY_SECONDS):
            return await read_body(scope, receive, limit=PAGE_LIMIT_BYTES)
    except TimeoutError:
        raise BodyTooSlow(seconds=PAGE_BODY_SECONDS) from None


def hand_on(body: bytes, receive: Receive) -> Receive:
    """Return what hands on a body that is here already, then what still comes."""
    messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_next() -> MutableMapping[str, Any]:
        return messages.pop() if messages else await receive()

    return receive_next


def require_media_type(scope: Scope, wanted: bytes) -> None:
    """Raise MediaTypeWrong unless the content type is ``wanted``."""
    given = (find_header(scope, b"content-type") or b"").split(b";")[0].strip().lower()
    if given != wanted:
        raise MediaTypeWrong(wanted=wanted.decode())


async def answer(
    send: Send,
    status: int,
    body: bytes,
    headers: Headers,
    *,
    head: bool = False,
    policy: Headers = SAME_ORIGIN,
    safe: Headers = SAFE,
) -> None:
    """Send one whole answer; ``head`` leaves the body out, ``policy`` says to whom.

    ``safe``: a page brings its own.
    """
    every = [*headers, *safe, *policy]
    if status != 304:
        # A 304 has no body, and the server would wait for one of that length.
        every.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": every})
    await send({"type": "http.response.body", "body": b"" if head else body})
