"""Redeeming a token: the signature itself (PROTOCOL §4, §8 ``POST c/ID/sign``)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import datetime
from typing import ClassVar, Protocol

from undersigned_verify import canonical, token

from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import Refused
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.operations import (
    SigningKeyMissing,
    make_promise,
    submit_signature,
)
from undersigned.ledger.writer import LogNotAccepting
from undersigned.safety.switches import Switch
from undersigned.safety.text import require_publishable
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.data import Pooled, ShownInput

NAME_LIMIT = 80
PLACE_LIMIT = 60
COMMENT_LIMIT = 500
SHOWN_MEMBERS = frozenset({"comment", "name", "place"})


class SignatureMalformed(Refused):
    """A member has the wrong length or form. ``member`` names it."""

    code: ClassVar[str] = "signature-malformed"


class KeyIndexUnknown(Refused):
    """No key of that index is announced in this log."""

    code: ClassVar[str] = "key-index-unknown"


class StanceNotOffered(Refused):
    """The campaign does not offer this stance."""

    code: ClassVar[str] = "stance-not-offered"


class TokenNotValid(Refused):
    """The token does not verify under the announced key for these bytes."""

    code: ClassVar[str] = "token-not-valid"


class NamesNotShown(Refused):
    """This campaign shows no names; nothing of the kind is taken."""

    code: ClassVar[str] = "names-not-shown"


@dataclass(frozen=True, slots=True)
class SignRequest:
    """A signature as it arrives. ``public`` and ``salt`` are both None for nothing."""

    key_index: int
    stance: int
    public_hash: bytes
    withdraw_hash: bytes
    r: bytes
    authenticator: bytes
    public: dict[str, str] | None
    salt: bytes | None


def require_taking(*, book_entry: BookEntry, book: SigningBook) -> None:
    """Raise unless the log can take a signature now: before a token is spent on it.

    Raises SwitchedOff, SigningKeyMissing, LogNotAccepting, StoreStopped.
    """
    campaign = book_entry.campaign
    book.switches.require(Switch.SIGNING, Switch.ISSUING, campaign=campaign.id)
    log = book_entry.log
    if log.key is None:
        raise SigningKeyMissing()
    if not log.accepting:
        raise LogNotAccepting(origin=log.origin)
    if not book.ledger.writer.is_taking:
        raise StoreStopped()


def clean_shown(shown: ShownInput) -> dict[str, str] | None:
    """Return what is hashed and shown, or None when all of it is empty.

    Raises TextTooLong, TextNotClean, PersonalDataFound.
    """
    found = {
        "comment": require_publishable(
            shown.comment, field="comment", limit=COMMENT_LIMIT, lines=True
        ),
        "name": require_publishable(shown.name, field="name", limit=NAME_LIMIT),
        "place": require_publishable(shown.place, field="place", limit=PLACE_LIMIT),
    }
    return found if any(found.values()) else None


class Rules(Protocol):
    """What a signature is checked against: a book's entry, or a web node's."""

    @property
    def challenge_digest(self) -> bytes: ...

    @property
    def stances(self) -> Collection[int]: ...

    @property
    def keys(self) -> Mapping[int, token.TokenKey]: ...

    @property
    def takes_names(self) -> bool: ...


def check_request(*, book_entry: Rules, request: SignRequest) -> PooledSignature:
    """Return the verified signature ready for the pool (one PSS verification).

    Raises SignatureMalformed, KeyIndexUnknown, StanceNotOffered, NamesNotShown,
    TokenNotValid and the text errors.
    """
    for member in ("public_hash", "withdraw_hash", "r"):
        if len(getattr(request, member)) != 32:
            raise SignatureMalformed(member=member)
    if len(request.authenticator) != 256:
        raise SignatureMalformed(member="authenticator")
    key = book_entry.keys.get(request.key_index)
    if key is None:
        raise KeyIndexUnknown(key_index=request.key_index)
    if request.stance not in book_entry.stances:
        raise StanceNotOffered(stance=request.stance)
    shown = _check_shown(book_entry, request)
    nonce = token.nonce(
        book_entry.challenge_digest,
        request.stance,
        request.public_hash,
        request.withdraw_hash,
        request.r,
    )
    message = token.token_input(nonce, book_entry.challenge_digest, key.key_id)
    if not key.verify(message, request.authenticator):
        raise TokenNotValid()
    leaf = (
        b"\x01\x01"
        + request.key_index.to_bytes(2)
        + bytes([request.stance])
        + request.public_hash
        + request.withdraw_hash
        + request.r
        + request.authenticator
    )
    return PooledSignature(nonce=nonce, leaf=leaf, shown=shown)


def _check_shown(book_entry: Rules, request: SignRequest) -> bytes | None:
    if request.public is None:
        if request.salt is not None:
            raise SignatureMalformed(member="salt")
        return None
    if not book_entry.takes_names:
        raise NamesNotShown()
    if set(request.public) != SHOWN_MEMBERS:
        raise SignatureMalformed(member="public")
    if request.salt is None or len(request.salt) != 32:
        raise SignatureMalformed(member="salt")
    clean = clean_shown(
        ShownInput(
            name=request.public["name"],
            place=request.public["place"],
            comment=request.public["comment"],
        )
    )
    # The hash covers the bytes as sent: text that we would change is refused.
    if clean != request.public:
        raise SignatureMalformed(member="public")
    if token.public_hash(request.salt, request.public) != request.public_hash:
        raise SignatureMalformed(member="public_hash")
    return canonical.encode({**request.public, "salt": request.salt.hex()})


def redeem(
    *,
    book: SigningBook,
    book_entry: BookEntry,
    request: SignRequest,
    done: Callable[[BaseException | None], None],
) -> bytes:
    """Verify a signature, queue it for the pool and return its nonce.

    ``done(None)`` once it is durable: then, and not before, ``make_pooled`` gives its
    promise. The same body again is accepted again. ``done`` runs on the writer thread
    and receives LogNotAccepting or StoreStopped on failure. Raises what
    ``check_request`` raises, SwitchedOff and SigningKeyMissing, before anything is
    queued.
    """
    book.switches.require(Switch.SIGNING, campaign=book_entry.campaign.id)
    if request.public is not None:
        book.switches.require(Switch.SHOWN, campaign=book_entry.campaign.id)
    log = book_entry.log
    if log.key is None:
        raise SigningKeyMissing()
    pooled = check_request(book_entry=book_entry, request=request)
    submit_signature(ledger=book.ledger, log=log, pooled=pooled, done=done)
    return pooled.nonce


def make_pooled(*, book_entry: BookEntry, nonce: bytes, at: datetime) -> Pooled:
    """Return the promise for a durable signature."""
    promise, publish_by = make_promise(log=book_entry.log, nonce=nonce, at=at)
    return Pooled(nonce=nonce, promise=promise, publish_by=publish_by)


def redeem_and_wait(
    *, book: SigningBook, book_entry: BookEntry, request: SignRequest, at: datetime
) -> Pooled:
    """Redeem and return once durable: for threads that may wait."""
    nonce, durable = start_redeem(book=book, book_entry=book_entry, request=request)
    durable.result()
    return make_pooled(book_entry=book_entry, nonce=nonce, at=at)


def start_redeem(
    *, book: SigningBook, book_entry: BookEntry, request: SignRequest
) -> tuple[bytes, Future[None]]:
    """Redeem; return the nonce and what ends once it is durable, or fails."""
    durable: Future[None] = Future()

    def done(error: BaseException | None) -> None:
        if durable.done():
            return
        if error is not None:
            durable.set_exception(error)
        else:
            durable.set_result(None)

    nonce = redeem(book=book, book_entry=book_entry, request=request, done=done)
    return nonce, durable
