"""An older database goes on from what the public saw, or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
import threading
from contextlib import closing
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typing_extensions import override

from undersigned_verify import entry
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from tests.factories.backups import (
    AT,
    back_up,
    copy_mirror,
    open_mirrors,
    plan,
    recover,
    restore,
)
from tests.factories.keys import KeyBox
from tests.factories.ledgers import HOST, PowerCut, River, cut_at, require_accepted
from tests.factories.stores import LEDGER, make_home
from tests.ledger.conftest import MakeRiver
from undersigned.kernel.errors import UndersignedError
from undersigned.kernel.keystore import Keystore
from undersigned.ledger import importing, notes
from undersigned.ledger.highwater import HighWater, RolledBack
from undersigned.ledger.importing import import_log
from undersigned.ledger.mirrors import MirrorRefused
from undersigned.ledger.operations import (
    OriginReserved,
    SigningKeyMissing,
    close_log,
)
from undersigned.ledger.recovery import (
    HowFarUnknown,
    LogForked,
    MirrorOfAnother,
    SeenFurther,
    SigningKeyDiffers,
    write_marks,
)

# A server's ledger is copied by its own tools: see pg/test_store.py.
pytestmark = pytest.mark.sqlite_file


def rows(river: River, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(river.folder / LEDGER)) as db:
        return db.execute(query).fetchall()


Seen = dict[str, bytes]


def require_prefix(river: River, seen: Seen) -> None:
    """Every checkpoint that was ever seen is kept, byte for byte, the spine's too."""
    require_accepted(river.audit())
    for name, note in seen.items():
        assert (river.folder / "public" / name).read_bytes() == note


def checkpoints(river: River) -> Seen:
    root = river.folder / "public"
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("checkpoints/*")
    }


class Quiet(SimpleHTTPRequestHandler):
    """A plain web server of files, without its log."""

    @override
    def log_message(self, format: str, *arguments: object) -> None:
        """Say nothing."""


def grow(river: River, *counts: int) -> None:
    for count in counts:
        river.pool(count)
        river.publish()


class Scene:
    """A backup, then more publications, then the machine is gone."""

    def __init__(self, river: River, tmp_path: Path) -> None:
        self.tmp_path = tmp_path
        self.river = river
        grow(river, 3, 2)
        self.old_size = river.audit().tree_size or 0
        self.backup = back_up(river, tmp_path / "backup")
        grow(river, 300, 4, 1)
        self.mirror = copy_mirror(river, tmp_path / "mirror")
        self.seen = checkpoints(river)
        river.stop()
        self.twin = restore(river, self.backup, tmp_path / "twin")


@pytest.fixture
def scene(river: River, tmp_path: Path) -> Scene:
    return Scene(river, tmp_path)


