"""A copy of the ledger holds what is published, and tells nothing of what waits."""

from __future__ import annotations

import random
import sqlite3
import threading
from pathlib import Path

import pytest

from undersigned_verify import entry
from undersigned_verify.audit import audit_log

from tests.factories.backups import back_up
from tests.factories.ledgers import HOST, River, require_accepted
from tests.factories.stores import LEDGER
from tests.ledger.conftest import MakeRiver
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.backup import TABLES, copy_ledger, copy_public, list_marks
from undersigned.ledger.operations import publish_now, stop_accepting

# A server's ledger is copied by its own tools: see pg/test_store.py.
pytestmark = pytest.mark.sqlite_file


def read(path: Path, query: str) -> list[tuple[object, ...]]:
    with sqlite3.connect(path) as db:
        return db.execute(query).fetchall()


def all_bytes(folder: Path) -> bytes:
    return b"".join(
        path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    )


class TestWhatIsInIt:
    def test_every_table_was_decided_about(self, river: River) -> None:
        rows = read(
            river.folder / LEDGER, "SELECT name FROM sqlite_master WHERE type='table'"
        )
        assert {name for (name,) in rows} == set(TABLES)

    def test_a_table_nobody_decided_about_stops_it(
        self, river: River, tmp_path: Path
    ) -> None:
        river.stop()
        with sqlite3.connect(river.folder / LEDGER) as db:
            db.execute("CREATE TABLE newcomer (a)")
        with pytest.raises(StorageFailed, match="newcomer"):
            back_up(river, tmp_path / "backup")

    def test_its_public_files_are_those_of_that_moment(
        self, river: River, tmp_path: Path
    ) -> None:
        river.pool(300)
        river.publish()
        river.pool(2)
        river.publish()
        river.export_to(tmp_path / "export")
        river.pool(1)
        backup = back_up(river, tmp_path / "backup")
        report = audit_log(backup / "public" / river.path, workers=1)
        assert require_accepted(report).tree_size == river.audit().tree_size
        kept = backup / "public" / river.path
        for path in sorted((tmp_path / "export").rglob("*")):
            if path.is_file():
                copy = kept / path.relative_to(tmp_path / "export")
                assert copy.read_bytes() == path.read_bytes()

    def test_it_is_made_while_nothing_runs_and_after_a_crash(
        self, river: River, tmp_path: Path
    ) -> None:
        river.pool(3)
        river.publish()
        # As kill -9 leaves it: with a journal that nobody emptied.
        river.pool(2)
        left = tmp_path / "left"
        left.mkdir()
        for path in river.folder.glob("ledger.sqlite3*"):
            if not path.name.endswith("-shm"):
                (left / path.name).write_bytes(path.read_bytes())
        copy_ledger(left / LEDGER, tmp_path / "copy")
        copied = copy_public(
            tmp_path / "copy", river.folder / "public", tmp_path / "public", host=HOST
        )
        assert [log.size for log in copied if log.path == river.path] == [
            require_accepted(river.audit()).tree_size
        ]

    def test_a_missing_tile_stops_it(self, river: River, tmp_path: Path) -> None:
        river.pool(300)
        river.publish()
        river.pool(1)
        river.publish()
        (river.public / "tile" / "entries" / "000").unlink()
        with pytest.raises(StorageFailed, match="public files"):
            back_up(river, tmp_path / "backup")

    def test_it_is_made_as_a_new_ledger_is(self, river: River, tmp_path: Path) -> None:
        backup = back_up(river, tmp_path / "backup")
        for pragma in ("page_size", "auto_vacuum", "freelist_count"):
            found = [
                read(place / LEDGER, f"PRAGMA {pragma}")
                for place in (backup, river.folder)
            ]
            assert found[0] == found[1], pragma


