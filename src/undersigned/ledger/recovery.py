"""How far each log was published, and whether this database may go on from there.

Nothing is written here but the high-water marks, before anything is imported: from then
on a start is refused until the database has reached them.

What counts as seen: the mirrors that are named, the high-water file where it is there,
and the own public folder, whose checkpoints were served. Each log goes on from the
largest of these, or from the database where that has more; if any two contradict each
other, from nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from typing_extensions import override

from undersigned_verify import entry, merkle
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note

from undersigned.kernel.errors import Conflict, Refused, StorageFailed
from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore
from undersigned.ledger import notes
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.mirrors import Mirror, OnLeaves, Walk, list_sizes, walk
from undersigned.ledger.notes import LogKey
from undersigned.ledger.open_log import OpenLog, decode_settings

# What says how far a log was published: a mirror, the mark of an earlier start on this
# machine, or the operator's word.
Evidence: TypeAlias = Literal["mirror", "mark", "word"]


class LogForked(Conflict):
    """Two checkpoints of one log contradict each other; ours and theirs are named."""

    code: ClassVar[str] = "log-forked"


class HowFarUnknown(Refused):
    """No mirror says how far these logs were published."""

    code: ClassVar[str] = "how-far-unknown"


class SeenFurther(Refused):
    """A log was seen further than any mirror given here holds it."""

    code: ClassVar[str] = "log-seen-further"


class MirrorOfAnother(Refused):
    """A mirror is of another instance, or signed by another key than the log's own."""

    code: ClassVar[str] = "mirror-of-another"


class LogKeyDiffers(Refused):
    """The log key among the secrets is not the one that signed this log."""

    code: ClassVar[str] = "log-key-differs"


@dataclass(frozen=True, slots=True)
class Seen:
    """A state of a log that somebody was shown. ``where``: who holds it."""

    size: int
    root: bytes
    where: str

    @override
    def __str__(self) -> str:
        return f"{self.size} leaves with root {self.root.hex()} ({self.where})"


@dataclass(slots=True)
class LogPlan:
    """What one log goes on from.

    ``log``: as the database holds it, or None; ``old_size``: how many leaves it has
    there. ``mirror`` and ``walked``: what is imported from, None where nothing is.
    ``marked``: whether this machine had a mark. ``close_reason``: of the close leaf.
    """

    origin: str
    path: str
    log: OpenLog | None
    old_size: int
    size: int
    root: bytes
    evidence: Evidence
    marked: bool
    mirror: Mirror | None = None
    walked: Walk | None = None
    close_reason: str | None = None

    @property
    def is_changed(self) -> bool:
        """Whether the database was not the newest, as far as anything here says."""
        return self.size > self.old_size or not self.marked


@dataclass(slots=True)
class Plan:
    """All logs, and the origins whose key nobody has any more."""

    logs: list[LogPlan] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)


@dataclass(slots=True)
class _Facts:
    """What one log's plan is made from."""

    origin: str
    path: str
    log: OpenLog | None
    # None: no secret, no file and no mirror has the key that signed it.
    key: VerifierKey | None
    mirrors: list[Mirror]
    mark: tuple[int, str] | None
    # The log's own public folder.
    folder: Path


def plan_recovery(
    *,
    connection: sqlite3.Connection,
    high_water: HighWater,
    public: Path,
    keystore: Keystore | None,
    mirrors: Iterable[Mirror],
    host: str,
    nothing_published: bool,
    on_leaves: OnLeaves | None = None,
) -> Plan:
    """Decide what each log goes on from; change nothing.

    ``keystore`` None: the secrets are locked, which is no hindrance. ``host``: of this
    instance. ``nothing_published``: the operator's word that no log grew since the
    database was copied; it decides only where nothing else does, and never against a
    mark, a mirror or the own public folder. Raises LogForked, HowFarUnknown,
    SeenFurther, MirrorOfAnother, LogKeyDiffers, MirrorRefused, StorageFailed.
    """
    logs = _load_logs(connection, public)
    known = {*logs, *high_water.origins()}
    hosts = {host, *(origin.partition("/")[0] for origin in known)}
    by_origin: dict[str, list[Mirror]] = {}
    for mirror in mirrors:
        if mirror.origin.partition("/")[0] not in hosts:
            raise MirrorOfAnother(mirror=mirror.name, origin=mirror.origin)
        by_origin.setdefault(mirror.origin, []).append(mirror)
    plan, unknown = Plan(), []
    for origin in sorted({*known, *by_origin}):
        facts = _gather(
            connection,
            origin,
            logs.get(origin),
            by_origin.get(origin, []),
            mark=high_water.find(origin),
            public=public,
            keystore=keystore,
        )
        if facts is None:
            plan.lost.append(origin)
            continue
        found = _plan_log(connection, facts, nothing_published, on_leaves)
        if found is None:
            unknown.append(_describe_unknown(facts))
        else:
            plan.logs.append(found)
    if unknown:
        raise HowFarUnknown(logs="; ".join(unknown))
    return plan


