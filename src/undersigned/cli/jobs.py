"""The jobs that need the writer, by name: plain values in, plain values out."""

from __future__ import annotations

import base64
import threading
from collections.abc import Generator
from datetime import timedelta
from pathlib import Path
from typing import ClassVar

from undersigned.audit.operations import record_act
from undersigned.campaigns.operations import begin_closing, open_campaign
from undersigned.campaigns.queries import get_any_campaign
from undersigned.campaigns.rules import REDEEM_GRACE, RETRIES
from undersigned.cli.approver_keys import get_or_create
from undersigned.cli.context import Job, RunningEngine, Values
from undersigned.cli.witness_jobs import WITNESS_JOBS, WitnessJob
from undersigned.credentials.operations import (
    reopen_issuance,
    require_lost_record,
)
from undersigned.eligibility.operations import make_invitation_codes
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import round_down
from undersigned.kernel.errors import Conflict
from undersigned.kernel.ids import CampaignId
from undersigned.ledger.data import RECORD_LOST
from undersigned.ledger.operations import (
    begin_issuance_record,
    empty_journal,
    retire_log,
)
from undersigned.ledger.queries import count_records
from undersigned.safety.switches import Flip, Switch
from undersigned.signatures.operations.remove import (
    ProposalNotValid,
    announce_approver,
    parse_proposal,
    publish_record,
    submit_removals,
)
from undersigned.signatures.operations.withdraw import erase_shown_by_operator
from undersigned.signatures.replay import DemoApprover, replay_series
from undersigned.signatures.series import parse_series

# The digest of the fact itself, since a lost record leaves no document to hash.
LOST_RECORD_SHA256 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

Steps = Generator[Values, None, Values]


def open_job(engine: RunningEngine, values: Values) -> Steps:
    """Open a campaign."""
    services = engine.services
    campaign_id = CampaignId(values["campaign"])
    yield {"doing": "making keys"}
    campaign = open_campaign(
        actor=OPERATOR,
        campaign_id=campaign_id,
        ledger=services.ledger,
        issuer=services.issuer,
        host=services.settings.host,
        at=services.clock.now(),
        accept_unsealed_keys=values["accept_unsealed_keys"],
    )
    engine.enter_campaign(campaign)
    return {
        "id": campaign.id,
        "origin": campaign.origin,
        "path": campaign.path,
        "statement_sha256": campaign.statement_sha256,
        "mode": str(campaign.mode),
    }


def close_job(engine: RunningEngine, values: Values) -> Steps:
    """Begin to close a campaign; with zero clocks, close it at once."""
    services = engine.services
    campaign_id = CampaignId(values["campaign"])
    at = services.clock.now()
    yield {"doing": "stopping issuing"}
    retries, grace = values["retries_minutes"], values["grace_minutes"]
    begin_closing(
        actor=OPERATOR,
        campaign_id=campaign_id,
        issuer=services.issuer,
        reason=values["reason"],
        at=at,
        retries=RETRIES if retries is None else timedelta(minutes=retries),
        redeem_grace=REDEEM_GRACE if grace is None else timedelta(minutes=grace),
    )
    engine.advance_closing(campaign_id, at)
    campaign = get_any_campaign(campaign_id=campaign_id)
    return {"id": campaign.id, "state": str(campaign.state)}


def retire_job(engine: RunningEngine, values: Values) -> Steps:
    """Have the spine end a closed campaign's log."""
    services = engine.services
    campaign = get_any_campaign(campaign_id=CampaignId(values["campaign"]))
    at = services.clock.now()
    yield {"doing": "telling the spine"}
    retire_log(ledger=services.ledger, origin=campaign.origin, at=at)
    record_act(actor=OPERATOR, kind="LogRetired", data={"campaign": campaign.id}, at=at)
    return {"id": campaign.id}


def reopen_job(engine: RunningEngine, values: Values) -> Steps:
    """Write ``issuance-record-lost`` to the log, then issue again."""
    services = engine.services
    campaign = get_any_campaign(campaign_id=CampaignId(values["campaign"]))
    require_lost_record(issuer=services.issuer, origin=campaign.origin)
    yield {"doing": "writing the public record"}
    # The record first: if the second step fails, the log says too much, not too little.
    publish_record(
        actor=OPERATOR,
        ledger=services.ledger,
        campaign=campaign,
        kind=RECORD_LOST,
        sha256=LOST_RECORD_SHA256,
        at=services.clock.now(),
    )
    begin_issuance_record(
        ledger=services.ledger, origin=campaign.origin, at=services.clock.now()
    )
    reopen_issuance(
        issuer=services.issuer,
        origin=campaign.origin,
        path=campaign.path,
        lost=count_records(
            ledger=services.ledger, origin=campaign.origin, kind=RECORD_LOST
        ),
    )
    return {"id": campaign.id}


def switch_job(engine: RunningEngine, values: Values) -> Steps:
    """Flip a kill switch where the server reads it; or, without one, list them."""
    services = engine.services
    switches = services.book.switches
    logged = True
    if "switch" in values:
        if values["campaign"]:
            get_any_campaign(campaign_id=CampaignId(values["campaign"]))
        yield {"doing": "flipping the switch"}
        logged = switches.flip(
            Flip(
                switch=Switch(values["switch"]),
                campaign=values["campaign"],
                on=values["on"],
                reason=values["reason"],
                at=round_down(services.clock.now(), seconds=60),
            )
        )
    off = [flip.as_json() for flip in switches.list_off()]
    return {"off": off, "logged": logged}


