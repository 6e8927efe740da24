"""What crosses the border of ``campaigns``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum

from undersigned.authorities.data import Office
from undersigned.kernel.ids import CampaignId


class CampaignState(StrEnum):
    """The life of a campaign. ``CLOSING``: issuing has stopped, retries go on."""

    DRAFT = "draft"
    OPEN = "open"
    CLOSING = "closing"
    CLOSED = "closed"


class PublicationMode(StrEnum):
    """How much a publication's timing may tell (PROTOCOL §4.6)."""

    STANDARD = "standard"
    CAREFUL = "careful"
    DANGER = "danger"


@dataclass(frozen=True, slots=True)
class ReplaySource:
    """Published figures that a demonstration replays. ``scale``: 1 signature for N.

    ``holes``: spans without data, as (from, to); nothing is drawn through them.
    """

    title: str
    url: str
    licence: str
    scale: int
    holes: tuple[tuple[datetime, datetime], ...]


class NoticeCode(StrEnum):
    """What an operator may have to tell of a campaign; the words are the pages'."""

    ISSUER_KEY_LEAKED = "issuer-key-leaked"
    LOG_KEY_LEAKED = "log-key-leaked"
    KEYS_LOST = "keys-lost"
    ORGANISER_UNREACHABLE = "organiser-unreachable"
    ORGANISER_CHANGED = "organiser-changed"
    UNDER_ATTACK = "under-attack"


@dataclass(frozen=True, slots=True)
class Notice:
    """The operator's word beside a campaign: unsigned, and no part of its log."""

    code: NoticeCode
    posted_on: date


@dataclass(frozen=True, slots=True)
class Succession:
    """Who takes over when the organiser has been silent for ``days``: agreed before."""

    name: str
    contact: str
    days: int


@dataclass(frozen=True, slots=True)
class Campaign:
    """A campaign with its current statement version.

    ``origin``: name of the version's log; ``path``: its folder and URL path.
    ``classes`` and ``stances`` by name, in order. ``opened_on`` None: a draft.
    """

    id: CampaignId
    version: int
    origin: str
    path: str
    title: str
    language: str
    statement: str
    statement_sha256: str
    offices: tuple[Office, ...]
    state: CampaignState
    mode: PublicationMode
    classes: tuple[str, ...]
    stances: tuple[str, ...]
    show_names: bool
    k: int
    interval_seconds: int
    opened_on: date | None
    closes_on: date | None
    organiser_name: str
    organiser_contact: str
    replay: ReplaySource | None
    succession: Succession | None = None
    # Oldest first.
    notices: tuple[Notice, ...] = ()


@dataclass(frozen=True, slots=True)
class Closing:
    """A closing under way: when retries end, and when redeeming ends (§4.7)."""

    campaign_id: CampaignId
    reason: str
    retries_until: datetime
    redeem_until: datetime
    keys_destroyed: bool
