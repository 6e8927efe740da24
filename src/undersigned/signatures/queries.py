"""Reads of counts, growth, removals, shown records and crowds."""

from __future__ import annotations

from undersigned_verify import entry
from undersigned_verify.entry import CLASS_NAMES

from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.kernel.errors import NotFound
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.queries import (
    count_pooled,
    find_checkpoint_at,
    find_receipt,
    list_checkpoints,
    list_controls,
    read_count,
)
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.data import (
    Count,
    Crowd,
    GrowthPoint,
    KeyView,
    PublishedRecord,
    PublishedRemoval,
    Shown,
    ShownPage,
)
from undersigned.signatures.models import ShownRecord


class KeyNotAnnounced(NotFound):
    """The log has no issuer key for this class."""

    code = "key-not-announced"


def get_count(*, ledger: Ledger, origin: str) -> Count:
    """Return the count at the newest checkpoint. Raises LogNotFound."""
    # From the published file: one whole, never a moment between two publications.
    found = read_count(ledger=ledger, origin=origin)
    found.pop("origin")
    size = int(found["tree_size"])
    at = find_checkpoint_at(ledger=ledger, origin=origin, size=size)
    waiting = sum(count_pooled(ledger=ledger, origin=origin).values())
    return Count(at=at, waiting=waiting, **found)


def list_growth(*, ledger: Ledger, origin: str) -> list[GrowthPoint]:
    """Return size and net at every kept checkpoint, oldest first."""
    return [
        GrowthPoint(size=row.size, net=row.net, at=row.at)
        for row in list_checkpoints(ledger=ledger, origin=origin)
    ]


def list_removals(*, ledger: Ledger, origin: str) -> list[PublishedRemoval]:
    """Return the removals by targets, oldest first."""
    return [
        PublishedRemoval(
            index=index,
            targets=leaf.targets,
            signatures=sum(last - first + 1 for first, last in leaf.targets),
            reason=leaf.reason,
            case_sha256=leaf.case_sha256,
            approvers=tuple(approval.id for approval in leaf.approvals),
        )
        for index, leaf in list_controls(ledger=ledger, origin=origin)
        if isinstance(leaf, entry.Removal) and leaf.targets is not None
    ]


def list_records(*, ledger: Ledger, origin: str) -> list[PublishedRecord]:
    """Return the public records of the campaign, oldest first."""
    return [
        PublishedRecord(index=index, kind=leaf.kind, sha256=leaf.sha256)
        for index, leaf in list_controls(ledger=ledger, origin=origin)
        if isinstance(leaf, entry.PublicRecord)
    ]


def list_shown(*, origin: str, after: str | None = None, limit: int = 50) -> ShownPage:
    """Return shown records by nonce, which tells nothing of when they came.

    ``after``: the ``next`` of the page before. A malformed one starts anew.
    """
    rows = ShownRecord.objects.filter(origin=origin).order_by("nonce")
    if after is not None:
        try:
            rows = rows.filter(nonce__gt=bytes.fromhex(after))
        except ValueError:
            after = None
    found = list(rows[: limit + 1])
    page = [
        Shown(
            nonce=bytes(row.nonce).hex(),
            name=row.name,
            place=row.place,
            comment=row.comment if row.comment_released and row.comment else None,
            stance=row.stance,
        )
        for row in found[:limit]
    ]
    return ShownPage(
        rows=tuple(page), next=page[-1].nonce if len(found) > limit else None
    )


def count_shown_from(*, origin: str, index: int) -> int:
    """Return beside how many signatures from leaf ``index`` on something is shown."""
    return ShownRecord.objects.filter(origin=origin, leaf_index__gte=index).count()


def list_comments_to_read(*, origin: str, limit: int = 100) -> list[tuple[str, str]]:
    """Return (nonce hex, comment) of comments nobody has released yet."""
    rows = ShownRecord.objects.filter(origin=origin, comment_released=False)
    return [
        (bytes(row.nonce).hex(), row.comment)
        for row in rows.exclude(comment="").order_by("nonce")[:limit]
    ]


def get_key(*, book_entry: BookEntry, klass: str) -> KeyView:
    """Return the issuer key of a class as announced. Raises KeyNotAnnounced."""
    for info in book_entry.log.state.keys.values():
        if CLASS_NAMES[info.klass] == klass and not info.is_quarantine:
            return KeyView(
                key_index=info.key_index,
                klass=klass,
                spki=info.spki,
                leaf_index=info.announced_at,
            )
    raise KeyNotAnnounced(klass=klass)


def get_crowd(*, book: SigningBook, book_entry: BookEntry, klass: str) -> Crowd:
    """Return the crowd a signer of this class hides in now. Raises KeyNotAnnounced."""
    campaign = book_entry.campaign
    key = get_key(book_entry=book_entry, klass=klass)
    pooled = count_pooled(ledger=book.ledger, origin=campaign.origin)
    totals = read_count(ledger=book.ledger, origin=campaign.origin)
    counted = int(totals["by_class"].get(klass, 0))
    settings = book_entry.log.settings
    alone = settings.mode == "standard" or CLASS_NUMBERS[klass] == CLASS_NUMBERS["open"]
    return Crowd(
        klass=klass,
        k=1 if alone else settings.k,
        waiting=pooled.get(key.key_index, 0),
        counted=counted,
        interval_seconds=settings.interval_seconds,
    )


def find_signature_receipt(
    *, book: SigningBook, book_entry: BookEntry, nonce: bytes
) -> bytes | None:
    """Return the receipt (tlog-proof) of a published signature, else None."""
    return find_receipt(ledger=book.ledger, log=book_entry.log, nonce=nonce)
