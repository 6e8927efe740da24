"""A folder is there whole and checked, or not at all."""

from __future__ import annotations

import errno
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support import SRC
from undersigned.kernel.errors import StorageFailed
from undersigned.kernel.whole_folder import (
    MANIFEST,
    FolderDamaged,
    FolderExists,
    copy_whole_folder,
    make_whole_folder,
    read_manifest,
    write_manifest,
)

names = st.text("abcdefgh-_.", min_size=1, max_size=6).filter(
    lambda name: name not in (".", "..", MANIFEST)
)
paths = st.lists(names, min_size=1, max_size=3).map("/".join)


def fill(folder: Path, files: dict[str, bytes]) -> None:
    for name, data in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)


def make(target: Path, files: dict[str, bytes]) -> None:
    with make_whole_folder(target) as folder:
        fill(folder, files)
        write_manifest(folder, {"made_by": "Omar"})


def copy(source: Path, target: Path) -> None:
    target.mkdir()
    copy_whole_folder(source, target, read_manifest(source))


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


FILES = {"ledger": b"rows", "public/c/river/tile/000": b"leaves" * 99, "empty": b""}


@pytest.fixture
def whole(tmp_path: Path) -> Path:
    make(tmp_path / "whole", FILES)
    return tmp_path / "whole"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(files=st.dictionaries(paths, st.binary(max_size=50), max_size=5))
def test_what_goes_in_comes_out(tmp_path: Path, files: dict[str, bytes]) -> None:
    parents = {str(parent) for name in files for parent in Path(name).parents}
    files = {name: data for name, data in files.items() if name not in parents}
    at = tmp_path / str(len(list(tmp_path.iterdir())))
    at.mkdir()
    make(at / "whole", files)
    copy(at / "whole", at / "copy")
    assert contents(at / "copy") == files


def test_it_is_its_owners_alone(whole: Path) -> None:
    for path in [whole, *whole.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0


def test_it_takes_no_place_that_is_taken(whole: Path, tmp_path: Path) -> None:
    before = contents(whole)
    with pytest.raises(FolderExists):
        make(whole, {"other": b"files"})
    assert contents(whole) == before
    (tmp_path / "empty").mkdir()
    with pytest.raises(FolderExists):
        make(tmp_path / "empty", FILES)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(FolderExists):
        make(tmp_path / "link", FILES)


def test_it_takes_no_place_that_was_taken_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "whole"

    def make_too_late() -> None:
        with make_whole_folder(target) as folder:
            fill(folder, FILES)
            write_manifest(folder, {})
            target.mkdir()

    with pytest.raises(FolderExists):
        make_too_late()
    assert list(tmp_path.iterdir()) == [target]
    assert list(target.iterdir()) == []


def test_two_do_not_write_it_at_once(tmp_path: Path) -> None:
    with make_whole_folder(tmp_path / "whole") as folder:
        with pytest.raises(FolderExists, match="being written"):
            make(tmp_path / "whole", FILES)
        fill(folder, FILES)
        write_manifest(folder, {})
    assert read_manifest(tmp_path / "whole").files.keys() == FILES.keys()


@pytest.mark.parametrize("place", ["fsync", "rename", "replace", "chmod"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_nothing_is_left_when_the_disk_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str, number: int
) -> None:
    def refuse(*_arguments: object, **_named: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, place, refuse)
        with pytest.raises(StorageFailed, match=os.strerror(number)):
            make(tmp_path / "whole", FILES)
    assert list(tmp_path.iterdir()) == []
    make(tmp_path / "whole", FILES)


def test_a_full_disk_leaves_nothing(tmp_path: Path) -> None:
    """The system's own limit on files, in a process of its own."""
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource, signal, sys\n"
            "from pathlib import Path\n"
            "from undersigned.kernel.whole_folder import *\n"
            "from undersigned.kernel.errors import StorageFailed\n"
            "resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))\n"
            "try:\n"
            "    with make_whole_folder(Path(sys.argv[1])) as folder:\n"
            "        (folder / 'a').write_bytes(bytes(9000))\n"
            "        write_manifest(folder, {})\n"
            "except StorageFailed as error:\n"
            "    print(error)\n",
            str(tmp_path / "whole"),
        ],
        env={"PYTHONPATH": str(SRC)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "nothing is left of it" in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [1, 2, 3, 4, 6])
def test_killed_at_any_sync_it_leaves_nothing_that_looks_whole(
    tmp_path: Path, count: int
) -> None:
    target = tmp_path / "whole"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal, sys\n"
            "from pathlib import Path\n"
            "from undersigned.kernel.whole_folder import *\n"
            "left, real = [int(sys.argv[2])], os.fsync\n"
            "def fsync(handle):\n"
            "    left[0] -= 1\n"
            "    if not left[0]: os.kill(os.getpid(), signal.SIGKILL)\n"
            "    real(handle)\n"
            "os.fsync = fsync\n"
            "with make_whole_folder(Path(sys.argv[1])) as folder:\n"
            "    (folder / 'a').write_bytes(b'secret')\n"
            "    (folder / 'b').mkdir()\n"
            "    write_manifest(folder, {})\n",
            str(target),
            str(count),
        ],
        env={"PYTHONPATH": str(SRC)},
        check=False,
    )
    assert done.returncode == -signal.SIGKILL
    left = [path.name for path in tmp_path.iterdir()]
    if target.exists():
        # Killed after the rename: it is whole.
        copy(target, tmp_path / "copy")
        return
    assert left == [".whole.unfinished"]
    # Whoever takes it for one finds that it is not, or that nothing is missing.
    make(target, FILES)
    copy(target, tmp_path / "copy")
    assert not (tmp_path / ".whole.unfinished").exists()


