"""How far each log was published, and whether this database may go on from there.

Nothing is written here but the high-water marks, before anything is imported: from then
on a start is refused until the database has reached them.

What counts as seen: the mirrors that are named, the high-water file where it is there,
the own public folder, whose checkpoints were served, and what the spine says of a log.
Each log, and the spine, goes on from the largest of these, or from the database where
that has more; if any two contradict each other, from nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal, TypeAlias

from typing_extensions import override

from undersigned_verify import entry, merkle
from undersigned_verify import spine as spine_leaves
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note

from undersigned.kernel.errors import Conflict, Refused, StorageFailed
from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore
from undersigned.ledger import notes
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.mirrors import (
    Mirror,
    OnLeaves,
    Walk,
    list_kept,
    list_sizes,
    read_growth,
    walk,
)
from undersigned.ledger.notes import LogKey
from undersigned.ledger.open_log import OpenLog, decode_settings
from undersigned.ledger.spine import SPINE_PATH, spine_origin
from undersigned.ledger.store import SPINE_ID, Store
from undersigned.ledger.tree import TileTree

# What says how far a log was published: a mirror, the mark of an earlier start on this
# machine, or the operator's word.
Evidence: TypeAlias = Literal["mirror", "mark", "word"]

_CLOSE_PREFIX = bytes([entry.VERSION, entry.CLOSE])


class LogForked(Conflict):
    """Two checkpoints of one log contradict each other; both are named."""

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


class SigningKeyDiffers(Refused):
    """The log key among the secrets is not the one that signed this log."""

    code: ClassVar[str] = "signing-key-differs"


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
    """What one log, or the spine, goes on from.

    ``tree``: as the database holds it, or None; ``old_size``: how many leaves it has
    there. ``mirror`` and ``walked``: what is imported from, None where nothing is.
    ``marked``: whether this machine had a mark. ``close_reason``: of the close leaf.
    """

    origin: str
    path: str
    tree: TileTree | None
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
    """All logs, the spine (None before there is one), and names whose key is gone."""

    logs: list[LogPlan] = field(default_factory=list)
    spine: LogPlan | None = None
    lost: list[str] = field(default_factory=list)

    @property
    def everything(self) -> list[LogPlan]:
        """The logs and the spine."""
        return [*self.logs, *([self.spine] if self.spine is not None else [])]


@dataclass(slots=True)
class _Facts:
    """What one log's plan is made from."""

    origin: str
    path: str
    tree: TileTree | None
    # None: no secret, no file and no mirror has the key that signed it.
    key: VerifierKey | None
    mirrors: list[Mirror]
    mark: tuple[int, str] | None
    # The log's own public folder.
    folder: Path
    # What the spine says of it.
    told: list[Seen] = field(default_factory=list)


