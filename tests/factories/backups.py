"""A river log copied, lost, put back and recovered, without campaigns or people."""

from __future__ import annotations

import shutil
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

from undersigned_verify import entry

from tests.factories.ledgers import HOST, River
from tests.factories.stores import LEDGER, FileHome
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.backup import copy_ledger, copy_public, is_spine_behind
from undersigned.ledger.data import LogSettings, Mode
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.importing import (
    Imported,
    import_log,
    import_spine,
    reserve_origins,
)
from undersigned.ledger.mirrors import Mirror, list_sources, open_mirror
from undersigned.ledger.recovery import Plan, plan_recovery, write_marks
from undersigned.ledger.store import Store

AT = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def back_up(river: River, folder: Path) -> Path:
    """Copy the ledger and its public files, as they are; return the folder."""
    folder.mkdir()
    copy_ledger(river.folder / LEDGER, folder / LEDGER)
    while is_spine_behind(folder / LEDGER):
        (folder / LEDGER).unlink()
        copy_ledger(river.folder / LEDGER, folder / LEDGER)
    copy_public(folder / LEDGER, river.folder / "public", folder / "public", host=HOST)
    return folder


def restore(river: River, backup: Path, folder: Path) -> River:
    """Return the river over a folder of its own, stopped, restored from a backup."""
    twin = object.__new__(River)
    twin.__dict__.update(river.__dict__)
    twin._used = list(river._used)
    twin.handed_on, twin.failures, twin._ledger = [], [], None
    twin.folder = folder
    twin.home = FileHome(folder)
    shutil.copytree(backup, folder)
    shutil.copytree(river.folder / "secrets", folder / "secrets")
    return twin


def copy_mirror(river: River, folder: Path) -> Path:
    """Copy the public folder, as a mirror does."""
    return shutil.copytree(river.folder / "public", folder)


def open_mirrors(river: River, *targets: Path | str) -> list[Mirror]:
    """Return the verified logs at these places."""
    public = river.folder / "public"
    return [
        open_mirror(source, public=public, workers=1)
        for source in list_sources([str(target) for target in targets], [river.path])
    ]


def plan(
    river: River,
    *targets: Path | str,
    word: bool = False,
    unlocked: bool = True,
    host: str = HOST,
) -> Plan:
    """Decide what a stopped river goes on from; change nothing."""
    with closing(river.home.open()) as store:
        return _plan(store, river, targets, word, unlocked, host)


def _plan(
    store: Store,
    river: River,
    targets: tuple[Path | str, ...],
    word: bool,
    unlocked: bool,
    host: str,
) -> Plan:
    return plan_recovery(
        store=store,
        high_water=HighWater(river.folder / "highwater.json"),
        public=river.folder / "public",
        keystore=Keystore(river.folder / "secrets") if unlocked else None,
        mirrors=open_mirrors(river, *targets),
        host=host,
        nothing_published=word,
    )


def keep_as_it_is(
    header: entry.Header, keys: list[entry.IssuerKey]
) -> tuple[LogSettings, bool]:
    """Describe a log that nobody knows: it takes no signature."""
    settings = LogSettings(
        origin=header.origin,
        path=header.origin.partition("/")[2],
        mode=cast("Mode", header.mode),
        interval_seconds=60,
        k=3,
        uncounted_keys=tuple(key.key_index for key in keys if key.klass == 4),
    )
    return settings, False


def recover(river: River, *targets: Path | str, word: bool = False) -> list[Imported]:
    """Recover a stopped river: marks first, then imports."""
    with closing(river.home.open()) as store:
        found = _plan(store, river, targets, word, True, HOST)
        reserve_origins(store=store, origins=found.lost)
        write_marks(HighWater(river.folder / "highwater.json"), found)
        done = [
            import_log(
                store=store,
                plan=log,
                public=river.folder / "public",
                describe=keep_as_it_is,
                at=AT,
            )
            for log in found.logs
        ]
        if found.spine is not None:
            import_spine(
                store=store,
                plan=found.spine,
                public=river.folder / "public",
                at=AT,
            )
        return done
