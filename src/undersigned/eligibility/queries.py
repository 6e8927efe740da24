"""Reads of eligibility."""

from __future__ import annotations

from datetime import datetime

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.credentials.operations import open_ticket
from undersigned.credentials.tickets import TicketNotYetValid
from undersigned.eligibility.data import Mail, TicketView
from undersigned.eligibility.desk import EligibilityDesk, Mailbox

_NAMES = {number: name for name, number in CLASS_NUMBERS.items()}


def read_ticket(
    *, desk: EligibilityDesk, campaign: Campaign, ticket: str, at: datetime
) -> TicketView:
    """Return what a page may say about a ticket; changes nothing.

    Raises TicketNotValid, TicketExpired, IssuingStopped, IntakeClosed; a ticket that
    is not valid yet is read all the same.
    """
    try:
        facts = open_ticket(
            issuer=desk.issuer, origin=campaign.origin, ticket=ticket, at=at
        )
    except TicketNotYetValid as error:
        valid_from = error.data["valid_from"]
        if not isinstance(valid_from, datetime):
            raise
        facts = open_ticket(
            issuer=desk.issuer, origin=campaign.origin, ticket=ticket, at=valid_from
        )
    return TicketView(
        campaign_id=campaign.id,
        klass=_NAMES[facts.klass],
        valid_from=facts.valid_from,
        expires_at=facts.expires_at,
    )


def list_mailbox(*, desk: EligibilityDesk) -> list[Mail]:
    """Return the mails kept for the mailbox page, newest first; empty with SMTP."""
    return list(desk.sender.mails) if isinstance(desk.sender, Mailbox) else []
