"""A power cut leaves what was synced; a writer that forgets a barrier is caught."""

from __future__ import annotations

import random
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.drills.watched import Watched, compile_or_skip, make_watched
from undersigned.drills.journal import Burning, Fuse, JournalBroken, Kind, Record
from undersigned.drills.platter import MODELS, SECTOR, Change, Platter

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_or_skip(tmp_path_factory.mktemp("library"))


@pytest.fixture
def watched(tmp_path: Path, library: Path) -> Watched:
    return make_watched(tmp_path, library)


OLD, NEW = b"old" * 100, b"new" * 1000
# What stands there before the writer that is judged begins.
BEFORE = f"durable.write_durable(data / 'a', {OLD!r})\n"
BY_HAND = f"""
file = os.open(data / ".a.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
os.write(file, {NEW!r})
"""
SYNC_FOLDER = "durable.fsync_directory(data)\n"


class TestAWriter:
    def read(self, watched: Watched, code: str) -> set[bytes | None]:
        watched.run_well(BEFORE + code)
        return {state.get("a") for state in watched.read_states()}

    def test_that_does_everything_leaves_the_new_bytes(self, watched: Watched) -> None:
        code = f"durable.write_durable(data / 'a', {NEW!r})"
        assert self.read(watched, code) == {NEW}

    def test_that_syncs_no_folder_leaves_the_old_or_the_new(
        self, watched: Watched
    ) -> None:
        code = BY_HAND + "os.fsync(file); os.rename(data / '.a.new', data / 'a')"
        assert self.read(watched, code) == {OLD, NEW}

    def test_that_syncs_no_file_is_caught(self, watched: Watched) -> None:
        code = BY_HAND + "os.rename(data / '.a.new', data / 'a')\n" + SYNC_FOLDER
        found = self.read(watched, code)
        assert {b"", NEW} < found
        torn = found - {b"", NEW, OLD}
        assert any(piece and bytes(SECTOR) in piece for piece in torn)

    def test_that_syncs_nothing_is_caught(self, watched: Watched) -> None:
        found = self.read(watched, f"durable.write_atomic(data / 'a', {NEW!r})")
        assert {OLD, b"", NEW} < found

    def test_that_writes_in_place_is_caught(self, watched: Watched) -> None:
        found = self.read(watched, f"(data / 'a').write_bytes({NEW!r}); {SYNC_FOLDER}")
        assert {OLD, NEW} < found
        assert len(found) > 2

    def test_that_removes_before_it_renames_is_caught(self, watched: Watched) -> None:
        code = (
            BY_HAND
            + "os.fsync(file); os.unlink(data / 'a'); "
            + "os.rename(data / '.a.new', data / 'a')"
        )
        assert None in self.read(watched, code)

    def test_that_asks_for_each_write_to_be_durable_needs_no_barrier(
        self, watched: Watched
    ) -> None:
        code = (
            "file = os.open(data / 'a', os.O_WRONLY | os.O_TRUNC); os.fsync(file);"
            "file = os.open(data / 'a', os.O_WRONLY | os.O_DSYNC);"
            f"os.write(file, {NEW!r})"
        )
        assert self.read(watched, code) == {NEW}

    def test_whose_barrier_came_before_the_last_write_is_caught(
        self, watched: Watched
    ) -> None:
        code = (
            BY_HAND
            + "os.fsync(file); os.write(file, b'more');"
            + "os.rename(data / '.a.new', data / 'a')\n"
            + SYNC_FOLDER
        )
        found = self.read(watched, code)
        assert NEW in found
        assert NEW + b"more" in found


class TestNames:
    def test_a_synced_file_in_a_folder_without_a_durable_name_may_be_gone(
        self, watched: Watched
    ) -> None:
        watched.run_well(
            "(data / 'x' / 'y').mkdir(parents=True);"
            "durable.write_durable(data / 'x' / 'y' / 'a', b'1')"
        )
        found = {state.get("x/y/a") for state in watched.read_states()}
        assert found == {None, b"1"}

    def test_with_all_names_synced_it_is_there(self, watched: Watched) -> None:
        watched.run_well(
            "(data / 'x' / 'y').mkdir(parents=True);"
            "durable.write_durable(data / 'x' / 'y' / 'a', b'1');"
            "durable.sync_names(data / 'x' / 'y' / 'a', below=data)"
        )
        assert {state.get("x/y/a") for state in watched.read_states()} == {b"1"}

    def test_names_are_lost_each_for_itself(self, watched: Watched) -> None:
        watched.run_well("[(data / name).touch() for name in 'abc']")
        found = {frozenset(state) for state in watched.read_states()}
        assert {"a"} in found
        assert {"c"} in found
        assert {"a", "c"} in found

    def test_a_removal_may_be_undone(self, watched: Watched) -> None:
        watched.run_well(BEFORE + "(data / 'a').unlink()")
        assert {state.get("a") for state in watched.read_states()} == {None, OLD}

    def test_a_removal_that_was_synced_stays(self, watched: Watched) -> None:
        watched.run_well(BEFORE + "(data / 'a').unlink()\n" + SYNC_FOLDER)
        assert {state.get("a") for state in watched.read_states()} == {None}

    def test_what_was_destroyed_stays_destroyed(self, watched: Watched) -> None:
        watched.run_well(BEFORE + "durable.destroy_file(data / 'a')")
        for state in watched.read_states():
            assert not any(b"old" in data for data in state.values())


