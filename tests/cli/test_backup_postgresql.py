"""Omar's pages are in PostgreSQL: its own programs copy them and put them back."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from django.db import connection

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from tests.factories.signers import show
from tests.support import SRC
from undersigned.campaigns.data import Campaign
from undersigned.cli import pages_dump
from undersigned.cli.pages_dump import DUMP
from undersigned.config.env import (
    NAME_OF_TEST_LEDGER,
    DatabaseAddress,
    parse_database_url,
)

pytestmark = pytest.mark.postgresql


@pytest.fixture(autouse=True)
def _ledger_in_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where only the pages are on a server: a backup refuses any other ledger."""
    monkeypatch.delenv(NAME_OF_TEST_LEDGER)


@pytest.fixture
def soil(serving: Instance) -> Campaign:
    """A campaign with a name that is shown, on a running server."""
    campaign = serving.open_campaign(id="soil", show_names=True)
    serving.sign(campaign, shown=show(name="Asha"))
    serving.publish(campaign)
    return campaign


@dataclass(frozen=True)
class Elsewhere:
    """An empty database, and its address as a setting."""

    address: DatabaseAddress
    url: str

    def read(self, query: str) -> list[tuple[object, ...]]:
        conninfo = pages_dump._make_conninfo(self.address, self.address.name)
        with psycopg.connect(conninfo) as found:
            result = found.execute(query)
            return result.fetchall() if result.description else []


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """An empty database beside this run's, which the next commands are pointed at."""
    name = f"moved_{uuid4().hex[:12]}"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
    url = os.environ["UNDERSIGNED_DATABASE_URL"]
    address = parse_database_url(url)
    moved = url.replace(f"/{address.name}?", f"/{name}?")
    yield Elsewhere(replace(address, name=name), moved)
    with connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
def backup(run: Run, soil: Campaign, tmp_path: Path) -> Path:
    folder = tmp_path / "backup"
    done = run("backup", folder)
    assert done.code == 0, done.err
    return folder


def test_it_holds_a_dump_and_no_file_of_pages(backup: Path) -> None:
    names = {path.name for path in backup.iterdir()}
    assert DUMP in names
    assert "app.sqlite3" not in names
    assert (backup / DUMP).stat().st_mode & 0o777 == 0o600


def test_it_comes_back_and_goes_on_after_recovery(
    backup: Path,
    run: Run,
    house: Instance,
    elsewhere: Elsewhere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    house.stop()
    monkeypatch.setenv("UNDERSIGNED_DATABASE_URL", elsewhere.url)
    monkeypatch.setenv("UNDERSIGNED_DATA", str(tmp_path / "new"))
    restored = run("restore", backup)
    assert restored.code == 0, restored.err
    assert not (tmp_path / "new" / DUMP).exists()
    assert elsewhere.read("SELECT id FROM campaigns_campaign") == [("soil",)]
    # A program of its own: Django's connection here is to the database before.
    words = ("recover", str(house.data / "public"), "--json")
    done = subprocess.run(
        [sys.executable, "-m", "undersigned.config.main", *words],
        env={**os.environ, "PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    kinds = elsewhere.read("SELECT kind FROM audit_auditentry")
    assert ("LogsRecovered",) in kinds


def test_a_database_with_tables_is_left_alone(
    backup: Path,
    run: Run,
    elsewhere: Elsewhere,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("UNDERSIGNED_DATABASE_URL", elsewhere.url)
    monkeypatch.setenv("UNDERSIGNED_DATA", str(tmp_path / "new"))
    elsewhere.read("CREATE TABLE there (id integer)")
    refused = run("restore", backup)
    assert refused.code != 0
    assert "pages-not-empty" in refused.err
    assert not (tmp_path / "new" / "ledger.sqlite3").exists()


def test_a_backup_of_the_other_kind_is_refused(
    backup: Path, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UNDERSIGNED_DATABASE_URL")
    monkeypatch.setenv("UNDERSIGNED_DATA", str(tmp_path / "new"))
    refused = run("restore", backup)
    assert refused.code != 0
    assert "pages-elsewhere" in refused.err


def test_without_postgresqls_programs_there_is_no_backup(
    run: Run, soil: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    refused = run("backup", tmp_path / "backup")
    assert refused.code != 0
    assert "pages-elsewhere" in refused.err
    assert not (tmp_path / "backup").exists()


def test_a_dump_that_fails_leaves_nothing_and_tells_no_password(
    run: Run, soil: Campaign, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = os.environ["UNDERSIGNED_DATABASE_URL"]
    monkeypatch.setenv(
        "UNDERSIGNED_DATABASE_URL", url.replace("//pages", "//nobody:swordfish")
    )
    refused = run("backup", tmp_path / "backup")
    assert refused.code == 8
    assert "pg_dump" in refused.err
    assert "swordfish" not in refused.err + refused.out
    assert not (tmp_path / "backup").exists()
