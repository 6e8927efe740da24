"""What crosses the ledger's border."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["standard", "careful", "danger"]

# The public record that says that issued tokens are counted anew (PROTOCOL §5).
RECORD_LOST = "issuance-record-lost"


@dataclass(frozen=True, slots=True)
class LogSettings:
    """What a log promised its signers when it was created; never changed.

    ``path``: folder below the public root (``c/ID``). ``interval_seconds``: the
    publication clock. ``k``: the smallest crowd published under one key (not asked of
    the keys in ``uncounted_keys``: the open class has no crowd to speak of, since
    anyone can make any number of its signatures). ``closes_at``: announced end, or
    None while there is none.
    """

    origin: str
    path: str
    mode: Mode
    interval_seconds: int
    k: int
    closes_at: datetime | None = None
    uncounted_keys: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class PooledSignature:
    """One verified signature on its way into the pool.

    ``leaf``: the 357 bytes. ``shown``: what the signer shows with its salt, as JSON
    bytes, or None for nothing.
    """

    nonce: bytes
    leaf: bytes
    shown: bytes | None


@dataclass(frozen=True, slots=True)
class ShownRecord:
    """A published signature's shown record, handed over once the leaf is public."""

    origin: str
    nonce: bytes
    index: int
    stance: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Published:
    """One publication. ``refused``: control leaves that no longer applied."""

    origin: str
    size: int
    root: bytes
    signatures: int
    refused: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class CheckpointRow:
    """A kept checkpoint. ``at``: rounded down to the publication interval."""

    size: int
    net: int
    at: datetime
