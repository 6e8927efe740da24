"""Approvers and removals of synthetic campaigns, through the product's operations."""

from __future__ import annotations

from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned.campaigns.queries import get_campaign
from undersigned.drills.log_image import Approver
from undersigned.drills.stage import Stage
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.operations.remove import (
    announce_approver,
    approve_proposal,
    propose_removal,
    submit_removals,
)


def announce_approvers(stage: Stage, campaign_id: str) -> list[Approver]:
    """Hand in two approvers' keys; they approve from the next publication on."""
    campaign = get_campaign(campaign_id=CampaignId(campaign_id))
    approvers = [
        Approver(name, Ed25519PrivateKey.generate()) for name in ("mina", "noor")
    ]
    for approver in approvers:
        announce_approver(
            actor=OPERATOR,
            ledger=stage.engine.services.ledger,
            campaign=campaign,
            approver_id=approver.id,
            public_key=approver.private.public_key().public_bytes_raw(),
            at=stage.clock.now(),
        )
    return approvers


def remove(
    stage: Stage, origin: str, approvers: list[Approver], target: tuple[int, int]
) -> None:
    """Hand in a removal of a range of leaves with the approvals of all approvers."""
    (proposal,) = propose_removal(
        origin=origin,
        targets=[target],
        reason="scripted-burst",
        case_sha256=sha256(b"a moderation case").hexdigest(),
    )
    for approver in approvers:
        proposal = approve_proposal(
            proposal=proposal, approver_id=approver.id, secret_key=approver.private
        )
    submit_removals(
        actor=OPERATOR,
        ledger=stage.engine.services.ledger,
        proposals=[proposal],
        at=stage.clock.now(),
    )
