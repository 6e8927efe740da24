"""Commands of an instance whose ledger is on a server."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import LEDGER_URL, Instance
from tests.factories.stores import ServerHome, copy_server
from undersigned.config import ledger as config_ledger
from undersigned.kernel.whole_folder import write_manifest

pytestmark = pytest.mark.postgresql


def test_a_backup_of_it_is_refused(run: Run, river: str, tmp_path: Path) -> None:
    done = run("backup", tmp_path / "backup", "--json")
    assert done.error() == (3, "ledger-elsewhere")
    assert not (tmp_path / "backup").exists()


def test_a_restore_beside_it_is_refused(
    run: Run, river: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its ledger would lie there unread, and the server's be taken for it."""
    backup = tmp_path / "backup"
    backup.mkdir()
    (backup / "ledger.sqlite3").write_bytes(b"")
    (backup / "app.pgdump").write_bytes(b"")
    write_manifest(backup, {})
    monkeypatch.setenv("UNDERSIGNED_DATA", str(tmp_path / "other"))
    done = run("restore", backup, "--json")
    assert done.error() == (3, "ledger-elsewhere")


def test_a_second_start_is_refused_and_says_how_to_wait(
    run: Run,
    serving: Instance,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setattr(config_ledger, "PATIENCE_SECONDS", 0.2)
    # On another disk, so that no lock of the data directory is in the way.
    monkeypatch.setenv("UNDERSIGNED_DATA", str(tmp_path / "other"))
    done = run("serve", "--json")
    assert done.error() == (5, "writer-busy")
    assert "--standby" in done.err


def test_an_older_copy_is_recovered_from_a_mirror(
    run: Run, house: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house.start()
    campaign = house.open_campaign()
    house.sign(campaign)
    house.publish(campaign)
    house.stop()
    older: ServerHome = copy_server(house.environ[LEDGER_URL])
    house.start()
    signed = house.sign(campaign, "later@signer.invalid")
    house.publish(campaign)
    house.stop()
    mirror = shutil.copytree(house.data / "public", tmp_path / "mirror")
    monkeypatch.setenv(LEDGER_URL, older.url)
    house.environ[LEDGER_URL] = older.url
    assert run("invitation", "make", campaign.id, "--json").error()[0] == 8
    done = run("recover", mirror, "--json")
    assert done.code == 0
    assert all(log["evidence"] == "mirror" for log in done.json()["logs"])
    house.start()
    assert house.find_receipt(campaign, signed) is not None
    assert house.audit(campaign).accepted