class TestARestoredBackup:
    def test_it_does_not_start_before(self, scene: Scene) -> None:
        with pytest.raises(RolledBack, match="no high-water mark"):
            scene.twin.start()

    def test_it_goes_on_from_the_mirror(self, scene: Scene) -> None:
        (done,) = recover(scene.twin, scene.mirror)
        assert done.leaves == 305
        twin = scene.twin
        twin.start()
        require_prefix(twin, scene.seen)
        grow(twin, 2)
        require_prefix(twin, scene.seen)
        assert twin.audit().tree_size == scene.old_size + 307

    def test_it_is_the_same_as_if_nothing_had_happened(self, scene: Scene) -> None:
        recover(scene.twin, scene.mirror)
        for river in (scene.river, scene.twin):
            river.start()
            river.stop()
        # When the spine's checkpoints were made is in no mirror.
        query = "SELECT log, size, note, net, log > 0 AND at FROM checkpoint"
        assert rows(scene.twin, query) == rows(scene.river, query)
        tables = "nonce tile published_control cells log spine"
        tables += " spine_checkpoint spine_issued spine_retired"
        for table in tables.split():
            query = f"SELECT * FROM {table}"  # noqa: S608 - names just above
            assert rows(scene.twin, query) == rows(scene.river, query), table
        theirs, ours = (
            {
                str(path.relative_to(river.folder)): path.read_bytes()
                for path in (river.folder / "public").rglob("*")
                if path.is_file()
            }
            for river in (scene.river, scene.twin)
        )
        assert ours == theirs

    def test_a_published_signature_is_known_and_not_taken_twice(
        self, scene: Scene
    ) -> None:
        signed = scene.river.make_signature()
        scene.river.start()
        scene.river.submit_all([signed])
        scene.river.publish()
        scene.river.stop()
        mirror = copy_mirror(scene.river, scene.tmp_path / "newer")
        recover(scene.twin, mirror)
        scene.twin.start()
        scene.twin.submit_all([signed])
        assert rows(scene.twin, "SELECT * FROM inbox") == []
        assert scene.twin.find_receipt(signed) is not None

    def test_every_kind_of_leaf_comes_along(self, river: River, tmp_path: Path) -> None:
        first = river.pool(3)
        river.publish()
        backup = back_up(river, tmp_path / "backup")
        more = river.pool(3)
        river.publish()
        river.withdraw(first[0])
        river.withdraw(more[0])
        river.control(entry.PublicRecord(kind="answer", sha256="a" * 64))
        river.control(river.make_removal(river.index_of(first[1])))
        river.publish()
        mirror = copy_mirror(river, tmp_path / "mirror")
        count = (river.public / "count.json").read_bytes()
        river.stop()
        twin = restore(river, backup, tmp_path / "twin")
        recover(twin, mirror)
        twin.start()
        assert (twin.public / "count.json").read_bytes() == count
        # What was withdrawn since leaves the pages, whatever the old copy of them says.
        assert rows(twin, "SELECT count(*) FROM erasure") == [(0,)]
        require_accepted(twin.audit())

    def test_a_close_is_a_close(self, river: River, tmp_path: Path) -> None:
        grow(river, 2)
        backup = back_up(river, tmp_path / "backup")
        grow(river, 1)
        close_log(
            ledger=river.ledger,
            origin=river.origin,
            reason="closed-by-organiser",
            at=river.clock.now(),
        )
        mirror = copy_mirror(river, tmp_path / "mirror")
        river.stop()
        twin = restore(river, backup, tmp_path / "twin")
        (found,) = plan(twin, mirror).logs
        assert found.close_reason == "closed-by-organiser"
        recover(twin, mirror)
        twin.start()
        assert twin.ledger.get_log(twin.origin).is_closed
        assert not twin.ledger.get_log(twin.origin).accepting

    def test_a_mirror_of_the_same_size_is_enough(
        self, river: River, tmp_path: Path
    ) -> None:
        grow(river, 3)
        backup = back_up(river, tmp_path / "backup")
        mirror = copy_mirror(river, tmp_path / "mirror")
        twin = restore(river, backup, tmp_path / "twin")
        (done,) = recover(twin, mirror)
        assert done.leaves == 0
        river.stop()
        twin.start()
        grow(twin, 1)
        require_accepted(twin.audit())

    def test_the_log_key_need_not_open(self, scene: Scene) -> None:
        (found,) = plan(scene.twin, scene.mirror, unlocked=False).logs
        assert found.size == scene.old_size + 305


