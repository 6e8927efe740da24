"""Where a log is read from: a folder, or a web address.

Both have the layout of PROTOCOL section 8 below them. Nothing read here is trusted:
sizes are limited, links to other hosts are not followed, odd files are not opened.
"""

import os
import re
import stat
import time
from array import array
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException, HTTPMessage
from pathlib import Path
from typing import IO, Final, Protocol
from urllib.error import HTTPError, URLError
from urllib.parse import quote, urlsplit
from urllib.request import (
    HTTPRedirectHandler,
    OpenerDirector,
    Request,
    build_opener,
)

from undersigned_verify.checkpoint import parse_decimal
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.note import MAX_NOTE
from undersigned_verify.spine import PATH as SPINE_PATH

# Seconds for one request, tries before giving up, requests at once.
TIMEOUT_SECONDS: Final = 30
TRIES: Final = 3
CONCURRENCY: Final = 8
MAX_GROWTH: Final = 100_000_000

_LOG_PATH: Final = re.compile(r"c/[^/.][^/]*(?:/(?:[2-9]|[1-9][0-9]+))?")
# Any of these makes a folder a log, so that a log without its checkpoint is still
# audited, and refused, rather than passed over.
_MARKS: Final = ("checkpoint", "checkpoints", "tile", "log.vkey", "count.json")


class Source(Protocol):
    """One log's files. Paths are relative to the log's folder, with slashes."""

    # Where it is, for people.
    name: str
    # Its path under the instance's root, such as c/river; None where unknown.
    path: str | None
    # Whether a server may append while it is read.
    live: bool

    def read(self, path: str, limit: int) -> bytes | None:
        """Return a file of at most ``limit`` bytes, None where there is none.

        Raises Fault("file-too-large") and Unreadable.
        """

    def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | None]:
        """Return several files, in order."""

    def list_kept(self, newest: int) -> "array[int]":
        """Return the sizes of the kept checkpoints, sorted; ``newest`` may be beyond.

        Raises Fault for a file name that is no size, and Unreadable.
        """


class DirectorySource:
    """A log in a folder."""

    def __init__(
        self, folder: Path, *, path: str | None = None, live: bool = False
    ) -> None:
        self.folder = folder
        self.name = str(folder)
        self.path = path
        self.live = live

    def read(self, path: str, limit: int) -> bytes | None:
        """Read one regular file; anything else of that name is no file of a log."""
        try:
            # O_NONBLOCK: a named pipe planted in an export must not hang the audit.
            handle = os.open(self.folder / path, os.O_RDONLY | os.O_NONBLOCK)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise Unreadable(f"{self.name}/{path}: {error.strerror}") from error
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            os.close(handle)
            return None
        with open(handle, "rb", buffering=0) as file:
            return _read_limited(file, limit, path, found.st_size + 1)

    def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | None]:
        """Read files one after another."""
        return [self.read(path, limit) for path in paths]

    def list_kept(self, newest: int) -> "array[int]":
        """List ``checkpoints/``; names that are not digits are not checkpoints."""
        sizes = array("q")
        try:
            with os.scandir(self.folder / "checkpoints") as entries:
                for entry in entries:
                    if entry.name.isascii() and entry.name.isdigit():
                        sizes.append(_size_of(entry.name))
        except (FileNotFoundError, NotADirectoryError):
            return sizes
        except OSError as error:
            raise Unreadable(f"{self.name}/checkpoints: {error.strerror}") from error
        if self.live:
            # Published since the newest checkpoint was read.
            return array("q", sorted(size for size in sizes if size <= newest))
        return array("q", sorted(sizes))


def _size_of(name: str) -> int:
    try:
        return parse_decimal(name)
    except Fault as fault:
        raise Fault("checkpoint-size", path=f"checkpoints/{name}") from fault


def _read_limited(file: IO[bytes], limit: int, path: str, step: int) -> bytes:
    """Read to the end in steps, so that memory follows what is there, not the limit."""
    parts = []
    left = limit + 1
    while left > 0 and (part := file.read(min(left, step))):
        parts.append(part)
        left -= len(part)
    if left <= 0:
        raise Fault("file-too-large", path=path)
    return parts[0] if len(parts) == 1 else b"".join(parts)


