"""The recount: its rate against the host's, over one and two processes, its memory.

``python -m bench.audit [--rounds 3] [--sizes 10000,100000,300000] [--full]``

``FULL=1`` or ``--full`` adds ten million leaves; signing those takes about 20 minutes
the first time and can be interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from pathlib import Path

from bench import _programs
from bench._biglog import make_log
from bench._cpu import Meter
from bench._host import HostRates
from bench._memory import Memory
from bench._results import Bar, Result, Rounds, Table, median

SIZES = (10_000, 100_000, 300_000)
FULL_SIZE = 10_000_000
GROWTH_FROM = 100_000
RATE_SHARE = 0.70
# Two processes on two cores that are shared with this one, which only waits.
SPEED_UP = 1.7
MEMORY_MB = 200.0
GROWTH_MB = 40.0
SAMPLE_SECONDS = 0.05
WORKERS = (1, 2)

Measured = dict[str, float]


def run_audit(root: Path, *, workers: int, leaves: int) -> Measured:
    """Run the verifier as anyone would, and watch it. Raises NotStarted."""
    command = _programs.python("-m", "undersigned_verify", "audit", str(root))
    command += ["--workers", str(workers), "--json"]
    memory, meter = Memory(), Meter(())
    before = os.times()
    begun = time.perf_counter()
    meter.start(begun)
    with subprocess.Popen(
        command,
        env=_programs.make_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        while process.poll() is None:
            memory.sample(process.pid)
            time.sleep(SAMPLE_SECONDS)
        wall = time.perf_counter() - begun
        output = process.stdout.read() if process.stdout else b""
    meter.stop(time.perf_counter())
    after = os.times()
    cpu = after.children_user + after.children_system
    cpu -= before.children_user + before.children_system
    found = json.loads(output)
    counted = found["logs"][0]["leaves"]
    if found["verdict"] != "accepted" or counted != leaves:
        raise _programs.NotStarted(f"the audit says {found['verdict']}, {counted}")
    return {
        "wall": wall,
        "cpu": cpu,
        "per_cpu_second": leaves / cpu,
        "per_second": leaves / wall,
        "memory_mb": memory.shared_once,
        "resident_mb": memory.resident,
        "others": meter.others,
    }


def _name(leaves: int, workers: int) -> str:
    return f"{leaves}-{workers}"


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--full", action="store_true", default=bool(_full()))
    options = parser.parse_args()
    sizes = sorted({int(size) for size in options.sizes.split(",")})
    if options.full:
        sizes.append(FULL_SIZE)
    settings = {"rounds": options.rounds, "leaves": " ".join(f"{s:,}" for s in sizes)}
    rounds, host = Rounds("audit", settings), HostRates()
    roots = {size: make_log(size) for size in sizes}
    for number in range(options.rounds):
        for size in sizes:
            for workers in WORKERS:
                # Minutes each: once is enough.
                if rounds.count(_name(size, workers)) > (
                    0 if size >= FULL_SIZE else number
                ):
                    continue
                found = run_audit(roots[size], workers=workers, leaves=size)
                found["verify_rate"] = host.measure(seconds=0.5).verify
                rounds.add(_name(size, workers), found)
                print(
                    f"{size:,} leaves, {workers} processes: {found['per_second']:,.0f} "
                    f"a second, {found['per_cpu_second']:,.0f} in a CPU-second, "
                    f"{found['memory_mb']:.0f} MB",
                    flush=True,
                )
    code = report(rounds, sizes, settings).finish()
    rounds.drop()
    return code


def _full() -> str:
    return os.environ.get("FULL", "")


def report(rounds: Rounds, sizes: list[int], settings: dict[str, object]) -> Result:
    """Return the result of all rounds."""
    largest = sizes[-1]

    def share(workers: int) -> float:
        """Return the median of the rounds' shares of the host's rate."""
        name = _name(largest, workers)
        done = rounds.list_values(name, "per_cpu_second")
        can = rounds.list_values(name, "verify_rate")
        return median(a / b for a, b in zip(done, can, strict=True))

    one, two = (rounds.list_values(_name(largest, w), "wall") for w in WORKERS)
    memory = max(
        rounds.median(_name(size, workers), "memory_mb")
        for size in sizes
        for workers in WORKERS
    )
    result = Result("audit", "What a recount costs", settings)
    result.bars = [
        Bar(
            f"leaves in a CPU-second, {largest:,} leaves, {workers} processes: share "
            "of the host's PSS verify rate",
            RATE_SHARE,
            share(workers),
            "%",
        )
        for workers in WORKERS
    ]
    result.bars += [
        Bar(
            "wall time over one process against two",
            SPEED_UP,
            median(a / b for a, b in zip(one, two, strict=True)),
            "x",
        ),
        Bar("memory of all processes together", MEMORY_MB, memory, "MB", at_most=True),
    ]
    if GROWTH_FROM in sizes and largest > GROWTH_FROM:
        growth = max(
            rounds.median(_name(largest, workers), "memory_mb")
            - rounds.median(_name(GROWTH_FROM, workers), "memory_mb")
            for workers in WORKERS
        )
        what = f"memory grown from {GROWTH_FROM:,} to {largest:,} leaves"
        result.bars.append(Bar(what, GROWTH_MB, growth, "MB", at_most=True))
    result.tables = [_table(rounds, sizes)]
    result.notes = [
        "The verifier runs as anyone would run it, start and end included. Its "
        "processes are one that reads and joins, and the workers.",
        "Memory is the largest sum over all processes that was seen, looking every "
        f"{1e3 * SAMPLE_SECONDS:.0f} ms: pages that several share are counted once "
        "(and, in the second column, in each).",
        "Others: processors that were busy with something else meanwhile. Wall time "
        "over two processes means little where that is not near 0.",
        "Every log was accepted. They are signed directly with the key.",
    ]
    result.measured = {"rounds": rounds.found}
    return result


def _table(rounds: Rounds, sizes: list[int]) -> Table:
    rows = []
    for size in sizes:
        for workers in WORKERS:
            name = _name(size, workers)
            figure = {
                column: rounds.median(name, column) for column in rounds.found[name][0]
            }
            rows.append(
                [
                    f"{size:,}",
                    str(workers),
                    f"{figure['wall']:,.2f}",
                    f"{figure['per_second']:,.0f}",
                    f"{figure['per_cpu_second']:,.0f}",
                    f"{figure['per_cpu_second'] / figure['verify_rate']:.1%}",
                    f"{figure['memory_mb']:,.0f}",
                    f"{figure['resident_mb']:,.0f}",
                    f"{figure['others']:.2f}",
                ]
            )
    columns = ["Leaves", "Processes", "Wall s", "A second", "In a CPU-second"]
    columns += ["Of the host's rate", "MB", "MB, shared in each", "Others"]
    return Table("By size (medians)", columns, rows)


if __name__ == "__main__":
    raise SystemExit(main())
