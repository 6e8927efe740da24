"""The library that watches a disk tells all that happened, or says that it cannot."""

from __future__ import annotations

import errno
import signal
from pathlib import Path

import pytest

from tests.drills.watched import Watched, compile_or_skip, make_watched
from undersigned.drills import journal as journals
from undersigned.drills.journal import (
    Burning,
    Fuse,
    JournalBroken,
    Kind,
    NoCompiler,
    begin_journal,
    compile_library,
    read_journal,
    write_mark,
)
from undersigned.drills.platter import INDEX_SUFFIX

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_or_skip(tmp_path_factory.mktemp("library"))


@pytest.fixture
def watched(tmp_path: Path, library: Path) -> Watched:
    return make_watched(tmp_path, library, fuse=True)


# Every way in which this product, SQLite or Python's library changes a file.
WAYS = {
    "plain": "(data / 'a').write_bytes(b'one'); (data / 'a').write_bytes(b'two')",
    "append": """
with (data / "a").open("a") as file:
    file.write("one"); file.flush(); file.write("two")
""",
    "positioned": """
file = os.open(data / "a", os.O_RDWR | os.O_CREAT)
os.pwrite(file, b"0123456789", 3); os.pwritev(file, [b"ab", b"cd"], 5)
os.writev(file, [b"x", b"y"]); os.lseek(file, 20, 0); os.write(file, b"far")
""",
    "lengths": """
file = os.open(data / "a", os.O_RDWR | os.O_CREAT)
os.write(file, b"0123456789"); os.ftruncate(file, 4); os.ftruncate(file, 9)
os.posix_fallocate(file, 0, 5000); os.truncate(data / "a", 4500)
""",
    "names": """
(data / "x" / "y").mkdir(parents=True); (data / "x" / "y" / "a").write_bytes(b"1")
(data / "b").write_bytes(b"2"); os.replace(data / "b", data / "x" / "y" / "a")
os.link(data / "x" / "y" / "a", data / "second"); (data / "c").touch()
(data / "c").unlink(); (data / "gone").mkdir(); (data / "gone").rmdir()
os.rename(data / "x", data / "z")
""",
    "relative names": """
os.chdir(data); open("a", "wb").write(b"here")
folder = os.open(data, os.O_RDONLY)
file = os.open("b", os.O_WRONLY | os.O_CREAT, dir_fd=folder); os.write(file, b"there")
os.rename("a", "c", src_dir_fd=folder, dst_dir_fd=folder)
os.symlink(data, os.path.join(os.environ["DRILL_ROOT"], "..", "other"))
open("../other/d", "wb").write(b"by a link outside")
""",
    "handles that live longer": """
file = os.open(data / "a", os.O_RDWR | os.O_CREAT)
os.write(file, b"before"); os.unlink(data / "a"); os.write(file, b"after")
again = os.open(data / "a", os.O_RDWR | os.O_CREAT); os.write(os.dup(again), b"new")
os.rename(data / "a", data / "b"); os.write(again, b" and more")
""",
    "a child": """
(data / "a").write_bytes(b"parent")
if os.fork() == 0:
    (data / "b").write_bytes(b"child"); os._exit(0)
os.wait()
""",
    "threads": """
import threading
def work(n):
    for i in range(50):
        with (data / "log").open("ab") as file: file.write(b"%d %d\\n" % (n, i))
        durable.write_durable(data / f"f{n}", b"x" * i)
threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
""",
    "a database with a journal": """
db = sqlite3.connect(data / "d.sqlite3", isolation_level=None)
db.execute("PRAGMA journal_mode=TRUNCATE"); db.execute("PRAGMA secure_delete=ON")
db.execute("CREATE TABLE t (a BLOB)")
for n in range(40): db.execute("INSERT INTO t VALUES (randomblob(3000))")
db.execute("DELETE FROM t WHERE rowid % 2"); db.execute("VACUUM")
db.execute("VACUUM INTO ?", (str(data / "copy"),))
""",
    "a database with a log": """
db = sqlite3.connect(data / "d.sqlite3", isolation_level=None)
db.execute("PRAGMA journal_mode=WAL"); db.execute("CREATE TABLE t (a BLOB)")
for n in range(40): db.execute("INSERT INTO t VALUES (randomblob(3000))")
db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
db.execute("INSERT INTO t VALUES (1)"); os._exit(0)
""",
    "the product's own ways": """
durable.make_private_folder(data / "secrets" / "c")
durable.write_durable(data / "secrets" / "c" / "key", b"k" * 32)
durable.write_atomic(data / "count.json", b"{}")
durable.destroy_file(data / "secrets" / "c" / "key")
durable.sync_names(data / "count.json", below=data)
""",
}


