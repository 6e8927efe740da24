"""A whole published series, replayed and recounted; goes on where it stopped."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

from bench import _programs
from bench._cpu import Meter, list_tree, tree_seconds
from bench._host import HostRates
from bench._instance import environment_of, identify_code, run_command
from bench._memory import watching
from bench._results import FIXTURES, Bar, Result, Table
from bench.replay import SERIES

WORKERS = 2
EVERY = 10.0
WINDOW = 600.0
# The largest rate on record, UK 2016, as an average over ten minutes; twenty times it.
RECORDED_A_MINUTE = 2_818
PEAK_A_MINUTE = 20.0 * RECORDED_A_MINUTE

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Whole:
    """A series, and the bar: the minutes from an empty folder to the verdict."""

    number: str
    file: str
    minutes: float

    @property
    def path(self) -> Path:
        """Where its file is, beside the checkout."""
        return SERIES / self.file

    @property
    def campaign(self) -> str:
        """The identifier of its campaign."""
        return f"whole-{self.number}"


@dataclass(slots=True)
class Spent:
    """What was spent so far, over all parts of an interrupted run.

    ``seen``: seconds since the beginning, and signatures published by then.
    """

    wall: float = 0.0
    cpu: float = 0.0
    others: float = 0.0
    memory_mb: float = 0.0
    parts: int = 0
    seen: list[tuple[float, int]] = field(default_factory=list)


def find_peak(seen: Sequence[tuple[float, int]], window: float = WINDOW) -> float:
    """Return the most signatures a minute that were published in ``window`` seconds.

    Of spans between two looks that are no shorter than ``window``; 0 without one. A
    series begins with all that was signed before its first point: that takes minutes
    and is published within one, so spans begin after it.
    """
    best, first = 0.0, 0
    seen = _skip_first_point(seen)
    for at, count in seen:
        while first + 1 < len(seen) and at - seen[first + 1][0] >= window:
            first += 1
        passed = at - seen[first][0]
        if passed >= window:
            best = max(best, (count - seen[first][1]) / passed * 60.0)
    return best


def _skip_first_point(seen: Sequence[tuple[float, int]]) -> Sequence[tuple[float, int]]:
    """Return the looks from where the first point was published, and nothing more."""
    for number, (before, after) in enumerate(pairwise(seen), start=1):
        if before[1] == after[1] > 0:
            return seen[number:]
    return seen


def _write_campaign(whole: Whole, folder: Path) -> Path:
    path = folder / "campaign.toml"
    path.write_text(
        f"""id = "{whole.campaign}"
title = "The published count of UK petition {whole.number}, whole"
language = "en"
mode = "standard"
classes = ["email", "invitation", "open"]
stances = ["for"]

[[offices]]
name = "Petitions Committee"
jurisdiction = "UK Parliament"

[organiser]
name = "Omar (bench)"
contact = "omar@example.org"

[statement]
text = "Synthetic signatures, as many as were published, to measure how fast they go."

[replay]
title = "the count of UK Parliament petition {whole.number}"
url = "https://petition.parliament.uk/archived/petitions/{whole.number}"
licence = "Open Government Licence v3.0"
scale = 1
""",
        "utf-8",
    )
    return path


@dataclass(slots=True)
class Run:
    """One series in its folder of fixtures."""

    whole: Whole
    folder: Path
    spent: Spent

    @classmethod
    def open(cls, whole: Whole, *, fresh: bool) -> Run:
        """Return the run that was interrupted, if it was of this code, or a new one."""
        folder = FIXTURES / whole.campaign
        mark = folder / "spent.json"
        if not fresh and mark.is_file():
            kept = json.loads(mark.read_text("utf-8"))
            if kept.pop("code") == identify_code():
                kept["seen"] = [(at, count) for at, count in kept["seen"]]
                return cls(whole, folder, Spent(**kept))
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        run = cls(whole, folder, Spent())
        run_command(run.data, "campaign", "create", str(_write_campaign(whole, folder)))
        run_command(run.data, "campaign", "open", whole.campaign)
        run.keep()
        return run

    @property
    def data(self) -> Path:
        """The data directory."""
        return self.folder / "data"

    def keep(self) -> None:
        """Write down what was spent."""
        values = {"code": identify_code(), **asdict(self.spent)}
        (self.folder / "spent.json").write_text(json.dumps(values), "utf-8")

    def count(self) -> int:
        """Return how many signatures are published, by the public file."""
        path = self.data / "public" / "c" / self.whole.campaign / "count.json"
        try:
            return int(json.loads(path.read_bytes())["signatures"])
        except (OSError, ValueError):
            return 0

    def go_on(self) -> Values:
        """Replay what is left and recount all; return what the command said.

        Raises NotStarted, with the end of its output.
        """
        words = ["replay", str(self.whole.path), "--campaign", self.whole.campaign]
        words += ["--workers", str(WORKERS), "--json"]
        said, before = self.folder / "replay.txt", self.spent
        before.parts += 1
        base = Spent(**asdict(before))
        command = _programs.python("-m", "undersigned.config.main", *words)
        begun, earlier = time.perf_counter(), os.times()
        with said.open("wb") as output:
            process = subprocess.Popen(
                command,
                env=environment_of(self.data),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        meter = Meter(())
        meter.start(begun)
        try:
            with watching(process.pid, every=EVERY) as memory:
                code = None
                while code is None:
                    try:
                        code = process.wait(EVERY)
                    except subprocess.TimeoutExpired:
                        cpu = tree_seconds(process.pid)
                        self._look(base, time.perf_counter() - begun, cpu)
                        self.spent.memory_mb = max(base.memory_mb, memory.shared_once)
                        self.keep()
        except BaseException:
            for pid in list_tree(process.pid):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            process.wait()
            raise
        meter.stop(time.perf_counter())
        passed = time.perf_counter() - begun
        whole = base.wall + passed
        ended = os.times()
        waited = base.cpu + sum(ended[2:4]) - sum(earlier[2:4])
        # One that was killed has not waited for its own children.
        self.spent.cpu = max(self.spent.cpu, waited)
        # By the length of each part: a short disturbed one weighs little.
        self.spent.others = (base.others * base.wall + meter.others * passed) / whole
        self.spent.wall = whole
        self.keep()
        text = said.read_text("utf-8", "replace")
        if code != 0:
            raise _programs.NotStarted(f"the replay failed: {text[-2000:]}")
        values: Values = json.loads(text)
        return values

    def _look(self, base: Spent, passed: float, cpu: float) -> None:
        self.spent.wall, self.spent.cpu = base.wall + passed, base.cpu + cpu
        self.spent.seen.append((round(self.spent.wall, 1), self.count()))


def measure(whole: Whole) -> int:
    """Replay the whole series; write ``replay_NUMBER``; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fresh", action="store_true", help="begin anew")
    options = parser.parse_args()
    name = f"replay_{whole.number}"
    if not whole.path.is_file():
        print(f"{whole.file} is not beside this checkout: {name} is left out")
        return 0
    run = Run.open(whole, fresh=options.fresh)
    said = run.go_on()
    code = report(run, said, name).finish()
    shutil.rmtree(run.folder)
    return code


