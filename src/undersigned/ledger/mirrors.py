"""Copies of a log that others hold, read as evidence of how far it was published.

Whoever holds a checkpoint under a log's own key can prove every state that is not an
extension of it wrong. So before an older database goes on, each copy that can be found
is verified and compared; what the copies agree on is what the log must go on from.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import ClassVar, TypeVar

from typing_extensions import override

from undersigned_verify import merkle, tile
from undersigned_verify.audit import audit_log
from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import MAX_NOTE, VerifierKey, parse_note
from undersigned_verify.opening import open_key, read_file, read_whole
from undersigned_verify.source import (
    MAX_GROWTH,
    DirectorySource,
    HTTPSource,
    Source,
    find_instance,
    is_url,
)
from undersigned_verify.spine import PATH as SPINE_PATH
from undersigned_verify.spine_audit import audit_spine

from undersigned.kernel.errors import Refused
from undersigned.kernel.whole_folder import MANIFEST

_LOG_URL = re.compile(r"/(c/[^/]+(/[0-9]+)?|spine)/?$")

OnLeaves = Callable[[int, int], None]
Result = TypeVar("Result")


class MirrorRefused(Refused):
    """A copy of a log is not accepted by the verifier."""

    code: ClassVar[str] = "mirror-refused"


class NewestKept(DirectorySource):
    """A folder whose newest checkpoint is the largest that it keeps.

    A server killed between two writes of a publication leaves a kept checkpoint that
    ``checkpoint`` does not name yet. It may have been served, so it counts.
    """

    def __init__(self, folder: Path, *, path: str | None) -> None:
        super().__init__(folder, path=path, live=True)

    @override
    def read(self, path: str, limit: int) -> bytes | None:
        """Read a file; in place of the newest checkpoint, the largest kept one."""
        if path == "checkpoint":
            sizes = list_sizes(self.folder)
            if sizes:
                path = f"checkpoints/{sizes[-1]}"
        return super().read(path, limit)


def list_sizes(folder: Path) -> list[int]:
    """Return the sizes named by the kept checkpoints in a log's folder, sorted."""
    try:
        names = [path.name for path in (folder / "checkpoints").iterdir()]
    except (FileNotFoundError, NotADirectoryError):
        return []
    digits = [name for name in names if re.fullmatch(r"0|[1-9][0-9]{0,18}", name)]
    return sorted(map(int, digits))


@dataclass(frozen=True, slots=True)
class Mirror:
    """A verified copy of one log, at the size that was verified.

    ``is_own``: it came with the database, out of the same backup, so that it cannot say
    whether anything was published later.
    """

    source: Source
    origin: str
    key: VerifierKey
    size: int
    root: bytes
    is_own: bool = False

    @property
    def name(self) -> str:
        """Where it is, for people."""
        return self.source.name


def list_sources(targets: Iterable[str], paths: Iterable[str]) -> list[Source]:
    """Return the logs at some folders and addresses, each with its instance's spine.

    ``paths``: of the logs to look for below an address, which cannot be listed. Raises
    Unreadable where there is no log.
    """
    found: dict[str, Source] = {}
    for target in targets:
        if is_url(target) and _LOG_URL.search(target) is None:
            base = target.rstrip("/")
            sources: list[Source | None] = [
                log
                for path in (*paths, SPINE_PATH)
                if (log := HTTPSource(f"{base}/{path}", path=path)).read(
                    "checkpoint", MAX_NOTE
                )
            ]
        else:
            logs, spine = find_instance(target)
            sources = [*logs, spine]
        for source in sources:
            if isinstance(source, DirectorySource):
                newest = NewestKept(source.folder, path=source.path)
                found.setdefault(newest.name, newest)
            elif source is not None:
                found.setdefault(source.name, source)
    return list(found.values())


def _is_own(source: Source, public: Path) -> bool:
    if not isinstance(source, DirectorySource):
        return False
    folder = source.folder.resolve()
    return folder.is_relative_to(public.resolve()) or any(
        parent.name == "public" and (parent.parent / MANIFEST).is_file()
        for parent in folder.parents
    )


def open_mirror(
    source: Source,
    *,
    public: Path,
    workers: int | None,
    on_leaves: OnLeaves | None = None,
) -> Mirror:
    """Audit a copy and return it. ``public``: this instance's own public root.

    Raises MirrorRefused, Unreadable.
    """
    # The spine is compared with the logs when it is decided what to go on from: of a
    # server that was killed, it may lack what was published last.
    report = (
        audit_spine(source, [], progress=on_leaves).report
        if source.path == SPINE_PATH
        else audit_log(source, workers=workers, progress=on_leaves, with_spine=False)
    )
    if report.origin is None or report.tree_size is None or report.root_hash is None:
        raise MirrorRefused(mirror=source.name, fault=str(report.fault))
    if report.fault is not None:
        raise MirrorRefused(
            mirror=source.name, origin=report.origin, fault=str(report.fault)
        )
    mirror = Mirror(
        source,
        report.origin,
        _read(source, lambda: open_key(source)),
        report.tree_size,
        bytes.fromhex(report.root_hash),
        is_own=_is_own(source, public),
    )
    # Read again, so checked again: an address may answer differently each time.
    read_note(mirror, mirror.size, mirror.root)
    return mirror


