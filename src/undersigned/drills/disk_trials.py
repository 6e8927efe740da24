"""One call at a time goes wrong: it fails, or is the process's last.

To be run in a child of ``isolated`` with the library of ``journal`` preloaded: the
library watches the child and all its copies, and its fuse is lit in the copy that acts.
"""

from __future__ import annotations

import asyncio
import errno
import json
import random
import re
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from undersigned.config.env import read_environment
from undersigned.drills import signer as signing
from undersigned.drills.disk_acts import (
    ACTS,
    OTHER_FILE,
    PATH,
    Hand,
    Scene,
    hear,
    prepare_instance,
)
from undersigned.drills.forked import Leave, run_forked
from undersigned.drills.journal import (
    Burning,
    Fuse,
    Kind,
    Record,
    begin_journal,
    read_journal,
    write_mark,
)
from undersigned.drills.platter import INDEX_SUFFIX, MODELS, Model, Platter
from undersigned.drills.power_states import start_over
from undersigned.drills.report import Values
from undersigned.drills.site import get
from undersigned.drills.stage import Stage, open_stage
from undersigned.drills.story import follow

WATCHED = frozenset(
    {
        Kind.MKDIR,
        Kind.CREATE,
        Kind.WRITE,
        Kind.TRUNCATE,
        Kind.EXTEND,
        Kind.RENAME,
        Kind.LINK,
        Kind.UNLINK,
        Kind.RMDIR,
        Kind.SYNC,
    }
)
NEVER = (1 << 32) - 1
# The pages database may be late: its failures are told, and tried again.
PAGES = "app.sqlite3"
# Of an index nothing is durable; the journal of a file that is being made aside guards
# nothing: that file is synced, or destroyed, before it has a name that counts.
UNHEARD = (INDEX_SUFFIX, ".rebuild-journal")
# Names for which SQLite syncs the folder by itself: of journals, and of a copy aside.
SQLITES_OWN = ("-journal", "-wal", INDEX_SUFFIX, ".rebuild")
_NUMBER = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class Site:
    """One call of an act: the how-manieth, what kind, on what kind of file."""

    act: str
    number: int
    kind: str
    file: str


@dataclass(frozen=True, slots=True)
class Trial:
    """What is to go wrong at a site: "fail", "lasting" (and all after it) or "kill"."""

    site: Site
    way: str

    def make_burning(self) -> Burning:
        """Return what the fuse is told."""
        error = errno.EIO if self.site.kind == Kind.SYNC.name else errno.ENOSPC
        return Burning(
            kinds=WATCHED,
            count=self.site.number,
            error=0 if self.way == "kill" else error,
            lasts=self.way == "lasting",
        )


