"""What crosses the border of ``credentials``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class IssuingState(StrEnum):
    """Whether tokens are issued for a statement version.

    ``RETRIES``: closing has begun; only a request that was answered before is
    answered again. ``RECORD_LOST``: the issuance file is gone or was restored, so a
    second token for one address could not be refused; an operator must reopen.
    ``GONE``: keys and record are destroyed.
    """

    OPEN = "open"
    RETRIES = "retries"
    RECORD_LOST = "record-lost"
    KEYS_MISSING = "keys-missing"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class IssuerKeyFacts:
    """The public half of an issuer key. ``klass``: 1 email … 4 open."""

    key_index: int
    klass: int
    spki: bytes
    key_id: bytes


@dataclass(frozen=True, slots=True)
class TicketFacts:
    """What a ticket says once opened. ``nullifier`` None: a confirmation, no ticket.

    ``valid_from``: not before this instant (a waiting ticket of the open class);
    ``expires_at``: the end of a whole UTC day.
    """

    origin: str
    klass: int
    nullifier: bytes
    ticket_hash: bytes
    valid_from: datetime
    expires_at: datetime
