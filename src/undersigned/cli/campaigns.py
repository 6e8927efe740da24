"""``undersigned campaign`` and ``undersigned invitation``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from undersigned.campaigns.drafting import parse_campaign_file
from undersigned.campaigns.operations import create_campaign
from undersigned.campaigns.queries import get_any_campaign, list_all_campaigns
from undersigned.cli.context import Context
from undersigned.cli.control import run_job
from undersigned.cli.output import make_reporter, print_result
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.errors import Refused
from undersigned.kernel.ids import CampaignId


class ClocksAreFixed(Refused):
    """In production the hour for retries and the grace are what signers were told."""

    code = "clocks-are-fixed"


def create(arguments: argparse.Namespace, context: Context) -> int:
    """Record a draft from a TOML file and print its id."""
    draft = parse_campaign_file(Path(arguments.file).read_bytes())
    campaign_id = create_campaign(
        actor=OPERATOR,
        draft=draft,
        host=context.environment.host,
        at=SystemClock().now(),
    )
    campaign = get_any_campaign(campaign_id=campaign_id)
    values = {
        "id": campaign_id,
        "origin": campaign.origin,
        "state": str(campaign.state),
        "statement_sha256": campaign.statement_sha256,
    }
    print_result(arguments, values, campaign_id)
    if not arguments.json:
        print(
            f"a draft. Open it with: undersigned campaign open {campaign_id}",
            file=sys.stderr,
        )
    return 0


def open_(arguments: argparse.Namespace, context: Context) -> int:
    """Freeze the text, make keys and log, and open."""
    values = run_job(
        context,
        "open",
        {
            "campaign": arguments.id,
            "accept_unsealed_keys": arguments.accept_unsealed_keys,
        },
        on_progress=make_reporter(arguments),
    )
    url = f"{context.environment.base_url}/{values['path']}/"
    values["url"] = url
    print_result(
        arguments, values, f"open: {url}\nstatement sha256 {values['statement_sha256']}"
    )
    return 0


def close(arguments: argparse.Namespace, context: Context) -> int:
    """Begin to close; the server finishes it as its clocks run out."""
    shortened = (
        arguments.retries_minutes is not None or arguments.grace_minutes is not None
    )
    if shortened and context.environment.mode == "production":
        raise ClocksAreFixed()
    values = run_job(
        context,
        "close",
        {
            "campaign": arguments.id,
            "reason": arguments.reason,
            "retries_minutes": arguments.retries_minutes,
            "grace_minutes": arguments.grace_minutes,
        },
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, f"{values['id']} is {values['state']}")
    return 0


def reopen_issuance(arguments: argparse.Namespace, context: Context) -> int:
    """Issue again after the issuance file was lost; says so in the log, for ever."""
    values = run_job(
        context,
        "reopen",
        {"campaign": arguments.id},
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, f"{values['id']} issues again; the log says why")
    return 0


def retire(arguments: argparse.Namespace, context: Context) -> int:
    """Have the spine say that nothing of a closed log counts from now on."""
    values = run_job(
        context,
        "retire",
        {"campaign": arguments.id},
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, f"{values['id']} is retired; the spine says so")
    return 0


def list_(arguments: argparse.Namespace, context: Context) -> int:
    """List every campaign, drafts too."""
    rows = [
        {
            "id": campaign.id,
            "state": str(campaign.state),
            "mode": str(campaign.mode),
            "title": campaign.title,
            "origin": campaign.origin,
        }
        for campaign in list_all_campaigns()
    ]
    text = "\n".join(
        f"{r['id']}  {r['state']:8} {r['mode']:8} {r['title']}" for r in rows
    )
    print_result(arguments, {"campaigns": rows}, text or "no campaigns yet")
    return 0


def show(arguments: argparse.Namespace, context: Context) -> int:
    """Show one campaign with the text that is signed."""
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.id))
    values = {
        "id": campaign.id,
        "state": str(campaign.state),
        "mode": str(campaign.mode),
        "classes": list(campaign.classes),
        "stances": list(campaign.stances),
        "origin": campaign.origin,
        "statement_sha256": campaign.statement_sha256,
        "statement": campaign.statement,
    }
    text = "\n".join(
        f"{name}: {value}" for name, value in values.items() if name != "statement"
    )
    print_result(arguments, values, f"{text}\n\n{campaign.statement}")
    return 0


def invite(arguments: argparse.Namespace, context: Context) -> int:
    """Print invitation codes; they are stored nowhere."""
    values = run_job(
        context,
        "invitations",
        {"campaign": arguments.id, "count": arguments.count},
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, "\n".join(values["codes"]))
    return 0
