"""``undersigned export log``: a log as anybody may check it, far from this machine."""

from __future__ import annotations

import argparse
import json
import shutil
import time
from pathlib import Path
from typing import ClassVar

from undersigned_verify import tile
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli.context import Context
from undersigned.cli.output import print_result
from undersigned.kernel.errors import Conflict, NotFound, Unavailable
from undersigned.kernel.ids import CampaignId

SINGLE_FILES = ("checkpoint", "log.vkey", "statement", "growth.csv")
SPINE = "spine"
POLICY = "policy.txt"
# While a log or the spine is copied it may grow: then what is new is copied too.
ATTEMPTS = 20
PAUSE_SECONDS = 0.25


class ExportNotEmpty(Conflict):
    """The folder holds an export of this log already."""

    code: ClassVar[str] = "export-not-empty"


class ExportOvertaken(Unavailable):
    """The log grew faster than it could be copied, again and again."""

    code: ClassVar[str] = "export-overtaken"


class LogNotPublished(NotFound):
    """The campaign has no published log: it is a draft."""

    code: ClassVar[str] = "log-not-published"


def export_log(arguments: argparse.Namespace, context: Context) -> int:
    """Write one log in the layout of PROTOCOL §8 below a folder, with the spine.

    Logs that the folder holds already are brought up to the same moment: the spine
    there knows of every checkpoint they had by then.
    """
    campaign = get_any_campaign(campaign_id=CampaignId(arguments.id))
    public, folder = context.environment.public, Path(arguments.dir)
    if (folder / campaign.path / "checkpoint").exists():
        raise ExportNotEmpty(dir=str(folder / campaign.path))
    paths = {campaign.path}
    for found in folder.glob("c/**/checkpoint"):
        paths.add(found.parent.relative_to(folder).as_posix())
    size = copy_logs(public, folder, sorted(paths))[campaign.path]
    values = {
        "id": campaign.id,
        "dir": arguments.dir,
        "path": campaign.path,
        "size": size,
    }
    print_result(
        arguments,
        values,
        f"{size} leaves in {folder / campaign.path}\n"
        f"check it: undersigned-verify audit {arguments.dir}",
    )
    return 0


def copy_logs(public: Path, folder: Path, paths: list[str]) -> dict[str, int]:
    """Copy logs and the spine as they are at one moment; return sizes by path.

    Raises LogNotPublished, ExportOvertaken.
    """
    for _attempt in range(ATTEMPTS):
        sizes = {path: copy_log(public / path, folder / path) for path in paths}
        if not (public / SPINE / "checkpoint").is_file():
            return sizes
        try:
            entered = _copy_spine(public / SPINE, folder / SPINE)
        except FileNotFoundError:
            # Partial tiles of that checkpoint went while they were copied.
            continue
        if (public / POLICY).is_file():
            shutil.copyfile(public / POLICY, folder / POLICY)
        # The spine names origins; a log's path is what follows the host.
        if all(entered.get(path) == size for path, size in sizes.items()):
            return sizes
        # The spine follows its log by up to a second, while witnesses are asked.
        time.sleep(PAUSE_SECONDS)
    raise ExportOvertaken(dir=str(folder))


def _copy_spine(source: Path, target: Path) -> dict[str, int]:
    """Copy the spine at its newest checkpoint; return by path each log's size in it."""
    note = (source / "checkpoint").read_bytes()
    size = Checkpoint.parse(parse_note(note).text).size
    _copy_tree(source, target, size)
    shutil.copyfile(source / "log.vkey", target / "log.vkey")
    (target / "checkpoint").write_bytes(note)
    entered: dict[str, int] = {}
    for n, width in _list_bundles(size):
        bundle = (target / tile.tile_path("entries", n, width)).read_bytes()
        for leaf in map(json.loads, tile.parse_bundle(bundle)):
            if leaf["kind"] == "checkpoint":
                entered[leaf["origin"].partition("/")[2]] = leaf["size"]
    return entered


def copy_log(source: Path, target: Path) -> int:
    """Copy a log's public files at its newest checkpoint; return its size.

    Full tiles and the newest partial ones; checkpoints up to that size. What an
    earlier copy left there and is still good stays. The count is read again until it
    belongs to the checkpoint, should a publication come between. Raises
    LogNotPublished, ExportOvertaken.
    """
    if not (source / "checkpoint").is_file():
        raise LogNotPublished(path=str(source))
    for _attempt in range(ATTEMPTS):
        note = (source / "checkpoint").read_bytes()
        size = Checkpoint.parse(parse_note(note).text).size
        try:
            _copy_tree(source, target, size)
        except FileNotFoundError:
            continue
        for name in SINGLE_FILES:
            shutil.copyfile(source / name, target / name)
        (target / "checkpoint").write_bytes(note)
        count = (source / "count.json").read_bytes()
        if json.loads(count)["tree_size"] == size:
            (target / "count.json").write_bytes(count)
            return size
    raise ExportOvertaken(dir=str(target))


def _copy_tree(source: Path, target: Path, size: int) -> None:
    """Copy tiles and kept checkpoints up to ``size``. Raises FileNotFoundError."""
    kept = target / "checkpoints"
    kept.mkdir(parents=True, exist_ok=True)
    for path in (source / "checkpoints").iterdir():
        if path.name.isdigit() and int(path.name) <= size:
            shutil.copyfile(path, kept / path.name)
    names = {tile.tile_path(level, n, width) for level, n, width in tile.tiles_of(size)}
    names |= {tile.tile_path("entries", n, width) for n, width in _list_bundles(size)}
    for name in sorted(names):
        if not (target / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            # There whole or not at all: an export that was cut off goes on.
            shutil.copyfile(source / name, target / "copying")
            (target / "copying").replace(target / name)
    # Partial tiles of an earlier copy.
    for stale in [path for path in target.glob("tile/**/*.p/*") if path.is_file()]:
        if stale.relative_to(target).as_posix() not in names:
            stale.unlink()


def _list_bundles(size: int) -> list[tuple[int, int]]:
    full = [(n, tile.WIDTH) for n in range(size // tile.WIDTH)]
    rest = size % tile.WIDTH
    return [*full, (size // tile.WIDTH, rest)] if rest else full
