"""Copies of what is read, in memory, for as long as each allows (RFC 9111, RFC 5861).

The issuer's process says how long by Cache-Control. An older copy is served while a
new one is asked for, and for a day while nobody answers; what can be erased
(``no-cache``) is asked for every time, and not served at all when nobody answers.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from undersigned.web.hot.wire import Headers
from undersigned.web.node.upstream import IssuerAway, Reply

COPIES_BYTES: Final = 64 << 20
# What is larger is handed on every time.
LARGEST_BYTES: Final = 1 << 20
_OVERHEAD_BYTES: Final = 2048
NOT_MODIFIED: Final = 304
_ENCODING: Final = b"accept-encoding"


@dataclass(slots=True)
class Copy:
    """An answer, and for how many seconds it may be used from ``since`` on."""

    reply: Reply
    tag: bytes
    since: float
    fresh: int
    while_asking: int
    on_error: int


# Asks for the thing again, given an If-None-Match or None.
Fetch = Callable[[bytes | None], Awaitable[Reply]]
Key = tuple[bytes, bool]


def read_cache_control(reply: Reply) -> dict[str, int]:
    """Return the directives, those without a number as 1; empty where not public."""
    found: dict[str, int] = {}
    for part in (reply.find(b"cache-control") or b"").decode("latin-1").split(","):
        name, _equals, number = part.strip().lower().partition("=")
        found[name] = int(number) if number.isdigit() else 1
    return found if "public" in found else {}


class Copies:
    """Copies by target and encoding. ``now``: seconds that only go forward."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._copies: OrderedDict[Key, Copy] = OrderedDict()
        self._bytes = 0
        self._asking: dict[Key, asyncio.Task[Reply]] = {}

    def knows(self, key: Key) -> bool:
        """Whether there is a copy, however old: then the thing is for everybody."""
        return key in self._copies

    async def get(self, key: Key, fetch: Fetch) -> tuple[Reply, int | None]:
        """Return an answer, and its age in seconds where it is a copy.

        Only for what is for everybody: who come at once share one answer. Raises
        IssuerAway where there is no copy that may be served.
        """
        copy = self._copies.get(key)
        if copy is None:
            return await self._ask(key, fetch), None
        self._copies.move_to_end(key)
        age = self._now() - copy.since
        if age < copy.fresh:
            return copy.reply, int(age)
        if age < copy.fresh + copy.while_asking:
            self._begin(key, fetch)
            return copy.reply, int(age)
        may_stand_in = age < copy.fresh + copy.on_error
        try:
            reply = await self._ask(key, fetch)
        except IssuerAway:
            if may_stand_in:
                return copy.reply, int(age)
            raise
        if reply.status >= 500 and may_stand_in:
            return copy.reply, int(age)
        return reply, None

    async def _ask(self, key: Key, fetch: Fetch) -> Reply:
        # Shielded: who gives up must not cancel it for the others.
        return await asyncio.shield(self._begin(key, fetch))

    def _begin(self, key: Key, fetch: Fetch) -> asyncio.Task[Reply]:
        """Ask, once for all who want it at this moment."""
        task = self._asking.get(key)
        if task is None:
            task = asyncio.ensure_future(self._renew(key, fetch))
            self._asking[key] = task
            task.add_done_callback(lambda done: self._end(key, done))
        return task

    def _end(self, key: Key, task: asyncio.Task[Reply]) -> None:
        self._asking.pop(key, None)
        if not task.cancelled():
            # Taken note of, whether anybody waited or not.
            task.exception()

    async def _renew(self, key: Key, fetch: Fetch) -> Reply:
        copy = self._copies.get(key)
        since = self._now()
        reply = await fetch(copy.tag if copy is not None else None)
        if reply.status == NOT_MODIFIED and copy is not None:
            copy.since = since
            return copy.reply
        if reply.status < 500:
            self.offer(key, reply, since)
        return reply

    def offer(self, key: Key, reply: Reply, since: float) -> None:
        """Keep an answer, if it says that it is for everybody, in place of the last.

        ``since``: when it was asked for.
        """
        self._forget(key)
        says, tag = read_cache_control(reply), reply.find(b"etag")
        if (
            reply.status != 200
            or tag is None
            or not ("max-age" in says or "no-cache" in says)
            or "no-store" in says
            or reply.find(b"set-cookie") is not None
            or (reply.find(b"vary") or _ENCODING).lower() != _ENCODING
            or len(reply.body) > LARGEST_BYTES
        ):
            return
        self._copies[key] = Copy(
            reply=reply,
            tag=tag,
            since=since,
            fresh=0 if "no-cache" in says else says["max-age"],
            while_asking=says.get("stale-while-revalidate", 0),
            on_error=says.get("stale-if-error", 0),
        )
        self._bytes += len(reply.body) + _OVERHEAD_BYTES
        while self._bytes > COPIES_BYTES:
            self._forget(next(iter(self._copies)))

    def _forget(self, key: Key) -> None:
        copy = self._copies.pop(key, None)
        if copy is not None:
            self._bytes -= len(copy.reply.body) + _OVERHEAD_BYTES


def answer_to(
    reply: Reply, age: int | None, *, condition: bytes | None
) -> tuple[int, Headers, bytes]:
    """Return status, headers and body for one reader of an answer or a copy."""
    headers = list(reply.headers)
    if age:
        headers.append((b"age", str(age).encode()))
    tag = reply.find(b"etag")
    if reply.status == 200 and tag is not None and condition is not None:
        named = [one.strip().removeprefix(b"W/") for one in condition.split(b",")]
        if tag in named or b"*" in named:
            lasting = [
                one
                for one in headers
                if one[0] not in (b"content-type", b"content-encoding")
            ]
            return NOT_MODIFIED, lasting, b""
    return reply.status, headers, reply.body
