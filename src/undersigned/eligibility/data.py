"""What crosses the border of ``eligibility``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from undersigned.kernel.ids import CampaignId


@dataclass(frozen=True, slots=True)
class ConfirmationMail:
    """What the mail worker renders and sends; lives in memory until it is sent.

    ``code``: eight digits. ``link_token``: opaque; opening it changes nothing.
    """

    address: str
    language: str
    code: str
    link_token: str


@dataclass(frozen=True, slots=True)
class Mail:
    """A rendered mail."""

    to: str
    subject: str
    body: str
    language: str


@dataclass(frozen=True, slots=True)
class MailsWaiting:
    """How many mails wait to be sent, and roughly how long all of them take.

    ``seconds`` None: not known yet.
    """

    waiting: int
    seconds: int | None

    @property
    def shown(self) -> bool:
        """Whether somebody who waits for a mail should know: few are gone at once."""
        return self.waiting >= 20


@dataclass(frozen=True, slots=True)
class Confirmation:
    """What a confirmation link leads to."""

    campaign_id: CampaignId


@dataclass(frozen=True, slots=True)
class Puzzle:
    """Work: find s such that SHA-256(token ‖ ":" ‖ s) begins with ``bits`` zeros."""

    token: str
    bits: int


@dataclass(frozen=True, slots=True)
class WaitingTicket:
    """A ticket of the open class that is valid only after some minutes."""

    ticket: str
    valid_from: datetime


@dataclass(frozen=True, slots=True)
class TicketView:
    """What a page may say about a ticket."""

    campaign_id: CampaignId
    klass: str
    valid_from: datetime
    expires_at: datetime
