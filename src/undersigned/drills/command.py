"""``undersigned drill NAME|all``: run drills, print what they found, exit 0 or 1."""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import secrets
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

import cryptography

from undersigned.cli.parser import DRILLS
from undersigned.drills.isolated import ChildFailed, make_folder, run_isolated
from undersigned.drills.report import Report, Size, Values
from undersigned.kernel.clock import SystemClock

# These are about what a real disk keeps, or loses.
DURABLE = ("witness", "faults", "crash", "restore", "seize")


def run_drills(arguments: argparse.Namespace, context: object) -> int:
    """Run one drill or all of them; 0 when every check passed.

    ``context`` is not used: no drill touches the operator's instance.
    """
    del context
    names = DRILLS if arguments.name == "all" else (arguments.name,)
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10**9)
    size: Size = "full" if arguments.full else "ci"
    begun_at = SystemClock().now()
    reports = []
    for name in names:
        print(f"drill {name} ({size}, seed {seed}) …", file=sys.stderr, flush=True)
        report = run_drill(name, size=size, seed=seed)
        print(describe(report), file=sys.stderr, flush=True)
        reports.append(report)
    values: Values = {
        "passed": all(report.passed for report in reports),
        "size": size,
        "seed": seed,
        "at": begun_at.isoformat(timespec="seconds"),
        "commit": find_commit(),
        "machine": describe_machine(),
        "drills": [report.as_json() for report in reports],
    }
    if arguments.out:
        path = Path(arguments.out)
        path.parent.mkdir(parents=True, exist_ok=True)
        text = json.dumps(values, indent=2, ensure_ascii=False, sort_keys=True)
        path.write_text(f"{text}\n", encoding="utf-8")
    print(json.dumps(values) if arguments.json else summarize(reports))
    return 0 if values["passed"] else 1


def run_drill(name: str, *, size: Size, seed: int) -> Report:
    """Run one drill in a process of its own and return what it found."""
    begun = time.monotonic()
    with make_folder(durable=name in DURABLE) as folder:
        try:
            found = run_isolated(
                f"undersigned.drills.{name}:run",
                {"size": size, "seed": seed},
                folder=folder,
            )
            report = Report.from_json(found)
        except ChildFailed as error:
            report = Report(name)
            report.check("the drill itself ran to its end", False, error)
    report.seconds = time.monotonic() - begun
    return report


def describe(report: Report) -> str:
    """Return the lines that say what one drill found."""
    lines = []
    for check in report.checks:
        mark = "pass" if check.passed else "FAIL"
        detail = f": {check.detail}" if check.detail else ""
        lines.append(f"  {mark}  {check.name}{detail}")
    lines += [f"  skip  {reason}" for reason in report.skipped]
    return "\n".join(lines)


def summarize(reports: list[Report]) -> str:
    """Return one line a drill, and below it what did not pass.

    Said again at the end, because a long output is often kept without its middle.
    """
    lines = []
    for report in reports:
        word = "passed" if report.passed else "FAILED"
        skipped = f", {len(report.skipped)} skipped" if report.skipped else ""
        lines.append(
            f"{report.drill:8} {word}  {len(report.checks)} checks"
            f"{skipped}  {report.seconds:.0f} s"
        )
        lines += [f"  FAIL  {it.name}: {it.detail}" for it in report.failed]
    return "\n".join(lines)


def find_commit() -> str:
    """Return the checkout's commit, with a mark when it was changed; else the version.

    A result without it could not be repeated.
    """
    here = Path(__file__).resolve().parent
    try:
        found = subprocess.run(
            ["git", "describe", "--always", "--dirty", "--abbrev=12"],
            cwd=here,
            capture_output=True,
            check=True,
            text=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return f"version {importlib.metadata.version('undersigned')}"
    return found.stdout.strip()


def describe_machine() -> Values:
    """Return what the figures depend on; no name and no address of the machine."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    return {
        "processor": model,
        "processors": len(os.sched_getaffinity(0)),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "cryptography": cast("Any", cryptography).__version__,
    }