def plan_recovery(
    *,
    store: Store,
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
    SeenFurther, MirrorOfAnother, SigningKeyDiffers, MirrorRefused, StorageFailed.
    """
    planner = _Planner(
        store, high_water, public, keystore, nothing_published, on_leaves
    )
    return planner.run(list(mirrors), host)


class _Planner:
    """Plans the spine first, since it bears witness to the logs."""

    def __init__(
        self,
        store: Store,
        high_water: HighWater,
        public: Path,
        keystore: Keystore | None,
        nothing_published: bool,
        on_leaves: OnLeaves | None,
    ) -> None:
        self._store = store
        self._high_water = high_water
        self._public = public
        self._keystore = keystore
        self._nothing_published = nothing_published
        self._on_leaves = on_leaves
        self._unknown: list[str] = []
        # The largest checkpoint of each log that the spine has entered.
        self._told: dict[str, Seen] = {}

    def run(self, mirrors: list[Mirror], host: str) -> Plan:
        """Return the plan, or raise."""
        trees = self._load_trees(host)
        known = {*trees, *self._high_water.origins()}
        hosts = {host, *(origin.partition("/")[0] for origin in known)}
        by_origin: dict[str, list[Mirror]] = {}
        for mirror in mirrors:
            if mirror.origin.partition("/")[0] not in hosts:
                raise MirrorOfAnother(mirror=mirror.name, origin=mirror.origin)
            by_origin.setdefault(mirror.origin, []).append(mirror)
        plan = Plan()
        spine = spine_origin(host)
        if spine in known or spine in by_origin:
            facts = self._gather(spine, trees.get(spine), by_origin.get(spine, []))
            if facts is None:
                # A second spine under this name would be a fork of all logs at once.
                raise SigningKeyDiffers(origin=spine, problem="it is in no backup")
            plan.spine = self._plan(facts)
        # At an address a log is only asked for by a name that is known here; the spine
        # tells of every one, and a second log of its name would fork it.
        told = self._told.keys() - self._list_reserved()
        for origin in sorted({*known, *by_origin, *told} - {spine}):
            facts = self._gather(origin, trees.get(origin), by_origin.get(origin, []))
            if facts is None:
                plan.lost.append(origin)
                continue
            if origin in self._told:
                facts.told.append(self._told[origin])
            found = self._plan(facts)
            if found is not None:
                plan.logs.append(found)
        if self._unknown:
            raise HowFarUnknown(logs="; ".join(self._unknown))
        if plan.spine is not None:
            for log in plan.logs:
                self._require_spine_to_follow(log)
        return plan

    def _list_reserved(self) -> set[str]:
        return {one for (one,) in self._store.query("SELECT origin FROM reserved")}

    def _load_trees(self, host: str) -> dict[str, TileTree]:
        found: dict[str, TileTree] = {}
        for log_id, text in self._store.query("SELECT id, settings FROM log"):
            log = OpenLog(
                log_id=log_id,
                settings=decode_settings(text),
                public=self._public,
                key=None,
            )
            self._store.take(log_id, log.origin)
            log.load(self._store)
            found[log.origin] = log
        spine = load_spine(self._store, host=host, public=self._public)
        if spine is not None:
            found[spine.origin] = spine
        return found

    def _gather(
        self, origin: str, tree: TileTree | None, mirrors: list[Mirror]
    ) -> _Facts | None:
        """Return what is known of a log; None where nothing says that it is ours."""
        path = origin.partition("/")[2]
        if isinstance(tree, OpenLog):
            path = tree.settings.path
        mark = self._high_water.find(origin)
        note = _find_newest_note(self._store, tree) if tree is not None else None
        secret = _find_secret_key(self._keystore, origin, path)
        own = _find_public_key(self._public / path)
        theirs = [mirror.key for mirror in mirrors]
        if note is not None:
            known = [candidate for candidate in (secret, own, *theirs) if candidate]
            key = next((each for each in known if _has_signed(each, note)), None)
            if secret is not None and secret != key:
                raise SigningKeyDiffers(origin=origin)
        elif mark is not None and mark[0]:
            # It has the root of this machine's own log, and no key can forge that.
            key = secret or own or next(iter(theirs), None)
        else:
            key = secret or own
        is_told_only = tree is None and mark is None and not mirrors
        if key is None and note is None and (mirrors or is_told_only):
            return None
        for mirror in mirrors:
            if mirror.key != key:
                raise MirrorOfAnother(mirror=mirror.name, origin=origin)
        return _Facts(origin, path, tree, key, mirrors, mark, self._public / path)

    def _plan(self, facts: _Facts) -> LogPlan | None:
        """Return what a log goes on from; None, and note it, where nothing says it."""
        tree = facts.tree
        ours = Seen(
            tree.size if tree is not None else 0,
            tree.root if tree is not None else merkle.EMPTY_ROOT,
            "the database",
        )
        # What came with the database says nothing of later, unless it holds more.
        telling = [
            one for one in facts.mirrors if one.size > ours.size or not one.is_own
        ]
        mirror = max(telling, key=lambda mirror: mirror.size, default=None)
        plan = LogPlan(
            origin=facts.origin,
            path=facts.path,
            tree=tree,
            old_size=ours.size,
            size=ours.size,
            root=ours.root,
            evidence="mirror",
            # A mark of nothing says that it was begun here, and no more.
            marked=facts.mark is not None and bool(facts.mark[0] or not ours.size),
        )
        seen = [*_list_seen(facts)]
        if mirror is not None and mirror.size >= ours.size:
            plan.size, plan.root, plan.mirror = mirror.size, mirror.root, mirror
            sizes = {ours.size, *(each.size for each in seen)}
            plan.walked = self._walk(plan, mirror, sizes)
            theirs = Seen(mirror.size, mirror.root, mirror.name)
            _require_one_history(facts.origin, theirs, [ours, *seen], plan.walked.roots)
            return plan
        if tree is not None:
            roots = _read_roots(self._store, tree)
            _require_one_history(facts.origin, ours, seen, roots)
            plan.close_reason = _find_close_reason(self._store, tree)
            if plan.marked:
                plan.evidence = "mark"
                return plan
            if self._nothing_published:
                plan.evidence = "word"
                return plan
        self._unknown.append(_describe_unknown(facts))
        return None

    def _walk(self, plan: LogPlan, mirror: Mirror, sizes: set[int]) -> Walk:
        """Pass over a mirror; take from it what bears on other logs."""

        def take_close(leaf: bytes) -> None:
            if leaf[:2] == _CLOSE_PREFIX:
                plan.close_reason = _read_reason(leaf)

        def take_checkpoint(data: bytes) -> None:
            leaf = spine_leaves.parse(data)
            if isinstance(leaf, spine_leaves.CheckpointLeaf):
                self._told[leaf.origin] = Seen(
                    leaf.size, bytes.fromhex(leaf.root), mirror.name
                )

        is_spine = plan.path == SPINE_PATH
        return walk(
            mirror,
            sizes,
            on_leaf=take_checkpoint if is_spine else take_close,
            on_leaves=self._on_leaves,
        )

    def _require_spine_to_follow(self, log: LogPlan) -> None:
        """Nothing but a log's last publication may be missing in the spine.

        It is entered at once after each: a spine that lacks more is an older copy, and
        going on from it would fork it.
        """
        if log.mirror is None:
            return
        told = self._told.get(log.origin, Seen(0, b"", ""))
        missing = list_kept(log.mirror, max(told.size, log.old_size))
        times = read_growth(log.mirror)
        if len({times.get(size, size) for size in missing}) > 1:
            raise SeenFurther(
                origin=spine_origin(log.origin.partition("/")[0]),
                seen=f"{log.origin} has {log.size} leaves in {log.mirror.name}",
                known=f"the spine given here knows {told.size}",
            )


def load_spine(store: Store, *, host: str, public: Path) -> TileTree | None:
    """Return the spine's tree as the database holds it, None before there is one."""
    rows = store.query("SELECT size, frontier FROM spine")
    if not rows or not rows[0][0]:
        return None
    tree = TileTree(
        tree_id=SPINE_ID, origin=spine_origin(host), public=public, path=SPINE_PATH
    )
    tree.restore(store, size=rows[0][0], frontier=rows[0][1])
    return tree


def _find_newest_note(store: Store, tree: TileTree) -> bytes | None:
    """Return the log's newest checkpoint; it must be of the leaves beside it."""
    rows = store.query(
        "SELECT note FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
        (tree.tree_id,),
    )
    if not rows:
        return None
    note = bytes(rows[0][0])
    found = Checkpoint.parse(parse_note(note).text)
    if found != Checkpoint(tree.origin, tree.size, tree.root):
        raise StorageFailed(
            f"{tree.origin}: the database's newest checkpoint is not of its own leaves"
        )
    return note


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


def _describe_unknown(facts: _Facts) -> str:
    ours = facts.tree.size if facts.tree is not None else 0
    theirs = max((one.size for one in facts.mirrors if not one.is_own), default=None)
    found = "no mirror" if theirs is None else f"{theirs} in the largest mirror"
    if theirs is None and facts.mirrors:
        found = "no mirror but the copy that came with it"
    return f"{facts.origin}: {ours} leaves in the database, {found}"


def _list_seen(facts: _Facts) -> Iterator[Seen]:
    """Yield every state of the log that was shown, as far as this machine knows."""
    yield from facts.told
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


def _read_roots(store: Store, tree: TileTree) -> dict[int, bytes]:
    roots = {0: merkle.EMPTY_ROOT}
    for size, note in store.query(
        "SELECT size, note FROM checkpoint WHERE log=?", (tree.tree_id,)
    ):
        roots[size] = Checkpoint.parse(parse_note(note).text).root
    return roots


def _find_close_reason(store: Store, tree: TileTree) -> str | None:
    if not isinstance(tree, OpenLog) or tree.state.closed_at is None:
        return None
    [(leaf,)] = store.query(
        "SELECT leaf FROM published_control WHERE log=? AND idx=?",
        (tree.tree_id, tree.state.closed_at),
    )
    return _read_reason(leaf)


def _read_reason(leaf: bytes) -> str | None:
    close = entry.parse(leaf)
    return close.reason if isinstance(close, entry.Close) else None


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
    high_water.raise_all({log.origin: (log.size, log.root) for log in plan.everything})
