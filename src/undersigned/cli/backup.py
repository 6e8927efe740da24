"""``undersigned backup`` and ``undersigned restore``."""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from undersigned.cli.bare import BareContext
from undersigned.cli.context import Context
from undersigned.cli.output import Bar, print_result
from undersigned.cli.pages_dump import (
    DUMP,
    PagesAddress,
    PagesElsewhere,
    dump_pages,
    restore_pages,
)
from undersigned.kernel.durable import fsync_directory, make_private_folder
from undersigned.kernel.errors import (
    Conflict,
    NotFound,
    Refused,
    StorageFailed,
    UndersignedError,
)
from undersigned.kernel.keystore import list_raw_secrets
from undersigned.kernel.whole_folder import (
    FolderDamaged,
    Manifest,
    copy_whole_folder,
    make_whole_folder,
    read_manifest,
    write_manifest,
)
from undersigned.kernel.writer_lock import LOCK, RESTORING, hold_writer_lock

LEDGER, PAGES, SECRETS, PUBLIC = "ledger.sqlite3", "app.sqlite3", "secrets", "public"
WITNESSES = "witnesses.json"
# A witness's key beside an older state of it would cosign forks: it gets a new one.
WITNESS_KEY = "witness.key"
# In this order a restore puts them in place: with the ledger there, and no high-water
# mark, nothing starts.
PARTS = (LEDGER, SECRETS, PUBLIC, WITNESSES, PAGES)
# What a data directory may hold and still be empty.
OF_NO_ACCOUNT = {LOCK, "lost+found"}
TRIES = 5
MOMENT_SECONDS = 0.2
UNSEALED = (
    "WARNING: the secrets in this backup are NOT sealed. Whoever gets it can sign the "
    "logs and make tokens in your name, and can tell from an address whether it asked "
    "to sign. Encrypt it now, or seal the instance (`undersigned seal`) and make "
    "another"
)
LEFT_OUT = (
    "Not in it, on purpose: signatures that wait for publication, the issuance files, "
    "the high-water marks, the witness's key and state"
)


class NothingToBackUp(NotFound):
    """There is no ledger in the data directory."""

    code: ClassVar[str] = "nothing-to-back-up"


class BackupInsideData(Refused):
    """A backup inside the data directory would be lost with it."""

    code: ClassVar[str] = "backup-inside-data"


class LedgerElsewhere(Refused):
    """The ledger is no file of ours: see docs/operate/postgresql.md on copies of it."""

    code: ClassVar[str] = "ledger-elsewhere"


class InstanceBusy(Conflict):
    """Campaigns opened or closed again and again while the backup was made."""

    code: ClassVar[str] = "instance-busy"


class DataNotEmpty(Conflict):
    """A backup is restored into an empty data directory only."""

    code: ClassVar[str] = "data-not-empty"


# --- backup


def backup(arguments: argparse.Namespace, context: Context) -> int:
    """Write a backup into a new folder, whether or not the server runs."""
    from undersigned.audit.operations import record_act
    from undersigned.kernel.actor import OPERATOR
    from undersigned.kernel.clock import SystemClock

    data, target = context.environment.data, Path(arguments.dir).absolute()
    if not context.environment.keeps_ledger_here:
        raise LedgerElsewhere()
    if target.is_relative_to(data.resolve()) or target.is_relative_to(data):
        raise BackupInsideData(dir=str(target))
    if not (data / LEDGER).is_file():
        raise NothingToBackUp(data=str(data))
    at = SystemClock().now().replace(second=0, microsecond=0)
    with make_whole_folder(target) as folder:
        logs = _fill(arguments, context, folder)
        sealed = _is_sealed(folder / SECRETS)
        notes = {
            "product": importlib.metadata.version("undersigned"),
            "made_at": at.isoformat(),
            "sealed": sealed,
            "logs": logs,
        }
        with _counting(arguments, "check", " files") as bar:
            manifest = write_manifest(folder, notes, on_files=bar.update)
    record_act(
        actor=OPERATOR,
        kind="BackupMade",
        data={"logs": {one: found["size"] for one, found in logs.items()}},
        at=at,
    )
    size = sum(size for size, _sha256 in manifest.files.values())
    values = {
        "dir": str(target),
        "files": len(manifest.files),
        "bytes": size,
        "manifest_sha256": manifest.sha256,
        "sealed": sealed,
        "logs": logs,
    }
    if not sealed:
        print(f"{UNSEALED}.", file=sys.stderr)
    print_result(
        arguments,
        values,
        f"{len(manifest.files)} files, {size / 1e6:.1f} MB in {target}\n"
        f"manifest sha256 {manifest.sha256}\n{LEFT_OUT}.",
    )
    return 0


