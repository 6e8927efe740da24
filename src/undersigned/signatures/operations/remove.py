"""Approver keys, proposals, approvals, removals and public records.

A removal is a file on its way: proposed by one person, approved by two with keys of
their own (never on the server), then handed in. The log checks both signatures again.
"""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass, replace
from datetime import datetime
from typing import ClassVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import entry
from undersigned_verify.errors import Fault

from undersigned.audit.operations import record_act
from undersigned.campaigns.data import Campaign
from undersigned.kernel.actor import Actor
from undersigned.kernel.errors import Refused
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import (
    LeafRefused,
    submit_control,
    submit_controls,
)

_REASON = re.compile(r"[a-z][a-z0-9-]{1,60}")
_APPROVER_ID = re.compile(r"[a-z0-9][a-z0-9-]{1,40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
# Room for the two approvals, the reason and the case's hash within one leaf.
_RANGES_BYTES = entry.MAX_LEAF - 1_200


class ProposalNotValid(Refused):
    """Not a removal proposal of this form. ``problem`` says why."""

    code: ClassVar[str] = "proposal-not-valid"


@dataclass(frozen=True, slots=True)
class RemovalProposal:
    """A removal by targets on its way through two approvals."""

    origin: str
    targets: tuple[tuple[int, int], ...]
    reason: str
    case_sha256: str
    approvals: tuple[tuple[str, str], ...] = ()

    def make_entry(self) -> entry.Removal:
        """Return the leaf's content with the approvals given so far."""
        return entry.Removal(
            targets=self.targets,
            remove_key=None,
            reason=self.reason,
            case_sha256=self.case_sha256,
            approvals=tuple(
                entry.Approval(id=name, signature=signature)
                for name, signature in self.approvals
            ),
        )


def propose_removal(
    *,
    origin: str,
    targets: list[tuple[int, int]],
    reason: str,
    case_sha256: str,
) -> list[RemovalProposal]:
    """Return the proposals that together cover ``targets``: one leaf each.

    ``targets``: inclusive index ranges in any order; they are sorted and joined. More
    ranges than one leaf can hold are split over several. Raises ProposalNotValid.
    """
    if not _REASON.fullmatch(reason):
        raise ProposalNotValid(problem="reason must be a code such as scripted-burst")
    if not _SHA256.fullmatch(case_sha256):
        raise ProposalNotValid(problem="case_sha256 must be 64 hex digits")
    merged = _merge(targets)
    return [
        RemovalProposal(origin, tuple(part), reason, case_sha256)
        for part in _split(merged)
    ]


def _merge(targets: list[tuple[int, int]]) -> list[tuple[int, int]]:
    merged: list[tuple[int, int]] = []
    for first, last in sorted(targets):
        if not 0 < first <= last:
            raise ProposalNotValid(problem=f"{first}-{last} is no range of leaves")
        if merged and first <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    if not merged:
        raise ProposalNotValid(problem="no targets")
    return merged


def _split(ranges: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    parts: list[list[tuple[int, int]]] = [[]]
    size = 0
    for first, last in ranges:
        width = len(f"[{first},{last}],")
        if size + width > _RANGES_BYTES:
            parts.append([])
            size = 0
        parts[-1].append((first, last))
        size += width
    return parts


def approve_proposal(
    *, proposal: RemovalProposal, approver_id: str, secret_key: Ed25519PrivateKey
) -> RemovalProposal:
    """Return the proposal with one approval more. Raises ProposalNotValid."""
    if any(name == approver_id for name, _signature in proposal.approvals):
        raise ProposalNotValid(problem=f"{approver_id} has approved it already")
    message = entry.approval_message(
        proposal.origin, replace(proposal, approvals=()).make_entry()
    )
    signature = base64.b64encode(secret_key.sign(message)).decode()
    return replace(
        proposal,
        approvals=tuple(sorted([*proposal.approvals, (approver_id, signature)])),
    )


def encode_proposal(proposal: RemovalProposal) -> str:
    """Return a proposal as a JSON file's text."""
    value = {
        "kind": "undersigned removal proposal v1",
        "origin": proposal.origin,
        "targets": [list(pair) for pair in proposal.targets],
        "reason": proposal.reason,
        "case_sha256": proposal.case_sha256,
        "approvals": [
            {"id": name, "signature": signature}
            for name, signature in proposal.approvals
        ],
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def parse_proposal(text: str) -> RemovalProposal:
    """Return the proposal in a file. Raises ProposalNotValid."""
    try:
        value = json.loads(text)
        if value["kind"] != "undersigned removal proposal v1":
            raise ProposalNotValid(problem="another kind of file")
        return RemovalProposal(
            origin=str(value["origin"]),
            targets=tuple((int(a), int(b)) for a, b in value["targets"]),
            reason=str(value["reason"]),
            case_sha256=str(value["case_sha256"]),
            approvals=tuple(
                (str(one["id"]), str(one["signature"])) for one in value["approvals"]
            ),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ProposalNotValid(problem=f"unreadable: {error}") from error


def submit_removals(
    *, actor: Actor, ledger: Ledger, proposals: list[RemovalProposal], at: datetime
) -> None:
    """Hand removals, each with its two approvals, to the next publication.

    All of them or none: what is one decision may be cut into several leaves. Raises
    ProposalNotValid unless all are of one log, LeafRefused when the rules do not allow
    one (approvals, targets), LogNotFound, StoreStopped.
    """
    origins = {proposal.origin for proposal in proposals}
    if len(origins) != 1:
        raise ProposalNotValid(problem="these are proposals for different logs")
    try:
        leaves = [entry.encode(proposal.make_entry()) for proposal in proposals]
    except Fault as fault:
        raise LeafRefused(fault=fault.code, detail=fault.detail) from fault
    submit_controls(ledger=ledger, origin=origins.pop(), leaves=leaves)
    for proposal in proposals:
        record_act(
            actor=actor,
            kind="RemovalSubmitted",
            data={
                "origin": proposal.origin,
                "reason": proposal.reason,
                "case_sha256": proposal.case_sha256,
                "approvers": [name for name, _signature in proposal.approvals],
            },
            at=at,
        )


def announce_approver(
    *,
    actor: Actor,
    ledger: Ledger,
    campaign: Campaign,
    approver_id: str,
    public_key: bytes,
    at: datetime,
) -> None:
    """Hand an approver's public key to the next publication.

    It approves from the publication after that on. Raises ProposalNotValid,
    LeafRefused, StoreStopped.
    """
    if not _APPROVER_ID.fullmatch(approver_id):
        raise ProposalNotValid(problem="an approver's id is 2 to 41 of a-z, 0-9 and -")
    if len(public_key) != 32:
        raise ProposalNotValid(problem="a public key has 32 bytes")
    leaf = entry.encode(entry.make_approver_key(id=approver_id, public=public_key))
    submit_control(ledger=ledger, origin=campaign.origin, leaf=leaf)
    record_act(
        actor=actor,
        kind="ApproverAnnounced",
        data={"campaign": campaign.id, "approver": approver_id},
        at=at,
    )


def publish_record(
    *,
    actor: Actor,
    ledger: Ledger,
    campaign: Campaign,
    kind: str,
    sha256: str,
    at: datetime,
) -> None:
    """Hand a public record of the campaign (type 7) to the next publication.

    Raises ProposalNotValid, LeafRefused, StoreStopped.
    """
    if not _REASON.fullmatch(kind) or not _SHA256.fullmatch(sha256):
        raise ProposalNotValid(problem="kind is a code, sha256 is 64 hex digits")
    leaf = entry.encode(entry.PublicRecord(kind=kind, sha256=sha256))
    submit_control(ledger=ledger, origin=campaign.origin, leaf=leaf)
    record_act(
        actor=actor,
        kind="RecordPublished",
        data={"campaign": campaign.id, "kind": kind, "sha256": sha256},
        at=at,
    )
