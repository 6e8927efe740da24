"""Reading and checking the trail."""

from __future__ import annotations

from undersigned.audit.models import AuditEntry
from undersigned.audit.operations import FIRST, hash_entry


def find_broken_entry() -> int | None:
    """Return the number of the first entry that breaks the chain, or None."""
    previous, expected = FIRST, 1
    for entry in AuditEntry.objects.order_by("number").iterator():
        if (
            entry.number != expected
            or entry.previous_sha256 != previous
            or entry.sha256
            != hash_entry(
                number=entry.number,
                at=entry.at,
                actor_ref=entry.actor_ref,
                kind=entry.kind,
                data=entry.data,
                previous_sha256=entry.previous_sha256,
            )
        ):
            return expected
        previous, expected = entry.sha256, expected + 1
    return None


def count_entries() -> int:
    """Return the length of the trail."""
    return AuditEntry.objects.count()


def get_newest_number() -> int:
    """Return the number of the newest entry, 0 before the first: it only rises."""
    newest = AuditEntry.objects.order_by("-number").values_list("number", flat=True)
    return newest.first() or 0
