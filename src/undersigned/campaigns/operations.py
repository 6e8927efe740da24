"""Every change of a campaign's state."""

from __future__ import annotations

import hashlib
import re
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

from django.db import IntegrityError, transaction

from undersigned_verify import entry

from undersigned.audit.operations import record_act
from undersigned.authorities.operations import register_office
from undersigned.campaigns import rules
from undersigned.campaigns.data import (
    Campaign,
    CampaignState,
    NoticeCode,
    PublicationMode,
    Succession,
)
from undersigned.campaigns.drafting import CampaignDraft
from undersigned.campaigns.models import (
    AddressedOffice,
    Closing,
    Notice,
    ReplaySource,
    StatementVersion,
)
from undersigned.campaigns.models import Campaign as CampaignRow
from undersigned.campaigns.queries import CampaignNotFound, get_any_campaign
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import create_version, stop_issuing
from undersigned.kernel.actor import Actor
from undersigned.kernel.clock import round_down
from undersigned.kernel.errors import Conflict, Refused, Unavailable
from undersigned.kernel.ids import CampaignId, make_random_id
from undersigned.ledger.data import LogSettings
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import create_log


class CampaignExists(Conflict):
    """There is a campaign of that id already."""

    code: ClassVar[str] = "campaign-exists"


class CampaignNotInState(Conflict):
    """The step does not follow from the state the campaign is in."""

    code: ClassVar[str] = "campaign-not-in-state"


class ClosingDayPast(Refused):
    """The announced closing day is over already."""

    code: ClassVar[str] = "closing-day-past"


class KeysMustBeSealed(Unavailable):
    """Danger mode asks for keys that a machine switched off does not hold (§4.8)."""

    code: ClassVar[str] = "keys-must-be-sealed"


class ReasonNotValid(Refused):
    """A reason is a code of 2 to 61 of a-z, 0-9 and -, beginning with a letter."""

    code: ClassVar[str] = "reason-not-valid"


_REASON = re.compile(r"[a-z][a-z0-9-]{1,60}")


def _write_succession(agreed: Succession | None) -> dict[str, Any]:
    if agreed is None:
        return {}
    return {
        "successor_name": agreed.name,
        "successor_contact": agreed.contact,
        "succession_days": agreed.days,
    }


def create_campaign(
    *, actor: Actor, draft: CampaignDraft, host: str, at: datetime
) -> CampaignId:
    """Record a draft campaign with its first statement version; return its id.

    Raises CampaignExists.
    """
    campaign_id = CampaignId(draft.id or f"c{make_random_id(9)}")
    path = f"c/{campaign_id}"
    try:
        with transaction.atomic():
            row = CampaignRow.objects.create(
                id=campaign_id,
                title=draft.title,
                language=draft.language,
                organiser_name=draft.organiser_name,
                organiser_contact=draft.organiser_contact,
                **_write_succession(draft.succession),
                created_on=at.date(),
                closes_on=draft.closes_on,
            )
            StatementVersion.objects.create(
                campaign=row,
                number=1,
                origin=f"{host}/{path}",
                path=path,
                text=draft.statement,
                sha256=hashlib.sha256(draft.statement.encode()).hexdigest(),
                mode=draft.mode,
                classes=list(draft.classes),
                stances=list(draft.stances),
                show_names=draft.show_names,
                k=draft.k,
                interval_seconds=draft.interval_seconds,
            )
            for position, office in enumerate(draft.offices):
                AddressedOffice.objects.create(
                    campaign=row,
                    office_id=register_office(office=office),
                    position=position,
                )
            if draft.replay is not None:
                ReplaySource.objects.create(
                    campaign=row,
                    title=draft.replay.title,
                    url=draft.replay.url,
                    licence=draft.replay.licence,
                    scale=draft.replay.scale,
                )
            record_act(
                actor=actor,
                kind="CampaignCreated",
                data={"campaign": campaign_id},
                at=at,
            )
    except IntegrityError as error:
        raise CampaignExists(campaign=campaign_id) from error
    return campaign_id