class TestWithoutTheDatabase:
    def test_the_public_folder_and_the_key_are_enough(
        self, river: River, tmp_path: Path
    ) -> None:
        grow(river, 3, 260)
        seen = checkpoints(river)
        river.stop()
        for path in river.folder.glob("ledger.sqlite3*"):
            path.unlink()
        recover(river, river.folder / "public")
        river.start()
        require_prefix(river, seen)

    def test_missing_tiles_come_from_the_mirror(
        self, river: River, tmp_path: Path
    ) -> None:
        grow(river, 600, 3)
        mirror = copy_mirror(river, tmp_path / "mirror")
        backup = back_up(river, tmp_path / "backup")
        seen = checkpoints(river)
        river.stop()
        shutil.rmtree(backup / "public")
        twin = restore(river, backup, tmp_path / "twin")
        recover(twin, mirror)
        twin.start()
        require_prefix(twin, seen)

    def test_a_log_whose_key_is_gone_is_never_begun_again(
        self, river: River, tmp_path: Path
    ) -> None:
        grow(river, 2)
        mirror = copy_mirror(river, tmp_path / "mirror")
        river.stop()
        # The backup was made before the campaign opened.
        twin = river.copy_to(tmp_path / "twin")
        for name in ("ledger.sqlite3", "highwater.json"):
            (twin.folder / name).unlink()
        shutil.rmtree(twin.folder / "public")
        shutil.rmtree(twin.folder / "secrets" / "c")
        assert plan(twin, mirror).lost == [river.origin]
        assert recover(twin, mirror) == []
        twin.start()
        with pytest.raises(OriginReserved):
            twin.create()
        assert not (twin.folder / "secrets" / "c").exists()

    def test_nor_one_that_only_the_spine_tells_of(
        self, river: River, tmp_path: Path
    ) -> None:
        """At an address nobody asks for a log whose name the backup does not know."""
        grow(river, 2)
        mirror = copy_mirror(river, tmp_path / "mirror")
        shutil.rmtree(mirror / "c")
        river.stop()
        twin = river.copy_to(tmp_path / "twin")
        for name in ("ledger.sqlite3", "highwater.json"):
            (twin.folder / name).unlink()
        shutil.rmtree(twin.folder / "public")
        keys = twin.folder / "secrets" / "c"
        keys.rename(tmp_path / "kept")
        assert plan(twin, mirror).lost == [river.origin]
        # With its key here it is no stranger: its mirror has to be found.
        (tmp_path / "kept").rename(keys)
        with pytest.raises(HowFarUnknown, match=river.origin):
            plan(twin, mirror, word=True)
        shutil.rmtree(keys)
        recover(twin, mirror)
        twin.start()
        with pytest.raises(OriginReserved):
            twin.create()
        twin.stop()
        # What is reserved once is no obstacle the next time, wherever its copy lies.
        (twin.folder / "highwater.json").unlink()
        shutil.copytree(river.public, twin.public, dirs_exist_ok=True)
        assert plan(twin, mirror).logs == []


class TestAnOlderDatabaseOnTheSameMachine:
    """The high-water mark is there, and says that this database is too old."""

    @pytest.fixture
    def old(self, river: River, tmp_path: Path) -> River:
        grow(river, 3)
        river.stop()
        kept = (river.folder / LEDGER).read_bytes()
        river.start()
        grow(river, 4, 1)
        river.stop()
        for path in river.folder.glob("ledger.sqlite3*"):
            path.unlink()
        (river.folder / LEDGER).write_bytes(kept)
        with pytest.raises(RolledBack, match="older than what"):
            river.start()
        return river

    def test_it_goes_on_from_its_own_public_folder(self, old: River) -> None:
        seen = checkpoints(old)
        (done,) = recover(old, old.folder / "public")
        assert done.leaves == 5
        old.start()
        grow(old, 1)
        require_prefix(old, seen)

    def test_no_word_stands_against_the_mark(self, old: River) -> None:
        with pytest.raises(SeenFurther, match="high-water mark"):
            plan(old, word=True)
        with pytest.raises(SeenFurther):
            plan(old)

    def test_no_mirror_that_ends_before_the_mark(
        self, old: River, tmp_path: Path
    ) -> None:
        mirror = copy_mirror(old, tmp_path / "mirror")
        log = mirror / old.path
        newest = max(int(path.name) for path in (log / "checkpoints").iterdir())
        sizes = sorted(int(path.name) for path in (log / "checkpoints").iterdir())
        (log / "checkpoints" / str(newest)).unlink()
        (log / "checkpoint").write_bytes(
            (log / "checkpoints" / str(sizes[-2])).read_bytes()
        )
        with pytest.raises((SeenFurther, MirrorRefused)):
            plan(old, mirror)

    def test_what_waited_and_is_published_leaves_the_pool(
        self, river: River, tmp_path: Path
    ) -> None:
        shown = b'{"comment":"","name":"Asha","place":"","salt":"00"}'
        first = river.make_signature(shown=shown)
        second, third = (river.make_signature() for _number in range(2))
        grow(river, 1)
        river.submit_all([first, second])
        (leaf,) = [river.control(entry.PublicRecord(kind="answer", sha256="b" * 64))]
        # Before the publication, as an operator's own copy of the file would be.
        with closing(sqlite3.connect(river.folder / LEDGER)) as db:
            db.execute("VACUUM INTO ?", (str(tmp_path / "kept"),))
        river.publish()
        river.stop()
        for path in river.folder.glob("ledger.sqlite3*"):
            path.unlink()
        shutil.copyfile(tmp_path / "kept", river.folder / LEDGER)
        (done,) = recover(river, river.folder / "public")
        assert (done.pooled, done.shown) == (2, 1)
        assert rows(river, "SELECT * FROM inbox") == []
        assert rows(river, "SELECT * FROM control") == []
        river.handed_on.clear()
        river.start()
        assert [one.nonce for one in river.handed_on] == [first.nonce]
        river.submit_all([second, third])
        river.publish()
        require_accepted(river.audit())
        assert leaf in [
            row[0] for row in rows(river, "SELECT leaf FROM published_control")
        ]


