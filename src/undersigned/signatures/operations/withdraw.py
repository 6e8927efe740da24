"""Withdrawing a signature, and erasing what was shown beside one."""

from __future__ import annotations

from concurrent.futures import Future
from typing import ClassVar

from django.db import connection

from undersigned_verify import entry, token

from undersigned.kernel.errors import Refused
from undersigned.ledger.operations import start_withdrawal
from undersigned.ledger.queries import FileTiles, find_index
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.models import ShownRecord


class NotTheSigner(Refused):
    """The secret does not belong to that signature, or nothing is shown beside it."""

    code: ClassVar[str] = "not-the-signer"


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
    _erase(nonce)


def erase_shown(
    *, book: SigningBook, book_entry: BookEntry, nonce: bytes, w: bytes
) -> None:
    """Erase what is shown beside a signature that stays. Raises NotTheSigner."""
    log = book_entry.log
    index = find_index(ledger=book.ledger, log=log, nonce=nonce)
    if index is None or len(w) != 32:
        raise NotTheSigner()
    leaf = entry.parse(FileTiles(log.folder, log.size).read_leaf(index))
    if not isinstance(
        leaf, entry.Signature
    ) or leaf.withdraw_hash != token.withdraw_hash(w):
        raise NotTheSigner()
    _erase(nonce)


def erase_shown_by_operator(*, nonce: bytes) -> bool:
    """Erase a shown record for the operator; False if there is none."""
    return _erase(nonce)


def _erase(nonce: bytes) -> bool:
    deleted, _by_model = ShownRecord.objects.filter(nonce=nonce).delete()
    if deleted and connection.vendor == "sqlite":
        # The write-ahead log still holds the row's old page: fold it in and empty it.
        with connection.cursor() as cursor:
            cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return deleted > 0


def release_comment(*, nonce: bytes) -> bool:
    """Let a comment that a person has read be shown; False if there is none."""
    changed = (
        ShownRecord.objects.filter(nonce=nonce)
        .exclude(comment="")
        .update(comment_released=True)
    )
    return changed > 0