class TestADamagedOne:
    @pytest.mark.parametrize("name", [*FILES, MANIFEST])
    def test_any_changed_byte_is_found(
        self, whole: Path, tmp_path: Path, name: str
    ) -> None:
        path = whole / name
        data = path.read_bytes()
        path.write_bytes(data[:-1] + b"\x01" if data else b"\x01")
        with pytest.raises(FolderDamaged):
            copy(whole, tmp_path / "copy")

    @pytest.mark.parametrize("name", [*FILES, MANIFEST])
    def test_a_missing_file_is_found(
        self, whole: Path, tmp_path: Path, name: str
    ) -> None:
        (whole / name).unlink()
        with pytest.raises(FolderDamaged):
            copy(whole, tmp_path / "copy")

    def test_a_file_too_many_is_found(self, whole: Path, tmp_path: Path) -> None:
        (whole / "public" / "more").write_bytes(b"")
        with pytest.raises(FolderDamaged, match="more"):
            copy(whole, tmp_path / "copy")

    def test_a_link_or_a_pipe_is_no_file(self, whole: Path, tmp_path: Path) -> None:
        (whole / "ledger").unlink()
        (whole / "ledger").symlink_to("/etc/hostname")
        with pytest.raises(FolderDamaged, match="not a regular file"):
            copy(whole, tmp_path / "copy")
        (whole / "ledger").unlink()
        os.mkfifo(whole / "ledger")
        with pytest.raises(FolderDamaged, match="not a regular file"):
            copy(whole, tmp_path / "other")

    @pytest.mark.parametrize(
        "files",
        [
            {"../outside": [1, "00" * 32]},
            {"/etc/outside": [1, "00" * 32]},
            {"a/../../outside": [1, "00" * 32]},
            {"./a": [1, "00" * 32]},
            {"a": [True, "00" * 32]},
            {"a": [-1, "00" * 32]},
            {"a": [1, "00"]},
            {"a": [1, "zz" * 32]},
            {"a": "1"},
            [],
            None,
        ],
    )
    def test_a_manifest_names_only_files_within(
        self, whole: Path, files: object
    ) -> None:
        (whole / MANIFEST).write_text(json.dumps({"format": 1, "files": files}))
        with pytest.raises(FolderDamaged):
            read_manifest(whole)

    @pytest.mark.parametrize(
        "text", ["", "[]", "{}", "null", '{"format": 2, "files": {}}', "[" * 99_999]
    )
    def test_a_manifest_of_another_form_is_none(self, whole: Path, text: str) -> None:
        (whole / MANIFEST).write_text(text)
        with pytest.raises(FolderDamaged):
            read_manifest(whole)