def open_campaign(
    *,
    actor: Actor,
    campaign_id: CampaignId,
    ledger: Ledger,
    issuer: Issuer,
    host: str,
    at: datetime,
    accept_unsealed_keys: bool = False,
) -> Campaign:
    """Freeze the statement, make keys and log, publish the first checkpoint, open.

    Every step before the last can be repeated: keys and log that an interrupted
    attempt made are taken over. Raises CampaignNotFound, CampaignNotInState,
    ClosingDayPast, KeysMustBeSealed, SigningKeyMissing, StorageFailed.
    """
    campaign = get_any_campaign(campaign_id=campaign_id)
    if not rules.can_change(campaign.state, CampaignState.OPEN):
        raise CampaignNotInState(campaign=campaign_id, state=str(campaign.state))
    if campaign.closes_on is not None and campaign.closes_on < at.date():
        raise ClosingDayPast(campaign=campaign_id, closes_on=str(campaign.closes_on))
    _require_sealed(campaign, issuer, accept_unsealed_keys)
    keys = create_version(
        issuer=issuer,
        origin=campaign.origin,
        path=campaign.path,
        classes=[rules.CLASS_NUMBERS[name] for name in campaign.classes],
    )
    header = entry.Header(
        origin=campaign.origin,
        statement_sha256=campaign.statement_sha256,
        issuer_name=host,
        mode=str(campaign.mode),
        classes=campaign.classes,
    )
    leaves = [entry.encode(header)]
    leaves += [
        entry.encode(
            entry.IssuerKey(
                key_index=key.key_index, klass=key.klass, flags=0, spki=key.spki
            )
        )
        for key in keys
    ]
    create_log(
        ledger=ledger,
        settings=make_log_settings(
            campaign=campaign, keys=[(key.key_index, key.klass) for key in keys]
        ),
        leaves=leaves,
        statement=campaign.statement.encode(),
        at=at,
    )
    with transaction.atomic():
        changed = CampaignRow.objects.filter(
            id=campaign_id, state=CampaignState.DRAFT
        ).update(state=CampaignState.OPEN, opened_on=at.date())
        if changed != 1:
            raise CampaignNotInState(campaign=campaign_id)
        record_act(
            actor=actor,
            kind="CampaignOpened",
            data={
                "campaign": campaign_id,
                "statement_sha256": campaign.statement_sha256,
            },
            at=at,
        )
    return get_any_campaign(campaign_id=campaign_id)


def _require_sealed(campaign: Campaign, issuer: Issuer, accepted: bool) -> None:
    keystore = issuer.keystore
    if (
        campaign.mode is PublicationMode.DANGER
        and not accepted
        and (keystore is None or not keystore.is_sealed)
    ):
        raise KeysMustBeSealed(campaign=campaign.id)


def make_log_settings(
    *, campaign: Campaign, keys: list[tuple[int, int]]
) -> LogSettings:
    """Return what the campaign's log promises. ``keys``: (key_index, class) of each."""
    closes_at = None
    if campaign.closes_on is not None:
        day = datetime.fromordinal(campaign.closes_on.toordinal())
        closes_at = day.replace(tzinfo=UTC) + timedelta(days=1)
    return LogSettings(
        origin=campaign.origin,
        path=campaign.path,
        mode=campaign.mode.value,
        interval_seconds=campaign.interval_seconds,
        k=campaign.k,
        closes_at=closes_at,
        uncounted_keys=tuple(
            index for index, klass in keys if klass == rules.CLASS_NUMBERS["open"]
        ),
    )


def begin_closing(
    *,
    actor: Actor,
    campaign_id: CampaignId,
    issuer: Issuer,
    reason: str,
    at: datetime,
    retries: timedelta = rules.RETRIES,
    redeem_grace: timedelta = rules.REDEEM_GRACE,
) -> None:
    """Stop issuing and start the clocks of PROTOCOL §4.7.

    The state changes first: a crash after it leaves a campaign that issues nothing
    new after the restart. Raises CampaignNotFound, CampaignNotInState.
    """
    if not _REASON.fullmatch(reason):
        # Now, and not when the close leaf is written: by then nothing could mend it.
        raise ReasonNotValid(reason=reason[:80])
    # Up to the minute: nobody's hour is shorter than it was said to be.
    minute = round_down(at, seconds=60)
    if retries and minute < at:
        minute += timedelta(minutes=1)
    retries_until = minute + retries
    with transaction.atomic():
        campaign = get_any_campaign(campaign_id=campaign_id)
        changed = CampaignRow.objects.filter(
            id=campaign_id, state=CampaignState.OPEN
        ).update(state=CampaignState.CLOSING)
        if changed != 1:
            raise CampaignNotInState(campaign=campaign_id, state=str(campaign.state))
        Closing.objects.create(
            campaign_id=campaign_id,
            reason=reason,
            retries_until=retries_until,
            redeem_until=retries_until + redeem_grace,
        )
        record_act(
            actor=actor,
            kind="ClosingBegun",
            data={"campaign": campaign_id, "reason": reason},
            at=at,
        )
    stop_issuing(issuer=issuer, origin=campaign.origin)


def record_found_closed(
    *, actor: Actor, campaign_id: CampaignId, reason: str, at: datetime
) -> bool:
    """Begin a closing whose clocks have run out: the log was found closed.

    After a recovery, when the close came later than the backup: the clock destroys the
    keys at the next start, and finishes. Returns False where it is closing already.
    """
    minute = round_down(at, seconds=60)
    with transaction.atomic():
        changed = CampaignRow.objects.filter(
            id=campaign_id, state=CampaignState.OPEN
        ).update(state=CampaignState.CLOSING)
        if not changed:
            return False
        Closing.objects.create(
            campaign_id=campaign_id,
            reason=reason,
            retries_until=minute,
            redeem_until=minute,
        )
        record_act(
            actor=actor,
            kind="CampaignFoundClosed",
            data={"campaign": campaign_id, "reason": reason},
            at=at,
        )
    return True


