"""Withdrawing a signature, and erasing what was shown beside one.

The ledger is told first, durably: whatever becomes of the pages database after that,
the record leaves it at the next tick or start at the latest.
"""

from __future__ import annotations

import logging
from concurrent.futures import Future
from datetime import datetime
from typing import ClassVar

from django.db import DatabaseError, connection, transaction

from undersigned.audit.operations import record_act
from undersigned.kernel.actor import Actor
from undersigned.kernel.errors import NotFound, Refused
from undersigned.ledger.operations import (
    WithdrawalNotAllowed,
    start_erasure,
    start_withdrawal,
)
from undersigned.ledger.queries import find_origin
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.models import ShownRecord

_logger = logging.getLogger("undersigned.signatures")

# SQLite takes so many values in one statement, and some builds not many more.
_AT_ONCE = 500


class NotTheSigner(Refused):
    """The secret does not belong to that signature, or there is no such signature."""

    code: ClassVar[str] = "not-the-signer"


class NothingShown(NotFound):
    """Nothing is shown beside a signature of that number."""

    code: ClassVar[str] = "nothing-shown"


def start_withdraw(
    *, book: SigningBook, book_entry: BookEntry, nonce: bytes, w: bytes
) -> Future[None]:
    """Pool a withdrawal; the future ends once it is durable.

    Published after its target, at the next publication. Its errors:
    WithdrawalNotAllowed, StoreStopped.
    """
    return start_withdrawal(
        ledger=book.ledger, origin=book_entry.campaign.origin, nonce=nonce, w=w
    )


def withdraw_signature(
    *, book: SigningBook, book_entry: BookEntry, nonce: bytes, w: bytes
) -> None:
    """Withdraw and erase what was shown. Raises WithdrawalNotAllowed, StoreStopped."""
    start_withdraw(book=book, book_entry=book_entry, nonce=nonce, w=w).result()
    _erase_now(book, nonce)


def erase_shown(
    *, book: SigningBook, book_entry: BookEntry, nonce: bytes, w: bytes
) -> None:
    """Erase what is shown beside a signature that stays, at any time.

    Before its publication, after it and after the close. Raises NotTheSigner,
    StoreStopped.
    """
    try:
        start_erasure(
            ledger=book.ledger, origin=book_entry.campaign.origin, nonce=nonce, w=w
        ).result()
    except WithdrawalNotAllowed:
        raise NotTheSigner() from None
    _erase_now(book, nonce)


def _erase_now(book: SigningBook, nonce: bytes) -> None:
    try:
        if not erase_shown_records([nonce]):
            return
    except DatabaseError as error:
        # Its text may quote the row.
        _logger.error(
            "a shown record is erased at the next tick only: %s", type(error).__name__
        )
    book.on_shown_changed()


def erase_shown_records(nonces: list[bytes]) -> int:
    """Erase shown records; return how many there were. Idempotent.

    Called on the writer thread too, for what the ledger was told to erase.
    """
    deleted = 0
    for at in range(0, len(nonces), _AT_ONCE):
        part = nonces[at : at + _AT_ONCE]
        deleted += ShownRecord.objects.filter(nonce__in=part).delete()[0]
    if connection.vendor == "sqlite":
        # Also when nothing was there: an earlier try may have met somebody reading.
        # The write-ahead log still holds the row's old page: fold it in and empty it.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            busy, _pages, _moved = cursor.fetchone()
        if busy:
            _logger.warning(
                "somebody else reads the pages database: erased records stay in its "
                "journal until that ends"
            )
    return deleted


def erase_shown_by_operator(
    *, actor: Actor, book: SigningBook, nonce: bytes, at: datetime
) -> None:
    """Erase what is shown beside a signature, pooled or published, for the operator.

    Raises NothingShown, StoreStopped.
    """
    origin = find_origin(ledger=book.ledger, nonce=nonce)
    if origin is None:
        raise NothingShown()
    waited = start_erasure(
        ledger=book.ledger, origin=origin, nonce=nonce, w=None
    ).result()
    erased = erase_shown_records([nonce])
    book.on_shown_changed()
    if not erased and not waited:
        raise NothingShown()
    record_act(actor=actor, kind="ShownErased", data={"nonce": nonce.hex()}, at=at)


def release_comment(*, actor: Actor, nonce: bytes, at: datetime) -> None:
    """Let a comment that a person has read be shown. Raises NothingShown."""
    with transaction.atomic():
        changed = (
            ShownRecord.objects.filter(nonce=nonce)
            .exclude(comment="")
            .update(comment_released=True)
        )
        if not changed:
            raise NothingShown()
        record_act(
            actor=actor, kind="CommentReleased", data={"nonce": nonce.hex()}, at=at
        )
