"""A database older than what the public saw is refused: going on would fork the log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.factories.keys import KeyBox
from tests.factories.ledgers import River, require_accepted
from tests.factories.stores import Home, make_home
from tests.ledger.conftest import MakeRiver
from undersigned.kernel.clock import FixedClock
from undersigned.kernel.errors import StorageFailed
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.highwater import RolledBack
from undersigned.ledger.notes import LogKey
from undersigned.ledger.operations import OriginReserved


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
    # It was begun here: the spine's key is no stranger at the next start.
    marks = json.loads((tmp_path / "new" / "highwater.json").read_bytes())
    assert [size for size, _root in marks.values()] == [0]
    river.start()
    river.stop()


class TestKeysThatWereHereBefore:
    """Secrets put back, or taken along, without what was signed with them."""

    @pytest.fixture
    def bare(self, river: River, tmp_path: Path) -> River:
        """A new disk and an empty ledger, with the same secrets."""
        river.stop()
        twin = object.__new__(River)
        twin.__dict__.update(river.__dict__)
        twin.handed_on, twin.failures, twin._ledger = [], [], None
        twin.folder = tmp_path / "bare"
        twin.home = make_home(twin.folder)
        shutil.copytree(river.folder / "secrets", twin.folder / "secrets")
        return twin

    def test_no_second_spine_begins_under_the_key_of_the_first(
        self, bare: River
    ) -> None:
        with pytest.raises(RolledBack, match="/spine"):
            bare.start()

    def test_nor_a_second_log(self, bare: River) -> None:
        shutil.rmtree(bare.folder / "secrets" / "spine")
        bare.start()
        with pytest.raises(OriginReserved):
            bare.create()
        assert not bare.public.exists()
        # Nor is it begun by asking again.
        with pytest.raises(OriginReserved):
            bare.create()
        bare.stop()

    def test_a_start_that_was_cut_off_is_mended_by_the_next(
        self, make_river: MakeRiver, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        river = make_river()
        twin_folder = tmp_path / "cut"
        twin = object.__new__(River)
        twin.__dict__.update(river.__dict__)
        twin.handed_on, twin.failures, twin._ledger = [], [], None
        twin.folder, twin.home = twin_folder, make_home(twin_folder)
        made = LogKey.create

        def cut(keystore: Keystore, *, origin: str, path: str) -> LogKey:
            made(keystore, origin=origin, path=path)
            raise OSError(path)

        with monkeypatch.context() as patch:
            patch.setattr(LogKey, "create", cut)
            with pytest.raises(OSError, match="spine"):
                twin.start()
        twin.start()
        with monkeypatch.context() as patch:
            patch.setattr(LogKey, "create", cut)
            with pytest.raises(OSError, match="c/river"):
                twin.create()
        twin.create()
        require_accepted(twin.audit())
        twin.stop()