class TestWhatIsRefused:
    def test_nothing_at_all(self, scene: Scene) -> None:
        with pytest.raises(HowFarUnknown, match="no mirror"):
            plan(scene.twin)

    def test_the_copy_that_came_with_the_backup(self, scene: Scene) -> None:
        for own in (scene.backup / "public", scene.twin.folder / "public"):
            (scene.backup / "manifest.json").touch()
            with pytest.raises(HowFarUnknown, match="came with it"):
                plan(scene.twin, own)

    def test_a_mirror_that_is_behind(self, scene: Scene, tmp_path: Path) -> None:
        stale = tmp_path / "stale"
        scene.river.start()
        scene.river.stop()
        old = restore(scene.river, scene.backup, tmp_path / "old")
        recover(old, word=True)
        old.start()
        old.stop()
        copy_mirror(old, stale)
        grown = back_up(scene.river, tmp_path / "grown")
        twin = restore(scene.river, grown, tmp_path / "grown-twin")
        with pytest.raises(HowFarUnknown, match="in the largest mirror"):
            plan(twin, stale)
        # The word decides where the mirror is too small to contradict it.
        (found,) = plan(twin, stale, word=True).logs
        assert found.evidence == "word"

    def test_a_fork_names_both_checkpoints(self, scene: Scene, tmp_path: Path) -> None:
        """Somebody went on from the backup, and published."""
        fork = restore(scene.river, scene.backup, tmp_path / "fork")
        recover(fork, word=True)
        fork.start()
        grow(fork, 400)
        fork.stop()
        forked = copy_mirror(fork, tmp_path / "forked")
        for sources in ([scene.mirror, forked], [forked, scene.mirror]):
            with pytest.raises(LogForked) as caught:
                plan(scene.twin, *sources)
            said = str(caught.value)
            for river in (scene.river, fork):
                # The spine bears witness to every log, and is looked at first.
                note = (river.folder / "public" / "spine" / "checkpoint").read_bytes()
                newest = Checkpoint.parse(parse_note(note).text)
                assert f"{newest.size} leaves with root {newest.root.hex()}" in said

    def test_a_mirror_that_the_database_contradicts(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        fork = restore(scene.river, scene.backup, tmp_path / "fork")
        recover(fork, word=True)
        fork.start()
        grow(fork, 1)
        fork.stop()
        grown = back_up(scene.river, tmp_path / "grown")
        twin = restore(scene.river, grown, tmp_path / "grown-twin")
        # Smaller than the database, larger, and as large.
        for word in (False, True):
            with pytest.raises(LogForked):
                plan(twin, copy_mirror(fork, tmp_path / f"small-{word}"), word=word)
        fork.start()
        grow(fork, 500)
        fork.stop()
        with pytest.raises(LogForked):
            plan(twin, copy_mirror(fork, tmp_path / "large"))

    def test_a_word_that_the_own_public_folder_contradicts(self, scene: Scene) -> None:
        shutil.rmtree(scene.twin.folder / "public")
        shutil.copytree(scene.mirror, scene.twin.folder / "public")
        with pytest.raises(SeenFurther, match="checkpoints"):
            plan(scene.twin, word=True)
        # Its own folder holds more than the backup: that is what it goes on from.
        recover(scene.twin, scene.twin.folder / "public")
        scene.twin.start()
        require_prefix(scene.twin, scene.seen)

    @pytest.mark.parametrize(
        "name",
        ["tile/entries/000", "tile/0/000", "checkpoint", "statement", "log.vkey"],
    )
    def test_a_mirror_that_was_tampered_with(self, scene: Scene, name: str) -> None:
        path = scene.mirror / scene.river.path / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 1
        path.write_bytes(bytes(data))
        if name == "checkpoint":
            # The largest kept checkpoint is what counts.
            kept = path.parent / "checkpoints" / str(scene.river.kept[-1])
            kept.write_bytes(bytes(data))
        with pytest.raises(MirrorRefused):
            plan(scene.twin, scene.mirror)

    def test_a_mirror_that_changes_while_it_is_read(self, scene: Scene) -> None:
        found = plan(scene.twin, scene.mirror)
        path = scene.mirror / scene.river.path / "tile" / "entries" / "000"
        path.write_bytes(path.read_bytes()[:-1] + b"\0")
        with closing(scene.twin.home.open()) as store:
            write_marks(HighWater(scene.twin.folder / "highwater.json"), found)
            with pytest.raises(MirrorRefused, match="changes"):
                import_log(
                    store=store,
                    plan=found.logs[0],
                    public=scene.twin.folder / "public",
                    describe=lambda _header, _keys: pytest.fail("it is known"),
                    at=scene.river.clock.now(),
                )
        # Nothing was let in, and nothing starts.
        with pytest.raises(RolledBack):
            scene.twin.start()

    def test_a_mirror_of_another_instance(self, scene: Scene) -> None:
        other = object.__new__(River)
        other.__dict__.update(scene.river.__dict__)
        other.folder = scene.tmp_path / "elsewhere"
        other.folder.mkdir()
        other.home = make_home(other.folder)
        with pytest.raises(MirrorOfAnother):
            plan(other, scene.mirror, host="other.example")

    def test_a_mirror_signed_by_another_key(
        self, scene: Scene, keys: KeyBox, tmp_path: Path
    ) -> None:
        """The same host and name, set up anew by somebody else."""
        stranger = River(tmp_path / "stranger", keys, scene.river.clock)
        stranger.start()
        stranger.create()
        grow(stranger, 400)
        stranger.stop()
        mirror = copy_mirror(stranger, tmp_path / "theirs")
        with pytest.raises(MirrorOfAnother):
            plan(scene.twin, mirror)

    def test_a_log_key_that_is_not_the_logs(self, scene: Scene) -> None:
        Keystore(scene.twin.folder / "secrets").put(
            notes.key_name(scene.river.path), bytes(32)
        )
        with pytest.raises(SigningKeyDiffers):
            plan(scene.twin, scene.mirror)

    def test_a_published_log_that_only_the_mark_knows(self, scene: Scene) -> None:
        HighWater(scene.twin.folder / "highwater.json").raise_to(
            f"{scene.river.origin}-lost", 7, bytes(32)
        )
        with pytest.raises(HowFarUnknown, match="-lost"):
            plan(scene.twin, scene.mirror, word=True)


class TestTheSpine:
    def test_a_mirror_without_it_is_not_enough(self, scene: Scene) -> None:
        shutil.rmtree(scene.mirror / "spine")
        with pytest.raises(HowFarUnknown, match="/spine"):
            plan(scene.twin, scene.mirror)

    def test_an_older_copy_of_it_is_refused(self, scene: Scene) -> None:
        """Going on from it would enter what was entered before, in another order."""
        spine = scene.mirror / "spine"
        shutil.rmtree(spine)
        shutil.copytree(scene.backup / "public" / "spine", spine)
        for word in (False, True):
            with pytest.raises((SeenFurther, HowFarUnknown)):
                plan(scene.twin, scene.mirror, word=word)

    def test_one_that_knows_more_of_a_log_than_its_mirror(self, scene: Scene) -> None:
        log = scene.mirror / scene.river.path
        shutil.rmtree(log)
        shutil.copytree(scene.backup / "public" / scene.river.path, log)
        with pytest.raises(SeenFurther, match="spine"):
            plan(scene.twin, scene.mirror)

    def test_it_may_lack_the_last_publication(
        self, river: River, tmp_path: Path
    ) -> None:
        """The server was killed between the log's checkpoint and the spine's."""
        grow(river, 2)
        backup = back_up(river, tmp_path / "backup")
        grow(river, 1)
        river.restart(cut_at("spine-before-commit"))
        river.pool(2)
        with pytest.raises(PowerCut):
            river.publish()
        river.stop()
        mirror = copy_mirror(river, tmp_path / "mirror")
        twin = restore(river, backup, tmp_path / "twin")
        recover(twin, mirror)
        twin.start()
        grow(twin, 1)
        require_accepted(twin.audit())

    def test_a_fork_of_it_is_refused(self, scene: Scene, tmp_path: Path) -> None:
        fork = restore(scene.river, scene.backup, tmp_path / "fork")
        recover(fork, word=True)
        fork.start()
        grow(fork, 1)
        fork.stop()
        with pytest.raises(LogForked, match="/spine"):
            plan(scene.twin, scene.mirror, fork.folder / "public" / "spine")

    def test_without_its_key_nothing_goes_on(
        self, scene: Scene, tmp_path: Path
    ) -> None:
        """A spine of a new key under the same name would be a second one."""
        empty = scene.river.copy_to(tmp_path / "empty")
        for name in ("ledger.sqlite3", "highwater.json"):
            (empty.folder / name).unlink()
        shutil.rmtree(empty.folder / "public")
        shutil.rmtree(empty.folder / "secrets" / "spine")
        with pytest.raises(SigningKeyDiffers, match="/spine"):
            plan(empty, scene.mirror)


class TestWhenItIsCutOff:
    def test_it_is_refused_until_it_is_done_again(self, scene: Scene) -> None:
        found = plan(scene.twin, scene.mirror)
        write_marks(HighWater(scene.twin.folder / "highwater.json"), found)
        with pytest.raises(RolledBack, match="older than what"):
            scene.twin.start()
        recover(scene.twin, scene.mirror)
        scene.twin.start()
        require_prefix(scene.twin, scene.seen)

    def test_half_an_import_is_taken_up(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(importing, "COMMIT_LEAVES", 1)
        real = importing._LogTaker._drop_waiting
        left = [2]

        def cut(taker: importing._LogTaker) -> None:
            real(taker)
            left[0] -= 1
            if left[0] == 0:
                raise PowerCut("within a commit")

        with monkeypatch.context() as patch:
            patch.setattr(importing._LogTaker, "_drop_waiting", cut)
            with pytest.raises(PowerCut):
                recover(scene.twin, scene.mirror)
        with pytest.raises(RolledBack):
            scene.twin.start()
        (done,) = recover(scene.twin, scene.mirror)
        assert done.leaves == 5
        scene.twin.start()
        require_prefix(scene.twin, scene.seen)

    @pytest.mark.parametrize("step", ["after-commit", "after-mark"])
    def test_a_publication_that_was_cut_off_counts(
        self, river: River, tmp_path: Path, step: str
    ) -> None:
        """What the dying server signed may have been served: the mirror has it."""
        grow(river, 2)
        backup = back_up(river, tmp_path / "backup")
        river.restart(cut_at(step))
        river.pool(2)
        with pytest.raises(PowerCut):
            river.publish()
        river.stop()
        mirror = copy_mirror(river, tmp_path / "mirror")
        twin = restore(river, backup, tmp_path / "twin")
        recover(twin, mirror)
        twin.start()
        grow(twin, 1)
        require_accepted(twin.audit())

    def test_a_kept_checkpoint_that_is_not_the_newest_yet_counts(
        self, scene: Scene
    ) -> None:
        log = scene.mirror / scene.river.path
        before = scene.river.kept[-2]
        (log / "checkpoint").write_bytes(
            (log / "checkpoints" / str(before)).read_bytes()
        )
        (found,) = plan(scene.twin, scene.mirror).logs
        assert found.size == scene.river.kept[-1]


class TestItsTrace:
    def test_marks_are_of_what_it_goes_on_from(self, scene: Scene) -> None:
        recover(scene.twin, scene.mirror)
        marks, theirs = (
            json.loads((river.folder / "highwater.json").read_bytes())
            for river in (scene.twin, scene.river)
        )
        assert marks == theirs

    def test_a_mirror_cannot_set_the_logs_clock_forward(self, scene: Scene) -> None:
        """What signers are promised follows the newest checkpoint's time."""
        growth = scene.mirror / scene.river.path / "growth.csv"
        growth.write_text(growth.read_text().replace("2026-", "3026-"))
        recover(scene.twin, scene.mirror)
        ((newest,),) = rows(scene.twin, "SELECT max(at) FROM checkpoint WHERE log > 0")
        assert newest == int(AT.timestamp())

    def test_an_empty_mirror_line_does_no_harm(self, scene: Scene) -> None:
        (scene.mirror / scene.river.path / "growth.csv").write_text("nonsense\n,,\nx")
        recover(scene.twin, scene.mirror)
        scene.twin.start()
        require_prefix(scene.twin, scene.seen)


@settings(
    max_examples=10,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
    ],
)
@given(
    acts=st.lists(
        st.sampled_from(["publish", "backup", "lose", "withdraw", "pool"]),
        min_size=3,
        max_size=9,
    )
)
def test_no_sequence_forks_a_log(
    make_river: MakeRiver, tmp_path: Path, acts: list[str]
) -> None:
    """Whatever is copied, lost, put back and recovered, and in whichever order."""
    river = make_river()
    number = [len(list(tmp_path.iterdir()))]

    def place(name: str) -> Path:
        number[0] += 1
        return tmp_path / f"{name}-{number[0]}"

    seen = checkpoints(river)
    backups = [back_up(river, place("backup"))]
    published: list[bytes] = []
    pooled: list[bytes] = []
    for act in acts:
        if act == "pool":
            pooled += [one.nonce for one in river.pool(2)]
        elif act == "publish":
            pooled += [one.nonce for one in river.pool(1)]
            river.publish()
            published += pooled
            pooled = []
        elif act == "withdraw":
            (signed,) = river.pool(1)
            river.publish()
            published += [*pooled, signed.nonce]
            pooled = []
            river.withdraw(signed)
        elif act == "backup":
            backups.append(back_up(river, place("backup")))
        else:
            mirror = copy_mirror(river, place("mirror"))
            seen |= checkpoints(river)
            river.stop()
            twin = restore(river, backups[len(acts) % len(backups)], place("twin"))
            with pytest.raises((RolledBack, UndersignedError)):
                twin.start()
            recover(twin, mirror)
            twin.start()
            river = twin
            pooled = []
        for name, note in checkpoints(river).items():
            assert seen.setdefault(name, note) == note
    river.publish(2)
    require_prefix(river, seen)
    found = {nonce for (nonce,) in rows(river, "SELECT nonce FROM nonce")}
    assert found >= set(published)
    river.stop()


def test_a_log_without_its_key_publishes_nothing(
    river: River, tmp_path: Path, keys: KeyBox
) -> None:
    grow(river, 2)
    mirror = copy_mirror(river, tmp_path / "mirror")
    river.stop()
    twin = river.copy_to(tmp_path / "twin")
    (twin.folder / "ledger.sqlite3").unlink()
    Keystore(twin.folder / "secrets").destroy(notes.key_name(river.path))
    # Its own public folder still names the key.
    recover(twin, mirror)
    twin.start()
    assert not twin.ledger.get_log(twin.origin).accepting
    with pytest.raises(SigningKeyMissing):
        twin.create()
    assert twin.kept == river.kept


def test_an_address_is_read_as_a_folder_is(scene: Scene) -> None:
    server = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=str(scene.mirror))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        base = f"http://127.0.0.1:{server.server_port}"
        spine = f"{HOST}/spine"
        for address in (base, f"{base}/{scene.river.path}"):
            found = [mirror.origin for mirror in open_mirrors(scene.twin, address)]
            assert found == [scene.river.origin, spine]
        (alone,) = open_mirrors(scene.twin, f"{base}/spine")
        assert alone.origin == spine
        recover(scene.twin, base)
    finally:
        server.shutdown()
        server.server_close()
    scene.twin.start()
    # An address does not list the spine's kept checkpoints: the newest is had.
    listed = {name: note for name, note in scene.seen.items() if "spine" not in name}
    require_prefix(scene.twin, listed)
