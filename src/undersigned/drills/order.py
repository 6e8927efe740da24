"""``order``: the raw issuance file does not say who asked or was issued first.

The real issuer answers one request after another, so that the true order is total;
the raw bytes of its files are taken at random moments and searched for the nullifiers
and ticket hashes. How far the offsets follow the true order is a rank correlation.
A control, whose file keeps a write-ahead log, shows that the same search finds order
where it is kept.

A mean over trials is held against max(0.1, four standard deviations): thirty items in
honest disorder show a correlation of 0.18 as a rule.
"""

from __future__ import annotations

import math
import random
import secrets
import sqlite3
import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from unittest.mock import patch

from typing_extensions import override

from undersigned.credentials import operations
from undersigned.credentials.data import TicketFacts
from undersigned.credentials.issuance_file import SMALL_ROWS, IssuanceFile
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.rsa import make_key
from undersigned.credentials.tickets import read_ticket
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.statistics import correlation_bound, order_correlation
from undersigned.kernel.errors import UndersignedError
from undersigned.kernel.keystore import Keystore

AT = datetime(2026, 3, 10, 10, 20, 17, tzinfo=UTC)
LEAST = 0.1
PAGE_BYTES = 4096
# Too few to say anything: such looks are figures, not checks.
LEAST_ITEMS = 200
# Fewer items in a file tell nothing of an order.
FEW = 10
Snapshot = dict[str, bytes]


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("order")
    with open_issuer(Path(mkdtemp(prefix="undersigned-order-"))) as issuer:
        for size, trials in _plan(options):
            report.say(f"{trials} campaigns of {size} tickets and tokens")
            measure(issuer, size, trials, options.seed, report)
    _try_rebuild(options, report)
    _try_control(options, report)
    return report.as_json()


def _plan(options: Options) -> list[tuple[int, int]]:
    """Return (size, trials); small sizes often, so that their mean says something."""
    if options.size == "tiny":
        return [(60, 2)]
    if options.size == "ci":
        return [(30, 27), (200, 4), (500, 2), (3000, 1)]
    return [(30, 134), (200, 20), (500, 8), (3000, 3)]


@contextmanager
def open_issuer(folder: Path) -> Iterator[Issuer]:
    """Run a real issuer over ``folder``, without waiting for batches to gather."""
    failures: list[BaseException] = []
    issuer = Issuer(
        folder=folder / "issuance",
        keystore=Keystore(folder / "secrets"),
        on_failure=failures.append,
        gather_seconds=0.0,
    )
    (folder / "issuance").mkdir(exist_ok=True)
    issuer.start()
    try:
        yield issuer
    finally:
        issuer.stop()


# --- one campaign, request after request


@dataclass(slots=True)
class Trial:
    """What was seen of one campaign's files, with the true orders up to then."""

    path: Path
    asked: list[bytes] = field(default_factory=list)
    issued: list[bytes] = field(default_factory=list)
    seen: list[tuple[str, list[bytes], Snapshot]] = field(default_factory=list)

    def look(self, moment: str, order: list[bytes]) -> None:
        """Copy every file of the campaign's issuance as it is now."""
        self.seen.append((moment, list(order), copy_files(self.path)))


def copy_files(path: Path) -> Snapshot:
    """Return the raw bytes of a file and of all that lies beside it by its name."""
    found: Snapshot = {}
    for one in path.parent.glob(f"{path.name}*"):
        try:
            found[one.name.removeprefix(path.stem)] = one.read_bytes()
        except FileNotFoundError:
            continue  # renamed or removed between the listing and the reading
    return found


class _Watcher(threading.Thread):
    """Copies the files at moments of its own, in the middle of commits too."""

    def __init__(self, trial: Trial, rng: random.Random) -> None:
        super().__init__(daemon=True)
        self._trial = trial
        self._rng = rng
        self._ended = threading.Event()
        self.seen: list[tuple[str, list[bytes], Snapshot]] = []

    @override
    def run(self) -> None:
        """Look until told to end."""
        while not self._ended.wait(self._rng.uniform(0.01, 0.2)):
            order = list(self._trial.issued)
            if len(order) >= FEW:
                self.seen.append(("amid commits", order, copy_files(self._trial.path)))
                # The last few are enough; each is a whole file.
                del self.seen[:-4]

    def end(self) -> None:
        """Stop looking and hand over what was seen."""
        self._ended.set()
        self.join()
        self._trial.seen += self.seen


