"""What a signature costs in a campaign that is large already: 10^4 to 10^7 leaves.

``python -m bench.scale [--sizes 10000,100000,1000000,10000000] [--flows 50000]``

On a copy of a store of each size: whole journeys (issue and redeem) over HTTP in
standard mode, with the publications of the minutes in which they fall and of the one
after; memory; bytes on disk; and a start after kill -9 under load. Making the store of
ten million takes about twenty minutes the first time and is not repeated.
"""

from __future__ import annotations

import argparse
import os
import signal
import sqlite3
import time
from contextlib import suppress
from pathlib import Path

from bench import _flow, _instance, _programs, _signers
from bench._cpu import Meter
from bench._host import HostRates, occupied
from bench._instance import CAMPAIGN, Fixture
from bench._memory import watching
from bench._plot import draw
from bench._results import RESULTS, Bar, Result, Rounds, Table
from bench._store import find_store
from bench._wrk import CONNECTIONS

SIZES = (10_000, 100_000, 1_000_000, 10_000_000)
HOST_SECONDS = 0.5
WARM_FLOWS = 500
# Under load when the process is killed; the first of the rest is signed after it.
LOST_FLOWS = 2_000
COST_TIMES = 1.3
MEMORY_MB = 300.0
LEDGER_BYTES = 480.0
ISSUANCE_BYTES = 100.0
RECOVERY_SECONDS = 5.0

Measured = dict[str, float]


def read_size(data: Path) -> int:
    """Return how many leaves the published checkpoint has."""
    checkpoint = data / "public" / "c" / CAMPAIGN / "checkpoint"
    return int(checkpoint.read_bytes().split(b"\n")[1])


def sum_on_disk(path: Path) -> int:
    """Return the bytes that a file, or all files below a folder, take on the disk."""
    files = [path] if path.is_file() else path.rglob("*")
    total = 0
    for file in files:
        with suppress(FileNotFoundError):
            total += file.lstat().st_blocks * 512
    return total


def _wait_until_published(data: Path, size: int) -> None:
    until = time.monotonic() + 300
    while read_size(data) < size:
        if time.monotonic() > until:
            raise _programs.NotStarted(f"{read_size(data)} leaves, not {size}")
        time.sleep(0.5)


def measure(size: int, *, fixture: Fixture, flows: int, host: HostRates) -> Measured:
    """Measure one size."""
    prepared = _signers.prepare_many(fixture, flows + WARM_FLOWS + LOST_FLOWS)
    with _instance.copy_data(fixture) as data:
        tickets = _signers.grant_tickets(data, len(prepared))
        signers = _signers.make_signers(fixture, prepared, tickets)
        warm, signers = signers[:WARM_FLOWS], signers[WARM_FLOWS:]
        lost, signers = signers[:LOST_FLOWS], signers[LOST_FLOWS:]
        found = _measure_load(data, warm, signers, host)
        found |= _weigh(data, before=size, grown=flows + WARM_FLOWS)
        found |= _measure_recovery(data, lost)
    return found


def _measure_load(
    data: Path,
    warm: list[_signers.Signer],
    signers: list[_signers.Signer],
    host: HostRates,
) -> Measured:
    before = read_size(data)
    with (
        _instance.serve(data) as server,
        watching(server.pid, every=2.0) as memory,
    ):
        _flow.run_journeys(port=server.port, journeys=_signers.list_whole(warm))
        with occupied():
            ceiling = host.measure(seconds=HOST_SECONDS)
        meter = Meter((server.pid,))
        meter.start(time.monotonic())
        load = _flow.run_journeys(
            port=server.port, journeys=_signers.list_whole(signers)
        )
        meter.stop(time.monotonic())
        signed, others = meter.seconds, meter.others
        meter.start(time.monotonic())
        _wait_until_published(data, before + len(warm) + len(signers))
        time.sleep(2)
        meter.stop(time.monotonic())
        published = meter.seconds
        with occupied():
            ceiling = ceiling.mean(host.measure(seconds=HOST_SECONDS))
    count = load.accepted
    return {
        "us": 1e6 * (signed + published) / count,
        "after_us": 1e6 * published / count,
        "ceiling_us": ceiling.whole_us,
        "rate": load.rate,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "others": others,
        "memory_mb": memory.shared_once,
        "resident_mb": memory.resident,
    }


def _weigh(data: Path, *, before: int, grown: int) -> Measured:
    """Weigh what lies on the disk after a publication, with the server stopped."""
    size = read_size(data)
    ledger = data / "ledger.sqlite3"
    with sqlite3.connect(f"file:{ledger}?mode=ro", uri=True) as db:
        pages = {name: db.execute(f"PRAGMA {name}").fetchone()[0] for name in _PRAGMAS}
    free = pages["freelist_count"] * pages["page_size"]
    issuance = data / "issuance" / f"{CAMPAIGN}.sqlite3"
    return {
        "leaves": size,
        "tiles_bytes": sum_on_disk(data / "public" / "c" / CAMPAIGN) / size,
        "ledger_bytes": sum_on_disk(ledger) / size,
        "free_bytes": free / size,
        "issuance_bytes": sum_on_disk(issuance) / (before + grown),
    }


_PRAGMAS = ("freelist_count", "page_size")