def _describe_unknown(facts: _Facts) -> str:
    ours = facts.log.size if facts.log is not None else 0
    theirs = max((one.size for one in facts.mirrors if not one.is_own), default=None)
    found = "no mirror" if theirs is None else f"{theirs} in the largest mirror"
    if theirs is None and facts.mirrors:
        found = "no mirror but the copy that came with it"
    return f"{facts.origin}: {ours} leaves in the database, {found}"


def _load_logs(connection: sqlite3.Connection, public: Path) -> dict[str, OpenLog]:
    found = {}
    for log_id, text in connection.execute("SELECT id, settings FROM log").fetchall():
        log = OpenLog(
            log_id=log_id, settings=decode_settings(text), public=public, key=None
        )
        log.load(connection)
        found[log.origin] = log
    return found


def _gather(
    connection: sqlite3.Connection,
    origin: str,
    log: OpenLog | None,
    mirrors: list[Mirror],
    *,
    mark: tuple[int, str] | None,
    public: Path,
    keystore: Keystore | None,
) -> _Facts | None:
    """Return what is known of a log; None where nothing says that it is ours."""
    path = log.settings.path if log is not None else origin.partition("/")[2]
    note = _find_newest_note(connection, log) if log is not None else None
    secret = _find_secret_key(keystore, origin, path)
    own = _find_public_key(public / path)
    theirs = [mirror.key for mirror in mirrors]
    if note is not None:
        known = [candidate for candidate in (secret, own, *theirs) if candidate]
        key = next((each for each in known if _has_signed(each, note)), None)
        if secret is not None and secret != key:
            raise LogKeyDiffers(origin=origin)
    elif mark is not None and mark[0]:
        # The mark has the root of this machine's own log, and no key can forge that.
        key = secret or own or next(iter(theirs), None)
    else:
        key = secret or own
    if key is None and mirrors and note is None:
        return None
    for mirror in mirrors:
        if mirror.key != key:
            raise MirrorOfAnother(mirror=mirror.name, origin=origin)
    return _Facts(origin, path, log, key, mirrors, mark, public / path)


def _find_newest_note(connection: sqlite3.Connection, log: OpenLog) -> bytes | None:
    """Return the log's newest checkpoint; it must be of the leaves beside it."""
    row = connection.execute(
        "SELECT note FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
        (log.log_id,),
    ).fetchone()
    if row is None:
        return None
    found = Checkpoint.parse(parse_note(row[0]).text)
    if found != Checkpoint(log.origin, log.size, log.root):
        raise StorageFailed(
            f"{log.origin}: the database's newest checkpoint is not of its own leaves"
        )
    return bytes(row[0])


def _find_secret_key(
    keystore: Keystore | None, origin: str, path: str
) -> VerifierKey | None:
    if keystore is None:
        return None
    try:
        seed = keystore.get(notes.key_name(path))
        return VerifierKey.parse(LogKey(origin, seed).vkey)
    except (KeyMissing, KeysLocked, ValueError):
        # A log without its key is read, and never published again.
        return None


def _find_public_key(folder: Path) -> VerifierKey | None:
    try:
        return VerifierKey.parse((folder / "log.vkey").read_text("utf-8").rstrip("\n"))
    except (OSError, UnicodeDecodeError, Fault):
        return None


def _has_signed(key: VerifierKey, note: bytes) -> bool:
    try:
        open_checkpoint(note, key)
    except Fault:
        return False
    return True