def report(run: Run, said: Values, name: str) -> Result:
    """Return the result of a whole run. ``said``: what the command printed."""
    whole, spent, audit = run.whole, run.spent, said["audit"]
    signatures = run.count()
    minutes, peak = spent.wall / 60.0, find_peak(spent.seen)
    ceiling = HostRates().measure(seconds=1.0)
    host = 1e6 / ceiling.blind_sign + 1e6 / ceiling.verify + 1e6 / ceiling.sign
    us = 1e6 * spent.cpu / signatures
    result = Result(
        name, f"The whole series of petition {whole.number}", {"workers": WORKERS}
    )
    result.bars = [
        Bar(
            "replayed, published and recounted",
            whole.minutes,
            minutes,
            "minutes",
            at_most=True,
        ),
        Bar(
            "most in ten minutes, a minute, against twenty times the largest on record",
            PEAK_A_MINUTE,
            peak,
            "a minute",
        ),
    ]
    rate = signatures / spent.wall
    rows = [
        ["signatures published", f"{signatures:,}"],
        ["points of the series", f"{said['points']:,}"],
        ["net count at the last", f"{said['net']:,}"],
        ["leaves recounted", f"{audit['tree_size']:,}"],
        ["verdict", str(audit["verdict"])],
        ["wall time, minutes", f"{minutes:.1f}"],
        ["signatures a second, the recount's time included", f"{rate:,.0f}"],
        ["most in ten minutes, a minute", f"{peak:,.0f}"],
        ["the same against the largest on record", f"{peak / RECORDED_A_MINUTE:.1f} ×"],
        ["CPU µs a signature, clients and recount included", f"{us:,.0f}"],
        ["the host's BlindSign, verification and Ed25519, µs", f"{host:,.0f}"],
        ["largest memory, shared pages once, MB", f"{spent.memory_mb:,.0f}"],
        ["processors busy with something else", f"{spent.others:.2f}"],
        ["times it was stopped", f"{spent.parts - 1}"],
    ]
    result.tables = [Table("Figures", ["What", "Figure"], rows)]
    result.notes = [
        f"`undersigned replay {whole.file}`: every signature blinded, issued, "
        "unblinded, redeemed and published through the operations that people use; "
        "then every leaf and token verified. Clients' arithmetic is counted too.",
        f"Signatures are counted every {EVERY:.0f} seconds, in the public file. The "
        "best ten minutes begin after the first point, whose signatures take minutes "
        "to make and are then published within one.",
    ]
    figures = {
        "minutes": minutes,
        "rate": rate,
        "peak": peak,
        "us": us,
        "host_us": host,
        "memory_mb": spent.memory_mb,
        "others": spent.others,
        "signatures": float(signatures),
    }
    slowest = [
        (later[1] - before[1]) / (later[0] - before[0])
        for before, later in pairwise(spent.seen[::60])
    ]
    result.measured = {"rounds": {name: [figures]}, "every_ten_minutes": slowest}
    return result
