"""A folder of private files that is there whole and checked, or not at all.

It is written under another name beside its place, every file and folder is synced, a
manifest names each file's length and SHA-256, and only then is it renamed. Whoever is
stopped before that leaves ``.NAME.unfinished``, which has no manifest and is no backup;
the next attempt removes it.

``manifest.json`` is one JSON object: ``format`` (1), ``files`` (an object: path with
slashes to ``[bytes, sha256 in hex]``) and whatever else its maker notes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from undersigned.kernel.durable import fsync_directory, write_durable
from undersigned.kernel.errors import Conflict, Refused, StorageFailed

MANIFEST = "manifest.json"
FORMAT = 1
# Millions of names fit; what is longer was not written here.
MAX_MANIFEST = 1 << 30
_PIECE = 1 << 20

# Told (done, total), in files.
OnFiles = Callable[[int, int], None]


class FolderExists(Conflict):
    """There is something of that name already, or somebody is writing it now."""

    code: ClassVar[str] = "folder-exists"


class FolderDamaged(Refused):
    """A folder's files are not those of its manifest, or it has none that is valid."""

    code: ClassVar[str] = "folder-damaged"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a whole folder says of itself. ``sha256``: of the manifest's own bytes."""

    files: dict[str, tuple[int, str]]
    notes: dict[str, Any]
    sha256: str


@contextmanager
def make_whole_folder(target: Path) -> Iterator[Path]:
    """Give a private folder to fill; move it to ``target`` when the block ends well.

    The block ends with ``write_manifest``. Otherwise nothing is left of it. Raises
    FolderExists, and StorageFailed when the disk refuses.
    """
    aside = target.with_name(f".{target.name}.unfinished")
    try:
        with _claim(aside, target):
            try:
                yield aside
                if target.exists() or target.is_symlink():
                    # Renaming would silently replace a folder that is empty.
                    raise FolderExists(folder=str(target))
                os.rename(aside, target)
                fsync_directory(target.parent)
            except BaseException:
                shutil.rmtree(aside, ignore_errors=True)
                raise
    except OSError as error:
        raise StorageFailed(
            f"couldn't write {target}: {error.strerror or error}; nothing is left of it"
        ) from error


@contextmanager
def _claim(aside: Path, target: Path) -> Iterator[None]:
    """Make ``aside``, in place of what an attempt that was cut off left there."""
    if target.exists() or target.is_symlink():
        raise FolderExists(folder=str(target))
    if aside.exists():
        with _lock(aside, target):
            shutil.rmtree(aside)
    try:
        aside.mkdir(mode=0o700)
    except FileExistsError:
        raise FolderExists(folder=str(target)) from None
    with _lock(aside, target):
        yield


@contextmanager
def _lock(folder: Path, target: Path) -> Iterator[None]:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise FolderExists(folder=str(target), problem="is being written") from None
        yield
    finally:
        os.close(handle)


def list_regular_files(root: Path) -> list[str]:
    """Return the paths below ``root`` of its files, with slashes, sorted.

    Raises FolderDamaged for a link, a pipe or anything else that is no file.
    """
    names = []
    for place, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(place) / name
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                names.append(path.relative_to(root).as_posix())
            elif not stat.S_ISDIR(mode):
                raise FolderDamaged(problem=f"{path} is not a regular file")
    return sorted(names)


def write_manifest(
    root: Path, notes: dict[str, Any], *, on_files: OnFiles = lambda _done, _all: None
) -> Manifest:
    """Make every file private and durable, then write the manifest over them."""
    names = list_regular_files(root)
    files: dict[str, tuple[int, str]] = {}
    for done, name in enumerate(names, start=1):
        path = root / name
        path.chmod(0o600)
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            files[name] = _hash(handle)
            os.fsync(handle)
        finally:
            os.close(handle)
        on_files(done, len(names))
    for place, folders, _files in os.walk(root, topdown=False):
        for name in folders:
            (Path(place) / name).chmod(0o700)
        fsync_directory(Path(place))
    found = {**notes, "format": FORMAT, "files": files}
    data = json.dumps(found, sort_keys=True, indent=1, ensure_ascii=False).encode()
    write_durable(root / MANIFEST, data + b"\n")
    return read_manifest(root)


def _hash(handle: int) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    while piece := os.read(handle, _PIECE):
        digest.update(piece)
        size += len(piece)
    return size, digest.hexdigest()


def read_manifest(root: Path) -> Manifest:
    """Return the manifest of a folder, its form checked. Raises FolderDamaged."""
    path = root / MANIFEST
    try:
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST + 1)
    except FileNotFoundError:
        raise FolderDamaged(problem=f"{root} has no {MANIFEST}: it is not whole") from (
            None
        )
    try:
        found = json.loads(data)
        if found.pop("format") != FORMAT:
            raise FolderDamaged(problem="it was written in another format")
        files = {
            str(name): (_whole(size), _hex(sha256))
            for name, (size, sha256) in found.pop("files").items()
        }
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FolderDamaged(problem=f"{MANIFEST} is damaged: {error}") from None
    for name in files:
        pure = PurePosixPath(name)
        if pure.is_absolute() or ".." in pure.parts or str(pure) != name:
            raise FolderDamaged(problem=f"{MANIFEST} names {name!r}")
    return Manifest(files, found, hashlib.sha256(data).hexdigest())


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("a length is not a whole number")
    return value


def _hex(value: object) -> str:
    if not isinstance(value, str) or len(bytes.fromhex(value)) != 32:
        raise ValueError("a digest is not SHA-256 in hex")
    return value


def copy_whole_folder(
    source: Path,
    target: Path,
    manifest: Manifest,
    *,
    on_files: OnFiles = lambda _done, _all: None,
) -> None:
    """Copy a folder's files to ``target``, each checked as it is written, and synced.

    Nothing but what the manifest names may be there. ``target``: an empty folder; its
    contents are worthless if this raises. Raises FolderDamaged, StorageFailed.
    """
    there = [name for name in list_regular_files(source) if name != MANIFEST]
    strange = sorted(set(there) ^ set(manifest.files))
    if strange:
        raise FolderDamaged(
            problem=f"{strange[0]} is only in the folder or only in {MANIFEST}"
        )
    try:
        for done, name in enumerate(there, start=1):
            path = target / name
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            found = _copy(source / name, path)
            if found != manifest.files[name]:
                raise FolderDamaged(problem=f"{name} is not what {MANIFEST} says")
            on_files(done, len(there))
        for place, folders, _files in os.walk(target, topdown=False):
            for folder in folders:
                (Path(place) / folder).chmod(0o700)
            fsync_directory(Path(place))
    except OSError as error:
        raise StorageFailed(
            f"couldn't write {target}: {error.strerror or error}"
        ) from error


def _copy(source: Path, target: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    reader = os.open(source, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        with target.open("xb") as file:
            os.fchmod(file.fileno(), 0o600)
            while piece := os.read(reader, _PIECE):
                digest.update(piece)
                size += len(piece)
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
    finally:
        os.close(reader)
    return size, digest.hexdigest()