def _plan_log(
    connection: sqlite3.Connection,
    facts: _Facts,
    nothing_published: bool,
    on_leaves: OnLeaves | None,
) -> LogPlan | None:
    """Return what a log goes on from; None where nothing says it."""
    log = facts.log
    ours = Seen(
        log.size if log is not None else 0,
        log.root if log is not None else merkle.EMPTY_ROOT,
        "the database",
    )
    seen = [*_list_seen(facts)]
    # What came with the database says nothing of later, unless it holds more.
    telling = [one for one in facts.mirrors if one.size > ours.size or not one.is_own]
    mirror = max(telling, key=lambda mirror: mirror.size, default=None)
    plan = LogPlan(
        origin=facts.origin,
        path=facts.path,
        log=log,
        old_size=ours.size,
        size=ours.size,
        root=ours.root,
        evidence="mirror",
        marked=facts.mark is not None,
    )
    if mirror is not None and mirror.size >= ours.size:
        plan.size, plan.root = mirror.size, mirror.root
        plan.mirror = mirror
        sizes = {ours.size, *(each.size for each in seen)}
        plan.walked = walk(mirror, sizes, on_leaves=on_leaves)
        roots = plan.walked.roots
        theirs = Seen(mirror.size, mirror.root, mirror.name)
        _require_one_history(facts.origin, theirs, [ours, *seen], roots)
        plan.close_reason = _read_reason(plan.walked.close)
        return plan
    if log is None:
        return None
    plan.close_reason = _read_reason(_find_close(connection, log))
    _require_one_history(facts.origin, ours, seen, _read_roots(connection, log))
    if facts.mark is not None:
        plan.evidence = "mark"
    elif nothing_published:
        plan.evidence = "word"
    else:
        return None
    return plan


def _find_close(connection: sqlite3.Connection, log: OpenLog) -> bytes | None:
    if log.state.closed_at is None:
        return None
    row = connection.execute(
        "SELECT leaf FROM published_control WHERE log=? AND idx=?",
        (log.log_id, log.state.closed_at),
    ).fetchone()
    return bytes(row[0])


def _read_reason(leaf: bytes | None) -> str | None:
    close = entry.parse(leaf) if leaf is not None else None
    return close.reason if isinstance(close, entry.Close) else None


def _list_seen(facts: _Facts) -> Iterator[Seen]:
    """Yield every state of the log that was shown, as far as this machine knows."""
    for mirror in facts.mirrors:
        yield Seen(mirror.size, mirror.root, mirror.name)
    if facts.mark is not None and facts.mark[0]:
        size, root = facts.mark
        yield Seen(size, bytes.fromhex(root), "the high-water mark")
    if facts.key is None:
        return
    # The largest that this log's key has signed: what follows it in the list of names
    # was never a checkpoint.
    for size in reversed(list_sizes(facts.folder)):
        try:
            data = (facts.folder / "checkpoints" / str(size)).read_bytes()
            found = open_checkpoint(data, facts.key)
        except (OSError, Fault):
            continue
        yield Seen(found.size, found.root, f"{facts.folder}/checkpoints")
        return


def _read_roots(connection: sqlite3.Connection, log: OpenLog) -> dict[int, bytes]:
    roots = {0: merkle.EMPTY_ROOT}
    for size, note in connection.execute(
        "SELECT size, note FROM checkpoint WHERE log=?", (log.log_id,)
    ):
        roots[size] = Checkpoint.parse(parse_note(note).text).root
    return roots


def _require_one_history(
    origin: str, newest: Seen, others: list[Seen], roots: dict[int, bytes]
) -> None:
    """Everything seen is a prefix of ``newest``, whose prefixes have ``roots``."""
    for other in others:
        if other.size > newest.size:
            raise SeenFurther(origin=origin, seen=str(other), known=str(newest))
    for other in others:
        # A published size that the newest history does not know is no prefix of it.
        if roots.get(other.size) != other.root:
            raise LogForked(origin=origin, one=str(other), other=str(newest))


def write_marks(high_water: HighWater, plan: Plan) -> None:
    """Record durably, in one write, how far every log was published.

    Before anything is imported: a start is refused until all of it is there. Raises
    StorageFailed.
    """
    high_water.raise_all({log.origin: (log.size, log.root) for log in plan.logs})