def _fill(
    arguments: argparse.Namespace, context: Context, folder: Path
) -> dict[str, dict[str, Any]]:
    """Copy everything; return size and root of each log."""
    from undersigned.cli.control import ask_server
    from undersigned.ledger.backup import copy_public

    data = context.environment.data
    _copy_databases(context, folder)
    # While the ledger was read its journal could not be emptied, and a publication may
    # have come between: the journal has the order in which people signed. A writer that
    # has stopped empties nothing any more, which is no reason against a backup.
    with contextlib.suppress(UndersignedError):
        ask_server(context, "empty-journal", {})
    with _counting(arguments, "copy", " leaves") as bar:
        found = copy_public(
            folder / LEDGER,
            context.environment.public,
            folder / PUBLIC,
            host=context.environment.host,
            on_logs=bar.update,
        )
    # After the ledger: the key of every log in it was made before.
    paths = {log.path for log in found}
    _copy_secrets(data / SECRETS, folder / SECRETS, paths)
    if (data / WITNESSES).is_file():
        shutil.copyfile(data / WITNESSES, folder / WITNESSES)
    return {log.origin: {"size": log.size, "root": log.root.hex()} for log in found}


def _copy_databases(context: Context, folder: Path) -> None:
    """Copy ledger and pages so that both know the same campaigns.

    The ledger first: what signers show goes from it to the pages, and is in one of the
    two then, or in both, which does no harm.
    """
    from undersigned.ledger.backup import copy_ledger, is_spine_behind, list_marks

    data = context.environment.data
    for attempt in range(TRIES):
        copy_ledger(data / LEDGER, folder / LEDGER)
        if is_spine_behind(folder / LEDGER) and attempt < TRIES - 1:
            # A publication is being entered: a moment later it is.
            (folder / LEDGER).unlink()
            time.sleep(MOMENT_SECONDS)
            continue
        pages = _copy_pages(context.environment.database, folder)
        if list_marks(data / LEDGER) == list_marks(folder / LEDGER):
            return
        (folder / LEDGER).unlink()
        pages.unlink()
    raise InstanceBusy()


def _copy_pages(address: PagesAddress | None, folder: Path) -> Path:
    """Write the pages database anew: no freed page and no journal comes along."""
    from django.db import connection

    name = connection.settings_dict["NAME"]
    if address is not None:
        dump_pages(address, folder / DUMP, database=name)
        return folder / DUMP
    path, target = Path(name).absolute(), folder / PAGES
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as db:
            db.execute("PRAGMA temp_store=MEMORY")
            db.execute("VACUUM INTO ?", (str(target),))
    except sqlite3.Error as error:
        raise StorageFailed(f"couldn't copy {path}: {error}") from error
    return target


def _copy_secrets(source: Path, target: Path, logs: set[str]) -> None:
    """Copy secrets as they lie; of campaigns, those whose log is in the backup.

    A key of a log that is not in it would let that log be taken up half known.
    """
    make_private_folder(target)
    for path in sorted(source.rglob("*")) if source.is_dir() else ():
        if not path.is_file() or path.is_symlink() or path.name.endswith(".new"):
            continue
        of = path.parent.relative_to(source).as_posix()
        if of.startswith("c/") and of not in logs:
            continue
        if of == "." and WITNESS_KEY in path.name:
            continue
        place = target / path.relative_to(source)
        make_private_folder(place.parent)
        # Gone meanwhile: destroyed by a campaign's close, as it should be.
        with contextlib.suppress(FileNotFoundError):
            shutil.copyfile(path, place)