class TestWhatIsNotInIt:
    def test_the_pool_and_what_waits_beside_it(
        self, river: River, tmp_path: Path
    ) -> None:
        river.pool(2)
        river.publish()
        waiting = [
            river.make_signature(shown=b'{"name":"Asha of the ferry landing"}')
            for _number in range(3)
        ]
        river.submit_all(waiting)
        river.withdraw(waiting[0])
        backup = back_up(river, tmp_path / "backup")
        found = all_bytes(backup)
        live = all_bytes(river.folder)
        for one in waiting:
            for secret in (one.nonce, one.signature.leaf[101:], one.w):
                assert secret not in found
            assert one.nonce in live
        assert b"ferry landing" not in found
        assert b"ferry landing" in live

    def test_freed_content_and_journals(self, river: River, tmp_path: Path) -> None:
        shown = river.make_signature(shown=b'{"name":"Vic by the weir"}')
        river.submit_all([shown])
        river.publish()
        backup = back_up(river, tmp_path / "backup")
        assert b"Vic by the weir" not in (backup / LEDGER).read_bytes()
        assert {path.name for path in backup.iterdir()} == {LEDGER, "public"}

    def test_a_withdrawal_of_what_is_published_is_in_it(
        self, river: River, tmp_path: Path
    ) -> None:
        (signed,) = river.pool(1)
        river.publish()
        river.withdraw(signed)
        backup = back_up(river, tmp_path / "backup")
        rows = read(backup / LEDGER, "SELECT nonce FROM withdrawal")
        assert rows == [(signed.nonce,)]

    def test_a_key_that_waits_for_a_crowd(
        self, make_river: MakeRiver, tmp_path: Path
    ) -> None:
        river = make_river("careful", k=3)
        river.pool(2)
        river.publish()
        assert read(river.folder / LEDGER, "SELECT * FROM waiting")
        backup = back_up(river, tmp_path / "backup")
        assert read(backup / LEDGER, "SELECT * FROM waiting") == []
        assert read(backup / LEDGER, "SELECT * FROM inbox") == []

    def test_the_order_in_which_signatures_came(
        self, river: River, tmp_path: Path
    ) -> None:
        """Published together, they give the same bytes in whichever order they came."""
        made = [river.make_signature() for _number in range(40)]
        river.stop()
        copies = []
        for number in range(3):
            twin = river.copy_to(tmp_path / f"twin-{number}")
            twin.start()
            order = random.Random(number).sample(made, len(made))
            # One at a time, so that none is sorted with another before it is written.
            for one in order:
                twin.submit_all([one])
            publish_now(ledger=twin.ledger, origin=twin.origin, at=twin.clock.now())
            copy_ledger(twin.folder / LEDGER, tmp_path / f"copy-{number}")
            copies.append((tmp_path / f"copy-{number}").read_bytes())
            twin.stop()
        assert copies[0] == copies[1] == copies[2]


class TestWhileSigningGoesOn:
    def test_it_is_always_of_one_checkpoint(self, river: River, tmp_path: Path) -> None:
        ended = threading.Event()
        failures: list[Exception] = []

        def go_on() -> None:
            try:
                while not ended.is_set():
                    river.pool(3)
                    river.publish()
            except Exception as error:  # noqa: BLE001 - told to the test's own thread
                failures.append(error)

        signing = threading.Thread(target=go_on)
        signing.start()
        try:
            sizes = []
            for number in range(6):
                backup = back_up(river, tmp_path / f"backup-{number}")
                report = audit_log(backup / "public" / river.path, workers=1)
                sizes.append(require_accepted(report).tree_size or 0)
        finally:
            ended.set()
            signing.join()
        assert failures == []
        assert sizes == sorted(sizes)
        require_accepted(river.audit())

    def test_it_shows_which_logs_are_closing(
        self, river: River, tmp_path: Path
    ) -> None:
        copy_ledger(river.folder / LEDGER, tmp_path / "copy")
        before = list_marks(river.folder / LEDGER)
        assert list_marks(tmp_path / "copy") == before
        stop_accepting(ledger=river.ledger, origin=river.origin)
        assert list_marks(river.folder / LEDGER) != before


def test_a_full_disk_is_a_storage_failure(river: River, tmp_path: Path) -> None:
    (tmp_path / "full").touch()
    with pytest.raises(StorageFailed):
        copy_public(
            river.folder / LEDGER,
            river.folder / "public",
            tmp_path / "full" / "public",
            host=HOST,
        )


def test_control_leaves_that_wait_are_kept(river: River, tmp_path: Path) -> None:
    leaf = river.control(entry.PublicRecord(kind="answer", sha256="a" * 64))
    backup = back_up(river, tmp_path / "backup")
    assert read(backup / LEDGER, "SELECT leaf FROM control") == [(leaf,)]
