"""Closing in the order of PROTOCOL §4.7, each step safe to repeat after a crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from undersigned.campaigns.data import Closing
from undersigned.campaigns.operations import (
    begin_closing,
    finish_closing,
    record_keys_destroyed,
)
from undersigned.campaigns.queries import (
    get_any_campaign,
    list_closings,
    list_due_to_close,
)
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import (
    count_issued,
    destroy_version,
    has_record,
)
from undersigned.kernel.actor import CLOCK
from undersigned.kernel.errors import UndersignedError
from undersigned.kernel.ids import CampaignId
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import (
    begin_issuance_record,
    close_log,
    note_issued,
)


def close_due_campaigns(*, issuer: Issuer, at: datetime) -> list[CampaignId]:
    """Begin to close campaigns whose announced last day is over."""
    due = list_due_to_close(on=at.date())
    for campaign_id in due:
        begin_closing(
            actor=CLOCK,
            campaign_id=campaign_id,
            issuer=issuer,
            reason="closing-day",
            at=at,
        )
    return due


def _tell_issued(*, ledger: Ledger, issuer: Issuer, origin: str, at: datetime) -> None:
    """Have the spine tell how many tokens there were, before the record goes.

    Nobody could say it afterwards. Where the record is lost already, or a crash came
    in the middle of destroying it, what is certain is told.
    """
    if has_record(issuer=issuer, origin=origin):
        totals = count_issued(issuer=issuer, origin=origin)
        note_issued(ledger=ledger, origin=origin, totals=totals, at=at, final=True)
    else:
        begin_issuance_record(ledger=ledger, origin=origin, at=at)


def _is_settled(_origin: str) -> bool:
    return True


def advance_closings(
    *,
    ledger: Ledger,
    issuer: Issuer,
    at: datetime,
    is_settled: Callable[[str], bool] = _is_settled,
) -> None:
    """Take every closing as far as its clocks allow.

    1. issuing stopped (``begin_closing``); 2. after the hour for retries destroy
    issuer keys, version key and issuance file; 3. after the grace for redeeming
    publish what is pooled, then the close leaf; 4. once ``is_settled`` says so of its
    origin, that is once the witnesses have seen the close, the campaign is closed. A
    crash between two steps, or between a step and its note, repeats a step that changes
    nothing the second time.
    """
    errors: list[UndersignedError] = []
    for closing in list_closings():
        try:
            advance_closing(
                ledger=ledger,
                issuer=issuer,
                closing=closing,
                at=at,
                is_settled=is_settled,
            )
        except UndersignedError as error:
            # One campaign's trouble holds up no other's close.
            errors.append(error)
    if errors:
        raise errors[0]


def advance_closing(
    *,
    ledger: Ledger,
    issuer: Issuer,
    closing: Closing,
    at: datetime,
    is_settled: Callable[[str], bool] = _is_settled,
) -> None:
    """Take one closing as far as its clocks allow."""
    if issuer.keystore is None:
        # Locked: nothing can be signed, and nothing is said to be destroyed that is
        # not. The clocks have run out already when the passphrase comes.
        return
    campaign = get_any_campaign(campaign_id=closing.campaign_id)
    if at >= closing.retries_until and not closing.keys_destroyed:
        _tell_issued(ledger=ledger, issuer=issuer, origin=campaign.origin, at=at)
        destroy_version(issuer=issuer, origin=campaign.origin, path=campaign.path)
        record_keys_destroyed(actor=CLOCK, campaign_id=campaign.id, at=at)
    if at >= closing.redeem_until:
        close_log(ledger=ledger, origin=campaign.origin, reason=closing.reason, at=at)
        if is_settled(campaign.origin):
            finish_closing(actor=CLOCK, campaign_id=campaign.id, at=at)
