"""``power``: the power goes, and of what was not synced anything may be left.

The product's own server works under signers, with the library of ``journal`` preloaded:
openings, publications, withdrawals, rebuilds, a kill -9 in between, a close. From the
journal a ``platter`` makes what a power cut may leave at a chosen moment, and the
engine is started over it (``restart``).

What this does not show: drives that lie about a flush or change the order across one,
faults of a file system and of its own journal, bytes that rot where nothing was
written, and the moments inside one call of the system.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import mkdtemp

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.checkout import in_ci
from undersigned.drills.isolated import run_isolated
from undersigned.drills.journal import (
    JournalBroken,
    Kind,
    NoCompiler,
    Watch,
    compile_library,
    write_mark,
)
from undersigned.drills.live import LiveServer, running
from undersigned.drills.load import Load, Memory
from undersigned.drills.platter import INDEX_SUFFIX, MODELS, Model, Platter
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.restart import KINDS
from undersigned.drills.site import NetSite, get
from undersigned.drills.story import Story, follow
from undersigned.kernel.clock import SystemClock

CAMPAIGN = "power"
SERVER = "undersigned.drills.crash_server"
# A minute of the campaign is a second of the drill.
SPEED = 60.0
# More than a full tile: from then on the database forgets what files hold.
FULL_TILE = 256
NOT_SHOWN = (
    "not shown: drives that lie about a flush, the order inside one, faults of the "
    "file system and of its journal"
)


@dataclass(frozen=True, slots=True)
class Cut:
    """One state: after so many records, by a model, with a seed of its own."""

    position: int
    model: Model
    seed: str


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("power")
    folder = Path(mkdtemp(prefix="undersigned-power-"))
    try:
        library = compile_library(folder)
    except NoCompiler as error:
        leave_out(report, str(error))
        return report.as_json()
    rng = random.Random(options.seed)
    for number in range(options.pick(tiny=1, ci=1, full=3)):
        place = folder / f"life-{number}"
        place.mkdir()
        try:
            _run_one(place, library, options, random.Random(rng.random()), report)
        except JournalBroken as error:
            report.check("the journal tells all that happened", False, error)
    report.say(NOT_SHOWN)
    return report.as_json()


def leave_out(report: Report, reason: str) -> None:
    """Note what is missing here: a failure where everything must be there."""
    if in_ci():
        report.check("the library can be compiled", False, reason)
    else:
        report.skip(reason)


def _run_one(
    place: Path, library: Path, options: Options, rng: random.Random, report: Report
) -> None:
    begun = time.monotonic()
    life = Life(place, library, rng)
    story = asyncio.run(life.record(options))
    seconds = time.monotonic() - begun
    count = options.pick(tiny=12, ci=40, full=360)
    plan = find_places(life.watch.journal, count, rng, report, life.server.data)
    report.say(
        f"{len(story.signed)} signatures in a journal of "
        f"{plan.records} records ({plan.barriers} barriers), {seconds:.0f} s"
    )
    story.write(place / "story.json")
    workers = options.pick(tiny=1, ci=2, full=2)
    found = judge_all(place, life.watch.journal, plan.cuts, workers, report.say)
    tell(found, plan.cuts, report)
    figures = report.figures
    for name, value in (
        ("states", len(plan.cuts)),
        ("records", plan.records),
        ("barriers", plan.barriers),
        ("acknowledged", len(story.signed)),
        ("tokens", len(story.issued)),
    ):
        figures[name] = figures.get(name, 0) + value


# --- a life that is recorded


class Life:
    """A watched instance from its first file to its close."""

    def __init__(self, place: Path, library: Path, rng: random.Random) -> None:
        self.place = place
        self._rng = rng
        data = place / "data"
        data.mkdir(mode=0o700)
        self.watch = Watch(library, data, place / "journal")
        self.epoch = int(SystemClock().now().timestamp())
        self.server = LiveServer(
            place,
            module=SERVER,
            arguments=["--epoch", str(self.epoch), "--speed", str(SPEED)],
            more_environment=self.watch.environment,
        )
        self.campaign_file = write_campaign(CAMPAIGN)

    def mark(self, text: str) -> None:
        """Note something in the journal, in order."""
        write_mark(self.watch.journal, text)

    async def record(self, options: Options) -> Story:
        """Live, and return the story."""
        path = save_campaign(self.place, CAMPAIGN, self.campaign_file)
        self.server.run_cli("campaign", "create", str(path))
        self.server.run_cli("campaign", "open", CAMPAIGN)
        self.mark("opened")
        with running(self.server):
            memory = await self._sign(options)
            # Two publications more: withdrawals follow their targets.
            await asyncio.sleep(2.5 * 60 / SPEED)
            if options.size != "tiny":
                await self._close()
            self.server.stop()
        story = Story(
            campaign_file=self.campaign_file,
            campaign=CAMPAIGN,
            epoch=self.epoch,
            speed=SPEED,
        )
        story.listen(self.watch.journal, memory)
        return story

    async def _sign(self, options: Options) -> Memory:
        site = NetSite(self.server.port)
        key = (await signing.read_keys(site, f"c/{CAMPAIGN}"))["email"]
        vkey = (await get(site, f"/c/{CAMPAIGN}/log.vkey")).text
        await site.close()
        load = Load(
            self.server,
            key,
            vkey,
            self._rng,
            pause_seconds=0.15,
            on_withdrawal=lambda word, nonce: self.mark(f"{word} {nonce.hex()}"),
        )
        load.is_up()
        target = options.pick(tiny=40, ci=FULL_TILE + 64, full=3 * FULL_TILE)
        kills = options.pick(tiny=0, ci=1, full=3)
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(6))
            for number in range(1, kills + 1):
                await self._wait_for(load, target * number // (kills + 1))
                self.server.kill()
                load.up.clear()
                await asyncio.to_thread(self.server.start)
                load.is_up()
            await self._wait_for(load, target)
            load.end()
        await load.site.close()
        return load.memory

    @staticmethod
    async def _wait_for(load: Load, acknowledged: int) -> None:
        while len(load.memory.promises) < acknowledged:
            await asyncio.sleep(0.05)

    async def _close(self) -> None:
        """Let the days of a closing pass by setting the clock ahead."""
        self.server.run_cli("campaign", "close", CAMPAIGN)
        ahead = 0
        for minutes in (62, 26 * 60):
            self.server.run_job("drill-clock", {"seconds": minutes * 60})
            ahead += minutes * 60
            self.mark(f"ahead {ahead}")
            await asyncio.sleep(2.5 * 60 / SPEED)


# --- where it is cut off


@dataclass(frozen=True, slots=True)
class Plan:
    """The states to be judged, in order of position."""

    cuts: list[Cut]
    records: int
    barriers: int


_NUMBER = re.compile(r"[0-9]+")


def find_places(
    journal: Path, count: int, rng: random.Random, report: Report, data: Path
) -> Plan:
    """Choose where to cut: mostly where something is about to become durable.

    By kind of file first, so that what is synced once in a life is met as often as what
    is synced a thousand times. Also compares what the journal says with what is there.
    """
    places: dict[str, list[int]] = {}
    records = barriers = 0
    platter = Platter()
    for moment, record in follow(journal):
        records = moment.position
        name = f"{record.kind.name} {_NUMBER.sub('N', record.path)}"
        if record.kind is Kind.SYNC:
            barriers += 1
            # Just before it, and just after.
            places.setdefault(f"before {name}", []).append(moment.position - 1)
            places.setdefault(f"after {name}", []).append(moment.position)
        elif record.kind in (Kind.RENAME, Kind.UNLINK, Kind.CREATE, Kind.TRUNCATE):
            places.setdefault(name, []).append(moment.position)
        elif record.kind is Kind.SENT:
            places.setdefault("an answer", []).append(moment.position)
        platter = moment.platter
    live = platter.list_live()
    differ = compare(data, live)
    report.check(
        f"the journal's {records} records make the same {len(live)} files again",
        not differ,
        ", ".join(differ[:5]),
    )
    names = sorted(places)
    cuts = []
    for number in range(count):
        if number % 5 == 4:
            position = rng.randint(2, records)
        else:
            position = rng.choice(places[rng.choice(names)])
        model = MODELS[number % len(MODELS)]
        cuts.append(Cut(max(2, position), model, f"{rng.random()}"))
    cuts.sort(key=lambda cut: cut.position)
    return Plan(cuts, records, barriers)


def compare(data: Path, live: dict[str, bytes]) -> list[str]:
    """Return the files that are not as the journal tells."""
    there = {
        str(path.relative_to(data))
        for path in data.rglob("*")
        if path.is_file() and not path.name.endswith(INDEX_SUFFIX)
    }
    told = {path for path in live if not path.endswith(INDEX_SUFFIX)}
    return sorted(there ^ told) + sorted(
        path for path in there & told if (data / path).read_bytes() != live[path]
    )


# --- judging


def judge_all(
    place: Path,
    journal: Path,
    cuts: list[Cut],
    workers: int,
    say: Callable[[str], None],
) -> list[tuple[Cut, list[str]]]:
    """Judge every state, some at a time; each worker follows the journal once."""
    say(f"starting over {len(cuts)} states")
    workers = max(1, min(workers, os.cpu_count() or 1))

    def judge(number: int) -> list[tuple[Cut, list[str]]]:
        share = cuts[number::workers]
        folder = place / f"worker-{number}"
        folder.mkdir()
        (folder / "cuts.json").write_text(json.dumps([asdict(cut) for cut in share]))
        found = run_isolated(
            "undersigned.drills.power_states:judge_states",
            {
                "story": str(place / "story.json"),
                "journal": str(journal),
                "cuts": str(folder / "cuts.json"),
            },
            folder=folder,
        )
        return list(zip(share, found["faults"], strict=True))

    with ThreadPoolExecutor(workers) as pool:
        return [one for part in pool.map(judge, range(workers)) for one in part]


def tell(found: list[tuple[Cut, list[str]]], cuts: list[Cut], report: Report) -> None:
    """Note one check a kind of fault."""
    by_kind: dict[str, list[str]] = {kind: [] for kind in KINDS}
    for cut, faults in found:
        for fault in faults:
            kind, _colon, detail = fault.partition(": ")
            where = f"{detail} [record {cut.position}, {cut.model}]"
            by_kind[kind].append(where)
    models = Counter(cut.model for cut in cuts)
    for kind, words in KINDS.items():
        states = {one.rpartition("[")[2] for one in by_kind[kind]}
        report.check(
            f"0 of {len(cuts)} states {words}",
            not by_kind[kind],
            f"{len(states)}: {by_kind[kind][:4]}" if by_kind[kind] else "",
        )
    report.figures["by_model"] = dict(
        Counter(report.figures.get("by_model", {})) + models
    )
