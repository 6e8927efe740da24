"""The record of issuing keeps neither time nor order (PROTOCOL §5)."""

from __future__ import annotations

import os
import random
import sqlite3
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.factories.cast import ASHA, OMAR
from tests.factories.issuers import Office
from tests.support import Synced
from undersigned.credentials.issuance_file import SMALL_ROWS, IssuanceFile
from undersigned.credentials.issuer import CHEAP_ROWS
from undersigned.credentials.tickets import TicketNotValid
from undersigned.kernel.errors import StorageFailed

Row = tuple[bytes, int, bytes]
ROWS: list[Row] = [
    (bytes([number]) * 32, number % 2, bytes([255 - number]) * 32)
    for number in random.Random(7).sample(range(256), 90)
]


def fill(path: Path, rows: list[Row]) -> IssuanceFile:
    """Spend a ticket for each row, in this order, one commit each."""
    file = IssuanceFile(path, create={0: 1})
    for nullifier, key_index, request in rows:
        file.begin()
        file.add_ticket(nullifier[::-1], 20_000)
        assert file.spend(
            ticket_hash=nullifier[::-1],
            nullifier=nullifier,
            key_index=key_index,
            request=request,
        )
        file.commit()
    return file


class TestRebuilding:
    def test_it_gives_the_same_bytes_for_every_order_of_requests(
        self, tmp_path: Path
    ) -> None:
        contents = set()
        for run in range(4):
            rows = random.Random(run).sample(ROWS, len(ROWS))
            file = fill(tmp_path / f"{run}.sqlite3", rows)
            file.rebuild()
            file.close()
            contents.add((tmp_path / f"{run}.sqlite3").read_bytes())
        assert len(contents) == 1

    def test_nobody_else_can_read_it_at_any_moment(self, tmp_path: Path) -> None:
        file, modes = fill(tmp_path / "river.sqlite3", ROWS), set[int]()
        aside = tmp_path / "river.sqlite3.rebuild"

        def look() -> int:
            if aside.exists():
                modes.add(stat.S_IMODE(aside.stat().st_mode))
            return 0

        file._db.set_progress_handler(look, 1)
        file.rebuild()
        file.close()
        assert modes == {0o600}

    def test_it_keeps_every_row(self, tmp_path: Path) -> None:
        file = fill(tmp_path / "river.sqlite3", ROWS)
        file.begin()
        file.add_ticket(b"t" * 32, 20_000)
        file.commit()
        file.rebuild()
        for nullifier, key_index, request in ROWS:
            assert file.find(nullifier) == (key_index, request)
        assert (file.rows, file.tickets) == (len(ROWS), 1)
        file.begin()
        assert file.spend(
            ticket_hash=b"t" * 32, nullifier=b"new" * 9, key_index=0, request=b"R" * 32
        )
        file.commit()
        file.close()

    def test_it_leaves_no_journal_and_no_second_file(self, tmp_path: Path) -> None:
        file = fill(tmp_path / "river.sqlite3", ROWS)
        file.rebuild()
        file.close()
        assert [path.name for path in tmp_path.iterdir()] == ["river.sqlite3"]

    def test_it_overwrites_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "river.sqlite3"
        file = fill(path, ROWS)
        (tmp_path / "blocks").hardlink_to(path)
        file.rebuild()
        file.close()
        assert not (tmp_path / "blocks").read_bytes().strip(b"\0")

    def test_it_leaves_a_file_for_its_owner_alone(self, tmp_path: Path) -> None:
        file = fill(tmp_path / "river.sqlite3", ROWS[:3])
        file.rebuild()
        file.close()
        mode = (tmp_path / "river.sqlite3").stat().st_mode
        assert stat.S_IMODE(mode) == 0o600

    @pytest.mark.parametrize("step", ["replace", "fsync", "fstat"])
    def test_one_that_failed_leaves_a_whole_file(
        self, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_arguments: object) -> None:
            raise OSError(5, "Input/output error")

        file = fill(tmp_path / "river.sqlite3", ROWS)
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(StorageFailed):
                file.rebuild()
        file.close()
        again = IssuanceFile(tmp_path / "river.sqlite3")
        assert all(again.find(row[0]) == row[1:] for row in ROWS)
        again.close()

    def test_one_that_was_cut_off_leaves_the_old_file(self, tmp_path: Path) -> None:
        path = tmp_path / "river.sqlite3"
        fill(path, ROWS).close()
        (tmp_path / "river.sqlite3.rebuild").write_bytes(b"half a file")
        file = IssuanceFile(path)
        assert file.rows == len(ROWS)
        assert not (tmp_path / "river.sqlite3.rebuild").exists()
        file.close()


