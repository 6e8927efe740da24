"""Writing the trail."""

from __future__ import annotations

import hashlib
from datetime import datetime

from django.db import connection, transaction

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


def _take_turn() -> None:
    """Let no other entry come between reading the last one and writing the next.

    On SQLite the transaction is alone anyway (IMMEDIATE). Readers are not held up,
    and as the entry is an operation's last write, nobody holds this and waits for
    what somebody else in the queue has locked.
    """
    if connection.vendor == "postgresql":
        table = connection.ops.quote_name(AuditEntry._meta.db_table)
        with connection.cursor() as cursor:
            cursor.execute(f"LOCK TABLE {table} IN SHARE ROW EXCLUSIVE MODE")


def record_act(
    *, actor: Actor, kind: str, data: dict[str, object], at: datetime
) -> None:
    """Append one entry, in the caller's transaction.

    ``data``: only str, int, bool, None, lists and objects of these.
    """
    minute = at.replace(second=0, microsecond=0)
    with transaction.atomic():
        _take_turn()
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
