"""Where rendered pages are kept: in a folder that a web server may serve as it is."""

from __future__ import annotations

import contextlib
import gzip
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from undersigned.kernel.durable import write_atomic
from undersigned.kernel.errors import StorageFailed

PACKED = ".gz"
_INDEX = "index.html"


class PageStore(Protocol):
    """Keeps pages by address: ``/en/`` or ``/static/look.css``.

    Only the renderer writes. A put or a remove is visible to every reader once it has
    returned, and no reader ever gets half a page. Nothing need survive a crash: a start
    makes every page again. An object store is filled from the folder (``web.objects``).
    """

    def put(self, address: str, body: bytes, *, scrub: bool = False) -> None:
        """Keep a page, also compressed, in place of the one before.

        ``scrub``: leave nothing readable of what it replaces. Raises StorageFailed.
        """
        ...

    def remove(self, address: str) -> None:
        """Keep it no longer, in any form, and leave nothing readable of it.

        No error where there is none. Raises StorageFailed.
        """
        ...

    def list_addresses(self) -> set[str]:
        """Return the addresses of everything that is kept."""
        ...


class FolderStore:
    """The store as a folder: ``/en/c/ID/`` is ``en/c/ID/index.html``, and ``….gz``.

    Every file's time of change is made of its content (``kernel.durable.stamp_of``):
    it tells nobody when it was made, a web server's own ETag changes with the bytes,
    and a file cut short by a crash is seen for what it is.
    """

    def __init__(self, root: Path) -> None:
        """``root`` is made with the first page."""
        self.root = root
        # Told of each page that was made again, or removed, once that is so.
        self.on_changed: Callable[[str, bool], None] = lambda _address, _removed: None

    def find_file(self, address: str) -> Path:
        """Return the file of an address of ours, whether it is there or not."""
        name = address.removeprefix("/")
        return self.root / (f"{name}{_INDEX}" if address.endswith("/") else name)

    def put(self, address: str, body: bytes, *, scrub: bool = False) -> None:
        """See PageStore."""
        path = self.find_file(address)
        packed = gzip.compress(body, mtime=0)
        if len(packed) >= len(body):
            packed = b""
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = self._replace(path, body, scrub=scrub)
            self._replace(_packed(path), packed, scrub=scrub)
        except OSError as error:
            raise StorageFailed(f"couldn't keep page {address}: {error}") from error
        if is_new:
            self.on_changed(address, False)

    def _replace(self, path: Path, data: bytes, *, scrub: bool) -> bool:
        """Put ``data`` in place of what is there; False where that is the same."""
        with contextlib.suppress(FileNotFoundError):
            if path.read_bytes() == data:
                return False
        with _scrubbed(path, wanted=scrub):
            if data:
                write_atomic(path, data, stamped=True)
            else:
                path.unlink(missing_ok=True)
        return True

    def remove(self, address: str) -> None:
        """See PageStore."""
        path = self.find_file(address)
        try:
            # The compressed one first: a web server may look for it alone.
            for one in (_packed(path), path):
                with _scrubbed(one, wanted=True):
                    one.unlink(missing_ok=True)
        except OSError as error:
            raise StorageFailed(f"couldn't remove page {address}: {error}") from error
        finally:
            # Also where this copy cannot be removed: another one then can.
            self.on_changed(address, True)

    def list_addresses(self) -> set[str]:
        """See PageStore."""
        found = set()
        for path in self._list_files():
            name = str(path.relative_to(self.root)).removesuffix(PACKED)
            folder, _slash, last = name.rpartition("/")
            address = f"{folder}/" if last == _INDEX else name
            found.add(f"/{address.removeprefix('/')}")
        return found

    def _list_files(self) -> Iterator[Path]:
        for place, _folders, names in os.walk(self.root):
            for name in names:
                if not name.startswith("."):
                    yield Path(place, name)

    def clean(self) -> None:
        """Remove what a crash left half-written: once, at a start."""
        for path in self.root.rglob(".*.new"):
            with _scrubbed(path, wanted=True):
                path.unlink(missing_ok=True)

    def blur(self) -> None:
        """Let no file or folder tell when a page was asked for, or erased.

        The system notes every change in a time that cannot be set; setting the others
        is a change, too, and moves it to now, for all of them alike.
        """
        for place, _folders, names in os.walk(self.root):
            for path in [Path(place), *(Path(place, name) for name in names)]:
                with contextlib.suppress(FileNotFoundError):
                    found = path.stat()
                    if path == Path(place):
                        os.utime(path)
                    else:
                        os.utime(path, ns=(found.st_mtime_ns, found.st_mtime_ns))


def _packed(path: Path) -> Path:
    return path.with_name(path.name + PACKED)


@contextlib.contextmanager
def _scrubbed(path: Path, *, wanted: bool) -> Iterator[None]:
    """Overwrite what stood at ``path`` before, once its name is gone.

    Not earlier: a reader would get zeros. Who reads the old file at this very moment
    may still get some; that is better than names on a disk that were erased.
    """
    try:
        handle = os.open(path, os.O_WRONLY) if wanted else None
    except FileNotFoundError:
        handle = None
    if handle is None:
        yield
        return
    try:
        yield
        size = os.fstat(handle).st_size
        os.pwrite(handle, bytes(size), 0)
        os.fsync(handle)
    finally:
        os.close(handle)
