"""Stopped after any numbered step, a publication ends as if nothing had happened."""

from __future__ import annotations

from pathlib import Path

import pytest
from django.db import OperationalError

from undersigned_verify import entry

from tests.factories.ledgers import (
    HOST,
    PowerCut,
    River,
    cut_at,
    require_accepted,
)
from tests.support import Synced
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import publish_now

STEPS = [
    "choose",
    "append",
    "before-commit",
    "after-commit",
    "after-mark",
    "after-export",
    "after-hand-on",
    "spine-before-commit",
    "spine-after-commit",
    "spine-after-mark",
    "spine-after-export",
]
CANARY = b'{"comment":"","name":"Asha of the river path","place":""}'


@pytest.mark.sqlite_file
def test_a_start_syncs_the_names_of_the_file_and_its_journal(
    river: River, monkeypatch: pytest.MonkeyPatch
) -> None:
    river.stop()
    synced = Synced(monkeypatch)
    ledger = Ledger(
        host=HOST, folder=river.folder, public=river.folder / "public", keystore=None
    )
    assert (river.folder / "ledger.sqlite3-wal").exists()
    assert synced.has(river.folder)
    ledger.stop()


def publish(river: River) -> None:
    publish_now(ledger=river.ledger, origin=river.origin, at=river.clock.now())


@pytest.fixture
def prepared(river: River) -> River:
    """A stopped log with a full pool: signatures, a record, a removal, a withdrawal."""
    (first, second, *_rest) = river.pool(252)
    river.publish()
    river.pool(5)
    shown = river.make_signature(shown=CANARY)
    river.submit_all([shown])
    river.withdraw(first)
    river.control(river.make_removal(river.index_of(second)))
    river.control(entry.PublicRecord("answer", "a" * 64))
    river.stop()
    return river


@pytest.mark.parametrize("step", STEPS)
class TestAPublicationCutOff:
    def test_it_gives_the_same_bytes_after_a_restart(
        self, prepared: River, tmp_path: Path, step: str
    ) -> None:
        whole = prepared.copy_to(tmp_path / "whole")
        whole.start()
        publish(whole)
        whole.stop()
        cut = prepared.copy_to(tmp_path / "cut")
        cut.start(cut_at(step))
        with pytest.raises(PowerCut):
            publish(cut)
        cut.restart()
        publish(cut)
        require_accepted(cut.audit())
        expected = whole.export_to(tmp_path / "export-whole")
        assert cut.export_to(tmp_path / "export-cut") == expected
        cut.stop()
        assert (cut.folder / "highwater.json").read_bytes() == (
            whole.folder / "highwater.json"
        ).read_bytes()

    def test_it_hands_on_what_signers_show(self, prepared: River, step: str) -> None:
        prepared.start(cut_at(step))
        with pytest.raises(PowerCut):
            publish(prepared)
        prepared.restart()
        publish(prepared)
        # Perhaps twice: who takes it over takes a nonce once.
        assert {record.data for record in prepared.handed_on} == {CANARY}
        assert len({record.nonce for record in prepared.handed_on}) == 1

    def test_it_stops_the_next_start_of_nothing(
        self, prepared: River, step: str
    ) -> None:
        prepared.start(cut_at(step))
        with pytest.raises(PowerCut):
            publish(prepared)
        for _start in range(2):
            prepared.restart()
        publish(prepared)
        prepared.pool(1)
        prepared.publish()
        require_accepted(prepared.audit())


@pytest.mark.sqlite_file
class TestWhatIsPublished:
    def test_it_leaves_what_signers_show_nowhere_in_the_ledger(
        self, prepared: River
    ) -> None:
        assert CANARY in read_ledger(prepared)
        prepared.start()
        publish(prepared)
        assert CANARY not in read_ledger(prepared)
        prepared.stop()
        assert CANARY not in read_ledger(prepared)

    def test_it_leaves_no_journal_with_the_order_of_requests(
        self, river: River
    ) -> None:
        river.pool(5)
        assert (river.folder / "ledger.sqlite3-wal").stat().st_size > 0
        river.publish()
        assert (river.folder / "ledger.sqlite3-wal").stat().st_size == 0


def read_ledger(river: River) -> bytes:
    return b"".join(
        path.read_bytes() for path in sorted(river.folder.glob("ledger.sqlite3*"))
    )


def test_lost_public_files_are_written_again(river: River, tmp_path: Path) -> None:
    river.pool(3)
    river.publish()
    before = river.export_to(tmp_path / "before")
    river.stop()
    for name in ("checkpoint", "count.json", "growth.csv", "checkpoints/6"):
        (river.public / name).unlink()
    river.start()
    assert river.export_to(tmp_path / "after") == before
    require_accepted(river.audit())


@pytest.mark.parametrize("name", ["checkpoints/6", "checkpoints/9", "checkpoint"])
def test_public_files_that_a_power_cut_emptied_are_written_again(
    river: River, tmp_path: Path, name: str
) -> None:
    river.pool(3)
    river.publish()
    before = river.export_to(tmp_path / "before")
    river.stop()
    (river.public / name).write_bytes(b"")
    river.start()
    assert river.export_to(tmp_path / "after") == before
    require_accepted(river.audit())


def test_a_receipt_waits_for_the_files_of_its_publication(river: River) -> None:
    (asha,) = river.pool(1)
    seen: list[bytes | None] = []

    def look(step: str) -> None:
        if step in ("after-commit", "after-export"):
            seen.append(river.find_receipt(asha))

    river.restart(look)
    publish(river)
    # Of the log, and of the spine, which comes after it.
    assert seen == [None, None]
    assert river.find_receipt(asha) is not None


def test_names_that_cannot_be_handed_on_come_with_the_next_tick(
    river: River, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The pages database may be locked for a while; the log is not held up by it.
    kept = river.handed_on

    def fail(_records: object) -> None:
        raise OperationalError("database is locked")

    with monkeypatch.context() as patch:
        patch.setattr(river.ledger.sequencer, "_on_shown", fail)
        river.submit_all([river.make_signature(shown=CANARY)])
        publish(river)
        assert require_accepted(river.audit()).tree_size == 7
    assert kept == []
    publish(river)
    assert [record.data for record in kept] == [CANARY]
    assert river.failures == []
    assert CANARY not in read_ledger(river)


def test_an_error_nobody_foresaw_while_publishing_is_loud(
    river: River, monkeypatch: pytest.MonkeyPatch
) -> None:
    # By then the state in memory may be ahead of the database.
    def fail(_size: int, _root: bytes) -> bytes:
        raise ArithmeticError

    log = river.ledger.get_log(river.origin)
    assert log.key is not None
    river.pool(2)
    with monkeypatch.context() as patch:
        patch.setattr(log.key, "sign_checkpoint", fail)
        with pytest.raises(StorageFailed):
            publish(river)
    assert len(river.failures) == 1
    river.restart()
    publish(river)
    assert require_accepted(river.audit()).tree_size == 8


def test_a_signature_in_the_pool_is_the_same_after_a_restart(river: River) -> None:
    (pooled,) = river.pool(1)
    river.restart()
    river.publish()
    log = river.ledger.get_log(river.origin)
    assert log.read_leaf(6) == pooled.signature.leaf