def _is_sealed(secrets: Path) -> bool:
    return (secrets / "seal.json").exists() and not list_raw_secrets(secrets)


@contextmanager
def _counting(arguments: argparse.Namespace, label: str, unit: str) -> Iterator[Bar]:
    bar = Bar(unit=unit, label=label, quiet=arguments.json)
    try:
        yield bar
    finally:
        bar.close()


# --- restore


def restore(arguments: argparse.Namespace, context: BareContext) -> int:
    """Put a backup into an empty data directory; nothing starts before `recover`."""
    data, source = context.environment.data, Path(arguments.dir).absolute()
    if not context.environment.keeps_ledger_here:
        raise LedgerElsewhere()
    manifest = read_manifest(source)
    address = context.environment.database
    _require_parts(manifest, pages=PAGES if address is None else DUMP)
    with hold_writer_lock(data):
        there = sorted(path.name for path in data.iterdir())
        strange = [name for name in there if name not in OF_NO_ACCOUNT]
        if strange:
            raise DataNotEmpty(data=str(data), holds=strange[0])
        staging = data / RESTORING
        try:
            staging.mkdir(mode=0o700)
            with _counting(arguments, "restore", " files") as bar:
                copy_whole_folder(source, staging, manifest, on_files=bar.update)
            _open_to_readers(staging / PUBLIC)
            if address is not None:
                # Cut off after this, the database has to be made anew as well.
                restore_pages(address, staging / DUMP)
                (staging / DUMP).unlink()
        except BaseException:
            shutil.rmtree(staging, ignore_errors=True)
            raise
        _put_in_place(staging, data)
    logs = manifest.notes.get("logs", {})
    values = {
        "data": str(data),
        "files": len(manifest.files),
        "manifest_sha256": manifest.sha256,
        "logs": logs,
    }
    print_result(
        arguments,
        values,
        f"{len(manifest.files)} files of {manifest.notes.get('made_at')} in {data}.\n"
        "It does not start yet: nobody here knows how far its logs were published.\n"
        "Next: undersigned recover MIRROR…, with every copy of the logs you can find\n"
        "(docs/operate/backup-and-restore.md).",
    )
    return 0


def _require_parts(manifest: Manifest, *, pages: str) -> None:
    """Nothing but what a backup has: no issuance file, no high-water mark.

    ``pages``: as this instance keeps them.
    """
    parts = {*PARTS, DUMP}
    for name in manifest.files:
        if name.partition("/")[0] not in (SECRETS, PUBLIC) and name not in parts:
            raise FolderDamaged(problem=f"{name} is no part of a backup")
    if LEDGER not in manifest.files:
        raise FolderDamaged(problem=f"{LEDGER} is missing")
    if pages not in manifest.files:
        other = DUMP if pages == PAGES else PAGES
        if other in manifest.files:
            raise PagesElsewhere(backup=other, wanted=pages)
        raise FolderDamaged(problem=f"{pages} is missing")


def _open_to_readers(public: Path) -> None:
    """Give public files the modes that they have where they are made."""
    for place, _folders, files in os.walk(public):
        Path(place).chmod(0o755)
        for name in files:
            (Path(place) / name).chmod(0o644)


def _put_in_place(staging: Path, data: Path) -> None:
    """Move everything to its place; cut off in between, nothing starts or goes on."""
    try:
        for name in PARTS:
            if (staging / name).exists():
                os.rename(staging / name, data / name)
                fsync_directory(data)
        staging.rmdir()
    except OSError as error:
        raise StorageFailed(f"couldn't fill {data}: {error}") from error
    fsync_directory(data)
