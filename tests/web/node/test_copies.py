"""Copies on a web node: as long as each allows, and not a moment longer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.web.hot.wire import Headers
from undersigned.web.node.copies import COPIES_BYTES, Copies, answer_to
from undersigned.web.node.upstream import IssuerAway, Reply

KEY = (b"/c/soil/count.json", False)
READING = "public, max-age=15, stale-while-revalidate=60, stale-if-error=86400"
ERASABLE = "public, no-cache"


@dataclass
class Issuer:
    """What answers, and how often it was asked."""

    body: bytes = b"1"
    cache: str = READING
    status: int = 200
    more: Headers = field(default_factory=list)
    is_away: bool = False
    asked: int = 0
    now: float = 0.0
    copies: Copies = field(init=False)

    def __post_init__(self) -> None:
        self.copies = Copies(lambda: self.now)

    async def fetch(self, tag: bytes | None) -> Reply:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise IssuerAway()
        own = b'"' + self.body[:8] + b'"'
        headers: Headers = [(b"etag", own), (b"cache-control", self.cache.encode())]
        if tag == own and self.status == 200:
            return Reply(304, headers, b"")
        return Reply(self.status, [*headers, *self.more], self.body)

    async def get(self) -> bytes:
        reply, _age = await self.copies.get(KEY, self.fetch)
        # What was begun beside it is ended.
        for _round in range(5):
            await asyncio.sleep(0)
        return reply.body


def run(what: Callable[[], Coroutine[Any, Any, None]]) -> None:
    asyncio.run(what())


def test_a_fresh_one_is_not_asked_for_again() -> None:
    issuer = Issuer()

    async def read() -> None:
        for second in range(15):
            issuer.now = second
            assert await issuer.get() == b"1"
        assert issuer.asked == 1

    run(read)


def test_an_older_one_is_served_while_a_new_one_is_asked_for() -> None:
    issuer = Issuer()

    async def read() -> None:
        await issuer.get()
        issuer.body, issuer.now = b"2", 20
        assert await issuer.get() == b"1"
        assert await issuer.get() == b"2"
        issuer.body, issuer.now = b"3", 200
        assert await issuer.get() == b"3"

    run(read)


def test_while_nobody_answers_it_is_served_for_a_day() -> None:
    issuer = Issuer()

    async def read() -> None:
        await issuer.get()
        for trouble in ("away", "failing"):
            issuer.is_away = trouble == "away"
            issuer.status = 200 if trouble == "away" else 503
            issuer.now = 86_400
            assert await issuer.get() == b"1"
        issuer.is_away, issuer.now = True, 86_416
        with pytest.raises(IssuerAway):
            await issuer.get()

    run(read)


def test_what_can_be_erased_is_asked_for_every_time_and_never_served_alone() -> None:
    issuer = Issuer(cache=ERASABLE)

    async def read() -> None:
        for asked in range(1, 4):
            assert await issuer.get() == b"1"
            assert issuer.asked == asked
        issuer.body = b"erased"
        assert await issuer.get() == b"erased"
        issuer.is_away = True
        with pytest.raises(IssuerAway):
            await issuer.get()

    run(read)


def test_who_come_at_once_share_one_answer() -> None:
    issuer = Issuer()

    async def read() -> None:
        assert await asyncio.gather(*(issuer.get() for _n in range(50))) == [b"1"] * 50
        assert issuer.asked == 1

    run(read)


def test_who_gives_up_does_not_take_it_from_the_others() -> None:
    issuer = Issuer()

    async def read() -> None:
        first, second = (asyncio.ensure_future(issuer.get()) for _n in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == b"1"

    run(read)


@pytest.mark.parametrize(
    "cache, more, status",
    [
        ("no-store", [], 200),
        ("private, max-age=60", [], 200),
        ("max-age=60", [], 200),
        ("public", [], 200),
        ("public, no-store, max-age=60", [], 200),
        (READING, [(b"set-cookie", b"a=b")], 200),
        (READING, [(b"vary", b"Cookie")], 200),
        (READING, [(b"vary", b"Accept-Encoding, Cookie")], 200),
        (READING, [], 404),
        (READING, [], 302),
    ],
)
def test_what_is_not_for_everybody_is_not_kept(
    cache: str, more: Headers, status: int
) -> None:
    issuer = Issuer(cache=cache, more=more, status=status)

    async def read() -> None:
        await issuer.get()
        assert not issuer.copies.knows(KEY)
        await issuer.get()
        assert issuer.asked == 2

    run(read)


def test_a_copy_of_what_is_gone_is_forgotten() -> None:
    issuer = Issuer()

    async def read() -> None:
        await issuer.get()
        issuer.status, issuer.now = 404, 100
        await issuer.get()
        assert not issuer.copies.knows(KEY)

    run(read)


@given(sizes=st.lists(st.integers(0, 2 << 20), max_size=60))
def test_copies_take_no_more_than_they_may(sizes: list[int]) -> None:
    copies = Copies(lambda: 0.0)
    for number, size in enumerate(sizes):
        headers = [(b"etag", b'"x"'), (b"cache-control", READING.encode())]
        copies.offer((b"%d" % number, False), Reply(200, headers, bytes(size)), 0.0)
    kept = [copy.reply.body for copy in copies._copies.values()]
    assert sum(map(len, kept)) <= COPIES_BYTES
    assert copies._bytes >= sum(map(len, kept))


def test_a_reader_who_has_it_is_told_so() -> None:
    headers = [(b"etag", b'"x"'), (b"content-type", b"text/html")]
    reply = Reply(200, headers, b"text")
    assert answer_to(reply, 7, condition=b'W/"x", "y"') == (
        304,
        [(b"etag", b'"x"'), (b"age", b"7")],
        b"",
    )
    assert answer_to(reply, None, condition=b'"z"') == (200, headers, b"text")