class Bench:
    """A prepared instance, put back before every trial."""

    def __init__(self, prepared: Path, journal: Path, fuse: Path) -> None:
        """``prepared``: a folder in which ``prepare`` keeps what it has made."""
        self.data = read_environment().data
        self.journal = journal
        self.fuse = Fuse(fuse)
        self._kept = prepared / "data"
        self._kept_hand = prepared / "hand.json"
        self.hand: Hand

    def prepare(self) -> None:
        """Make the instance once, keep a copy of it, and what its signers hold."""
        if not self._kept_hand.exists():
            ended = run_forked(self._live)
            if ended.found is None:
                raise RuntimeError(f"the instance was not made: {ended.said[-500:]}")
            copy_tree(self.data, self._kept)
            self._kept_hand.write_text(json.dumps(ended.found), encoding="utf-8")
        self.hand = Hand.from_json(json.loads(self._kept_hand.read_bytes()))

    @staticmethod
    def _live(_leave: Leave) -> Values:
        with open_stage() as stage:
            return asyncio.run(prepare_instance(stage)).as_json()

    def put_back(self) -> None:
        """Make the data directory what it was; the journal begins with it."""
        for path in self.data.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        begin_journal(self.journal, self.data)
        copy_tree(self._kept, self.data)
        write_mark(self.journal, "begin")

    def list_sites(self, act: str) -> list[Site]:
        """Do the act undisturbed and return its calls, in order."""
        self.put_back()
        found = self._act(act, Burning(WATCHED, NEVER))
        if found is None or found["said"]:
            raise RuntimeError(f"{act} fails undisturbed: {found}")
        sites: list[Site] = []
        acting = False
        for record in read_journal(self.journal):
            if record.kind is Kind.MARK and record.path in ("act", "done"):
                acting = record.path == "act"
            elif acting and record.kind in WATCHED:
                path = record.second or record.path
                sites.append(
                    Site(act, len(sites) + 1, record.kind.name, _NUMBER.sub("N", path))
                )
        return sites

    def _act(self, act: str, burning: Burning) -> Values | None:
        """Do an act in a copy of this process; None when it died."""

        def do(leave: Leave) -> Values:
            with open_stage(at=self.hand.facts.at) as stage:
                # The first tick after a start only notes the time.
                stage.engine.tick(stage.clock.now())
                # Ended there, as a process that is killed: nothing more is written.
                leave(asyncio.run(self._do(act, stage, burning)))

        ended = run_forked(do)
        if ended.found is None and not ended.was_killed:
            return {"died": ended.said[-300:] or f"status {ended.status}"}
        return ended.found

    async def _do(self, act: str, stage: Stage, burning: Burning) -> Values:
        key = (await signing.read_keys(stage.site, PATH))["email"]
        scene = Scene(stage, self.hand, self.journal, key)
        write_mark(self.journal, "act")
        self.fuse.light(burning)
        try:
            said = await ACTS[act](scene)
            write_mark(self.journal, "done")
            return {"said": said, **await look_around(scene)}
        finally:
            self.fuse.put_out()

    # --- one trial

    def run(self, trial: Trial, rng: random.Random) -> Values:
        """Return where it burnt, and what was wrong then and afterwards."""
        self.put_back()
        found = self._act(trial.site.act, trial.make_burning())
        records = list(read_journal(self.journal))
        burnt = next((one for one in records if one.kind is Kind.BURNT), None)
        if burnt is None:
            # This time the act made fewer calls.
            return {"burnt": "", "faults": []}
        faults = []
        if trial.way != "kill":
            faults = [f"act: {fault}" for fault in judge_act(found, records, burnt)]
        marks = [one.path for one in records if one.kind is Kind.MARK]
        facts = hear(self.hand.facts, marks)
        facts.notes = [*facts.notes, *self._list_notes()]
        if trial.site.act == "open":
            facts.unfinished.append(OTHER_FILE)
        faults += [f"restart: {fault}" for fault in start_over(facts)]
        if trial.way != "kill" and burnt.length == Kind.SYNC:
            # Nothing more than what is durable, and something by chance.
            chosen: tuple[Model, ...] = ("none", rng.choice(MODELS))
            for model in chosen:
                self._cut_power(records, model, rng)
                faults += [f"power: {fault}" for fault in start_over(facts)]
        return {"burnt": f"{Kind(burnt.length).name} {burnt.path}", "faults": faults}

    def _list_notes(self) -> list[tuple[str, bytes]]:
        """Return the checkpoints that the act showed before it ended."""
        notes: list[tuple[str, bytes]] = []
        for moment, _record in follow(self.journal):
            notes = moment.notes
        return notes

    def _cut_power(
        self, records: list[Record], model: Model, rng: random.Random
    ) -> None:
        """Leave what a power cut after the failed barrier may leave."""
        platter = Platter()
        for record in records:
            follow_settled(platter, record)
        shutil.rmtree(self.data)
        platter.write_state(self.data, model=model, rng=rng)


