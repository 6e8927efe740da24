"""What web nodes ask the issuer's process for, and nobody else may (docs/adr/0022).

``GET node/book``: what must be known to check a signature. ``POST node/promises``: the
promises for signatures that a node has made durable. Both only with the secret that
the operator gave to this process and its nodes; to everybody else there is nothing
here. Nothing is written and nothing noted: what a node asked is forgotten.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

import msgspec

from undersigned.kernel.errors import UndersignedError
from undersigned.safety.switches import Switch, SwitchedOff
from undersigned.signatures.book import BookEntry
from undersigned.signatures.operations.redeem import make_pooled
from undersigned.web.hot.wire import (
    NO_STORE,
    BodyNotValid,
    MethodNotTaken,
    NothingHere,
    Receive,
    Scope,
    Send,
    answer,
    find_header,
    read_body,
)
from undersigned.web.shared.services import Services

NODE_PREFIX: Final = "node/"
BOOK: Final = "node/book"
PROMISES: Final = "node/promises"
SCHEME: Final = b"Node "
# Of one request for promises: some ten milliseconds of signing.
MAX_PROMISES: Final = 256
LIMIT_BYTES: Final = 1 << 16

_JSON = [(b"content-type", b"application/json"), NO_STORE]


class EntryFacts(msgspec.Struct, frozen=True):
    """One log, as a node needs it. ``keys``: SPKI by key index.

    ``is_open``: a node may take signatures for it by itself. Else it hands each on,
    and the issuer's process says why none is taken. ``takes_shown``: likewise where
    something is shown beside it.
    """

    path: str
    log_id: int
    challenge_digest: bytes
    stances: list[int]
    takes_names: bool
    keys: dict[int, bytes]
    is_open: bool
    takes_shown: bool


class BookFacts(msgspec.Struct, frozen=True):
    """The answer of ``GET node/book``."""

    entries: list[EntryFacts]


class PromiseRequest(msgspec.Struct, frozen=True):
    """The JSON of ``POST node/promises``: path of the log, and nonce."""

    asked: list[tuple[str, bytes]]


class PromiseReply(msgspec.Struct, frozen=True):
    """The answer, in the same order. None: there is none to be had for that one."""

    promises: list[str | None]


@dataclass(frozen=True, slots=True)
class NodePath:
    """The two addresses."""

    services: Services
    secret: str

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer. Raises NothingHere, MethodNotTaken, BodyNotValid, ClientGone."""
        given = find_header(scope, b"authorization") or b""
        if not hmac.compare_digest(given, SCHEME + self.secret.encode()):
            raise NothingHere()
        path = scope["path"][1:]
        if path == BOOK:
            if scope["method"] != "GET":
                raise MethodNotTaken(allowed="GET")
            body = msgspec.json.encode(self.describe_book())
        elif path == PROMISES:
            if scope["method"] != "POST":
                raise MethodNotTaken(allowed="POST")
            asked = await read_body(scope, receive, limit=LIMIT_BYTES)
            body = msgspec.json.encode(self.promise(asked))
        else:
            raise NothingHere()
        await answer(send, 200, body, _JSON)

    def describe_book(self) -> BookFacts:
        """Return what nodes must know of every log."""
        return BookFacts(
            [self._describe(e) for e in self.services.book.entries.values()]
        )

    def _describe(self, entry: BookEntry) -> EntryFacts:
        log = entry.log
        return EntryFacts(
            path=entry.campaign.path,
            log_id=log.log_id,
            challenge_digest=entry.challenge_digest,
            stances=sorted(entry.stances),
            takes_names=entry.takes_names,
            keys={index: key.spki for index, key in entry.keys.items()},
            is_open=(
                log.key is not None
                and log.accepting
                and self.services.ledger.writer.is_taking
                and self._is_on(Switch.SIGNING, entry)
            ),
            takes_shown=self._is_on(Switch.SHOWN, entry),
        )

    def _is_on(self, switch: Switch, entry: BookEntry) -> bool:
        try:
            self.services.book.switches.require(switch, campaign=entry.campaign.id)
        except SwitchedOff:
            return False
        return True

    def promise(self, body: bytes) -> PromiseReply:
        """Return promises. A node's word that they are durable is taken for it."""
        try:
            asked = msgspec.json.decode(body, type=PromiseRequest).asked
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise BodyNotValid(problem=str(error)) from None
        if len(asked) > MAX_PROMISES:
            raise BodyNotValid(problem=f"at most {MAX_PROMISES} nonces")
        at = self.services.clock.now()
        found: list[str | None] = []
        for path, nonce in asked:
            entry = self.services.book.find(path)
            promise = None
            if entry is not None and len(nonce) == 32:
                try:
                    pooled = make_pooled(book_entry=entry, nonce=nonce, at=at)
                    promise = pooled.promise.decode()
                except UndersignedError:
                    promise = None
            found.append(promise)
        return PromiseReply(found)
