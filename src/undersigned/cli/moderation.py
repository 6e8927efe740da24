"""``undersigned approver``, ``removal``, ``record`` and ``shown``."""

from __future__ import annotations

import argparse
import base64
import hashlib
import re
import sys
from pathlib import Path

from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli.approver_keys import create_key_file, read_key_file
from undersigned.cli.context import Context
from undersigned.cli.control import run_job
from undersigned.cli.output import make_reporter, print_result
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.durable import write_durable
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.operations.remove import (
    ProposalNotValid,
    RemovalProposal,
    approve_proposal,
    encode_proposal,
    parse_proposal,
    propose_removal,
)
from undersigned.signatures.operations.withdraw import release_comment
from undersigned.signatures.queries import list_comments_to_read

_RANGE = re.compile(r"([0-9]{1,15})(?:-([0-9]{1,15}))?")
_NEXT = "It takes effect at the next publication."


def new_approver(arguments: argparse.Namespace, context: Context) -> int:
    """Make an approver's key file, to be kept by that person alone."""
    key = create_key_file(
        Path(arguments.key_file),
        approver_id=arguments.id,
        data=context.environment.data,
    )
    public = base64.b64encode(key.public_key).decode()
    values = {"id": key.id, "public_key": public, "key_file": arguments.key_file}
    print_result(arguments, values, f"{key.id} {public}")
    return 0


def announce(arguments: argparse.Namespace, context: Context) -> int:
    """Announce an approver's public key in a campaign's log."""
    values = run_job(
        context,
        "approver",
        {
            "campaign": arguments.campaign,
            "approver": arguments.id,
            "public_key": arguments.public_key,
        },
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, f"{values['approver']} is announced. {_NEXT}")
    return 0


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ProposalNotValid(problem=f"{path} is not text") from None


def approve(arguments: argparse.Namespace, context: Context) -> int:
    """Add one approval to proposal files, with the approver's own key."""
    key = read_key_file(Path(arguments.key_file))
    for name in arguments.proposal:
        path = Path(name)
        proposal = parse_proposal(_read(path))
        # What is signed is said before it is signed.
        print(f"{path}: {_describe(proposal)}", file=sys.stderr)
        approved = approve_proposal(
            proposal=proposal, approver_id=key.id, secret_key=key.secret_key
        )
        # Whole or not at all: the other approval stands in this file too.
        write_durable(path, encode_proposal(approved).encode(), mode=0o644)
    values = {"approver": key.id, "proposals": arguments.proposal}
    print_result(arguments, values, f"approved by {key.id}")
    return 0


def _describe(proposal: RemovalProposal) -> str:
    count = sum(last - first + 1 for first, last in proposal.targets)
    first, last = proposal.targets[0][0], proposal.targets[-1][1]
    return (
        f"{count} signatures of {proposal.origin} (leaves {first} to {last}), reason "
        f"{proposal.reason}, case {proposal.case_sha256}"
    )


def parse_targets(text: str) -> list[tuple[int, int]]:
    """Return the ranges of ``12-19,30``. Raises ProposalNotValid."""
    ranges = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            raise ProposalNotValid(problem=f"{part.strip()!r} is no index or range")
        first = int(found[1])
        ranges.append((first, int(found[2]) if found[2] else first))
    return ranges


def propose(arguments: argparse.Namespace, context: Context) -> int:
    """Write proposal files for a removal: one, or more if one leaf cannot hold it."""
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.campaign))
    case = hashlib.sha256(Path(arguments.case).read_bytes()).hexdigest()
    proposals = propose_removal(
        origin=campaign.origin,
        targets=parse_targets(arguments.targets),
        reason=arguments.reason,
        case_sha256=case,
    )
    out = Path(arguments.out)
    paths = [
        out if number == 0 else out.with_stem(f"{out.stem}-{number + 1}")
        for number in range(len(proposals))
    ]
    for path, proposal in zip(paths, proposals, strict=True):
        path.write_text(encode_proposal(proposal), encoding="utf-8")
    names = [str(path) for path in paths]
    print_result(arguments, {"proposals": names, "case_sha256": case}, "\n".join(names))
    return 0


def submit(arguments: argparse.Namespace, context: Context) -> int:
    """Hand approved proposals to the log."""
    texts = [_read(Path(name)) for name in arguments.proposal]
    values = run_job(
        context,
        "removal",
        {"proposals": texts},
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, f"{values['submitted']} handed in. {_NEXT}")
    return 0


def record(arguments: argparse.Namespace, context: Context) -> int:
    """Put a public record of the campaign (an answer, say) into the log by its hash."""
    digest = hashlib.sha256(Path(arguments.file).read_bytes()).hexdigest()
    values = run_job(
        context,
        "record",
        {"campaign": arguments.campaign, "kind": arguments.kind, "sha256": digest},
        on_progress=make_reporter(arguments),
    )
    values["sha256"] = digest
    print_result(arguments, values, f"{arguments.kind} {digest}. {_NEXT}")
    return 0


def list_shown(arguments: argparse.Namespace, context: Context) -> int:
    """List comments that nobody has read and released yet."""
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.campaign))
    rows = list_comments_to_read(origin=campaign.origin)
    text = "\n".join(f"{nonce}  {comment}" for nonce, comment in rows)
    values = {"comments": [{"nonce": n, "comment": c} for n, c in rows]}
    print_result(arguments, values, text or "no comments wait")
    return 0


def _nonce(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise ProposalNotValid(problem="a nonce is 64 hex digits") from None


def release_shown(arguments: argparse.Namespace, context: Context) -> int:
    """Show a comment that a person has read."""
    release_comment(
        actor=OPERATOR, nonce=_nonce(arguments.nonce), at=SystemClock().now()
    )
    print_result(arguments, {"released": True}, "shown")
    return 0


def erase_shown(arguments: argparse.Namespace, context: Context) -> int:
    """Erase what is shown beside a signature; the count stays."""
    values = run_job(
        context,
        "erase-shown",
        {"nonce": _nonce(arguments.nonce).hex()},
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, "erased")
    if not arguments.json:
        print("Copies that others made are not reached.", file=sys.stderr)
    return 0
