"""The throw-away PostgreSQL that tests, drills and benches stand on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.support import ROOT, skip_or_fail
from undersigned.drills import postgres
from undersigned.drills.postgres import Cluster, NoPostgres, PostgresFailed, Server
from undersigned.drills.postgres_keeper import find_postmaster

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """A cluster on disk; in memory it would be no different but faster."""
    try:
        found = Cluster(durable=True)
    except NoPostgres as error:
        skip_or_fail(str(error))
    with found:
        yield found


@pytest.fixture(scope="module")
def primary(cluster: Cluster) -> Server:
    """A primary with one database of Omar's."""
    server = cluster.start_primary()
    server.make_database("pages", owner="omar")
    return server


def read(server: Server, sql: str) -> str:
    return server.run_sql(sql, database="pages")


class TestTheServer:
    def test_it_waits_for_the_disk_when_asked_to(self, primary: Server) -> None:
        wanted = "fsync full_page_writes synchronous_commit".split()
        assert [read(primary, f"SHOW {name}") for name in wanted] == ["on"] * 3

    def test_it_refuses_a_wrong_password(self, primary: Server) -> None:
        password = primary.passwords["omar"]
        with psycopg.connect(primary.url("pages", user="omar")):
            pass
        wrong = primary.url("pages", user="omar").replace(password, "mallory")
        with pytest.raises(psycopg.OperationalError, match="password"):
            psycopg.connect(wrong)

    def test_no_program_is_given_a_password(self, primary: Server) -> None:
        words = b"".join(
            (folder / "cmdline").read_bytes()
            for folder in Path("/proc").glob("[0-9]*")
            if (folder / "cmdline").exists()
        )
        assert primary.passwords["omar"].encode() not in words

    def test_it_shows_no_folder_to_others(
        self, cluster: Cluster, primary: Server
    ) -> None:
        assert cluster.folder.stat().st_mode & 0o077 == 0
        assert primary.data.is_relative_to(cluster.folder)

    def test_a_failure_tells_what_the_program_said(self, primary: Server) -> None:
        with pytest.raises(PostgresFailed, match='relation "nothing"'):
            read(primary, "SELECT * FROM nothing")

    def test_it_keeps_what_was_committed_over_a_crash(self, primary: Server) -> None:
        read(primary, "CREATE TABLE kept (x int); INSERT INTO kept VALUES (1)")
        port = primary.port
        primary.crash()
        assert not primary.is_running
        primary.start()
        assert (read(primary, "SELECT x FROM kept"), primary.port) == ("1", port)


class TestASynchronousStandby:
    def test_it_has_every_commit_when_the_primary_is_gone(
        self, cluster: Cluster
    ) -> None:
        primary = cluster.start_primary("falling")
        primary.make_database("pages", owner="omar")
        standby = cluster.add_standby(primary)
        asked = "SELECT sync_state FROM pg_stat_replication"
        assert primary.run_sql(asked) == "sync"
        with psycopg.connect(primary.url("pages", user="omar")) as connection:
            connection.execute("CREATE TABLE acts AS SELECT 1 AS x")
        primary.crash()
        with pytest.raises(PostgresFailed, match="read-only"):
            read(standby, "INSERT INTO acts VALUES (2)")
        standby.promote()
        read(standby, "INSERT INTO acts VALUES (2)")
        with psycopg.connect(standby.url("pages", user="omar")) as connection:
            found = connection.execute("SELECT x FROM acts ORDER BY x").fetchall()
        assert found == [(1,), (2,)]


# A run in the background may be started deaf to SIGINT.
RUN = """
import signal, sys, time
from undersigned.drills.postgres import Cluster
signal.signal(signal.SIGINT, signal.default_int_handler)
cluster = Cluster(durable=False)
server = cluster.start_primary()
print(cluster.folder, server.pid, flush=True)
time.sleep(600)
"""


class TestWhenTheRunEnds:
    @pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
    def test_it_leaves_neither_servers_nor_files(
        self, cluster: Cluster, number: int
    ) -> None:
        with subprocess.Popen(
            [sys.executable, "-c", RUN],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=ROOT,
        ) as run:
            assert run.stdout is not None
            folder, pid = run.stdout.readline().split()
            data = Path(folder) / "primary"
            assert find_postmaster(data) == int(pid)
            run.send_signal(number)
        until = time.monotonic() + 30
        while Path(folder).exists() and time.monotonic() < until:
            time.sleep(0.05)
        assert not Path(folder).exists()
        assert find_postmaster(data) is None
        assert not Path(f"/proc/{pid}/cwd").exists()

    def test_somebody_elses_process_of_that_number_is_left_alone(
        self, tmp_path: Path
    ) -> None:
        (tmp_path / "postmaster.pid").write_text(f"{os.getpid()}\n")
        assert find_postmaster(tmp_path) is None


def test_without_the_programs_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(postgres, "Path", lambda _name: tmp_path)
    with pytest.raises(NoPostgres, match="apt-get install postgresql"):
        Cluster(durable=False)


@pytest.mark.parametrize("name", ['a"b', "it's", "plain"])
def test_names_and_texts_are_quoted(primary: Server, name: str) -> None:
    quoted = postgres.quote_text(name), postgres.quote_name(name)
    assert read(primary, f"SELECT {quoted[0]} AS {quoted[1]}") == name