def record_keys_destroyed(
    *, actor: Actor, campaign_id: CampaignId, at: datetime
) -> None:
    """Note that issuer keys, version key and issuance file are gone."""
    with transaction.atomic():
        Closing.objects.filter(campaign_id=campaign_id).update(keys_destroyed=True)
        record_act(
            actor=actor,
            kind="IssuerKeysDestroyed",
            data={"campaign": campaign_id},
            at=at,
        )


def finish_closing(*, actor: Actor, campaign_id: CampaignId, at: datetime) -> None:
    """Note that the log is closed; nothing happens if that is noted already.

    Raises CampaignNotInState when closing was never begun.
    """
    with transaction.atomic():
        changed = CampaignRow.objects.filter(
            id=campaign_id, state=CampaignState.CLOSING
        ).update(state=CampaignState.CLOSED)
        if changed:
            record_act(
                actor=actor,
                kind="CampaignClosed",
                data={"campaign": campaign_id},
                at=at,
            )
            return
        state = get_any_campaign(campaign_id=campaign_id).state
        if state is not CampaignState.CLOSED:
            raise CampaignNotInState(campaign=campaign_id, state=str(state))


def record_replay_point(
    *,
    campaign_id: CampaignId,
    points_done: int,
    series_sha256: str,
    holes: list[tuple[datetime, datetime]],
) -> None:
    """Note how far a replay has come and which spans its series leaves out."""
    ReplaySource.objects.filter(campaign_id=campaign_id).update(
        points_done=points_done,
        series_sha256=series_sha256,
        holes=[[int(a.timestamp()), int(b.timestamp())] for a, b in holes],
    )


class NoticeStands(Conflict):
    """The notice is posted already, or is not there to be taken down."""

    code: ClassVar[str] = "notice-stands"


class SuccessionNotAgreed(Refused):
    """Nobody was agreed on before the campaign opened."""

    code: ClassVar[str] = "succession-not-agreed"


def post_notice(
    *, actor: Actor, campaign_id: CampaignId, code: NoticeCode, at: datetime
) -> None:
    """Tell something beside a campaign, until it is taken down.

    Raises CampaignNotFound, NoticeStands.
    """
    get_any_campaign(campaign_id=campaign_id)
    try:
        with transaction.atomic():
            Notice.objects.create(
                campaign_id=campaign_id, code=code, posted_on=at.date()
            )
            record_act(
                actor=actor,
                kind="NoticePosted",
                data={"campaign": campaign_id, "code": str(code)},
                at=at,
            )
    except IntegrityError as error:
        raise NoticeStands(campaign=campaign_id, notice=str(code)) from error


def take_down_notice(
    *, actor: Actor, campaign_id: CampaignId, code: NoticeCode, at: datetime
) -> None:
    """Tell it no more. Raises CampaignNotFound, NoticeStands."""
    get_any_campaign(campaign_id=campaign_id)
    with transaction.atomic():
        count, _rows = Notice.objects.filter(
            campaign_id=campaign_id, code=code
        ).delete()
        if not count:
            raise NoticeStands(campaign=campaign_id, notice=str(code))
        record_act(
            actor=actor,
            kind="NoticeTakenDown",
            data={"campaign": campaign_id, "code": str(code)},
            at=at,
        )


def hand_over(*, actor: Actor, campaign_id: CampaignId, at: datetime) -> Campaign:
    """Make the person agreed on the organiser, and say so on the page.

    Whether the organiser has been silent for so long is the operator's to judge: no
    program knows. Raises CampaignNotFound, SuccessionNotAgreed.
    """
    with transaction.atomic():
        row = CampaignRow.objects.filter(pk=campaign_id).first()
        if row is None:
            raise CampaignNotFound(campaign=campaign_id)
        if not row.succession_days:
            raise SuccessionNotAgreed(campaign=campaign_id)
        row.organiser_name = row.successor_name
        row.organiser_contact = row.successor_contact
        row.successor_name = row.successor_contact = ""
        row.succession_days = 0
        row.save()
        Notice.objects.filter(
            campaign_id=campaign_id, code=NoticeCode.ORGANISER_UNREACHABLE
        ).delete()
        Notice.objects.get_or_create(
            campaign_id=campaign_id,
            code=NoticeCode.ORGANISER_CHANGED,
            defaults={"posted_on": at.date()},
        )
        record_act(
            actor=actor,
            kind="CampaignHandedOver",
            data={"campaign": campaign_id},
            at=at,
        )
    return get_any_campaign(campaign_id=campaign_id)
