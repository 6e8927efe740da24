"""``undersigned export log``, ``audit`` and ``replay``."""

from __future__ import annotations

import argparse
import base64
import json
import shutil
from pathlib import Path
from typing import ClassVar

from undersigned_verify import tile
from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note
from undersigned_verify.source import DirectorySource

from undersigned.audit.queries import count_entries, find_broken_entry
from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli.context import Context, Values
from undersigned.cli.control import run_job
from undersigned.cli.output import Bar, print_result
from undersigned.kernel.errors import Conflict, NotFound
from undersigned.kernel.ids import CampaignId
from undersigned.signatures.series import parse_series

SINGLE_FILES = ("checkpoint", "log.vkey", "statement", "growth.csv")


class ExportNotEmpty(Conflict):
    """The folder holds an export of this log already."""

    code: ClassVar[str] = "export-not-empty"


class LogNotPublished(NotFound):
    """The campaign has no published log: it is a draft."""

    code: ClassVar[str] = "log-not-published"


def export_log(arguments: argparse.Namespace, context: Context) -> int:
    """Write one log in the layout of PROTOCOL §8 below a folder."""
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.id))
    source = context.environment.public / campaign.path
    target = Path(arguments.dir) / campaign.path
    size = copy_log(source, target)
    values = {
        "id": campaign.id,
        "dir": arguments.dir,
        "path": campaign.path,
        "size": size,
    }
    print_result(
        arguments,
        values,
        f"{size} leaves in {target}\n"
        f"check it: undersigned-verify audit {arguments.dir}",
    )
    return 0


def copy_log(source: Path, target: Path) -> int:
    """Copy a log's public files at its newest checkpoint; return its size.

    Full tiles and the newest partial ones; checkpoints up to that size. The count is
    read again until it belongs to the checkpoint, should a publication come between.
    Raises ExportNotEmpty, LogNotPublished.
    """
    if not (source / "checkpoint").is_file():
        raise LogNotPublished(path=str(source))
    if (target / "checkpoint").exists():
        raise ExportNotEmpty(dir=str(target))
    (target / "checkpoints").mkdir(parents=True, exist_ok=True)
    note = (source / "checkpoint").read_bytes()
    size = Checkpoint.parse(parse_note(note).text).size
    for kept in (source / "checkpoints").iterdir():
        if kept.name.isdigit() and int(kept.name) <= size:
            shutil.copyfile(kept, target / "checkpoints" / kept.name)
    names = [tile.tile_path(level, n, width) for level, n, width in tile.tiles_of(size)]
    names += [tile.tile_path("entries", n, width) for n, width in _list_bundles(size)]
    for name in names:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / name, target / name)
    for name in SINGLE_FILES:
        shutil.copyfile(source / name, target / name)
    (target / "checkpoint").write_bytes(note)
    _copy_count(source, target, size)
    return size


def _list_bundles(size: int) -> list[tuple[int, int]]:
    full = [(n, tile.WIDTH) for n in range(size // tile.WIDTH)]
    rest = size % tile.WIDTH
    return [*full, (size // tile.WIDTH, rest)] if rest else full


def _copy_count(source: Path, target: Path, size: int) -> None:
    count = (source / "count.json").read_bytes()
    if json.loads(count)["tree_size"] != size:
        # A publication came while we copied: export that one instead.
        shutil.rmtree(target)
        copy_log(source, target)
        return
    (target / "count.json").write_bytes(count)


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
