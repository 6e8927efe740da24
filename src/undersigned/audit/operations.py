"""Writing the trail."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import transaction

from undersigned_verify import canonical

from undersigned.audit.models import AuditEntry
from undersigned.kernel.actor import Actor

FIRST = "0" * 64


def hash_entry(
    *,
    number: int,
    at: datetime,
    actor_ref: str,
    kind: str,
    data: dict[str, object],
    previous_sha256: str,
) -> str:
    """Return the SHA-256 (hex) of an entry's RFC 8785 JSON."""
    value = {
        "number": number,
        "at": int(at.timestamp()),
        "actor_ref": actor_ref,
        "kind": kind,
        "data": data,
        "previous_sha256": previous_sha256,
    }
    return hashlib.sha256(canonical.encode(value)).hexdigest()


def record_act(
    *, actor: Actor, kind: str, data: dict[str, object], at: datetime
) -> None:
    """Append one entry, in the caller's transaction.

    ``data``: only str, int, bool, None, lists and objects of these.
    """
    minute = at.replace(second=0, microsecond=0)
    with transaction.atomic():
        last = AuditEntry.objects.order_by("-number").first()
        number = last.number + 1 if last else 1
        previous = last.sha256 if last else FIRST
        AuditEntry.objects.create(
            number=number,
            at=minute,
            actor_ref=actor.ref,
            kind=kind,
            data=data,
            previous_sha256=previous,
            sha256=hash_entry(
                number=number,
                at=minute,
                actor_ref=actor.ref,
                kind=kind,
                data=data,
                previous_sha256=previous,
            ),
        )
