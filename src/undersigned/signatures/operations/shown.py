"""Taking over the shown records of published signatures (idempotent by nonce)."""

from __future__ import annotations

from django.db import transaction

from undersigned_verify import canonical

from undersigned.ledger.data import ShownRecord as PublishedShown
from undersigned.signatures.models import ShownRecord


def keep_shown_records(records: list[PublishedShown]) -> None:
    """Store what signers show, once their leaves are public.

    Called on the writer thread after a publication, and again after a crash: rows
    that are there already stay as they are. Sorted by nonce, so that the table does
    not keep an order of requests.
    """
    rows = []
    for record in sorted(records, key=lambda record: record.nonce):
        found = canonical.parse(record.data)
        if not isinstance(found, dict):
            continue
        rows.append(
            ShownRecord(
                nonce=record.nonce,
                origin=record.origin,
                leaf_index=record.index,
                stance=record.stance,
                salt=bytes.fromhex(str(found["salt"])),
                name=str(found["name"]),
                place=str(found["place"]),
                comment=str(found["comment"]),
            )
        )
    with transaction.atomic():
        ShownRecord.objects.bulk_create(rows, ignore_conflicts=True)