def _read(source: Source, read: Callable[[], Result]) -> Result:
    try:
        return read()
    except Fault as fault:
        raise MirrorRefused(mirror=source.name, fault=str(fault)) from fault


def read_note(mirror: Mirror, size: int, root: bytes) -> bytes:
    """Return a kept checkpoint as the log's own key alone signed it.

    Lines of witnesses are left out. Raises MirrorRefused unless it is of ``root``.
    """
    path = f"checkpoints/{size}"

    def read() -> bytes:
        data = read_file(mirror.source, path, MAX_NOTE)
        found = open_checkpoint(data, mirror.key)
        if found != Checkpoint(mirror.origin, size, root):
            raise Fault("checkpoint-root", path=path)
        return _strip(data, mirror.key)

    return _read(mirror.source, read)


def _strip(data: bytes, key: VerifierKey) -> bytes:
    note = parse_note(data)
    (signature,) = (
        signature
        for name, identity, signature in note.signatures
        if (name, identity) == (key.name, key.key_id)
    )
    line = f"\u2014 {key.name} {encode_base64(key.key_id + signature)}\n"
    return f"{note.text}\n{line}".encode()


@dataclass(slots=True)
class Walk:
    """One pass over a mirror's leaves.

    ``roots``: of the prefixes that were asked for. ``digests``: SHA-256 of each
    bundle's bytes, so that a later read is known to be of the same leaves.
    ``tile_roots``: the node above each full bundle.
    """

    roots: dict[int, bytes] = field(default_factory=dict)
    digests: list[bytes] = field(default_factory=list)
    tile_roots: list[bytes] = field(default_factory=list)


def walk(
    mirror: Mirror,
    sizes: set[int],
    *,
    on_leaf: Callable[[bytes], None] = lambda _leaf: None,
    on_leaves: OnLeaves | None = None,
) -> Walk:
    """Hash all leaves of a mirror; note the roots of prefixes of these sizes.

    ``on_leaf`` is given each leaf, in order. Raises MirrorRefused where the leaves are
    not those that were audited.
    """
    found, frontier = Walk(), merkle.Frontier()
    if 0 in sizes:
        found.roots[0] = merkle.EMPTY_ROOT
    for n, width in tile.bundles_of(mirror.size):
        data = _read_bundle(mirror, n, width)
        leaves = tile.parse_bundle(data)
        hashes = [merkle.leaf_hash(leaf) for leaf in leaves]
        for leaf in leaves:
            on_leaf(leaf)
        for leaf_hash in hashes:
            frontier.append(leaf_hash)
            if frontier.size in sizes:
                found.roots[frontier.size] = frontier.root()
        found.digests.append(sha256(data).digest())
        if width == tile.WIDTH:
            found.tile_roots.append(tile.tile_root(hashes))
        if on_leaves is not None:
            on_leaves(frontier.size, mirror.size)
    if frontier.root() != mirror.root:
        raise MirrorRefused(mirror=mirror.name, fault="it changes while it is read")
    return found


def _read_bundle(mirror: Mirror, n: int, width: int) -> bytes:
    def read() -> bytes:
        path = tile.tile_path("entries", n, width)
        data = read_whole(mirror.source, path)
        if len(tile.parse_bundle(data)) != width:
            raise Fault("entries-form", path=path)
        return data

    return _read(mirror.source, read)


def read_bundle(mirror: Mirror, walked: Walk, n: int) -> list[bytes]:
    """Return the leaves of bundle ``n``, the same that were walked over."""
    width = min(tile.WIDTH, mirror.size - n * tile.WIDTH)
    data = _read_bundle(mirror, n, width)
    if sha256(data).digest() != walked.digests[n]:
        raise MirrorRefused(mirror=mirror.name, fault="it changes while it is read")
    return tile.parse_bundle(data)


def list_kept(mirror: Mirror, after: int) -> array[int]:
    """Return the sizes of the mirror's kept checkpoints beyond ``after``."""
    kept = _read(mirror.source, lambda: mirror.source.list_kept(mirror.size))
    sizes = {size for size in kept if after < size <= mirror.size}
    return array("q", sorted(sizes | ({mirror.size} if mirror.size > after else set())))


def read_growth(mirror: Mirror) -> dict[int, int]:
    """Return when each kept checkpoint was made, as the server noted it, unsigned.

    Seconds since 1970 by size; lines that say nothing sensible are left out.
    """
    data = _read(mirror.source, lambda: mirror.source.read("growth.csv", MAX_GROWTH))
    times: dict[int, int] = {}
    for line in (data or b"").decode("ascii", "replace").split("\n")[1:]:
        try:
            size, _net, at = line.split(",")
            times[int(size)] = int(datetime.fromisoformat(at).timestamp())
        except ValueError:
            continue
    return times


def read_statement(mirror: Mirror, digest: str) -> bytes:
    """Return the statement with this SHA-256. Raises MirrorRefused."""

    def read() -> bytes:
        data = read_file(mirror.source, "statement", MAX_GROWTH)
        if sha256(data).hexdigest() != digest:
            raise Fault("statement-mismatch", path="statement")
        return data

    return _read(mirror.source, read)