async def look_around(scene: Scene) -> Values:
    """Return how the disturbed process stands: what it takes, what it lets read."""
    site, engine = scene.stage.site, scene.stage.engine
    late = scene.hand.ready[1]
    signed = await signing.send_signature(site, scene.key, late)
    if signed.status == 200:
        scene.acknowledge("signed", late.nonce.hex())
    read = await get(site, f"/{PATH}/checkpoint")
    return {
        "failures": [str(one) for one in engine.failures],
        "sign": signed.said,
        "read": read.status,
        "ledger_failed": engine.services.ledger.failure is not None,
    }


def judge_act(
    found: Values | None, records: list[Record], burnt: Record
) -> Iterator[str]:
    """Say what was wrong in the process whose call failed."""
    if found is None or "died" in found:
        yield f"it died: {found and found['died']}"
        return
    if found["read"] != 200:
        yield f"reads are down: {found['read']}"
    if found["ledger_failed"] and not found["sign"].startswith("503"):
        yield f"the ledger has failed and a signature is answered {found['sign']}"
    if burnt.path.startswith(PAGES) or burnt.path.endswith(UNHEARD):
        return
    if burnt.length == Kind.SYNC and is_idle(records):
        return
    if not found["said"] and not found["failures"]:
        yield "nobody heard of it"
    if burnt.length == Kind.SYNC:
        yield from find_retries(records, burnt)


def is_idle(records: list[Record]) -> bool:
    """Whether the barrier that failed had nothing to do, or nothing that counts.

    SQLite hears of no error when it syncs a folder for the name of a journal; for the
    ledger's the product does it itself (ledger.Ledger), and for what was rebuilt too,
    once it has its name.
    """
    platter = Platter()
    for record in records:
        if record.kind is Kind.SYNC_FAILED:
            pending = platter.list_pending(record.inode)
            return all(name.endswith(SQLITES_OWN) for name in pending)
        follow_settled(platter, record)
    return False


def follow_settled(platter: Platter, record: Record) -> None:
    """Follow a record; what the trial began with is durable."""
    platter.follow(record)
    if record.kind is Kind.MARK and record.path == "begin":
        platter.settle()


def find_retries(records: list[Record], burnt: Record) -> Iterator[str]:
    """A barrier that failed is not tried again by the same process.

    What was written anew may be synced: a small file as a whole, and by SQLite the
    pages with which it undoes a transaction. The ledger is not touched again at all.
    """
    failed: set[int] = set()
    for record in records:
        if record.process != burnt.process:
            continue
        is_ledger = record.path.startswith("ledger.sqlite3")
        if record.kind is Kind.SYNC_FAILED:
            failed.add(record.inode)
        elif record.kind in (Kind.WRITE, Kind.TRUNCATE) and not is_ledger:
            failed.discard(record.inode)
        elif record.kind is Kind.SYNC and record.inode in failed:
            yield f"the barrier on {record.path or 'the data folder'} was tried again"
            return


def copy_tree(source: Path, target: Path) -> None:
    """Copy files and folders by plain writes, which the library follows."""
    target.mkdir(mode=0o700, exist_ok=True)
    for path in sorted(source.iterdir()):
        if path.is_dir():
            copy_tree(path, target / path.name)
        elif path.is_file():
            (target / path.name).touch(mode=0o600)
            (target / path.name).write_bytes(path.read_bytes())


# --- what a worker is asked


def list_sites(values: Values) -> Values:
    """Return every call of every act asked for."""
    bench = _make_bench(values)
    return {
        "sites": [
            asdict(site) for act in values["acts"] for site in bench.list_sites(act)
        ]
    }


def run_trials(values: Values) -> Values:
    """Run trials and return what each found."""
    bench = _make_bench(values)
    trials = json.loads(Path(values["trials"]).read_text(encoding="utf-8"))
    rng = random.Random(values["seed"])
    return {
        "found": [
            bench.run(Trial(Site(**one["site"]), one["way"]), rng) for one in trials
        ]
    }


def _make_bench(values: Values) -> Bench:
    bench = Bench(
        Path(values["prepared"]), Path(values["journal"]), Path(values["fuse"])
    )
    bench.prepare()
    return bench
