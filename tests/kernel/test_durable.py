"""Files that are there after a power cut, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import Synced
from undersigned.kernel.durable import (
    destroy_file,
    fsync_directory,
    make_private_folder,
    make_public_folder,
    remove_folder_if_empty,
    sync_names,
    write_atomic,
    write_durable,
)
from undersigned.kernel.errors import StorageFailed

Write = Callable[[Path, bytes], None]


def list_names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail(*_arguments: object) -> None:
    raise OSError(28, "No space left on device")


class Disk:
    """Notes what is done to files, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.acts: list[str] = []
        fsync, replace = os.fsync, os.replace

        def noted_fsync(handle: int) -> None:
            kind = "folder" if stat.S_ISDIR(os.fstat(handle).st_mode) else "file"
            self.acts.append(f"fsync {kind}")
            fsync(handle)

        def noted_replace(source: Path, target: Path) -> None:
            self.acts.append("rename")
            replace(source, target)

        monkeypatch.setattr(os, "fsync", noted_fsync)
        monkeypatch.setattr(os, "replace", noted_replace)


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


@pytest.mark.parametrize("write", [write_durable, write_atomic])
class TestWriting:
    def test_it_replaces_the_whole_content(self, tmp_path: Path, write: Write) -> None:
        path = tmp_path / "checkpoint"
        write(path, b"a longer first content")
        write(path, b"second")
        assert path.read_bytes() == b"second"
        assert list_names(tmp_path) == ["checkpoint"]

    def test_it_writes_what_the_kernel_takes_in_pieces(
        self, tmp_path: Path, write: Write, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        real = os.write
        monkeypatch.setattr(os, "write", lambda handle, data: real(handle, data[:3]))
        write(tmp_path / "tile", b"0123456789")
        assert (tmp_path / "tile").read_bytes() == b"0123456789"

    @pytest.mark.parametrize("step", ["write", "replace", "open"])
    def test_it_keeps_the_old_content_when_the_disk_fails(
        self, tmp_path: Path, write: Write, step: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "checkpoint"
        write(path, b"old")
        with monkeypatch.context() as patch:
            patch.setattr(os, step, fail)
            with pytest.raises(StorageFailed):
                write(path, b"new")
        assert path.read_bytes() == b"old"
        write(path, b"new")
        assert path.read_bytes() == b"new"


class TestWritingDurably:
    def test_it_syncs_content_then_renames_then_syncs_the_name(
        self, tmp_path: Path, disk: Disk
    ) -> None:
        write_durable(tmp_path / "highwater.json", b"{}")
        assert disk.acts == ["fsync file", "rename", "fsync folder"]

    def test_it_is_readable_by_its_owner_alone_unless_told(
        self, tmp_path: Path
    ) -> None:
        write_durable(tmp_path / "secret", b"x")
        write_durable(tmp_path / "public", b"x", mode=0o644)
        assert stat.S_IMODE((tmp_path / "secret").stat().st_mode) == 0o600
        assert stat.S_IMODE((tmp_path / "public").stat().st_mode) & 0o400

    def test_it_fails_loudly_when_the_sync_fails(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFailed):
            write_durable(tmp_path / "highwater.json", b"{}")
        with pytest.raises(StorageFailed):
            fsync_directory(tmp_path)


class TestNames:
    def test_every_name_on_the_way_is_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "public" / "tile" / "0" / "000"
        path.parent.mkdir(parents=True)
        synced = Synced(monkeypatch)
        sync_names(path, below=tmp_path / "public")
        assert synced.reaches(path, below=tmp_path / "public")
        assert not synced.has(tmp_path)

    def test_a_private_folder_is_there_after_a_power_cut(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        synced = Synced(monkeypatch)
        path = make_private_folder(tmp_path / "secrets" / "c" / "river")
        assert synced.reaches(path, below=tmp_path)

    def test_it_fails_loudly_when_a_name_cannot_be_synced(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFailed):
            make_private_folder(tmp_path / "secrets")


class TestDestroying:
    def test_it_overwrites_before_it_removes(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "issuer.der"
        path.write_bytes(b"a secret key")
        # A second name of the same blocks shows what became of them.
        os.link(path, tmp_path / "blocks")
        monkeypatch.setattr(os, "ftruncate", lambda _handle, _size: None)
        destroy_file(path)
        assert not path.exists()
        assert (tmp_path / "blocks").read_bytes() == bytes(12)

    def test_it_makes_the_overwriting_durable_first(
        self, tmp_path: Path, disk: Disk
    ) -> None:
        (tmp_path / "issuer.der").write_bytes(b"a secret key")
        destroy_file(tmp_path / "issuer.der")
        assert disk.acts[0] == "fsync file"
        assert disk.acts[-1] == "fsync folder"

    def test_it_takes_a_missing_file_for_done(self, tmp_path: Path) -> None:
        destroy_file(tmp_path / "never-there")

    def test_it_fails_loudly_when_it_cannot(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = tmp_path / "issuer.der"
        path.write_bytes(b"a secret key")
        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(StorageFailed):
            destroy_file(path)


class TestAPrivateFolder:
    def test_it_and_its_missing_parents_are_their_owners_alone(
        self, tmp_path: Path
    ) -> None:
        old = os.umask(0)
        try:
            made = make_private_folder(tmp_path / "a" / "b")
        finally:
            os.umask(old)
        assert made == tmp_path / "a" / "b"
        for path in (made, made.parent):
            assert stat.S_IMODE(path.stat().st_mode) == 0o700

    def test_it_is_left_as_it_is_when_it_exists(self, tmp_path: Path) -> None:
        tmp_path.chmod(0o755)
        make_private_folder(tmp_path)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


class TestAPublicFolder:
    def test_it_is_made_with_what_is_missing_above_it(self, tmp_path: Path) -> None:
        for _time in range(2):
            make_public_folder(tmp_path / "tile" / "0")
        assert (tmp_path / "tile" / "0").is_dir()

    def test_it_goes_when_nothing_is_in_it(self, tmp_path: Path) -> None:
        folder = tmp_path / "000.p"
        folder.mkdir()
        (folder / "17").write_bytes(b"a tile")
        remove_folder_if_empty(folder)
        assert folder.is_dir()
        (folder / "17").unlink()
        for _time in range(2):
            remove_folder_if_empty(folder)
            assert not folder.exists()


@pytest.mark.parametrize(
    "step, act",
    [
        ("mkdir", make_private_folder),
        ("mkdir", make_public_folder),
        ("rmdir", remove_folder_if_empty),
    ],
)
def test_a_folder_that_cannot_be_made_or_removed_is_a_loud_failure(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
    act: Callable[[Path], object],
) -> None:
    folder = tmp_path / "a"
    with monkeypatch.context() as patch:
        patch.setattr(os, step, fail)
        with pytest.raises(StorageFailed):
            act(folder)
    act(folder)