def approver_job(engine: RunningEngine, values: Values) -> Steps:
    """Announce an approver's public key."""
    services = engine.services
    try:
        public_key = base64.b64decode(values["public_key"], validate=True)
    except (ValueError, TypeError):
        raise ProposalNotValid(problem="a public key is base64") from None
    yield {"doing": "handing in the key"}
    announce_approver(
        actor=OPERATOR,
        ledger=services.ledger,
        campaign=get_any_campaign(campaign_id=CampaignId(values["campaign"])),
        approver_id=values["approver"],
        public_key=public_key,
        at=services.clock.now(),
    )
    return {"approver": values["approver"]}


def removal_job(engine: RunningEngine, values: Values) -> Steps:
    """Hand in approved removals."""
    services = engine.services
    proposals = [parse_proposal(text) for text in values["proposals"]]
    yield {"doing": f"handing in {sum(len(one.targets) for one in proposals)} ranges"}
    submit_removals(
        actor=OPERATOR,
        ledger=services.ledger,
        proposals=proposals,
        at=services.clock.now(),
    )
    return {"submitted": len(proposals)}


def record_job(engine: RunningEngine, values: Values) -> Steps:
    """Hand in a public record."""
    services = engine.services
    yield {"doing": "handing in the record"}
    publish_record(
        actor=OPERATOR,
        ledger=services.ledger,
        campaign=get_any_campaign(campaign_id=CampaignId(values["campaign"])),
        kind=values["kind"],
        sha256=values["sha256"],
        at=services.clock.now(),
    )
    return {"kind": values["kind"]}


def invitations_job(engine: RunningEngine, values: Values) -> Steps:
    """Make invitation codes and note in the trail how many."""
    services = engine.services
    campaign = get_any_campaign(campaign_id=CampaignId(values["campaign"]))
    yield {"doing": "making codes"}
    codes = make_invitation_codes(
        desk=services.desk, campaign=campaign, count=values["count"]
    )
    record_act(
        actor=OPERATOR,
        kind="InvitationsMade",
        data={"campaign": campaign.id, "count": len(codes)},
        at=services.clock.now(),
    )
    return {"codes": codes}


def erase_shown_job(engine: RunningEngine, values: Values) -> Steps:
    """Erase what is shown beside a signature."""
    services = engine.services
    yield {"doing": "erasing"}
    erase_shown_by_operator(
        actor=OPERATOR,
        book=services.book,
        nonce=bytes.fromhex(values["nonce"]),
        at=services.clock.now(),
    )
    return {"erased": True}


def empty_journal_job(engine: RunningEngine, values: Values) -> Steps:
    """Empty the ledger's journal, as after a publication."""
    del values
    yield {"doing": "emptying the journal"}
    empty_journal(ledger=engine.services.ledger)
    return {}


class ReplayRunning(Conflict):
    """A replay into this campaign is under way in the server's process."""

    code: ClassVar[str] = "replay-running"


_replaying: set[str] = set()
_replaying_lock = threading.Lock()


def replay_job(engine: RunningEngine, values: Values) -> Steps:
    """Replay a count series into a campaign; one at a time into each."""
    campaign_id = str(values["campaign"])
    with _replaying_lock:
        if campaign_id in _replaying:
            raise ReplayRunning(campaign=campaign_id)
        _replaying.add(campaign_id)
    try:
        return (yield from _replay(engine, values))
    finally:
        with _replaying_lock:
            _replaying.discard(campaign_id)


def _replay(engine: RunningEngine, values: Values) -> Steps:
    services = engine.services
    campaign = get_any_campaign(campaign_id=CampaignId(values["campaign"]))
    folder, data = Path(values["approver_keys"]), Path(values["data"])
    approvers = []
    for name in ("mina", "petra"):
        key = get_or_create(
            folder / f"{campaign.id}-{name}.json", approver_id=name, data=data
        )
        approvers.append(DemoApprover(key.id, key.secret_key))
    done = 0, 0
    try:
        for step in replay_series(
            book=services.book,
            issuer=services.issuer,
            campaign=campaign,
            series=parse_series(base64.b64decode(values["series"])),
            approvers=approvers,
            workers=values["workers"],
            limit=values["limit"],
            at=services.clock.now(),
        ):
            done = step.points, step.net
            yield {
                "signed": step.signed,
                "to_sign": step.to_sign,
                "points": step.points,
                "all_points": step.all_points,
                "net": step.net,
            }
    finally:
        engine.settle_issuance(campaign.origin, services.clock.now())
    return {"points": done[0], "net": done[1], "path": campaign.path}


def _make_witness_job(run: WitnessJob) -> Job:
    def job(engine: RunningEngine, values: Values) -> Steps:
        yield {"doing": "witnessing"}
        return run(engine.witnessing, values)

    return job


def arrivals_job(engine: RunningEngine, _values: Values) -> Steps:
    """Tell how requests have arrived, for the doctor."""
    yield {"doing": "looking"}
    return engine.services.arrivals.as_json()


JOBS: dict[str, Job] = {
    "open": open_job,
    "close": close_job,
    "reopen": reopen_job,
    "retire": retire_job,
    "switch": switch_job,
    "arrivals": arrivals_job,
    "approver": approver_job,
    "removal": removal_job,
    "record": record_job,
    "invitations": invitations_job,
    "replay": replay_job,
    "erase-shown": erase_shown_job,
    **{name: _make_witness_job(run) for name, run in WITNESS_JOBS.items()},
    "empty-journal": empty_journal_job,
}
