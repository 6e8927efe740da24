"""issue, sign, receipt and withdraw (PROTOCOL §8), as raw ASGI."""

from __future__ import annotations

import asyncio
import binascii
from collections.abc import Callable, Iterable
from functools import partial
from typing import ClassVar, TypeAlias, TypeVar

import msgspec

from undersigned.credentials.operations import issue
from undersigned.kernel.errors import NotFound, UndersignedError
from undersigned.safety.line import SOONEST
from undersigned.safety.turns import PleaseWait, Stage
from undersigned.signatures.book import BookEntry
from undersigned.signatures.operations.redeem import (
    SignatureMalformed,
    SignRequest,
    make_pooled,
    redeem,
    require_taking,
)
from undersigned.signatures.operations.withdraw import withdraw_signature
from undersigned.signatures.queries import find_signature_receipt
from undersigned.web.hot.bridge import LoopBridge
from undersigned.web.hot.wire import (
    NO_STORE,
    BodyNotValid,
    MethodNotTaken,
    Receive,
    Scope,
    Send,
    answer,
    find_address,
    find_header,
    read_body,
    require_media_type,
)
from undersigned.web.shared.services import Services

ISSUE_LIMIT_BYTES = 1024
SIGN_LIMIT_BYTES = 16_384
SMALL_LIMIT_BYTES = 1024
# Receipts and withdrawals that wait for a thread; each takes milliseconds.
THREADS_ROOM = 256
THREADS_AGAIN_SECONDS = 5

Result = TypeVar("Result")


class TicketMissing(BodyNotValid):
    """The request carries no ``Authorization: Ticket …``."""

    code: ClassVar[str] = "ticket-missing"


class ReceiptNotReady(NotFound):
    """Not published yet, or not known: nobody is told which."""

    code: ClassVar[str] = "receipt-not-ready"


class SignBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of ``POST c/ID/sign``; every member must be there."""

    key_index: int
    stance: int
    public_hash: str
    withdraw_hash: str
    r: str
    authenticator: str
    public: dict[str, str] | None
    salt: str | None


class NonceBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of ``POST c/ID/receipt``."""

    nonce: str


class WithdrawBody(msgspec.Struct, forbid_unknown_fields=True):
    """The JSON of ``POST c/ID/withdraw``."""

    nonce: str
    w: str


class PromiseAnswer(msgspec.Struct):
    """The JSON answer of ``POST c/ID/sign``."""

    promise: str


_sign_decoder = msgspec.json.Decoder(SignBody)
_nonce_decoder = msgspec.json.Decoder(NonceBody)
_withdraw_decoder = msgspec.json.Decoder(WithdrawBody)
_promise_encoder = msgspec.json.Encoder()

ISSUE_MEDIA = b"application/private-token-request"
SIGN_MEDIA = b"application/json"
# The turn that an earlier refusal gave (safety.turns).
TURN_HEADER = b"turn"
_JSON = (b"content-type", SIGN_MEDIA)
ISSUED_HEADERS = [(b"content-type", b"application/private-token-response"), NO_STORE]
SIGNED_HEADERS = [_JSON, NO_STORE]

# Called once, on the event loop, with the answer's body or with what refused it.
Done: TypeAlias = Callable[[bytes | BaseException], None]


def _settle(future: asyncio.Future[bytes], result: bytes | BaseException) -> None:
    if future.done():
        # The client went away meanwhile, and its task with it.
        return
    if isinstance(result, BaseException):
        future.set_exception(result)
    else:
        future.set_result(result)


