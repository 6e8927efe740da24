"""What only a ledger on a server has: two that sequence, and one that stands by."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import LiteralString, cast

import pytest

from tests.factories.backups import copy_mirror, recover
from tests.factories.ledgers import HOST, River, require_accepted
from tests.factories.stores import ServerHome
from undersigned.config import ledger as config_ledger
from undersigned.config.env import parse_database_url
from undersigned.config.ledger import make_conninfo
from undersigned.kernel.errors import StorageFailed
from undersigned.kernel.writer_lock import WriterBusy
from undersigned.ledger.highwater import HighWater, RolledBack
from undersigned.ledger.operations import note_client, publish_now
from undersigned.ledger.pg.inbox import Arrival, Fate, pool_signatures
from undersigned.ledger.pg.lease import LeaseLost
from undersigned.ledger.pg.session import Session
from undersigned.ledger.pg.standby import follow, wait_for_lease
from undersigned.ledger.pg.store import PostgresStore
from undersigned.ledger.spine import spine_origin

pytestmark = pytest.mark.postgresql

SPINE = spine_origin(HOST)
PATIENCE_SECONDS = 20


def conninfo(river: River) -> str:
    return make_conninfo(parse_database_url(cast("ServerHome", river.home).url))


def store_of(river: River) -> PostgresStore:
    store = river.ledger.store
    assert isinstance(store, PostgresStore)
    return store


def lose_lock(river: River) -> None:
    """Take the lock away, as a fail-over does; the holder hears nothing of it."""
    store_of(river)._connection.execute("SELECT pg_advisory_unlock_all()")


def publish(river: River) -> None:
    publish_now(ledger=river.ledger, origin=river.origin, at=river.clock.now())


def list_public(river: River) -> dict[str, bytes]:
    root = river.folder / "public"
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file()
    }


def make_rival(river: River, folder: Path) -> River:
    """Return a sequencer of the same ledger with a disk of its own, stopped."""
    rival = object.__new__(River)
    rival.__dict__.update(river.__dict__)
    rival._used = list(river._used)
    rival.folder = shutil.copytree(river.folder, folder)
    rival.handed_on, rival.failures, rival._ledger = [], [], None
    return rival


@pytest.fixture
def rival(river: River, tmp_path: Path) -> Iterator[River]:
    """Another machine with the same secrets, files and marks."""
    found = make_rival(river, tmp_path / "rival")
    yield found
    found.stop()


class TestTwoSequencers:
    def test_the_second_start_is_refused(
        self, river: River, rival: River, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(config_ledger, "PATIENCE_SECONDS", 0.2)
        with pytest.raises(WriterBusy):
            rival.start()
        river.pool(1)
        river.publish()
        require_accepted(river.audit())

    def test_one_that_lost_its_lock_publishes_nothing(
        self, river: River, rival: River
    ) -> None:
        acknowledged = river.pool(2)
        lose_lock(river)
        rival.start()
        before = list_public(river)
        # Its successor has published nothing yet: having taken the log is enough.
        with pytest.raises(LeaseLost):
            publish(river)
        assert list_public(river) == before
        assert isinstance(river.failures[0], LeaseLost)
        publish(rival)
        assert require_accepted(rival.audit()).tree_size == 8
        assert all(rival.find_receipt(one) for one in acknowledged)

    def test_what_it_pooled_before_it_knew_is_published_by_the_other(
        self, river: River, rival: River
    ) -> None:
        lose_lock(river)
        rival.start()
        acknowledged = river.pool(3)
        publish(rival)
        assert all(rival.find_receipt(one) for one in acknowledged)
        require_accepted(rival.audit())

    def test_one_that_lost_its_lock_does_not_move_the_spine(
        self, river: River, rival: River
    ) -> None:
        lose_lock(river)
        rival.start()
        before = list_public(river)
        with pytest.raises(LeaseLost):
            note_client(ledger=river.ledger, sha256="c" * 64, at=river.clock.now())
        assert list_public(river) == before
        publish(rival)

    def test_one_that_has_nothing_to_publish_hears_of_it_at_its_next_tick(
        self, river: River, rival: River
    ) -> None:
        lose_lock(river)
        rival.start()
        with pytest.raises(LeaseLost):
            river.publish()
        assert isinstance(river.failures[0], LeaseLost)

    def test_one_that_was_overtaken_within_a_publication_says_by_whom(
        self, river: River, rival: River
    ) -> None:
        # Both have read the same pool: the second meets the first one's nonces, an
        # error of the server's, before it comes to compare epochs.
        def be_overtaken(step: str) -> None:
            if step == "before-commit":
                lose_lock(river)
                rival.start()
                publish(rival)

        river.restart(be_overtaken)
        acknowledged = river.pool(2)
        before = list_public(river)
        with pytest.raises(LeaseLost, match="another sequencer has taken it"):
            publish(river)
        assert list_public(river) == before
        assert isinstance(river.failures[0], LeaseLost)
        assert all(rival.find_receipt(one) for one in acknowledged)
        require_accepted(rival.audit())

    def test_one_whose_session_was_ended_stops(
        self, river: River, rival: River
    ) -> None:
        pid = store_of(river)._connection.info.backend_pid
        with closing(Session(conninfo(river))) as session:
            session.connection.execute("SELECT pg_terminate_backend(%s)", (pid,))
        rival.start()
        error = river.submit(river.make_signature()).exception(PATIENCE_SECONDS)
        assert error is not None
        assert len(river.failures) == 1
        rival.pool(1)
        publish(rival)
        require_accepted(rival.audit())


def test_signatures_of_other_processes_are_published_with_ours(river: River) -> None:
    mine = river.pool(2)
    theirs = [river.make_signature() for _number in range(3)]
    log_id = river.ledger.get_log(river.origin).log_id
    with closing(Session(conninfo(river))) as session:
        fates = pool_signatures(
            session=session, arrivals=[Arrival(log_id, one.signature) for one in theirs]
        )
        assert set(fates.values()) == {Fate.NEW}
        publish(river)
        river.close()
        late = [Arrival(log_id, river.make_signature().signature)]
        found = pool_signatures(session=session, arrivals=late)
        assert set(found.values()) == {Fate.CLOSED}
    assert all(river.find_receipt(one) for one in [*mine, *theirs])
    require_accepted(river.audit())


class TestMissingFiles:
    def test_a_start_without_a_full_tile_is_refused(self, river: River) -> None:
        river.pool(251)
        for _time in range(2):
            publish(river)
            river.pool(1)
        river.stop()
        tile = river.public / "tile" / "entries" / "000"
        kept = tile.read_bytes()
        tile.unlink()
        with pytest.raises(StorageFailed, match="missing here"):
            river.start()
        tile.write_bytes(kept)
        river.start()
        publish(river)
        require_accepted(river.audit())


@contextmanager
def standing_by(
    river: River, folder: Path
) -> Iterator[tuple[threading.Thread, list[BaseException], HighWater]]:
    """Let a process with a disk of its own wait for the lease, then let it go."""
    folder.mkdir(exist_ok=True)
    waiting = threading.Event()
    errors: list[BaseException] = []
    high_water = HighWater(folder / "highwater.json")

    def run() -> None:
        try:
            with closing(PostgresStore(conninfo(river))) as store:
                wait_for_lease(
                    store=store,
                    high_water=high_water,
                    spine_origin=SPINE,
                    on_wait=waiting.set,
                    sleep=lambda _seconds: time.sleep(0.02),
                )
        except BaseException as error:  # noqa: BLE001 - handed to the test
            errors.append(error)
        finally:
            waiting.set()

    thread = threading.Thread(target=run)
    thread.start()
    waiting.wait(PATIENCE_SECONDS)
    try:
        yield thread, errors, high_water
    finally:
        river.stop()
        thread.join(PATIENCE_SECONDS)


def wait_until(condition: Callable[[], bool]) -> None:
    for _time in range(1000):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come true")


class TestStandingBy:
    def test_it_follows_and_takes_over(self, river: River, tmp_path: Path) -> None:
        folder = tmp_path / "other"
        with standing_by(river, folder) as (thread, errors, marks):
            acknowledged = river.pool(2)
            publish(river)
            wait_until(lambda: (marks.find(river.origin) or (0, ""))[0] == 8)
            assert thread.is_alive()
            spine = river.ledger.spine.size
            wait_until(lambda: (marks.find(SPINE) or (0, ""))[0] == spine)
            river.stop()
            thread.join(PATIENCE_SECONDS)
            assert not thread.is_alive()
        assert errors == []
        # What it has of its own is secrets, files and the marks it made.
        for name in ("public", "secrets"):
            shutil.copytree(river.folder / name, folder / name)
        other = make_rival(river, tmp_path / "unused")
        other.folder = folder
        other.start()
        other.pool(1)
        publish(other)
        assert all(other.find_receipt(one) for one in acknowledged)
        require_accepted(other.audit())
        other.stop()

    def test_a_ledger_that_nobody_found_fit_is_not_its_measure(
        self, river: River, tmp_path: Path
    ) -> None:
        with closing(Session(conninfo(river))) as session:
            session.connection.execute("UPDATE spine SET checked = epoch - 1")
        with closing(PostgresStore(conninfo(river))) as store:
            marks = HighWater(tmp_path / "highwater.json")
            follow(store=store, high_water=marks, spine_origin=SPINE)
        assert marks.list_marks() == {}

    @pytest.mark.parametrize("is_fit", [True, False])
    def test_the_last_thing_that_the_first_did_is_seen_too(
        self, river: River, tmp_path: Path, is_fit: bool
    ) -> None:
        """A log that was begun a moment before the end: else no start would follow."""
        marks = HighWater(tmp_path / "highwater.json")

        def run(statement: LiteralString) -> None:
            with closing(Session(conninfo(river))) as session:
                session.connection.execute(statement)

        def end(_seconds: float) -> None:
            # Its session may outlive it by moments; a mark is not looked at twice.
            if river._ledger is not None:
                assert marks.list_marks() == {}
                river.stop()
                if is_fit:
                    run("UPDATE spine SET checked = epoch")

        run("UPDATE spine SET checked = -1")
        with closing(PostgresStore(conninfo(river))) as store:
            wait_for_lease(
                store=store,
                high_water=marks,
                spine_origin=SPINE,
                on_wait=lambda: None,
                sleep=end,
            )
        assert (marks.find(river.origin) is not None) == is_fit

    def test_it_does_not_follow_one_that_is_older_than_it_has_seen(
        self, river: River, tmp_path: Path
    ) -> None:
        marks = HighWater(tmp_path / "highwater.json")
        marks.raise_to(river.origin, 100, b"\x01" * 32)
        with (
            closing(PostgresStore(conninfo(river))) as store,
            pytest.raises(RolledBack, match="older than what"),
        ):
            follow(store=store, high_water=marks, spine_origin=SPINE)
        assert marks.find(river.origin) == (100, "01" * 32)

    def test_it_does_not_follow_another_history(
        self, river: River, tmp_path: Path
    ) -> None:
        marks = HighWater(tmp_path / "highwater.json")
        marks.raise_to(river.origin, 6, b"\x01" * 32)
        with (
            closing(PostgresStore(conninfo(river))) as store,
            pytest.raises(RolledBack, match="another history"),
        ):
            follow(store=store, high_water=marks, spine_origin=SPINE)

    def test_alone_with_an_empty_disk_it_is_refused(
        self, river: River, tmp_path: Path
    ) -> None:
        river.stop()
        (river.folder / "highwater.json").unlink()
        with pytest.raises(RolledBack, match="no high-water mark"):
            river.start()


class TestAnOlderCopy:
    def test_it_goes_on_only_once_a_mirror_has_told(
        self, river: River, tmp_path: Path
    ) -> None:
        river.pool(3)
        publish(river)
        river.stop()
        copy = river.home.copy(tmp_path / "copy")
        river.start()
        acknowledged = river.pool(260)
        publish(river)
        river.withdraw(acknowledged[0])
        publish(river)
        river.stop()
        mirror = copy_mirror(river, tmp_path / "mirror")
        river.home.become(copy)
        with pytest.raises(RolledBack):
            river.start()
        recover(river, mirror)
        river.start()
        assert all(river.find_receipt(one) for one in acknowledged)
        river.pool(1)
        publish(river)
        require_accepted(river.audit())

    def test_of_a_log_that_the_copy_lacks(self, river: River, tmp_path: Path) -> None:
        acknowledged = river.pool(3)
        publish(river)
        river.stop()
        mirror = copy_mirror(river, tmp_path / "mirror")
        river.home.lose()
        recover(river, mirror)
        river.start()
        assert all(river.find_receipt(one) for one in acknowledged)