def test_what_a_failed_barrier_was_for_is_gone_for_good(
    tmp_path: Path, library: Path
) -> None:
    watched = make_watched(tmp_path, library, fuse=True)
    Fuse(tmp_path / "fuse").light(Burning(frozenset({Kind.SYNC}), 1, error=5))
    # As in every story of a sync that was tried again: the second one succeeds.
    watched.run_well(
        BY_HAND
        + """
try: os.fsync(file)
except OSError: os.fsync(file)
os.rename(data / ".a.new", data / "a")
"""
        + SYNC_FOLDER
    )
    assert {state.get("a") for state in watched.read_states()} == {b""}


def count_rows(folder: Path) -> int:
    with sqlite3.connect(folder / "d.sqlite3") as db:
        if not db.execute("SELECT 1 FROM sqlite_master").fetchone():
            return 0
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        return int(db.execute("SELECT count(*) FROM t").fetchone()[0])


@pytest.mark.parametrize("journal", ["WAL", "TRUNCATE"])
@pytest.mark.parametrize("synchronous,loses", [("FULL", False), ("OFF", True)])
def test_a_database_that_does_not_wait_for_the_disk_is_caught(
    watched: Watched, journal: str, synchronous: str, loses: bool
) -> None:
    watched.run_well(
        f"""
db = sqlite3.connect(data / "d.sqlite3", isolation_level=None)
db.execute("PRAGMA journal_mode={journal}")
db.execute("PRAGMA synchronous={synchronous}")
db.execute("CREATE TABLE t (a BLOB)")
for n in range(7): db.execute("INSERT INTO t VALUES (randomblob(3000))")
durable.fsync_directory(data)
(data / "now").mkdir(); os._exit(0)
"""  # noqa: S608 - four fixed words
    )
    platter = watched.follow(until="now")
    lost = 0
    for model in MODELS:
        for seed in range(6):
            target = watched.folder / f"db-{model}-{seed}"
            platter.write_state(target, model=model, rng=random.Random(seed))
            try:
                lost += count_rows(target) != 7
            except (sqlite3.DatabaseError, AssertionError):
                lost += 1
    assert bool(lost) is loses


# --- by the rules alone


def make_record(
    kind: Kind,
    path: str = "",
    *,
    second: str = "",
    inode: int = 0,
    offset: int = 0,
    data: bytes = b"",
) -> Record:
    return Record(
        kind=kind,
        path=path,
        second=second,
        inode=inode,
        offset=offset,
        length=len(data),
        at=0.0,
        process=1,
        is_durable=False,
        data=data,
    )


@pytest.mark.parametrize(
    "record",
    [
        make_record(Kind.WRITE, "a", inode=9, data=b"1"),
        make_record(Kind.RENAME, "a", second="b", inode=9),
        make_record(Kind.LINK, "a", inode=9),
        make_record(Kind.CREATE, "x/a", inode=9),
        make_record(Kind.REFUSED, "a", second="a symbolic link"),
    ],
)
def test_what_was_never_made_cannot_be_followed(record: Record) -> None:
    platter = Platter()
    platter.follow(make_record(Kind.HELLO, inode=1))
    with pytest.raises(JournalBroken):
        platter.follow(record)


changes = st.builds(
    Change,
    offset=st.integers(0, 3000),
    data=st.one_of(st.none(), st.binary(max_size=2000)),
    grows=st.booleans(),
)


@given(change=changes, before=st.binary(max_size=3000))
def test_sectors_together_are_the_write(change: Change, before: bytes) -> None:
    whole, pieces = bytearray(before), bytearray(before)
    change.apply(whole)
    parts = list(change.split())
    for piece in parts:
        piece.apply(pieces)
    if change.data != b"":
        assert pieces == whole
    if change.data is not None:
        assert all(
            part.offset // SECTOR == (part.offset + len(part.data or b"") - 1) // SECTOR
            for part in parts
        )


@given(
    synced=st.lists(changes, max_size=5),
    later=st.lists(changes, max_size=5),
    seed=st.integers(0, 99),
)
def test_nothing_and_everything_are_the_two_ends(
    synced: list[Change],
    later: list[Change],
    seed: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    platter = Platter()
    platter.follow(make_record(Kind.HELLO, inode=1))
    platter.follow(make_record(Kind.CREATE, "a", inode=2))
    durable, live = bytearray(), bytearray()

    def follow(some: list[Change]) -> None:
        for change in some:
            kind = Kind.EXTEND if change.grows else Kind.TRUNCATE
            platter.follow(
                make_record(
                    Kind.WRITE if change.data is not None else kind,
                    "a",
                    inode=2,
                    offset=change.offset,
                    data=change.data or b"",
                )
            )

    for change in synced:
        change.apply(durable)
    follow(synced)
    platter.follow(make_record(Kind.SYNC, "a", inode=2))
    platter.follow(make_record(Kind.SYNC, inode=1))
    live[:] = durable
    for change in later:
        change.apply(live)
    follow(later)
    folder = tmp_path_factory.mktemp("states")
    rng = random.Random(seed)
    platter.write_state(folder / "none", model="none", rng=rng)
    platter.write_state(folder / "all", model="all", rng=rng)
    platter.write_state(folder / "names", model="names only", rng=rng)
    platter.write_state(folder / "bytes", model="bytes only", rng=rng)
    assert (folder / "none" / "a").read_bytes() == bytes(durable)
    assert (folder / "names" / "a").read_bytes() == bytes(durable)
    assert (folder / "all" / "a").read_bytes() == bytes(live)
    assert (folder / "bytes" / "a").read_bytes() == bytes(live)
    assert platter.list_live() == {"a": bytes(live)}