class _SameHost(HTTPRedirectHandler):
    """Follows a redirect only to the host that was named on the command line."""

    def redirect_request(
        self,
        req: Request,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: HTTPMessage,
        newurl: str,
    ) -> Request | None:
        old, new = urlsplit(req.full_url), urlsplit(newurl)
        if (old.scheme, old.netloc) != (new.scheme, new.netloc):
            raise Unreadable(f"{req.full_url} redirects to another host.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _make_opener() -> OpenerDirector:
    opener = build_opener(_SameHost)
    # A compressed answer would have to be unpacked before its size is known.
    opener.addheaders = [
        ("User-Agent", "undersigned-verify"),
        ("Accept-Encoding", "identity"),
    ]
    return opener


class HTTPSource:
    """A log behind a web address, live or a mirror.

    HTTP has no listing of ``checkpoints/``: the sizes come from ``growth.csv``, which
    is unsigned. That is sound: each size listed must have its signed checkpoint, and
    a size left out makes the rules of order stricter, never looser. What cannot be
    seen is a kept checkpoint that the server does not list; audit an export for that.
    A spine has no such list, and its rules need none: of its kept checkpoints only the
    newest is seen.
    """

    def __init__(self, url: str, *, path: str | None = None) -> None:
        """``url``: http or https, of the log's own folder."""
        check_url(url)
        self.url = url.rstrip("/")
        self.name = self.url
        self.path = path
        self.live = True
        self._opener = _make_opener()
        self._pool = ThreadPoolExecutor(CONCURRENCY)

    def read(self, path: str, limit: int) -> bytes | None:
        """Fetch one file; a few tries where the server is busy or unreachable."""
        url = f"{self.url}/{quote(path)}"
        reason = ""
        for attempt in range(TRIES):
            try:
                with self._opener.open(url, timeout=TIMEOUT_SECONDS) as answer:
                    return _read_limited(answer, limit, path, 1 << 17)
            except HTTPError as error:
                if error.code in (404, 410):
                    return None
                if error.code < 500 and error.code != 429:
                    raise Unreadable(f"{url}: status {error.code}") from error
                reason = f"status {error.code}"
            except (URLError, HTTPException, OSError) as error:
                reason = str(error)
            if attempt + 1 < TRIES:
                time.sleep(0.5 * 2**attempt)
        raise Unreadable(f"{url}: {reason}")

    def read_many(self, paths: Sequence[str], limit: int) -> list[bytes | None]:
        """Fetch a few files at a time."""
        return list(self._pool.map(lambda path: self.read(path, limit), paths))

    def list_kept(self, newest: int) -> "array[int]":
        """Read the sizes from growth.csv, up to ``newest``."""
        if self.path == SPINE_PATH:
            return array("q", [newest])
        sizes: set[int] = set()
        for attempt in range(TRIES):
            data = self.read("growth.csv", MAX_GROWTH)
            if data is None:
                raise Unreadable(
                    f"{self.url} has no growth.csv to list its kept checkpoints: "
                    "audit an export or a mirror's folder."
                )
            sizes = _parse_growth(data, self.url)
            # The list is written after the checkpoint, so it may lag for a moment.
            if newest in sizes:
                break
            if attempt + 1 < TRIES:
                time.sleep(1)
        return array("q", sorted({size for size in sizes if size < newest} | {newest}))


def _parse_growth(data: bytes, url: str) -> set[int]:
    try:
        lines = data.decode("ascii").split("\n")
        return {parse_decimal(line.split(",")[0]) for line in lines[1:] if line}
    except (UnicodeDecodeError, Fault) as error:
        raise Unreadable(f"{url}/growth.csv is not a list of sizes.") from error


def check_url(url: str) -> None:
    """Raise Unreadable unless this is a plain http or https address."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Unreadable(f"{url} is not an http or https address.")
    if parts.query or parts.fragment or parts.username is not None:
        raise Unreadable(f"{url} has a query, fragment or user name.")


def is_url(target: str) -> bool:
    """Tell whether a command line argument is meant as an address."""
    return "://" in target


def find_logs(target: str, log: str | None = None) -> list[Source]:
    """Return the logs at a folder or address: all of a root, or the one named.

    ``log``: a path such as ``c/river`` or ``c/river/2`` below a root. Raises
    Unreadable where there is none.
    """
    if log is not None and _LOG_PATH.fullmatch(log) is None:
        raise Unreadable(f"{log} is not the path of a log, such as c/ID or c/ID/2.")
    if is_url(target):
        return [_find_url(target, log)]
    root = Path(target)
    if not root.is_dir():
        raise Unreadable(f"{target} is not a folder.")
    if log is not None:
        if not (root / log).is_dir():
            raise Unreadable(f"{target} has no log {log}.")
        return [DirectorySource(root / log, path=log)]
    if _is_log(root):
        return [DirectorySource(root)]
    found: list[Source] = [
        DirectorySource(root / path, path=path) for path in _list_logs(root)
    ]
    if not found:
        raise Unreadable(f"{target} holds no log: no c/ID below it.")
    return found


def _find_url(target: str, log: str | None) -> Source:
    check_url(target)
    url = target.rstrip("/")
    if log is not None:
        return HTTPSource(f"{url}/{log}", path=log)
    match = re.search(rf"/({_LOG_PATH.pattern})$", urlsplit(url).path)
    if match is None:
        raise Unreadable(f"{target} does not end in c/ID: name a log with --log.")
    return HTTPSource(url, path=match[1])


def _is_log(folder: Path) -> bool:
    return any((folder / mark).exists() for mark in _MARKS)


def _list_logs(root: Path) -> Iterator[str]:
    """Yield the paths of all logs under ``c/``, first versions before later ones."""
    if not (root / "c").is_dir():
        return
    for folder in sorted((root / "c").iterdir()):
        for log in [folder, *sorted(folder.iterdir())] if folder.is_dir() else []:
            path = log.relative_to(root).as_posix()
            if _LOG_PATH.fullmatch(path) and log.is_dir() and _is_log(log):
                yield path


def find_log(target: str, path: str) -> Source:
    """Return the log at ``target``, which is its own folder or the root above it.

    ``path``: where the log lies under a root, such as ``c/river``.
    """
    is_root = not _is_log(Path(target))
    if is_url(target):
        is_root = re.search(rf"/{_LOG_PATH.pattern}$", target.rstrip("/")) is None
    return find_logs(target, path if is_root else None)[0]


def find_instance(
    target: str, log: str | None = None
) -> tuple[list[Source], Source | None]:
    """Return the logs of ``find_logs`` and their spine, None where there is none.

    A target that is a spine itself, ``log`` "spine", or a root with nothing else, has
    no logs.
    """
    if is_url(target):
        url = target.rstrip("/")
        check_url(url)
        if log == SPINE_PATH:
            url, log = f"{url}/{SPINE_PATH}", None
        if log is None and url.endswith(f"/{SPINE_PATH}"):
            return [], HTTPSource(url, path=SPINE_PATH)
    else:
        folder = Path(target)
        alone = open_root_spine(folder)
        if alone is not None and (log == SPINE_PATH or not any(_list_logs(folder))):
            return [], alone
        if log is None and _is_log(folder) and folder.absolute().name == SPINE_PATH:
            return [], DirectorySource(folder, path=SPINE_PATH)
    logs = find_logs(target, log)
    return logs, find_spine(logs[0])


def find_spine(log: Source) -> Source | None:
    """Return the spine of the instance whose log this is, None where it has none.

    It lies at ``spine`` under the root that the log lies under at ``c/ID``; where that
    cannot be told of a folder, there is no root.
    """
    if isinstance(log, HTTPSource):
        root = log.url.removesuffix(f"/{log.path}")
        return _probe_spine(root) if log.path and root != log.url else None
    if not isinstance(log, DirectorySource):
        return None
    match = re.search(rf"/({_LOG_PATH.pattern})$", os.path.abspath(log.folder))
    if match is None:
        return None
    root_folder = Path(os.path.abspath(log.folder).removesuffix(f"/{match[1]}"))
    return open_root_spine(root_folder, live=log.live)


def open_root_spine(root: Path, *, live: bool = False) -> Source | None:
    """Return the spine of a root, None where there is no such folder."""
    folder = root / SPINE_PATH
    # A folder without a log in it is a spine that lost its files, and is refused.
    if not folder.is_dir():
        return None
    return DirectorySource(folder, path=SPINE_PATH, live=live)


def _probe_spine(root: str) -> Source | None:
    spine = HTTPSource(f"{root}/{SPINE_PATH}", path=SPINE_PATH)
    # Either file makes it one, so that a server cannot hide it by losing the other.
    if spine.read("checkpoint", MAX_NOTE) is None:
        return spine if spine.read("log.vkey", MAX_NOTE) is not None else None
    return spine
