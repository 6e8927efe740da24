"""The front of a web node, as plain ASGI: takes signatures, keeps copies, hands on."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

import msgspec

from undersigned_verify.errors import Fault

from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import StorageFailed, UndersignedError
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.writer import LogNotAccepting
from undersigned.safety.line import SOONEST
from undersigned.safety.turns import SIGN_ROOM, PleaseWait
from undersigned.signatures.operations.redeem import check_request
from undersigned.web.hot.bridge import LoopBridge
from undersigned.web.hot.door import parse_form, send_wait
from undersigned.web.hot.nodes import BOOK, NODE_PREFIX, SCHEME
from undersigned.web.hot.pages import wants_packed
from undersigned.web.hot.sign import (
    SIGN_LIMIT_BYTES,
    SIGN_MEDIA,
    SIGNED_HEADERS,
    PromiseAnswer,
    parse_sign_body,
)
from undersigned.web.hot.wire import (
    PAGE_BODY_SECONDS,
    PAGE_LIMIT_BYTES,
    BodyTooSlow,
    ClientGone,
    Headers,
    MethodNotTaken,
    NothingHere,
    Receive,
    Scope,
    Send,
    answer,
    find_header,
    read_body,
    require_media_type,
)
from undersigned.web.node.book import ASK_SECONDS, NodeBook, NodeEntry
from undersigned.web.node.copies import Copies, answer_to
from undersigned.web.node.intake import NodePool, Promises
from undersigned.web.node.stream import StreamIntake
from undersigned.web.node.upstream import HOP, IssuerAway, Reply, Upstream
from undersigned.web.node.words import find_language, say
from undersigned.web.shared.problem import as_anticipated
from undersigned.web.shared.public_files import is_log_file
from undersigned.web.shared.waiting import RenderWait

# Whatever a client claims to be is replaced, never added to.
_REPLACED: Final = HOP | frozenset(
    b"accept-encoding expect forwarded if-none-match x-forwarded-for "
    b"x-forwarded-proto".split()
)
# With one of these, a request is for an answer of its own.
_PERSONAL: Final = (b"authorization", b"range")
_STATIC: Final = "static/"
_READING: Final = ("GET", "HEAD")
_BOOK_SECONDS: Final = 5.0

_logger = logging.getLogger("undersigned.node")


class NodeApp:
    """One node. ``pool``: started and stopped by whoever made it.

    ``now``: seconds that only go forward. ``render_wait``: the page that keeps a form
    while the issuer's process is away. ``stream``: the way that is tried before the
    pool's own, where there is one; ``follow`` begins to connect it.
    """

    def __init__(
        self,
        *,
        upstream: Upstream,
        base_url: str,
        secret: str,
        pool: NodePool,
        now: Callable[[], float],
        render_wait: RenderWait | None = None,
        stream: StreamIntake | None = None,
    ) -> None:
        self._upstream = upstream
        self._stream = stream
        self._render_wait = render_wait
        self._pool = pool
        self._now = now
        base = urlsplit(base_url)
        # Never as a client spells it: a copy is for everybody.
        self._plain: Headers = [
            (b"host", base.netloc.encode()),
            (b"x-forwarded-proto", base.scheme.encode()),
        ]
        self._asking: Headers = [
            *self._plain,
            (b"authorization", SCHEME + secret.encode()),
        ]
        self.book = NodeBook(now)
        self._copies = Copies(now)
        self._promises = Promises(upstream, self._asking)
        # Signatures that wait for the pool or their promise.
        self._signing = 0
        self._bridge: LoopBridge | None = None
        self._following: asyncio.Task[None] | None = None
        self._is_away = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            return
        try:
            await self._handle(scope, receive, send)
        except (UndersignedError, StorageFailed) as found:
            error = as_anticipated(found) or StoreStopped()
            status, body, headers = say(scope, error)
            if isinstance(error, MethodNotTaken):
                headers.append((b"allow", str(error.data["allowed"]).encode()))
            if headers[0][1].startswith(b"text/html"):
                # It has a page's headers already.
                await _send(scope, send, status, headers, body)
            else:
                head = scope["method"] == "HEAD"
                await answer(send, status, body, headers, head=head)
        except ClientGone:
            return

    async def _handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"][1:]
        if path.startswith(NODE_PREFIX):
            # Between us and the issuer's process; nobody else's.
            raise NothingHere()
        base, _slash, action = path.rpartition("/")
        if action == "sign" and scope["method"] == "POST":
            entry = self.book.find(base)
            if entry is not None:
                await self._sign(entry, scope, receive, send)
                return
        if scope["method"] in _READING and not scope["query_string"]:
            await self._read(scope, send)
            return
        await self._hand_on(scope, receive, send)

    # --- the book ---------------------------------------------------------------------

    def follow(self) -> None:
        """Begin to ask for the book again and again, on the loop that serves."""
        if self._following is None:
            self._following = asyncio.ensure_future(self._follow())
        if self._stream is not None:
            self._stream.start()

    async def _follow(self) -> None:
        while True:
            await self.ask_book()
            await asyncio.sleep(ASK_SECONDS)

    async def ask_book(self) -> bool:
        """Ask for the book once; say whether it was answered."""
        asked_at = self._now()
        try:
            reply = await self._upstream.ask(
                "GET", b"/" + BOOK.encode(), self._asking, seconds=_BOOK_SECONDS
            )
            if reply.status != 200:
                raise IssuerAway(status=reply.status)
            self.book.take(reply.body, asked_at=asked_at)
        except (IssuerAway, Fault, msgspec.MsgspecError, UnicodeDecodeError) as error:
            if not self._is_away:
                self._is_away = True
                _logger.error(
                    "the issuer's process gives no book (%s): nothing is signed here, "
                    "reading goes on",
                    getattr(error, "data", {}).get("status", "no answer"),
                )
            return False
        if self._is_away:
            self._is_away = False
            _logger.warning("the issuer's process answers again")
        return True

    # --- signing ----------------------------------------------------------------------

    async def _sign(
        self, entry: NodeEntry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        require_media_type(scope, SIGN_MEDIA)
        body = await read_body(scope, receive, limit=SIGN_LIMIT_BYTES)
        if not self.book.is_current:
            # Taken here it would be durable; but nobody could promise anything.
            raise IssuerAway(retry_after_seconds=30)
        request = parse_sign_body(body)
        if request.public is not None and not entry.facts.takes_shown:
            # The issuer's process says why not.
            reply = await self._ask(scope, body)
            await _send(scope, send, *answer_to(reply, None, condition=None))
            return
        if self._signing >= SIGN_ROOM:
            # The line for tokens is the issuer's; who has one comes again in a moment.
            raise PleaseWait(retry_after_seconds=SOONEST)
        pooled = check_request(book_entry=entry, request=request)
        self._signing += 1
        try:
            promise = await self._pool_one(entry, pooled)
        finally:
            self._signing -= 1
        found = msgspec.json.encode(PromiseAnswer(promise))
        await answer(send, 200, found, SIGNED_HEADERS)

    async def _pool_one(self, entry: NodeEntry, pooled: PooledSignature) -> str:
        """Return the promise for a signature once it is durable in the pool."""
        taken = None
        if self._stream is not None:
            taken = await self._carry(self._stream, entry, pooled)
            if taken is False:
                raise LogNotAccepting()
        if taken is None:
            await self._pool_directly(entry, pooled)
        return await self._promises.get(entry.facts.path, pooled.nonce)

    async def _carry(
        self, stream: StreamIntake, entry: NodeEntry, pooled: PooledSignature
    ) -> bool | None:
        """Return what became of a signature by way of the stream, if that is known."""
        told: asyncio.Future[bool | None] = asyncio.get_running_loop().create_future()

        def done(taken: bool | None) -> None:
            if not told.done():
                told.set_result(taken)

        stream.submit(entry.facts.log_id, pooled, done)
        return await told

    async def _pool_directly(self, entry: NodeEntry, pooled: PooledSignature) -> None:
        """Return once a signature is in the pool."""
        loop = asyncio.get_running_loop()
        if self._bridge is None:
            self._bridge = LoopBridge(loop)
        bridge, durable = self._bridge, loop.create_future()

        def settle(error: BaseException | None) -> None:
            if durable.done():
                return
            if error is None:
                durable.set_result(None)
            else:
                durable.set_exception(error)

        self._pool.submit(
            entry.facts.log_id,
            pooled,
            lambda error: bridge.call(lambda: settle(error)),
        )
        await durable

    # --- reading ----------------------------------------------------------------------

    async def _read(self, scope: Scope, send: Send) -> None:
        packed, target, path = wants_packed(scope), _target(scope), scope["path"][1:]
        key = target, packed

        async def fetch(tag: bytes | None) -> Reply:
            # With nothing of this reader's: the answer is for all.
            headers = [*self._plain]
            if packed:
                headers.append((b"accept-encoding", b"gzip"))
            if tag is not None:
                headers.append((b"if-none-match", tag))
            return await self._upstream.ask("GET", target, headers)

        age = None
        if any(name in _PERSONAL for name, _value in scope["headers"]):
            reply = await self._ask(scope, b"")
        elif self._copies.knows(key) or is_log_file(path) or path.startswith(_STATIC):
            reply, age = await self._copies.get(key, fetch)
        else:
            # It may be a step of somebody's journey: nobody shares it, unless it says
            # itself that it is for everybody.
            since = self._now()
            reply = await self._ask(scope, b"")
            self._copies.offer(key, reply, since)
        condition = find_header(scope, b"if-none-match")
        await _send(scope, send, *answer_to(reply, age, condition=condition))

    # --- everything else --------------------------------------------------------------

    async def _hand_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with asyncio.timeout(PAGE_BODY_SECONDS):
                body = await read_body(scope, receive, limit=PAGE_LIMIT_BYTES)
        except TimeoutError:
            raise BodyTooSlow(seconds=PAGE_BODY_SECONDS) from None
        try:
            reply = await self._ask(scope, body)
        except IssuerAway as away:
            fields = parse_form(scope, body)
            if fields is None or find_language(scope) is None:
                raise
            # A form is a person's: it is kept in the page until somebody answers.
            wait = PleaseWait(
                reason="away", retry_after_seconds=away.retry_after_seconds
            )
            await send_wait(scope, send, wait, fields, render=self._render_wait)
            return
        condition = find_header(scope, b"if-none-match")
        await _send(scope, send, *answer_to(reply, None, condition=condition))

    async def _ask(self, scope: Scope, body: bytes) -> Reply:
        """Hand a request on with all that its sender said, but for what we decide."""
        headers = [one for one in scope["headers"] if one[0] not in _REPLACED]
        client = scope.get("client")
        if client:
            headers.append((b"x-forwarded-for", str(client[0]).encode()))
        headers.append((b"x-forwarded-proto", str(scope["scheme"]).encode()))
        if wants_packed(scope):
            headers.append((b"accept-encoding", b"gzip"))
        # The answer to a HEAD would say nothing of a copy.
        method = "GET" if scope["method"] == "HEAD" else scope["method"]
        return await self._upstream.ask(method, _target(scope), headers, body)

    async def stop(self) -> None:
        """End what runs on the loop."""
        if self._following is not None:
            self._following.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._following
        if self._stream is not None:
            await self._stream.stop()
        self._upstream.close()


def _target(scope: Scope) -> bytes:
    raw: bytes = scope["raw_path"]
    query: bytes = scope["query_string"]
    return raw.split(b"?")[0] + (b"?" + query if query else b"")


async def _send(
    scope: Scope, send: Send, status: int, headers: Headers, body: bytes
) -> None:
    """Send an answer as it came: its headers are the issuer's process's own."""
    every = [*headers]
    if status not in (204, 304):
        every.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": every})
    left_out = scope["method"] == "HEAD" or status in (204, 304)
    await send({"type": "http.response.body", "body": b"" if left_out else body})
