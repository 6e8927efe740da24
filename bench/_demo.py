"""The demonstration campaign, replayed: what pages are measured on."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from bench import _programs
from bench._cpu import Meter
from bench._instance import environment_of, identify_code, run_command
from bench._results import FIXTURES

DEMO = "uk-131215"
FOLDER = FIXTURES / "demo"


@dataclass(frozen=True, slots=True)
class Spent:
    """What a command took: seconds, processor seconds of its tree, others' cores."""

    wall: float
    cpu: float
    others: float


def run_measured(data: Path, *words: str, said: Path) -> Spent:
    """Run a command of ``undersigned`` and measure it. Raises NotStarted."""
    command = _programs.python("-m", "undersigned.config.main", *words)
    meter = Meter(())
    begun = time.perf_counter()
    meter.start(begun)
    cpu = _programs.run_for_cpu(command, environment_of(data), said=said)
    meter.stop(time.perf_counter())
    return Spent(time.perf_counter() - begun, cpu, meter.others)


def replay_demo(data: Path) -> Spent:
    """Make the demonstration in a new data directory, as ``make run`` does."""
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(data.with_name(f"{data.name}-approvers"), ignore_errors=True)
    data.parent.mkdir(parents=True, exist_ok=True)
    said = data.parent / "demo.txt"
    return run_measured(data, "demo", "--no-serve", said=said)


def ensure_demo() -> Path:
    """Return the data directory of a replayed demonstration of this code."""
    data, mark = FOLDER / "data", FOLDER / "made"
    if not mark.is_file() or mark.read_text("utf-8") != identify_code():
        print("replaying the demonstration: a minute or two", flush=True)
        replay_demo(data)
        mark_demo()
    return data


def mark_demo() -> None:
    """Note that the fixture is whole, and of which code."""
    (FOLDER / "made").write_text(identify_code(), "utf-8")


def create_empty_demo(data: Path, campaign_file: Path) -> None:
    """Open the demonstration's campaign in a new data directory, without replaying."""
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(data.with_name(f"{data.name}-approvers"), ignore_errors=True)
    run_command(data, "campaign", "create", str(campaign_file))
    run_command(data, "campaign", "open", DEMO)
