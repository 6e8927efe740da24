"""What crosses the border of ``signatures``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Count:
    """A log's count at its newest checkpoint (members as PROTOCOL §8).

    ``at``: of that checkpoint, rounded to the publication interval. ``waiting``:
    pooled and not yet counted, over all keys.
    """

    tree_size: int
    root_hash: str
    signatures: int
    held: int
    withdrawals: int
    removals: int
    net: int
    open_net: int
    by_class: dict[str, int]
    by_stance: dict[str, int]
    paper: int
    at: datetime | None
    waiting: int


@dataclass(frozen=True, slots=True)
class GrowthPoint:
    """One kept checkpoint for the chart: the server's unsigned word on time."""

    size: int
    net: int
    at: datetime


@dataclass(frozen=True, slots=True)
class PublishedRemoval:
    """A removal leaf. ``signatures``: how many it moved; ``targets`` as in the leaf."""

    index: int
    targets: tuple[tuple[int, int], ...]
    signatures: int
    reason: str
    case_sha256: str
    approvers: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PublishedRecord:
    """A public record leaf (type 7)."""

    index: int
    kind: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Shown:
    """What one signer shows. ``comment`` None: none, or not released."""

    nonce: str
    name: str
    place: str
    comment: str | None
    stance: int


@dataclass(frozen=True, slots=True)
class ShownPage:
    """A page of shown records; ``next`` continues, None at the end."""

    rows: tuple[Shown, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class Crowd:
    """The crowd a signer of one class hides in now.

    ``waiting``: pooled under the same key since the last publication;
    ``counted``: published under the key so far; ``k``: smallest crowd published
    together (1 in standard mode and for the open class).
    """

    klass: str
    k: int
    waiting: int
    counted: int
    interval_seconds: int


@dataclass(frozen=True, slots=True)
class KeyView:
    """What a signer's client must know of an issuer key.

    ``leaf_index``: where the key stands in the log.
    """

    key_index: int
    klass: str
    spki: bytes
    leaf_index: int


@dataclass(frozen=True, slots=True)
class ShownInput:
    """What a signer wants to show; empty strings for nothing."""

    name: str = ""
    place: str = ""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class UnscriptedSignature:
    """What the no-script path returns, once: the server forgets the rest.

    ``w``: hex, only when the signer wants to be able to withdraw.
    """

    nonce: bytes
    w: bytes | None
    promise: str
    publish_by: datetime


@dataclass(frozen=True, slots=True)
class Pooled:
    """A durable signature: its promise as a signed note, and the day it names."""

    nonce: bytes
    promise: bytes
    publish_by: datetime
