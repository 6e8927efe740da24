"""``undersigned audit`` and ``replay``."""

from __future__ import annotations

import argparse
import base64
from pathlib import Path

from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.source import DirectorySource

from undersigned.audit.queries import count_entries, find_broken_entry
from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli.context import Context, Values
from undersigned.cli.control import run_job
from undersigned.cli.exports import LogNotPublished
from undersigned.cli.output import Bar, print_result
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.series import parse_series


def audit(arguments: argparse.Namespace, context: Context) -> int:
    """Recount this instance's own logs and check its audit trail."""
    public = context.environment.public
    folders = sorted(path.parent for path in public.glob("c/*/checkpoint"))
    folders += sorted(path.parent for path in public.glob("c/*/*/checkpoint"))
    if arguments.id:
        campaign = get_any_campaign(campaign_id=CampaignId(arguments.id))
        folders = [public / campaign.path]
        if not (folders[0] / "checkpoint").is_file():
            raise LogNotPublished(path=campaign.path)
    rows, failed = [], False
    for folder in folders:
        report = run_audit(folder, workers=arguments.workers, quiet=arguments.json)
        failed = failed or not report.accepted
        rows.append(report.as_json())
    broken = find_broken_entry()
    values: Values = {
        "logs": rows,
        "trail": {"entries": count_entries(), "broken_at": broken},
    }
    lines = [
        f"{row['origin']}: {row['verdict']}, {row['tree_size']} leaves" for row in rows
    ]
    lines.append(
        f"audit trail: {count_entries()} entries, "
        + ("whole" if broken is None else f"broken at {broken}")
    )
    print_result(arguments, values, "\n".join(lines))
    return 1 if failed or broken is not None else 0


def run_audit(folder: Path, *, workers: int | None, quiet: bool) -> AuditReport:
    """Audit one log folder with a progress bar."""
    bar = Bar(unit=" leaves", label="recount", quiet=quiet)
    try:
        # Live: a publication may come between two of its reads.
        source = DirectorySource(folder, live=True)
        return audit_log(source, workers=workers, progress=bar.update)
    finally:
        bar.close()


def replay(arguments: argparse.Namespace, context: Context) -> int:
    """Replay a published count series into a campaign, then audit its log."""
    data = Path(arguments.series).read_bytes()
    parse_series(data)
    result = run_replay(
        context,
        campaign=arguments.campaign,
        series=data,
        workers=arguments.workers,
        limit=arguments.limit,
        approver_keys=arguments.approver_keys,
        quiet=arguments.json,
    )
    report = run_audit(
        context.environment.public / result["path"],
        workers=arguments.workers,
        quiet=arguments.json,
    )
    values = {**result, "audit": report.as_json()}
    print_result(
        arguments,
        values,
        f"net count {result['net']} after {result['points']} points; "
        f"recount: {report.verdict}",
    )
    return 0 if report.accepted else 1


def run_replay(
    context: Context,
    *,
    campaign: str,
    series: bytes,
    workers: int | None,
    limit: int | None,
    approver_keys: str | None,
    quiet: bool,
) -> Values:
    """Run the replay job with its progress bar; return its result."""
    data = context.environment.data
    keys = (
        Path(approver_keys)
        if approver_keys
        else data.with_name(f"{data.name}-approvers")
    )
    bar = Bar(unit=" signatures", label="replay", quiet=quiet)

    def report(values: Values) -> None:
        bar.update(
            values["signed"],
            values["to_sign"],
            f"point {values['points']}/{values['all_points']}, net {values['net']}",
        )

    try:
        return run_job(
            context,
            "replay",
            {
                "campaign": campaign,
                "series": base64.b64encode(series).decode(),
                "workers": workers,
                "limit": limit,
                "approver_keys": str(keys.absolute()),
                "data": str(data),
            },
            on_progress=report,
        )
    finally:
        bar.close()
