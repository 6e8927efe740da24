"""The pages database on either engine: address, settings, and what the doctor says."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.db import OperationalError, connection, connections
from django.db.migrations.recorder import MigrationRecorder
from psycopg.conninfo import conninfo_to_dict

from tests.factories.cast import MINA_ACTS, OMAR_ACTS
from tests.factories.instances import Instance
from tests.factories.stores import ServerHome
from undersigned.audit.operations import record_act
from undersigned.audit.queries import count_entries, find_broken_entry
from undersigned.config import database_doctor, env
from undersigned.config.database import (
    describe_database,
    drop_broken_connection,
    hold_migration_lock,
    make_database_settings,
)
from undersigned.config.env import (
    Environment,
    SettingNotValid,
    parse_database_url,
    read_environment,
)
from undersigned.config.ledger import make_conninfo

NINE = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
SECRET = "nine lives"
URL = "postgresql://omar:nine%20lives@db.example:5433/pages"


def read(url: str) -> env.Environment:
    return read_environment(
        {"UNDERSIGNED_DATA": "/srv/data", "UNDERSIGNED_DATABASE_URL": url}
    )


class TestTheAddress:
    def test_each_part_is_read(self) -> None:
        found = parse_database_url(f"{URL}?sslrootcert=/etc/ca.pem&sslmode=verify-ca")
        assert (found.host, found.port, found.name) == ("db.example", "5433", "pages")
        assert (found.user, found.password) == ("omar", SECRET)
        assert found.parameters == {
            "sslrootcert": "/etc/ca.pem",
            "sslmode": "verify-ca",
        }

    def test_a_sockets_folder_or_several_hosts_are_parameters(self) -> None:
        found = parse_database_url("postgresql://omar@/pages?host=/run/pg&port=5434")
        assert (found.host, found.port, found.is_local) == ("/run/pg", "5434", True)
        found = parse_database_url(
            "postgresql:///pages?host=a.example,b.example&port=5432,5433"
            "&target_session_attrs=read-write"
        )
        assert (found.host, found.port) == ("a.example,b.example", "5432,5433")
        assert not found.is_local

    @pytest.mark.parametrize(
        "url",
        [
            "pages",
            "mysql://omar:nine lives@db.example/pages",
            "postgresql://omar:nine lives@db.example",
            "postgresql://omar:nine lives@db.example/",
            "postgresql://omar:nine lives@db.example/pages/more",
            "postgresql://omar:nine lives@db.example:port/pages",
            "postgresql://omar:nine lives@db.example:99999/pages",
            "postgresql://omar:nine lives@db.example/pages#fragment",
            "postgresql://omar:nine lives@db.example/pages?sslmode",
            "postgresql://omar:nine lives@[::1/pages",
            "postgresql://omar:nine lives@db.example/pages%00",
            "postgresql://omar@db.example/pages?password=nine+lives",
            "postgresql://omar@db.example/pages?options=-cfsync%3Doff",
        ],
    )
    def test_another_form_is_refused_and_not_repeated(self, url: str) -> None:
        with pytest.raises(SettingNotValid) as caught:
            read(url)
        assert "UNDERSIGNED_DATABASE_URL" in str(caught.value)
        assert SECRET not in str(caught.value)

    def test_nothing_that_is_shown_holds_the_password(self) -> None:
        environment = read(URL)
        told = [repr(environment), str(environment.database)]
        told.append(describe_database(environment))
        assert not any("nine" in text for text in told)
        assert told[-1] == "postgresql://omar@db.example:5433/pages"

    def test_without_one_it_is_a_file(self) -> None:
        environment = read("")
        assert environment.database is None
        assert describe_database(environment) == "/srv/data/app.sqlite3"

    def test_it_may_lie_in_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "url").write_text(URL + "\n")
        found = read_environment(
            {"UNDERSIGNED_DATABASE_URL_FILE": str(tmp_path / "url")}
        )
        assert found.database == parse_database_url(URL)

    def test_it_names_the_extra_that_is_missing(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(env, "find_spec", lambda _name: None)
        with pytest.raises(SettingNotValid, match=r"requirements/scale\.txt"):
            read(URL)


class TestTheLedgersUrl:
    def read(self, ledger: str, pages: str = URL) -> Environment:
        values = {"UNDERSIGNED_LEDGER_URL": ledger, "UNDERSIGNED_DATABASE_URL": pages}
        return read_environment({"UNDERSIGNED_DATA": "/srv/data", **values})

    def test_it_is_read_like_the_other(self) -> None:
        found = self.read("postgresql://ledger:nine@db.example:5433/ledger")
        assert found.ledger is not None
        assert (found.ledger.name, found.ledger.tls) == ("ledger", "verify-full")
        assert not found.keeps_ledger_here
        assert "nine" not in repr(found)

    def test_without_one_it_is_a_file(self) -> None:
        found = self.read("")
        assert found.ledger is None
        assert found.keeps_ledger_here

    @pytest.mark.parametrize(
        "url",
        [
            "postgresql://omar:other@db.example:5433/ledger",
            "postgresql://ledger:other@db.example:5433/pages",
        ],
    )
    def test_it_is_never_the_pages_role_or_database(self, url: str) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_LEDGER_URL"):
            self.read(url)

    def test_its_form_is_told_by_its_own_name(self) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_LEDGER_URL must be"):
            self.read("sqlite:///ledger")

    def test_libpq_is_given_all_of_it(self) -> None:
        found = self.read("postgresql://ledger:a%20b'c@/ledger?host=/run/pg&port=5433")
        assert found.ledger is not None
        words = conninfo_to_dict(make_conninfo(found.ledger))
        assert words["host"] == "/run/pg"
        assert words["port"] == "5433"
        assert words["password"] == "a b'c"
        assert words["sslmode"] == "prefer"


class TestTheWay:
    def tls(self, url: str) -> str:
        found: str = make_database_settings(read(url))["OPTIONS"]["sslmode"]
        return found

    def test_beyond_this_machine_the_server_must_prove_itself(self) -> None:
        assert self.tls(URL) == "verify-full"
        assert self.tls("postgresql:///pages?host=/run/pg,db.example") == "verify-full"
        assert self.tls(f"{URL}?sslmode=require") == "require"

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "[::1]", ""])
    def test_on_this_machine_it_need_not(self, host: str) -> None:
        assert self.tls(f"postgresql://omar@{host}/pages") == "prefer"


GOOD = {
    "archive_mode": "off",
    "fsync": "on",
    "full_page_writes": "on",
    "log_min_duration_statement": "-1",
    "log_min_error_statement": "panic",
    "log_statement": "none",
    "powers": "",
    "synchronous_commit": "on",
    "track_commit_timestamp": "off",
    "wal_recycle": "off",
}


def judge(url: str = URL, **changes: str) -> dict[str, str]:
    """Return levels by code, but for what is fine."""
    facts = {**GOOD, **changes}
    address = parse_database_url(url)
    findings = [
        *database_doctor.judge_role(facts),
        *database_doctor.judge_way(address),
        *database_doctor.judge_durability(facts),
        *database_doctor.judge_traces(facts),
    ]
    assert not any("nine" in finding.text for finding in findings)
    return {found.code: found.level for found in findings if found.level != "ok"}


class TestTheDoctor:
    def test_a_good_server_has_no_finding(self) -> None:
        assert judge() == {}

    @pytest.mark.parametrize(
        "changes, code, level",
        [
            ({"powers": "superuser"}, "database-role-too-strong", "danger"),
            ({"fsync": "off"}, "database-not-durable", "danger"),
            ({"full_page_writes": "off"}, "database-not-durable", "danger"),
            ({"synchronous_commit": "off"}, "database-not-durable", "danger"),
            ({"track_commit_timestamp": "on"}, "database-keeps-times", "danger"),
            ({"log_statement": "mod"}, "database-logs-statements", "danger"),
            (
                {"log_min_duration_statement": "0"},
                "database-logs-statements",
                "danger",
            ),
            (
                {"log_min_error_statement": "error"},
                "database-logs-failures",
                "warning",
            ),
            ({"archive_mode": "on"}, "database-archives", "warning"),
            ({"url": f"{URL}?sslmode=prefer"}, "database-in-clear", "danger"),
            ({"url": f"{URL}?sslmode=disable"}, "database-in-clear", "danger"),
            ({"url": f"{URL}?sslmode=require"}, "database-unproved", "warning"),
        ],
    )
    def test_what_is_unsafe_is_found(
        self, changes: dict[str, str], code: str, level: str
    ) -> None:
        assert judge(**changes) == {code: level}

    def test_the_ledgers_journal_must_go(self) -> None:
        (found,) = database_doctor.judge_journal({**GOOD, "wal_recycle": "on"})
        assert (found.level, found.code) == ("danger", "ledger-recycles-journal")
        assert list(database_doctor.judge_journal(GOOD)) == []

    def test_a_ledger_that_cannot_be_reached_is_found(self, tmp_path: Path) -> None:
        url = f"postgresql://ledger:nine@/ledger?host={tmp_path}"
        values = {"UNDERSIGNED_DATA": "/srv/data", "UNDERSIGNED_LEDGER_URL": url}
        (found,) = database_doctor.examine_database(read_environment(values))
        assert (found.level, found.code) == ("danger", "ledger-unreachable")
        assert "nine" not in found.text

    def test_it_says_nothing_of_a_file(self) -> None:
        assert list(database_doctor.examine_database(read(""))) == []


@pytest.mark.postgresql
@pytest.mark.django_db
class TestOnTheServer:
    def test_the_doctor_reads_the_server(self) -> None:
        assert database_doctor.read_facts() == GOOD

    def test_and_the_ledgers(self) -> None:
        address = parse_database_url(ServerHome().url)
        assert database_doctor.read_ledger_facts(address) == GOOD

    def test_erased_rows_are_cleared_away_soon(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT reloptions FROM pg_class WHERE relname = %s",
                ["signatures_shownrecord"],
            )
            (found,) = cursor.fetchone()
        assert set(found) == {
            "autovacuum_vacuum_scale_factor=0",
            "autovacuum_vacuum_threshold=0",
        }


def run_at_once(functions: Sequence[Callable[[], Any]]) -> list[BaseException]:
    """Run every function in a thread of its own; return what they raised."""
    raised: list[BaseException] = []
    gate = threading.Barrier(len(functions))

    def run(function: Callable[[], Any]) -> None:
        try:
            gate.wait(30)
            function()
        except BaseException as error:  # noqa: BLE001 - handed to the test
            raised.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=run, args=(one,)) for one in functions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return raised


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_acts_stand_in_one_chain(self) -> None:
        def act(number: int) -> None:
            for step in range(5):
                record_act(
                    actor=(OMAR_ACTS, MINA_ACTS)[number % 2],
                    kind="RecordPublished",
                    data={"number": number, "step": step},
                    at=NINE,
                )

        assert run_at_once([partial(act, number) for number in range(4)]) == []
        assert (count_entries(), find_broken_entry()) == (20, None)

    @pytest.mark.postgresql
    def test_one_process_at_a_time_changes_the_tables(self) -> None:
        def migrate() -> None:
            with hold_migration_lock():
                call_command("migrate", verbosity=0, interactive=False)

        call_command("migrate", "signatures", "0001", verbosity=0, interactive=False)
        assert run_at_once([migrate] * 3) == []
        applied = MigrationRecorder(connection).migration_qs.filter(app="signatures")
        assert applied.count() == 2

    def test_the_last_migration_can_be_undone_and_done_again(self) -> None:
        call_command("migrate", "signatures", "0001", verbosity=0, interactive=False)
        call_command("migrate", verbosity=0, interactive=False)


class TestABrokenConnection:
    @pytest.mark.postgresql
    def test_a_thread_that_lives_long_gets_over_it(self, instance: Instance) -> None:
        campaign = instance.open_campaign()
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            (pid,) = cursor.fetchone()

        def terminate() -> None:
            with connections["default"].cursor() as cursor:
                cursor.execute("SELECT pg_terminate_backend(%s)", [pid])

        assert run_at_once([terminate]) == []
        with pytest.raises(OperationalError):
            count_entries()
        drop_broken_connection()
        assert count_entries() == 2
        instance.sign(campaign)
        instance.publish(campaign)
        assert instance.net(campaign) == 1
