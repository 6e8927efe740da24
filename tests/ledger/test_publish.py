"""Publication: order, checkpoints, tiles, and what stays when nothing happens."""

from __future__ import annotations

from datetime import timedelta

import pytest

from undersigned_verify import entry, merkle, tile

from tests.factories.ledgers import INVITATION_KEY, River, require_accepted
from tests.support import Synced
from undersigned.ledger import publish
from undersigned.ledger.operations import publish_due
from undersigned.ledger.queries import list_checkpoints


def read_leaves(river: River) -> list[bytes]:
    log = river.ledger.get_log(river.origin)
    return [log.read_leaf(index) for index in range(log.size)]


def list_partials(river: River) -> set[str]:
    folder = river.public / "tile"
    return {
        str(path.relative_to(folder))
        for path in folder.rglob("*.p/*")
        if path.is_file()
    }


class TestTheClock:
    def test_nothing_pooled_means_no_checkpoint(self, river: River) -> None:
        assert river.publish(3) == []
        assert river.kept == [6]

    def test_a_signature_waits_for_the_end_of_the_interval(self, river: River) -> None:
        river.pool(1)
        river.clock.advance(timedelta(seconds=59))
        assert publish_due(ledger=river.ledger, at=river.clock.now()) == []
        river.clock.advance(timedelta(seconds=1))
        assert len(publish_due(ledger=river.ledger, at=river.clock.now())) == 1

    def test_one_tick_publishes_once(self, river: River) -> None:
        river.pool(1)
        river.publish()
        river.pool(1)
        assert publish_due(ledger=river.ledger, at=river.clock.now()) == []

    def test_a_restart_does_not_publish_within_an_interval(self, river: River) -> None:
        river.pool(1)
        river.stop()
        river.clock.advance(timedelta(minutes=10, seconds=30))
        river.start()
        assert river.kept == [6]
        assert len(river.publish()) == 1

    def test_a_clock_that_went_back_waits_for_its_next_tick(self, river: River) -> None:
        river.pool(1)
        river.clock.advance(timedelta(hours=-1))
        assert publish_due(ledger=river.ledger, at=river.clock.now()) == []
        assert len(river.publish()) == 1
        require_accepted(river.audit())


class TestOrder:
    def test_controls_come_first_then_signatures_by_hash(self, river: River) -> None:
        (first,) = river.pool(1)
        river.publish()
        before = len(read_leaves(river))
        river.pool(5)
        river.pool(3, key_index=INVITATION_KEY)
        river.control(entry.PublicRecord("answer", "a" * 64))
        river.control(entry.PublicRecord("verdict", "b" * 64))
        river.withdraw(first)
        river.publish()
        new = read_leaves(river)[before:]
        assert [leaf[1] for leaf in new] == [3, 7, 7] + [1] * 8
        for kind in (7, 1):
            hashes = [merkle.leaf_hash(leaf) for leaf in new if leaf[1] == kind]
            assert hashes == sorted(hashes)
        require_accepted(river.audit())

    def test_the_order_of_arrival_is_not_the_order_of_leaves(
        self, river: River
    ) -> None:
        arrived = [one.signature.leaf for one in river.pool(20)]
        river.publish()
        published = read_leaves(river)[6:]
        assert sorted(published) == sorted(arrived)
        assert published != arrived


class TestABurst:
    def test_it_comes_out_in_several_checkpoints(
        self, river: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(publish, "MAX_SIGNATURES", 8)
        river.pool(20)
        river.control(entry.PublicRecord("answer", "a" * 64))
        done = river.publish()
        assert [one.signatures for one in done] == [8, 8, 4]
        assert river.kept == [6, 15, 23, 27]
        assert require_accepted(river.audit()).checkpoints == 4

    def test_it_leaves_nothing_behind(
        self, river: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(publish, "MAX_SIGNATURES", 8)
        river.pool(16)
        assert [one.signatures for one in river.publish()] == [8, 8]
        assert river.publish() == []


class TestTiles:
    def test_full_tiles_stay_and_old_partial_ones_go(self, river: River) -> None:
        river.pool(100)
        river.publish()
        river.pool(200)
        river.publish()
        assert (river.public / tile.tile_path("entries", 0)).is_file()
        assert (river.public / tile.tile_path(0, 0)).is_file()
        river.pool(1)
        river.publish()
        # The newest size's and the one before it, which readers may still fetch.
        assert list_partials(river) == {
            "entries/001.p/50",
            "0/001.p/50",
            "1/000.p/1",
            "entries/001.p/51",
            "0/001.p/51",
        }
        require_accepted(river.audit())
        river.restart()
        assert list_partials(river) == {"entries/001.p/51", "0/001.p/51", "1/000.p/1"}
        require_accepted(river.audit())

    def test_a_power_cut_leaves_a_way_to_each_full_tile(
        self, river: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # Their folders were made by a publication before, for partial tiles.
        synced = Synced(monkeypatch)
        river.pool(260)
        river.publish()
        for name in ("tile/0/000", "tile/entries/000"):
            path = river.public / name
            assert synced.has(path)
            assert synced.reaches(path, below=river.folder / "public")

    def test_the_log_goes_on_from_a_full_tile(self, river: River) -> None:
        river.pool(250)
        river.publish()
        assert river.kept[-1] == 256
        assert list_partials(river) == {
            "1/000.p/1",
            "entries/000.p/6",
            "0/000.p/6",
        }
        river.restart()
        river.pool(2)
        river.publish()
        river.restart()
        assert require_accepted(river.audit()).tree_size == 258

    def test_a_leaf_in_an_old_full_tile_can_still_be_withdrawn(
        self, river: River
    ) -> None:
        (asha,) = river.pool(1)
        river.publish()
        for _round in range(2):
            river.pool(255)
            river.publish()
        river.restart()
        river.withdraw(asha)
        river.publish()
        totals = require_accepted(river.audit()).totals
        assert totals is not None
        assert totals["withdrawals"] == 1

    def test_nothing_half_written_lies_among_them(self, river: River) -> None:
        for _round in range(3):
            river.pool(3)
            river.publish()
        assert [p for p in river.public.rglob("*") if p.name.startswith(".")] == []


class TestGrowth:
    def test_it_has_a_line_for_each_kept_checkpoint(self, river: River) -> None:
        river.pool(2)
        river.clock.advance(timedelta(seconds=30))
        river.publish()
        river.pool(1)
        river.publish()
        assert (river.public / "growth.csv").read_text() == (
            "size,net,at\n"
            "6,0,2026-11-21T09:00:00Z\n"
            "8,2,2026-11-21T09:01:00Z\n"
            "9,3,2026-11-21T09:02:00Z\n"
        )

    def test_its_rows_are_what_the_ledger_lists(self, river: River) -> None:
        river.pool(2)
        river.publish()
        rows = list_checkpoints(ledger=river.ledger, origin=river.origin)
        assert [(row.size, row.net, row.at.minute) for row in rows] == [
            (6, 0, 0),
            (8, 2, 1),
        ]

    def test_it_is_the_same_after_a_restart(self, river: River) -> None:
        river.pool(2)
        river.publish()
        before = (river.public / "growth.csv").read_bytes()
        river.restart()
        assert (river.public / "growth.csv").read_bytes() == before
