"""Files that are there after a power cut, or not at all."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
from collections.abc import Collection
from pathlib import Path

from undersigned.kernel.errors import StorageFailed


def fsync_directory(path: Path) -> None:
    """Make the names in ``path`` durable. Raises StorageFailed."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise StorageFailed(f"couldn't sync folder {path}: {error}") from error


def sync_names(path: Path, *, below: Path) -> None:
    """Make every name on the way from the folder ``below`` to ``path`` durable.

    A file that was synced, in a folder that was synced, is gone after a power cut if
    the folder's own name was not. Raises StorageFailed.
    """
    for folder in path.parents:
        fsync_directory(folder)
        if folder == below:
            return


def write_durable(path: Path, data: bytes, *, mode: int = 0o600) -> None:
    """Replace ``path`` by ``data``, atomically and durably.

    Write aside, fsync, rename, fsync the folder: after a crash the old bytes or the
    new ones are there, never a mixture. Raises StorageFailed.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            _write_all(handle, data)
            os.fsync(handle)
        finally:
            os.close(handle)
        os.replace(aside, path)
    except OSError as error:
        raise StorageFailed(f"couldn't write {path}: {error}") from error
    fsync_directory(path.parent)


def stamp_of(data: bytes) -> int:
    """Return a time of change made of the content, in nanoseconds since 1970.

    Some 61 bits: 31 of whole seconds, which every file system can keep, and the rest.
    A web server that builds its ETag from time and size, in seconds, then has one that
    changes with the bytes, however soon after one another two versions come, and is the
    same again after a re-export.
    """
    digest = hashlib.sha256(data).digest()
    seconds = int.from_bytes(digest[:4]) >> 1
    return seconds * 1_000_000_000 + int.from_bytes(digest[4:8]) % 1_000_000_000


def write_atomic(
    path: Path, data: bytes, *, mode: int = 0o644, stamped: bool = False
) -> None:
    """Replace ``path`` by ``data`` in one step, without waiting for the disk.

    For files that are re-exported from the database after a crash. ``stamped``: its
    time of change is ``stamp_of`` its content. Raises StorageFailed.
    """
    aside = path.with_name(f".{path.name}.new")
    try:
        handle = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            _write_all(handle, data)
            if stamped:
                stamp = stamp_of(data)
                os.utime(handle, ns=(stamp, stamp))
        finally:
            os.close(handle)
        os.replace(aside, path)
    except OSError as error:
        raise StorageFailed(f"couldn't write {path}: {error}") from error


def _write_all(handle: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(handle, view) :]


def destroy_file(path: Path) -> None:
    """Overwrite ``path`` with zeros, make that durable, and remove it.

    On copy-on-write and flash storage old blocks may live on below the file system;
    PROTOCOL §1 says so. A missing file is not an error. Raises StorageFailed.
    """
    try:
        size = path.stat().st_size
    except FileNotFoundError:
        return
    try:
        handle = os.open(path, os.O_WRONLY)
        try:
            left = size
            while left > 0:
                left -= os.write(handle, bytes(min(left, 1 << 20)))
            os.fsync(handle)
            os.ftruncate(handle, 0)
            os.fsync(handle)
        finally:
            os.close(handle)
        path.unlink()
    except OSError as error:
        raise StorageFailed(f"couldn't destroy {path}: {error}") from error
    fsync_directory(path.parent)


def blur_times(folder: Path, *, leave: Collection[str]) -> None:
    """Give everything below ``folder`` this moment as its time of change.

    The file system notes by itself when a file or folder was last written: the last
    request's very instant. Setting a file's times is a change of its own, so that the
    instant is gone from all of them. ``leave``: folders in it that are public.
    """
    for place, folders, files in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in leave]
        for name in (".", *files):
            # Moved or removed meanwhile, by the thread that it belongs to; or somebody
            # else's, put there by hand.
            with contextlib.suppress(OSError):
                os.utime(Path(place) / name, follow_symlinks=False)


def make_private_folder(path: Path) -> Path:
    """Create ``path`` durably, readable by its owner alone; return it.

    Parents that are missing become private too: ``mkdir(parents=True)`` would give
    them the usual mode. Raises StorageFailed.
    """
    if not path.exists():
        make_private_folder(path.parent)
        try:
            path.mkdir(exist_ok=True, mode=0o700)
        except OSError as error:
            raise StorageFailed(f"couldn't make {path}: {error}") from error
        fsync_directory(path.parent)
    return path


def make_public_folder(path: Path) -> None:
    """Create ``path`` and what is missing above it, with the usual mode.

    Its name is not synced: ``sync_names`` does that, where something durable is in it.
    Raises StorageFailed.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageFailed(f"couldn't make {path}: {error}") from error


def remove_folder_if_empty(path: Path) -> None:
    """Remove a folder that nothing is in, and leave any other. Raises StorageFailed."""
    try:
        path.rmdir()
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT):
            raise StorageFailed(f"couldn't remove {path}: {error}") from error