@pytest.mark.parametrize("way", WAYS)
def test_what_it_tells_makes_the_same_files_again(watched: Watched, way: str) -> None:
    watched.run_well(WAYS[way])
    told = watched.follow().list_live()
    there = {
        str(path.relative_to(watched.data)): path.read_bytes()
        for path in watched.data.rglob("*")
        if path.is_file()
    }
    assert {
        name: data for name, data in told.items() if not name.endswith(INDEX_SUFFIX)
    } == {name: data for name, data in there.items() if not name.endswith(INDEX_SUFFIX)}
    assert there


@pytest.mark.parametrize(
    "what,code",
    [
        (
            "a shared writable mapping",
            "import mmap; (data / 'a').write_bytes(b'1' * 4096);"
            "mmap.mmap(os.open(data / 'a', os.O_RDWR), 4096)",
        ),
        ("a symbolic link", "os.symlink('/tmp', data / 'link')"),
        (
            "sendfile into a file",
            "(data / 'a').write_bytes(b'1'); i = os.open(data / 'a', os.O_RDONLY);"
            "o = os.open(data / 'b', os.O_WRONLY | os.O_CREAT);"
            "os.sendfile(o, i, 0, 1)",
        ),
        (
            "copy_file_range into a file",
            "(data / 'a').write_bytes(b'1'); i = os.open(data / 'a', os.O_RDONLY);"
            "o = os.open(data / 'b', os.O_WRONLY | os.O_CREAT);"
            "os.copy_file_range(i, o, 1)",
        ),
        (
            "a rename across the border",
            "(data / 'a').write_bytes(b'1'); os.rename(data / 'a', data / '..' / 'a')",
        ),
        ("a file without a name", "os.open(data, os.O_TMPFILE | os.O_RDWR)"),
    ],
)
def test_what_cannot_be_followed_is_refused(
    watched: Watched, what: str, code: str
) -> None:
    watched.run(code)
    with pytest.raises(JournalBroken, match=what):
        watched.follow()


def test_it_watches_nothing_else(watched: Watched) -> None:
    watched.run_well(
        "(data / '..' / 'beside').write_bytes(b'1');"
        "pathlib.Path(str(data) + '-too').mkdir()"
    )
    assert watched.kinds == ["HELLO"]


def test_barriers_are_told_where_they_stand(watched: Watched) -> None:
    watched.run_well("durable.write_durable(data / 'a', b'1')")
    assert watched.kinds == [
        "HELLO",
        "CREATE .a.new",
        "WRITE .a.new",
        "SYNC .a.new",
        "RENAME .a.new",
        "SYNC",
    ]


def test_a_barrier_that_failed_is_told_as_one(watched: Watched) -> None:
    Fuse(watched.folder / "fuse").light(
        Burning(frozenset({Kind.SYNC}), 1, error=errno.EIO)
    )
    done = watched.run("durable.write_durable(data / 'a', b'1')")
    assert "Input/output error" in done.stderr
    assert watched.kinds[-2:] == ["BURNT .a.new", "SYNC_FAILED .a.new"]


