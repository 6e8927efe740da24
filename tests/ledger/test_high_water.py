"""A database older than what the public saw is refused: going on would fork the log."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.factories.keys import KeyBox
from tests.factories.ledgers import River, require_accepted
from tests.factories.stores import Home
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.highwater import RolledBack


def take_backup(river: River) -> Home:
    """Copy the database, as a careless operator's backup does."""
    river.stop()
    backup = river.home.copy(river.folder / "backup")
    river.start()
    return backup


def restore(river: River, backup: Home) -> None:
    river.stop()
    river.home.become(backup)


class TestAStart:
    def test_it_is_refused_with_an_older_database(self, river: River) -> None:
        backup = take_backup(river)
        river.pool(1)
        river.publish()
        restore(river, backup)
        with pytest.raises(RolledBack, match="older than what"):
            river.start()

    def test_it_goes_on_with_the_same_database(self, river: River) -> None:
        river.pool(1)
        river.publish()
        backup = take_backup(river)
        river.pool(1)
        restore(river, backup)
        river.start()
        river.pool(1)
        river.publish()
        assert require_accepted(river.audit()).tree_size == 8

    def test_it_is_refused_with_another_history(self, river: River) -> None:
        old = (river.folder / "highwater.json").read_bytes()
        backup = take_backup(river)
        river.pool(1)
        river.publish()
        mark = (river.folder / "highwater.json").read_bytes()
        # As long as the published one, with other leaves.
        restore(river, backup)
        (river.folder / "highwater.json").write_bytes(old)
        river.start()
        river.pool(1)
        river.publish()
        river.stop()
        (river.folder / "highwater.json").write_bytes(mark)
        with pytest.raises(RolledBack, match="another history"):
            river.start()

    def test_it_is_refused_without_the_mark(self, river: River) -> None:
        # It is never backed up: where it is missing, the rest is a restored copy.
        river.stop()
        mark = (river.folder / "highwater.json").read_bytes()
        (river.folder / "highwater.json").unlink()
        with pytest.raises(RolledBack, match="no high-water mark"):
            river.start()
        (river.folder / "highwater.json").write_bytes(mark)
        river.start()

    def test_it_is_refused_when_a_published_log_is_missing(self, river: River) -> None:
        river.stop()
        river.home.lose()
        with pytest.raises(RolledBack, match="does not hold"):
            river.start()

    @pytest.mark.parametrize("content", ["", "[]", "{", '{"a": 1}', '{"a": ["x", 1]}'])
    def test_it_is_refused_with_an_unreadable_mark(
        self, river: River, content: str
    ) -> None:
        river.stop()
        (river.folder / "highwater.json").write_text(content)
        with pytest.raises(StorageFailed):
            river.start()


class TestTheMark:
    def test_it_names_the_newest_checkpoint(self, river: River) -> None:
        river.pool(1)
        (published,) = river.publish()
        mark = json.loads((river.folder / "highwater.json").read_bytes())
        assert mark.pop("undersigned.example/spine") == [
            6,
            river.ledger.spine.tree.root.hex(),
        ]
        assert mark == {river.origin: [published.size, published.root.hex()]}

    def test_it_may_lag_behind_as_after_a_crash(self, river: River) -> None:
        mark = (river.folder / "highwater.json").read_bytes()
        river.pool(1)
        river.publish()
        river.stop()
        (river.folder / "highwater.json").write_bytes(mark)
        river.start()
        assert (river.folder / "highwater.json").read_bytes() != mark
        require_accepted(river.audit())


def test_a_new_folder_needs_no_mark(
    tmp_path: Path, keys: KeyBox, clock: FixedClock
) -> None:
    river = River(tmp_path / "new", keys, clock)
    river.start()
    river.stop()
    assert not (tmp_path / "new" / "highwater.json").exists()
