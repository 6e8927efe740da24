"""``disk``: every call that writes fails once, and is once the process's last.

An instance signs, issues, grants, withdraws, publishes, opens and closes. Of all calls
that each of these makes to its disk one goes wrong: the disk is full, a barrier fails,
or the process is killed there. Then: it stopped loudly or nothing was lost on it, no
barrier was tried again, reads stayed up; and a restart holds everything acknowledged
(``restart``), after a power cut too, which takes whatever the failed barrier was for.
"""

from __future__ import annotations

import json
import os
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from tempfile import mkdtemp

from undersigned.drills.disk_acts import ACTS
from undersigned.drills.disk_trials import Site, Trial
from undersigned.drills.isolated import run_isolated
from undersigned.drills.journal import (
    Fuse,
    Kind,
    NoCompiler,
    Watch,
    compile_library,
)
from undersigned.drills.power import leave_out
from undersigned.drills.report import Options, Report, Values

TRIALS = "undersigned.drills.disk_trials"
WAYS = ("fail", "lasting", "kill")


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("disk")
    folder = Path(mkdtemp(prefix="undersigned-disk-"))
    try:
        library = compile_library(folder)
    except NoCompiler as error:
        leave_out(report, str(error))
        return report.as_json()
    rng = random.Random(options.seed)
    acts = [*ACTS] if options.size != "tiny" else ["sign", "publish"]
    (folder / "prepared").mkdir()
    found = ask_worker(folder / "sites", library, "list_sites", {"acts": acts})
    sites = [Site(**one) for one in found["sites"]]
    trials = choose_trials(sites, options, rng)
    report.say(f"{len(sites)} calls of {len(acts)} acts, {len(trials)} trials")
    tell(run_all(folder, library, trials, rng), sites, report)
    return report.as_json()


def ask_worker(place: Path, library: Path, function: str, values: Values) -> Values:
    """Call a function of ``disk_trials`` in a watched child of its own."""
    (place / "data").mkdir(parents=True, mode=0o700)
    fuse = Fuse(place / "fuse")
    watch = Watch(library, place / "data", place / "journal", fuse.path)
    known = {
        "prepared": str(place.parent / "prepared"),
        "journal": str(watch.journal),
        "fuse": str(fuse.path),
    }
    return run_isolated(
        f"{TRIALS}:{function}",
        values | known,
        folder=place,
        timeout_seconds=6 * 3600,
        more_environment=watch.environment,
    )


def choose_trials(
    sites: list[Site], options: Options, rng: random.Random
) -> list[Trial]:
    """Return what is tried: everything, or of each act some barriers and some others.

    Calls are chosen by kind and file first: what is done once in an act is met as often
    as what is done a hundred times.
    """
    if options.size == "full":
        return [Trial(site, way) for site in sites for way in WAYS]
    count = options.pick(tiny=3, ci=5, full=0)
    return [
        trial
        for act in sorted({site.act for site in sites})
        for trial in _choose_for_act(
            [site for site in sites if site.act == act], count, rng
        )
    ]


def _choose_for_act(sites: list[Site], count: int, rng: random.Random) -> list[Trial]:
    groups: dict[tuple[str, str], list[Site]] = {}
    for site in sites:
        groups.setdefault((site.kind, site.file), []).append(site)
    barriers: list[Trial] = []
    others: list[Trial] = []
    for (kind, _file), some in sorted(groups.items()):
        if kind == Kind.SYNC.name:
            barriers.append(Trial(rng.choice(some), "fail"))
            others.append(Trial(rng.choice(some), "kill"))
        else:
            others.append(Trial(rng.choice(some), rng.choice(WAYS)))
    rng.shuffle(barriers)
    rng.shuffle(others)
    return barriers[:count] + others[:count]


def run_all(
    folder: Path, library: Path, trials: list[Trial], rng: random.Random
) -> list[tuple[Trial, Values]]:
    """Run the trials, as many at a time as there are processors."""
    workers = max(1, min(2, os.cpu_count() or 1, len(trials)))
    seeds = [rng.random() for _number in range(workers)]

    def work(number: int) -> list[tuple[Trial, Values]]:
        share = trials[number::workers]
        place = folder / f"worker-{number}"
        place.mkdir()
        path = place / "trials.json"
        path.write_text(json.dumps([asdict(trial) for trial in share]))
        asked = {"trials": str(path), "seed": seeds[number]}
        found = ask_worker(place, library, "run_trials", asked)
        return list(zip(share, found["found"], strict=True))

    with ThreadPoolExecutor(workers) as pool:
        return [one for part in pool.map(work, range(workers)) for one in part]


CHECKS = {
    "act": "failed without stopping loudly, tried a barrier again, or closed the reads",
    "restart": "lost or contradicted anything after a restart",
    "power": "lost or contradicted anything after a power cut that followed",
}


def tell(found: list[tuple[Trial, Values]], sites: list[Site], report: Report) -> None:
    """Note one check a kind of fault."""
    burnt = [(trial, values) for trial, values in found if values["burnt"]]
    for kind, words in CHECKS.items():
        wrong = [
            f"{trial.site.act} {trial.way} at {values['burnt']}: {fault}"
            for trial, values in burnt
            for fault in values["faults"]
            if fault.startswith(f"{kind}: ")
        ]
        report.check(
            f"0 of {len(burnt)} disturbed acts {words}",
            not wrong,
            f"{len(wrong)}: {wrong[:5]}" if wrong else "",
        )
    by_act = Counter(trial.site.act for trial, _values in burnt)
    report.check("each act was disturbed", all(by_act[site.act] for site in sites))
    report.figures |= {
        "calls": dict(Counter(site.act for site in sites)),
        "trials": dict(by_act),
        "ways": dict(Counter(trial.way for trial, _values in burnt)),
    }