def _measure_recovery(data: Path, signers: list[_signers.Signer]) -> Measured:
    """Kill the server amid signing; time its next start to a signature it has taken."""
    half = len(signers) // 2
    with _instance.serve(data) as server:
        # Pooled and not published, so that there is something to find.
        _flow.run_journeys(
            port=server.port, journeys=_signers.list_whole(signers[:half])
        )
        os.kill(server.pid, signal.SIGKILL)
    begun = time.monotonic()
    with _instance.serve(data) as server:
        _flow.run_journeys(
            port=server.port, journeys=_signers.list_whole(signers[half:][:1])
        )
        seconds = time.monotonic() - begun
    return {"recovery_s": seconds}


def _list_bars(rounds: Rounds, sizes: list[int]) -> list[Bar]:
    least, most = str(sizes[0]), str(sizes[-1])
    dear = rounds.median(most, "us") / rounds.median(most, "ceiling_us")
    cheap = rounds.median(least, "us") / rounds.median(least, "ceiling_us")
    ledger = rounds.median(most, "tiles_bytes") + rounds.median(most, "ledger_bytes")
    return [
        Bar(
            f"cost of a signature at {sizes[-1]:,} against {sizes[0]:,}, each by the "
            "host's own rates",
            COST_TIMES,
            dear / cheap,
            "x",
            at_most=True,
        ),
        Bar(
            f"memory of the server at {sizes[-1]:,}",
            MEMORY_MB,
            rounds.median(most, "memory_mb"),
            "MB",
            at_most=True,
        ),
        Bar(
            "log on the disk, a signature: tiles, nonces, the rest of the ledger",
            LEDGER_BYTES,
            ledger,
            "bytes",
            at_most=True,
        ),
        Bar(
            "issuance on the disk, a token",
            ISSUANCE_BYTES,
            rounds.median(most, "issuance_bytes"),
            "bytes",
            at_most=True,
        ),
        Bar(
            f"start after kill -9 at {sizes[-1]:,}, to a signature taken",
            RECOVERY_SECONDS,
            rounds.median(most, "recovery_s"),
            "s",
            at_most=True,
        ),
    ]


def _list_tables(rounds: Rounds, sizes: list[int]) -> list[Table]:
    def row(size: int, names: dict[str, str]) -> list[str]:
        values = [
            format(rounds.median(str(size), name), form) for name, form in names.items()
        ]
        return [f"{size:,}", *values]

    cost = {
        "us": ",.0f",
        "after_us": ",.0f",
        "ceiling_us": ",.0f",
        "rate": ",.0f",
        "p50_ms": ",.1f",
        "p99_ms": ",.1f",
        "others": ".2f",
    }
    weight = {
        "memory_mb": ",.0f",
        "tiles_bytes": ",.0f",
        "ledger_bytes": ",.0f",
        "free_bytes": ",.0f",
        "issuance_bytes": ",.0f",
        "recovery_s": ".2f",
    }
    return [
        Table(
            "Processor time, µs a signature",
            [
                "Leaves before",
                "all",
                "of it after the last was taken",
                "host's own",
                "a second",
                "p50 ms",
                "p99 ms",
                "Others",
            ],
            [row(size, cost) for size in sizes],
        ),
        Table(
            "Memory, disk, start",
            [
                "Leaves before",
                "MB",
                "tiles, bytes",
                "ledger, bytes",
                "of it free",
                "issuance, bytes",
                "start, s",
            ],
            [row(size, weight) for size in sizes],
        ),
    ]


def report(rounds: Rounds, settings: dict[str, object], sizes: list[int]) -> Result:
    """Return the result, and draw cost against size."""
    result = Result("scale", "What a signature costs in a large campaign", settings)
    result.bars = _list_bars(rounds, sizes)
    result.tables = _list_tables(rounds, sizes)
    result.notes = [
        "CPU is user and system time of the server, publications and rendering "
        "included. The host's own: BlindSign, PSS verification and Ed25519, before "
        "and after.",
        "The leaves before are random bytes in place of tokens: nothing reads them "
        "again. Those that are measured are signed, verified and published whole.",
        "Bytes are blocks on the disk, divided by leaves. MB: shared pages once.",
        "A start is measured from the command to the answer to one whole signature.",
    ]
    result.measured = {"rounds": rounds.found}
    lines = {
        "whole signature": "us",
        "host's own operations": "ceiling_us",
    }
    picture = draw(
        title="Processor time a signature, by size of the log",
        unit="µs of processor time",
        series={
            name: [(size, rounds.median(str(size), figure)) for size in sizes]
            for name, figure in lines.items()
        },
    )
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "scale.svg").write_text(picture, "utf-8")
    return result


def main() -> int:
    """Measure every size that is missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", default=",".join(map(str, SIZES)))
    parser.add_argument("--flows", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    settings = {
        "sizes": options.sizes,
        "flows": options.flows,
        "rounds": options.rounds,
        "connections": CONNECTIONS,
    }
    host = HostRates()
    rounds = Rounds("scale", settings)
    for number in range(options.rounds):
        for size in sizes:
            if rounds.count(str(size)) <= number:
                fixture = find_store(size, [one for one in sizes if one < size])
                measured = measure(
                    size, fixture=fixture, flows=options.flows, host=host
                )
                rounds.add(str(size), measured)
                said = [f"{name} {value:,.1f}" for name, value in measured.items()]
                print(f"{size:,}: {', '.join(said)}", flush=True)
    code = report(rounds, settings, sizes).finish()
    rounds.drop()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