def run_trial(issuer: Issuer, name: str, size: int, rng: random.Random) -> Trial:
    """Grant ``size`` tickets and answer ``size`` requests, one after another."""
    origin, path = f"drill.example/c/{name}", f"c/{name}"
    _share_key(issuer, path)
    version_keys = operations.create_version(
        issuer=issuer, origin=origin, path=path, classes=[1]
    )
    key = issuer.get_version(origin).key
    if key is None:
        raise RuntimeError("the drill's version has no key")
    trial = Trial(issuer.folder / f"{name}.sqlite3")
    ask_moment = rng.randrange(size // 2, size)
    tickets: list[tuple[str, TicketFacts]] = []
    for number in range(size):
        nullifier = key.make_nullifier(klass=1, value=f"{name}-{number}@example.org")
        text = operations.grant_ticket(
            issuer=issuer, origin=origin, klass=1, nullifier=nullifier, at=AT
        )
        facts = read_ticket(key, text, at=AT)
        tickets.append((text, facts))
        trial.asked.append(facts.ticket_hash)
        if number == ask_moment:
            trial.look("tickets, live", trial.asked)
    trial.look("tickets, all", trial.asked)
    moment = rng.randrange(size // 2, size)
    watcher = _Watcher(trial, random.Random(rng.random()))
    watcher.start()
    for number, (text, facts) in enumerate(tickets):
        _issue(issuer, origin, version_keys[0].key_id, text)
        trial.issued.append(facts.nullifier)
        if number == moment:
            trial.look("issued, live", trial.issued)
    watcher.end()
    trial.look("issued, all", trial.issued)
    today = int(AT.timestamp()) // 86_400
    issuer.rebuild_after_publication(origin, today=today)
    trial.look("issued, after a publication", trial.issued)
    return trial


_SHARED_KEY: list[bytes] = []


def _share_key(issuer: Issuer, path: str) -> None:
    """Give every campaign of this drill one RSA key: making one takes 0.1 s."""
    if not _SHARED_KEY:
        _SHARED_KEY.append(make_key())
    if issuer.keystore is not None:
        issuer.keystore.put(f"{path}/issuer-0-1.der", _SHARED_KEY[0])


def _issue(issuer: Issuer, origin: str, key_id: bytes, ticket: str) -> None:
    # Any number below the modulus is a blinded message as far as the issuer can tell.
    request = b"\x00\x02" + key_id[-1:] + b"\0" + secrets.token_bytes(255)
    future: Future[bytes | UndersignedError] = Future()
    operations.issue(
        issuer=issuer,
        origin=origin,
        ticket=ticket,
        request=request,
        at=AT,
        done=future.set_result,
    )
    answer = future.result()
    if isinstance(answer, UndersignedError):
        raise answer


# --- what the raw bytes show


@dataclass(slots=True)
class Pool:
    """Correlations of one kind over trials."""

    weighted: float = 0.0
    items: int = 0
    looks: int = 0
    largest: float = 0.0
    # Pairs in the same page: how many there are, how many stand as if in order.
    pairs: int = 0
    in_order: int = 0
    variance: float = 0.0

    def add(self, order: list[bytes], data: bytes) -> None:
        """Note how one file's bytes follow one order."""
        places = {item: data.find(item) for item in order}
        found = sorted((at, item) for item, at in places.items() if at >= 0)
        if len(found) < FEW:
            return
        rho = order_correlation(order, [item for _at, item in found])
        self.weighted += rho * (len(found) - 1)
        self.items += len(found) - 1
        self.looks += 1
        self.largest = max(self.largest, abs(rho))
        self._add_pages(order, found)

    def _add_pages(self, order: list[bytes], found: list[tuple[int, bytes]]) -> None:
        rank = {item: number for number, item in enumerate(order)}
        pages: dict[int, list[int]] = defaultdict(list)
        for at, item in found:
            pages[at // PAGE_BYTES].append(rank[item])
        for ranks in pages.values():
            # SQLite fills a page from its end: the later cell has the lower offset.
            count = len(ranks)
            self.pairs += count * (count - 1) // 2
            self.in_order += sum(
                earlier > later
                for number, earlier in enumerate(ranks)
                for later in ranks[number + 1 :]
            )
            self.variance += count * (count - 1) * (2 * count + 5) / 72

    @property
    def mean(self) -> float:
        """The mean correlation, each look weighted by its items."""
        return self.weighted / self.items if self.items else 0.0

    @property
    def page_sigmas(self) -> float:
        """By how many standard deviations pages show more order than chance."""
        if not self.variance:
            return 0.0
        return (self.in_order - self.pairs / 2) / math.sqrt(self.variance)

    def as_json(self) -> Values:
        """Return the figures."""
        return {
            "looks": self.looks,
            "items": self.items,
            "mean_rho": round(self.mean, 4),
            "largest_rho": round(self.largest, 4),
            "pairs_in_pages": self.pairs,
            "share_in_order": round(self.in_order / self.pairs, 4) if self.pairs else 0,
            "sigmas": round(self.page_sigmas, 2),
        }


def measure(
    issuer: Issuer, size: int, trials: int, seed: int, report: Report
) -> dict[str, Pool]:
    """Run trials of one size and judge each kind of look."""
    rng = random.Random(f"{seed} {size}")
    pools: dict[str, Pool] = defaultdict(Pool)
    newest: dict[str, Pool] = defaultdict(Pool)
    for number in range(trials):
        trial = run_trial(issuer, f"t{size}-{number}", size, rng)
        for moment, order, snapshot in trial.seen:
            for name, data in snapshot.items():
                pools[f"{moment}, {name}"].add(order, data)
                if size > SMALL_ROWS and moment.startswith(("issued", "amid")):
                    newest[f"{moment}, {name}"].add(order[SMALL_ROWS:], data)
    for kind, pool in sorted(pools.items()):
        if not pool.looks:
            continue
        # Looks amid commits of one trial show the same items: they count once.
        independent = pool.items // (4 if kind.startswith("amid") else 1)
        report.figures[f"n={size}, {kind}"] = pool.as_json()
        if independent < LEAST_ITEMS and not kind.startswith("issued"):
            continue
        bound = correlation_bound(independent, least=LEAST)
        report.check(
            f"n={size}, {kind}: mean rank correlation at most {bound:.2f}",
            abs(pool.mean) <= bound,
            f"{pool.mean:+.3f} over {pool.looks} looks, largest {pool.largest:.2f}",
        )
        if _must_hide_pages(size, kind):
            report.check(
                f"n={size}, {kind}: rows within a page are in no order (4 sigma)",
                abs(pool.page_sigmas) <= 4 * (2 if kind.startswith("amid") else 1),
                f"{pool.page_sigmas:+.1f} sigma over {pool.pairs} pairs",
            )
    for kind, pool in sorted(newest.items()):
        if pool.looks:
            name = f"n={size}, {kind}, rows since the last rebuild"
            report.figures[name] = pool.as_json()
    return pools


def _must_hide_pages(size: int, kind: str) -> bool:
    """Say whether a look comes after a rebuild of everything that it shows.

    A file of more than ``SMALL_ROWS`` is rebuilt at each publication: until then the
    newest rows of a page can be told, which PROTOCOL §1 says ("requests since the last
    publication or rebuild").
    """
    return size <= SMALL_ROWS or "after a publication" in kind or "tickets" in kind


# --- rebuilt files are the same bytes


def _try_rebuild(options: Options, report: Report) -> None:
    rows = options.pick(tiny=60, ci=3000, full=30_000)
    nullifiers = [secrets.token_bytes(32) for _number in range(rows)]
    tickets = [secrets.token_bytes(32) for _number in range(rows // 10)]
    requests = {one: secrets.token_bytes(32) for one in nullifiers}
    built = []
    for number, batch in enumerate((1, 7, 40)):
        rng = random.Random(f"{options.seed} {number}")
        rng.shuffle(nullifiers)
        rng.shuffle(tickets)
        path = Path(mkdtemp(prefix="undersigned-order-")) / "c.sqlite3"
        file = IssuanceFile(path, create={0: 1})
        # After some single commits the rest at once: more of them add minutes only.
        ends = [*range(batch, 200, batch), rows]
        for begin, end in pairwise([0, *ends]):
            file.begin()
            for one in nullifiers[begin:end]:
                file.add_ticket(one, 20_000)
                file.spend(
                    ticket_hash=one, nullifier=one, key_index=0, request=requests[one]
                )
            file.commit()
        file.begin()
        for one in tickets:
            file.add_ticket(one, 20_000)
        file.commit()
        file.rebuild()
        file.close()
        built.append(path.read_bytes())
    report.check(
        f"three files of the same {rows} rows in different orders and batches are "
        "the same bytes after a rebuild",
        len(set(built)) == 1,
        f"{len(built[0])} bytes",
    )


# --- the control


class JournalledFile(IssuanceFile):
    """An issuance file as it must not be: with a write-ahead log, never rebuilt."""

    @override
    def _connect(self) -> sqlite3.Connection:
        db = super()._connect()
        db.execute("PRAGMA locking_mode=NORMAL")
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA wal_autocheckpoint=0")
        return db

    @override
    def rebuild(self) -> None:
        """Keep everything as it came."""
        self.changed = False


def _try_control(options: Options, report: Report) -> None:
    size = options.pick(tiny=60, ci=300, full=500)
    rng = random.Random(options.seed)
    with (
        patch.object(operations, "IssuanceFile", JournalledFile),
        open_issuer(Path(mkdtemp(prefix="undersigned-order-"))) as issuer,
    ):
        trial = run_trial(issuer, "control", size, rng)
    pool = Pool()
    for _moment, order, snapshot in trial.seen:
        data = snapshot.get(".sqlite3-wal", b"")
        if order and data and order == trial.issued:
            pool.add(order, data)
    report.figures["control, write-ahead log"] = pool.as_json()
    report.check(
        "control: where a write-ahead log is kept, the same search finds the order",
        pool.mean > 0.9,
        f"{pool.mean:+.3f}",
    )
