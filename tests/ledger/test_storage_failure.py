"""A full or failing disk stops the sequencer loudly; a restart recovers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from undersigned_verify.count import State

from tests.factories.ledgers import Pooled, River, require_accepted
from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import publish_now
from undersigned.ledger.queries import read_count


def fill_disk(river: River) -> None:
    """Let the database grow by no page more; a server's takes no signature more."""
    store = river.ledger.store
    if isinstance(store, EmbeddedStore):
        store.change("PRAGMA max_page_count=1")
    else:
        break_table(river, "inbox")


def break_table(river: River, table: str) -> None:
    """Let every write to a table fail."""
    store = river.ledger.store
    if isinstance(store, EmbeddedStore):
        store.change(
            f"CREATE TEMP TRIGGER broken BEFORE INSERT ON main.{table} "
            "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        return
    # Gone with the session, like the other one.
    store.change(
        "CREATE FUNCTION pg_temp.fail() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN RAISE ''disk I/O error''; END'"
    )
    store.change(
        f"CREATE TRIGGER broken BEFORE INSERT ON {table} "
        "FOR EACH ROW EXECUTE FUNCTION pg_temp.fail()"
    )


def publish(river: River) -> None:
    publish_now(ledger=river.ledger, origin=river.origin, at=river.clock.now())


def pool_until_full(river: River) -> tuple[list[Pooled], BaseException]:
    """Pool signatures until one fails; return those acknowledged, and the error."""
    acknowledged: list[Pooled] = []
    while True:
        one = river.make_signature()
        error = river.submit(one).exception()
        if error is not None:
            return acknowledged, error
        acknowledged.append(one)


class TestADiskFullWhilePooling:
    def test_it_stops_the_writer_and_loses_nothing_acknowledged(
        self, river: River
    ) -> None:
        river.pool(2)
        fill_disk(river)
        acknowledged, error = pool_until_full(river)
        assert isinstance(error, StoreStopped)
        assert len(river.failures) == 1
        river.restart()
        publish(river)
        for one in acknowledged:
            assert river.find_receipt(one) is not None
        assert require_accepted(river.audit()).tree_size == 8 + len(acknowledged)

    def test_it_takes_nothing_more_until_the_restart(self, river: River) -> None:
        late = river.make_signature()
        fill_disk(river)
        pool_until_full(river)
        with pytest.raises(StoreStopped):
            river.submit(late).result()
        with pytest.raises(StoreStopped):
            publish(river)
        assert river.ledger.failure is river.failures[0]
        river.restart()
        river.submit_all([late])

    def test_it_leaves_reads_up(self, river: River) -> None:
        (asha,) = river.pool(1)
        publish(river)
        fill_disk(river)
        pool_until_full(river)
        assert river.find_receipt(asha) is not None
        assert read_count(ledger=river.ledger, origin=river.origin)["net"] == 1


def fail_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_handle: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)


def block_checkpoint(river: River) -> None:
    """Put a folder where the checkpoint file goes."""
    (river.public / "checkpoint").unlink()
    (river.public / "checkpoint").mkdir()


class TestAFailureWhilePublishing:
    @pytest.mark.parametrize("table", ["nonce", "tile", "cells", "checkpoint"])
    def test_a_failed_commit_rolls_back_and_the_restart_publishes(
        self, river: River, table: str
    ) -> None:
        river.pool(60)
        break_table(river, table)
        with pytest.raises(StorageFailed):
            publish(river)
        assert len(river.failures) == 1
        assert river.kept == [6]
        river.restart()
        publish(river)
        assert require_accepted(river.audit()).tree_size == 66

    def test_a_failed_sync_of_the_mark_shows_no_checkpoint(
        self, river: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        river.pool(1)
        with monkeypatch.context() as patch:
            fail_fsync(patch)
            with pytest.raises(StorageFailed):
                publish(river)
        assert river.kept == [6]
        assert len(river.failures) == 1
        river.restart()
        assert river.kept == [6, 7]
        require_accepted(river.audit())

    def test_a_failed_export_stops_and_is_mended_by_the_restart(
        self, river: River
    ) -> None:
        river.pool(1)
        block_checkpoint(river)
        with pytest.raises(StorageFailed):
            publish(river)
        with pytest.raises(StoreStopped):
            publish(river)
        (river.public / "checkpoint").rmdir()
        river.restart()
        assert require_accepted(river.audit()).tree_size == 7


def test_a_lost_tile_stops_the_writer_loudly(river: River) -> None:
    (asha, *_others) = river.pool(250)
    publish(river)
    river.pool(1)
    publish(river)
    index = river.index_of(asha)
    river.restart()
    lost = river.public / "tile" / "entries" / "000"
    content = lost.read_bytes()
    lost.unlink()
    with pytest.raises(StorageFailed):
        river.withdraw(asha)
    assert len(river.failures) == 1
    lost.write_bytes(content)
    river.restart()
    river.withdraw(asha)
    publish(river)
    require_accepted(river.audit())
    assert river.ledger.get_log(river.origin).state.state_of(index) == State.WITHDRAWN


@pytest.mark.parametrize("table", ["cells", "tile", "checkpoint"])
def test_a_damaged_database_does_not_start(river: River, table: str) -> None:
    river.pool(1)
    publish(river)
    river.stop()
    river.home.damage(f"DELETE FROM {table}")  # noqa: S608 - three fixed names
    with pytest.raises(StorageFailed):
        river.start()


def test_what_is_no_database_does_not_start(tmp_path: Path) -> None:
    (tmp_path / "ledger.sqlite3").write_bytes(b"Mallory was here" * 300)
    with pytest.raises(StorageFailed):
        Ledger(
            host="undersigned.example",
            folder=tmp_path,
            public=tmp_path / "public",
            keystore=None,
        )
