"""``undersigned serve`` and ``undersigned demo``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import ClassVar

from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.drafting import parse_campaign_file
from undersigned.campaigns.operations import create_campaign
from undersigned.campaigns.queries import (
    CampaignNotFound,
    get_any_campaign,
    get_replay_progress,
)
from undersigned.cli.context import Context
from undersigned.cli.control import run_job
from undersigned.cli.logs import run_audit, run_replay
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.errors import Conflict
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.series import parse_series

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
DEMO_ID = CampaignId("uk-131215")


class DemoFailed(Conflict):
    """The demonstration's own log was not accepted by the verifier."""

    code: ClassVar[str] = "demo-failed"


def _announce(context: Context, *, standby: bool = False) -> None:
    def announce(host: str, port: int) -> None:
        shown = f"[{host}]" if ":" in host else host
        print(f"\n  Undersigned listens on http://{shown}:{port}/")
        base = context.environment.base_url
        if context.environment.mode != "production":
            print(f"  Mails are shown on       {base}/en/mailbox/")
        print("  Stop it with Ctrl-C.\n", flush=True)

    try:
        with context.open_engine(on_wait=_say_waiting if standby else None) as engine:
            context.run_server(engine, announce=announce)
    except Conflict as error:
        if error.code == "writer-busy":
            where = error.data.get("ledger", context.environment.data)
            what = "ledger" if "ledger" in error.data else "data directory"
            error.args = (
                f"another process serves this {what} already; stop it first, or start "
                f"with --standby: {where}",
            )
        raise


def _say_waiting() -> None:
    print(
        "\n  Standing by: another process serves this instance. This one takes its "
        "place\n  when that one has ended.\n",
        flush=True,
    )


def serve(arguments: argparse.Namespace, context: Context) -> int:
    """Serve until a signal."""
    for finding in context.examine():
        if finding.level in ("warning", "danger"):
            print(f"{finding.level}: {finding.text}", file=sys.stderr)
    _announce(context, standby=arguments.standby)
    return 0


def demo(arguments: argparse.Namespace, context: Context) -> int:
    """Make the demonstration campaign, replay its figures, audit it, and serve."""
    _make_demo(context)
    campaign = get_any_campaign(campaign_id=DEMO_ID)
    data = (EXAMPLES / "uk-131215-hourly-1to100.csv").read_bytes()
    series = parse_series(data)
    points_done, _sha256 = get_replay_progress(campaign_id=DEMO_ID)
    if points_done < len(series.points):
        print(
            "Replaying the published count of UK petition 131215 (2016), one signature "
            "for a hundred:\nblind issue, signature, publication, removals. "
            "It can be interrupted and taken up again.",
            file=sys.stderr,
        )
        run_replay(
            context,
            campaign=DEMO_ID,
            series=data,
            workers=arguments.workers,
            limit=None,
            approver_keys=None,
            quiet=False,
        )
    print("Recounting the log with the independent verifier:", file=sys.stderr)
    folder = context.environment.public / campaign.path
    report = run_audit(folder, workers=arguments.workers, quiet=False)
    if not report.accepted:
        raise DemoFailed(fault=str(report.fault))
    totals = report.totals or {}
    falls = series.list_falls()
    removed = f"{totals.get('removals')} signatures removed"
    if totals.get("removals") == sum(drop for _point, drop in falls):
        removed += f" in {len(falls)} removal{'' if len(falls) == 1 else 's'}"
    print(
        f"accepted: {report.tree_size} leaves, {totals.get('net')} signatures stand, "
        f"{removed}"
    )
    print(f"  the campaign:  {context.environment.base_url}/{campaign.path}/")
    verifier = Path(sys.argv[0]).with_name("undersigned-verify")
    print(f"  recount it:    {verifier} audit {folder}")
    if not arguments.no_serve:
        _announce(context)
    return 0


def _make_demo(context: Context) -> None:
    try:
        campaign = get_any_campaign(campaign_id=DEMO_ID)
    except CampaignNotFound:
        create_campaign(
            actor=OPERATOR,
            draft=parse_campaign_file((EXAMPLES / "uk-131215.toml").read_bytes()),
            host=context.environment.host,
            at=SystemClock().now(),
        )
        campaign = get_any_campaign(campaign_id=DEMO_ID)
    if campaign.state is CampaignState.DRAFT:
        run_job(
            context,
            "open",
            {"campaign": DEMO_ID, "accept_unsealed_keys": False},
            on_progress=lambda _values: None,
        )