def find_ticket(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the ticket in ``Authorization: Ticket …``. Raises TicketMissing."""
    for name, value in headers:
        if name == b"authorization":
            scheme, _space, ticket = value.decode("latin-1").partition(" ")
            if scheme.lower() == "ticket" and ticket.strip():
                return ticket.strip()
            break
    raise TicketMissing()


# To the alphabet that binascii knows; its own "+" and "/" are none of base64url's.
_ALPHABET = bytes.maketrans(b"-_+/", b"+/  ")


def decode_base64url(text: str, *, member: str, length: int) -> bytes:
    """Return the bytes of unpadded base64url. Raises SignatureMalformed."""
    try:
        data = binascii.a2b_base64(
            text.encode("ascii").translate(_ALPHABET) + b"=" * (-len(text) % 4),
            strict_mode=True,
        )
    except (binascii.Error, ValueError):
        raise SignatureMalformed(member=member) from None
    if len(data) != length:
        raise SignatureMalformed(member=member)
    return data


def parse_sign_body(body: bytes) -> SignRequest:
    """Return the request in a JSON body. Raises BodyNotValid, SignatureMalformed."""
    try:
        found = _sign_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BodyNotValid(problem=str(error)) from None
    if not 0 <= found.key_index <= 0xFFFF:
        raise SignatureMalformed(member="key_index")
    salt = found.salt
    return SignRequest(
        key_index=found.key_index,
        stance=found.stance,
        public_hash=decode_base64url(
            found.public_hash, member="public_hash", length=32
        ),
        withdraw_hash=decode_base64url(
            found.withdraw_hash, member="withdraw_hash", length=32
        ),
        r=decode_base64url(found.r, member="r", length=32),
        authenticator=decode_base64url(
            found.authenticator, member="authenticator", length=256
        ),
        public=found.public,
        salt=(
            None if salt is None else decode_base64url(salt, member="salt", length=32)
        ),
    )


class SigningPaths:
    """The four addresses that take something, over one set of services."""

    def __init__(self, services: Services) -> None:
        self._services = services
        # Receipts and withdrawals under way.
        self._in_threads = 0
        self._bridge: tuple[asyncio.AbstractEventLoop, LoopBridge] | None = None
        self._handlers = {
            "issue": self._issue,
            "sign": self._sign,
            "receipt": self._receipt,
            "withdraw": self._withdraw,
        }

    def _get_bridge(self, loop: asyncio.AbstractEventLoop) -> LoopBridge:
        """Return the bridge of the running loop: one, but for tests that make more."""
        if self._bridge is None or self._bridge[0] is not loop:
            self._bridge = loop, LoopBridge(loop)
        return self._bridge[1]

    def takes(self, action: str) -> bool:
        """Say whether ``action`` is one of them."""
        return action in self._handlers

    async def handle(
        self,
        action: str,
        book_entry: BookEntry,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        """Answer, or raise an UndersignedError."""
        if scope["method"] != "POST":
            raise MethodNotTaken(allowed="POST")
        await self._handlers[action](book_entry, scope, receive, send)

    async def _issue(
        self, book_entry: BookEntry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        require_media_type(scope, ISSUE_MEDIA)
        ticket = find_ticket(scope["headers"])
        body = await read_body(scope, receive, limit=ISSUE_LIMIT_BYTES)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.start_issue(
            book_entry, ticket, body, partial(_settle, answered), caller=scope
        )
        await answer(send, 200, await answered, ISSUED_HEADERS)

    def is_open(self, stage: Stage) -> bool:
        """Whether somebody without a turn could come in now."""
        return self._services.lines.is_open(stage)

    def start_issue(
        self,
        book_entry: BookEntry,
        ticket: str,
        body: bytes,
        done: Done,
        *,
        caller: Scope | None = None,
    ) -> None:
        """Answer a TokenRequest: ``done`` is called on the running loop, later.

        Nobody gets a token while the log could not take the signature. ``caller``: the
        request, for its turn and its network. Raises PleaseWait and what
        ``credentials.operations.issue`` raises.
        """
        require_taking(book_entry=book_entry, book=self._services.book)
        bridge = self._get_bridge(asyncio.get_running_loop())
        leave = self._come("issue", caller)

        def settle(result: bytes | UndersignedError) -> None:
            leave()
            done(result)

        try:
            issue(
                issuer=self._services.issuer,
                origin=book_entry.campaign.origin,
                ticket=ticket,
                request=body,
                at=self._services.clock.now(),
                done=lambda result: bridge.call(lambda: settle(result)),
            )
        except BaseException:
            leave()
            raise

    def _come(self, stage: Stage, caller: Scope | None) -> Callable[[], None]:
        """Come in to a stage; return what leaves it. Raises PleaseWait.

        ``caller`` None, the short way: nobody waited when the request's head was read.
        Where somebody does by now there is no place to give, since places are counted
        by network; the same request is given one when it comes again.
        """
        lines = self._services.lines
        if caller is None:
            if not lines.come_at_once(stage):
                raise PleaseWait(retry_after_seconds=SOONEST)
        else:
            turn = (find_header(caller, TURN_HEADER) or b"").decode("latin-1")
            lines.come(stage, turn=turn, address=find_address(caller))
        return lambda: lines.leave(stage)

    async def _sign(
        self, book_entry: BookEntry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        require_media_type(scope, SIGN_MEDIA)
        body = await read_body(scope, receive, limit=SIGN_LIMIT_BYTES)
        answered: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.start_sign(book_entry, body, partial(_settle, answered), caller=scope)
        await answer(send, 200, await answered, SIGNED_HEADERS)

    def start_sign(
        self,
        book_entry: BookEntry,
        body: bytes,
        done: Done,
        *,
        caller: Scope | None = None,
    ) -> None:
        """Take a signature: ``done`` is called on the running loop once it is durable.

        It receives the promise's JSON, or why there is none. ``caller``: as above.
        Raises BodyNotValid, PleaseWait and what ``signatures.operations.redeem``
        raises.
        """
        bridge = self._get_bridge(asyncio.get_running_loop())
        request = parse_sign_body(body)
        leave = self._come("sign", caller)
        try:
            nonce = redeem(
                book=self._services.book,
                book_entry=book_entry,
                request=request,
                done=lambda error: bridge.call(lambda: promise(error)),
            )
        except BaseException:
            leave()
            raise

        def promise(error: BaseException | None) -> None:
            leave()
            if error is None:
                try:
                    done(self._make_promise(book_entry, nonce))
                    return
                except UndersignedError as missing:
                    error = missing
            done(error)

    def _make_promise(self, book_entry: BookEntry, nonce: bytes) -> bytes:
        pooled = make_pooled(
            book_entry=book_entry, nonce=nonce, at=self._services.clock.now()
        )
        return _promise_encoder.encode(PromiseAnswer(pooled.promise.decode()))

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        """Do what waits for a disk, off the loop. Raises PleaseWait, without a place.

        Neither is a step of signing: nothing is lost by asking again later.
        """
        if self._in_threads >= THREADS_ROOM:
            raise PleaseWait(retry_after_seconds=THREADS_AGAIN_SECONDS)
        self._in_threads += 1
        try:
            return await asyncio.to_thread(work)
        finally:
            self._in_threads -= 1

    async def _receipt(
        self, book_entry: BookEntry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        require_media_type(scope, b"application/json")
        body = await read_body(scope, receive, limit=SMALL_LIMIT_BYTES)
        try:
            found = _nonce_decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BodyNotValid(problem=str(error)) from None
        nonce = decode_base64url(found.nonce, member="nonce", length=32)
        receipt = await self._in_thread(
            partial(
                find_signature_receipt,
                book=self._services.book,
                book_entry=book_entry,
                nonce=nonce,
            )
        )
        if receipt is None:
            seconds = book_entry.log.settings.interval_seconds
            raise ReceiptNotReady(retry_after_seconds=seconds)
        headers = [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE]
        await answer(send, 200, receipt, headers)

    async def _withdraw(
        self, book_entry: BookEntry, scope: Scope, receive: Receive, send: Send
    ) -> None:
        require_media_type(scope, b"application/json")
        body = await read_body(scope, receive, limit=SMALL_LIMIT_BYTES)
        try:
            found = _withdraw_decoder.decode(body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BodyNotValid(problem=str(error)) from None
        nonce = decode_base64url(found.nonce, member="nonce", length=32)
        w = decode_base64url(found.w, member="w", length=32)
        await self._in_thread(
            partial(
                withdraw_signature,
                book=self._services.book,
                book_entry=book_entry,
                nonce=nonce,
                w=w,
            )
        )
        await answer(send, 200, b"{}", [_JSON, NO_STORE])