def test_its_number_outlives_a_rebuild(tmp_path: Path) -> None:
    path = tmp_path / "river.sqlite3"
    file = IssuanceFile(path, create={0: 1}, number=2)
    assert file.number == 2
    file.rebuild()
    file.close()
    again = IssuanceFile(path)
    assert again.number == 2
    again.close()


def test_a_power_cut_leaves_a_way_to_a_new_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "issuance" / "river.sqlite3"
    # By a process that was killed before it had synced anything.
    path.parent.mkdir()
    synced = Synced(monkeypatch)
    IssuanceFile(path, create={0: 1}).close()
    assert synced.has(path)
    assert synced.reaches(path, below=tmp_path)


class TestTheOffice:
    def read(self, office: Office) -> bytes:
        return b"".join(
            path.read_bytes() for path in sorted(office.record.parent.iterdir())
        )

    def test_it_leaves_no_trace_of_who_came_first(self, office: Office) -> None:
        # Two people, in both orders, in the same two files' bytes.
        tickets = {who: office.grant(who) for who in (ASHA, OMAR)}
        requests = {who: office.write().prepared.request for who in (ASHA, OMAR)}
        office.stop()
        before = office.record.read_bytes()
        contents = set()
        for order in ((ASHA, OMAR), (OMAR, ASHA)):
            office.record.write_bytes(before)
            office.restart()
            for who in order:
                office.issue(tickets[who], requests[who])
            running = self.read(office)
            office.stop()
            contents.add((running, self.read(office)))
        assert len(contents) == 1

    def test_its_times_do_not_tell_of_the_last_request(self, office: Office) -> None:
        office.issue(office.grant(), office.write().prepared.request)
        modified = {path.stat().st_mtime for path in office.record.parent.iterdir()}
        assert modified == {0}
        assert office.record.stat().st_atime == 0

    def test_it_keeps_no_address_and_no_ticket(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        office.issue(ticket, request)
        raw = self.read(office)
        assert b"asha" not in raw.lower()
        assert ticket.encode() not in raw
        assert request[3:40] not in raw

    def test_it_forgets_a_spent_ticket(self, office: Office) -> None:
        ticket = office.grant()
        waiting = self.count_tickets(office)
        office.issue(ticket, office.write().prepared.request)
        assert (waiting, self.count_tickets(office)) == (1, 0)

    def test_it_forgets_tickets_when_their_day_is_over(self, office: Office) -> None:
        ticket, request = office.grant(), office.write().prepared.request
        for day, left in ((21, 1), (22, 1), (23, 0)):
            at = datetime(2026, 11, day, 23, 59, tzinfo=UTC)
            # Something must have changed, as it has after a day of asking.
            office.issue(office.grant(f"{day}@x.example"), self.write(office))
            self.settle(office, at)
            assert self.count_tickets(office) == left
        with pytest.raises(TicketNotValid):
            office.issue(ticket, request)

    def test_it_forgets_them_on_a_day_when_nobody_comes(self, office: Office) -> None:
        office.grant()
        self.settle(office, office.clock.now())
        for day in range(1, 4):
            self.settle(office, office.clock.now() + timedelta(days=day))
        assert self.count_tickets(office) == 0

    def write(self, office: Office) -> bytes:
        return office.write().prepared.request

    def settle(self, office: Office, at: datetime) -> None:
        today = int(at.timestamp()) // 86_400
        office.issuer.rebuild_after_publication(office.origin, today=today)

    def count_tickets(self, office: Office) -> int:
        version = office.issuer.get_version(office.origin)
        file = version.file
        assert file is not None
        return office.issuer.run(
            lambda: int(file._db.execute("SELECT count(*) FROM ticket").fetchone()[0])
        )


class TestALargeFile:
    """A file too large to rebuild at every commit; its size is only said to be so."""

    def is_rebuilt(self, office: Office, rows: int) -> bool:
        version = office.issuer.get_version(office.origin)
        assert version.file is not None
        version.file.rows = rows
        before = office.record.stat().st_ino
        office.issue(office.grant(), office.write().prepared.request)
        now = int(office.clock.now().timestamp()) // 86_400
        office.issuer.rebuild_after_publication(office.origin, today=now)
        return office.record.stat().st_ino != before

    @pytest.mark.parametrize("rows", [SMALL_ROWS + 1, CHEAP_ROWS - 1])
    def test_it_is_rebuilt_at_each_publication_while_that_is_cheap(
        self, office: Office, rows: int
    ) -> None:
        assert self.is_rebuilt(office, rows)

    def test_beyond_that_it_is_rebuilt_each_hour(self, office: Office) -> None:
        office.uptime_seconds = 1800.0
        assert not self.is_rebuilt(office, CHEAP_ROWS + 10)
        office.uptime_seconds = 3600.0
        today = int(office.clock.now().timestamp()) // 86_400
        before = office.record.stat().st_ino
        office.issuer.rebuild_after_publication(office.origin, today=today)
        assert office.record.stat().st_ino != before


class TestTally:
    """How many were issued is known without reading every row."""

    @pytest.fixture
    def path(self, tmp_path: Path) -> Path:
        path = tmp_path / "river.sqlite3"
        fill(path, ROWS).close()
        return path

    def expect(self, path: Path) -> None:
        file = IssuanceFile(path)
        by_key = [sum(row[1] == key for row in ROWS) for key in (0, 1)]
        assert file.issued == dict(enumerate(by_key))
        assert file.rows == len(ROWS)
        file.rebuild()
        file.close()

    def test_it_is_the_same_after_a_restart(self, path: Path) -> None:
        self.expect(path)
        self.expect(path)

    def test_a_record_from_before_it_is_counted_once(self, path: Path) -> None:
        self.expect(path)
        # Behind the header, which counts changes of the schema.
        rebuilt = path.read_bytes()[100:]
        with sqlite3.connect(path) as db:
            db.execute("DROP TABLE tally")
        db.close()
        self.expect(path)
        assert path.read_bytes()[100:] == rebuilt

    def test_what_was_not_committed_is_not_in_it(self, path: Path) -> None:
        file = IssuanceFile(path)
        file.begin()
        file.add_ticket(b"t" * 32, 20_000)
        file.spend(
            ticket_hash=b"t" * 32, nullifier=b"new" * 9, key_index=1, request=b"R" * 32
        )
        file.close()
        self.expect(path)

    def test_a_start_reads_no_rows(self, path: Path) -> None:
        """They are ten million, and somebody waits."""
        with sqlite3.connect(path) as db:
            db.execute("DELETE FROM issued")
        db.close()
        file = IssuanceFile(path)
        assert file.rows == len(ROWS)
        file.close()


@pytest.mark.parametrize("content", [b"", b"Mallory was here" * 300])
def test_what_is_no_record_does_not_open(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "river.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StorageFailed):
        IssuanceFile(path)


def test_a_missing_record_does_not_open(tmp_path: Path) -> None:
    with pytest.raises(StorageFailed):
        IssuanceFile(tmp_path / "river.sqlite3")


def test_it_keeps_no_write_ahead_log(office: Office) -> None:
    office.stop()
    db = sqlite3.connect(office.record)
    assert db.execute("PRAGMA journal_mode").fetchone()[0] != "wal"
    tables = db.execute("SELECT sql FROM sqlite_master WHERE type='table'").fetchall()
    db.close()
    assert tables
    assert all("WITHOUT ROWID" in sql for (sql,) in tables)