def test_what_leaves_through_a_socket_is_told_before_it_leaves(
    watched: Watched,
) -> None:
    watched.run_well(
        """
import socket
here, there = socket.socketpair()
(data / "a").write_bytes(b"1")
here.sendall(b"an answer"); here.sendmsg([b"in ", b"parts"])
os.write(here.fileno(), b"raw")
assert there.recv(99) and (data / "b").write_bytes(b"1")
"""
    )
    sent = [one.data for one in watched.records if one.kind is Kind.SENT]
    assert sent == [b"an answer", b"in parts", b"raw"]
    kinds = watched.kinds
    assert kinds.index("WRITE a") < kinds.index("SENT") < kinds.index("CREATE b")


def test_marks_stand_in_order_with_the_rest(watched: Watched) -> None:
    watched.run_well("(data / 'a').touch()")
    write_mark(watched.watch.journal, "opened")
    watched.run_well("(data / 'b').touch()")
    assert watched.kinds == ["HELLO", "CREATE a", "MARK opened", "HELLO", "CREATE b"]


# --- the fuse

FOUR = "[os.write(os.open(data / n, os.O_WRONLY | os.O_CREAT), b'x') for n in 'abcd']"
TRY_FOUR = """
for name in "abcd":
    try: os.write(os.open(data / name, os.O_WRONLY | os.O_CREAT), b"x")
    except OSError as error: print(name, error.errno)
"""


def test_the_call_that_was_named_fails(watched: Watched) -> None:
    fuse = Fuse(watched.folder / "fuse")
    fuse.light(Burning(frozenset({Kind.WRITE}), 2, error=errno.ENOSPC))
    assert watched.run(TRY_FOUR).stdout.split() == ["b", str(errno.ENOSPC)]
    assert fuse.put_out() == (4, True)
    assert watched.run(TRY_FOUR).stdout == ""


def test_what_lasts_goes_on_failing(watched: Watched) -> None:
    Fuse(watched.folder / "fuse").light(
        Burning(frozenset({Kind.WRITE}), 3, error=errno.EIO, lasts=True)
    )
    assert watched.run(TRY_FOUR).stdout.split()[::2] == ["c", "d"]


def test_only_the_named_files_count(watched: Watched) -> None:
    Fuse(watched.folder / "fuse").light(
        Burning(frozenset({Kind.CREATE}), 1, error=errno.ENOSPC, part="c")
    )
    assert watched.run(TRY_FOUR).stdout.split()[::2] == ["c"]


@pytest.mark.parametrize("after,left", [(False, {"a"}), (True, {"a", "b"})])
def test_it_can_be_the_process_s_last(
    watched: Watched, after: bool, left: set[str]
) -> None:
    Fuse(watched.folder / "fuse").light(
        Burning(frozenset({Kind.CREATE}), 2, after=after)
    )
    assert watched.run(FOUR).returncode == -signal.SIGKILL
    assert {path.name for path in watched.data.iterdir()} == left


# --- what is no journal


def test_an_empty_journal_says_that_nothing_was_watched(tmp_path: Path) -> None:
    (tmp_path / "journal").touch()
    with pytest.raises(JournalBroken, match="not loaded"):
        list(read_journal(tmp_path / "journal"))


@pytest.mark.parametrize("cut", [1, 40, 63])
def test_a_journal_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "journal"
    write_mark(path, "opened")
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(JournalBroken):
        list(read_journal(path))


def test_what_is_no_record_is_refused(tmp_path: Path) -> None:
    begin_journal(tmp_path / "journal", tmp_path)
    with (tmp_path / "journal").open("ab") as file:
        file.write(b"x" * 64)
    with pytest.raises(JournalBroken, match="no record"):
        list(read_journal(tmp_path / "journal"))


def test_without_a_compiler_it_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoCompiler, match="no C compiler"):
        compile_library(tmp_path)


def test_what_does_not_compile_is_told(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert library.exists()
    (tmp_path / "journal.c").write_text("#include <no-such-header.h>\n")
    monkeypatch.setattr(journals, "SOURCE", tmp_path / "journal.c")
    with pytest.raises(NoCompiler, match="does not compile"):
        compile_library(tmp_path)
