"""Readers who poll the count while people sign: from the program, and from nginx.

``python -m bench.readers [--rounds 3] [--seconds 65] [--rate 50] [--fresh]``

100,000 open pages that ask every ten seconds are 10,000 requests a second, nearly all
of them answered 304. wrk sends them over 1,200 connections, each of which asks at most
ten times a second; signers begin whole journeys (issue, then redeem) at a steady rate,
50 a second, which is the best ten minutes on record (2,818 a minute). The campaign is
in standard mode: its clock ticks at least once in a round, a checkpoint replaces the
count and the pages are made again.
"""

from __future__ import annotations

import argparse
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

from bench import _flow, _instance, _nginx, _signers, _wrk
from bench._cpu import Meter
from bench._instance import PATH, WORK, Fixture, Running
from bench._programs import HOST, NotStarted
from bench._results import Bar, Result, Rounds, Table
from undersigned.credentials.client import Prepared

WANTED_RATE = 10_000.0
WANTED_MS = 2_000.0
# Asked for 12,000 times a second: some answers take longer than no time.
CONNECTIONS, PAUSE_MS = 1_200, 100
LEG_SECONDS = 5.0
FAST_CONNECTIONS = 64
COUNT = f"{PATH}/count.json"
ALONE, PROGRAM, NGINX = "signing alone", "program", "nginx"

Measured = dict[str, float]


def find_tag(server: Running) -> str:
    """Return the count's present validator. Raises NotStarted."""
    connection = http.client.HTTPConnection(HOST, server.port, timeout=30)
    try:
        connection.request("GET", COUNT)
        answer = connection.getresponse()
        answer.read()
    finally:
        connection.close()
    tag = answer.getheader("ETag")
    if answer.status != 200 or not tag:
        raise NotStarted(f"{COUNT} answers {answer.status} with the tag {tag}")
    return tag


def poll(server: Running, seconds: float, *, pause_ms: int) -> list[_wrk.Load]:
    """Poll in legs; each begins with the validator of its time, as browsers do."""
    legs: list[_wrk.Load] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        load = _wrk.get(
            port=server.port,
            path=COUNT,
            folder=WORK,
            seconds=min(seconds, LEG_SECONDS),
            connections=CONNECTIONS if pause_ms else FAST_CONNECTIONS,
            tag=find_tag(server),
            pause_ms=pause_ms,
        )
        load.require_clean("polling")
        legs.append(load)
    return legs


def _sum_up(legs: list[_wrk.Load]) -> Measured:
    ordered = sorted(legs, key=lambda leg: leg.p99_ms)
    return {
        "reads": float(sum(leg.accepted for leg in legs)),
        "rate": sum(leg.accepted for leg in legs) / sum(leg.seconds for leg in legs),
        "read_p50_ms": ordered[len(legs) // 2].p50_ms,
        "read_p99_ms": ordered[len(legs) // 2].p99_ms,
    }


def measure(
    fixture: Fixture,
    prepared: list[Prepared],
    variant: str,
    rate: float,
    seconds: float,
) -> Measured:
    """Measure one variant on a fresh copy; every acknowledged signature must stand."""
    with ExitStack() as stack:
        data = stack.enter_context(_instance.copy_data(fixture))
        tickets = _signers.grant_tickets(data, len(prepared))
        signers = _signers.make_signers(fixture, prepared, tickets)
        server = stack.enter_context(_instance.serve(data))
        entry = server
        pids: tuple[int, ...] = (server.pid,)
        if variant == NGINX:
            entry = stack.enter_context(_nginx.front(server))
            pids = (server.pid, entry.pid)
        fast: Measured = {}
        if variant != ALONE:
            fast = _measure_fast(entry)
        meter = Meter(pids)
        meter.start(time.monotonic())
        with ThreadPoolExecutor(1) as pool:
            polled = (
                pool.submit(poll, entry, seconds, pause_ms=PAUSE_MS)
                if variant != ALONE
                else None
            )
            # Signers come the same way as readers.
            signed = _flow.run_at_rate(
                port=entry.port,
                journeys=_signers.list_whole(signers),
                rate=rate,
                seconds=seconds,
            )
            legs = polled.result() if polled else []
        meter.stop(time.monotonic())
        counted = _instance.close_and_count(data)
        if counted < signed.accepted:
            raise NotStarted(f"{signed.accepted} acknowledged, {counted} counted")
    found = {
        "signed": float(signed.accepted),
        "sign_p50_ms": signed.p50_ms,
        "sign_p99_ms": signed.p99_ms,
        "cpu_seconds": meter.seconds,
        "others": meter.others,
    }
    return found | (_sum_up(legs) if legs else {}) | fast


def _measure_fast(entry: Running) -> Measured:
    """Poll as fast as it answers, before anybody signs."""
    meter = Meter((entry.pid,))
    meter.start(time.monotonic())
    found = _sum_up(poll(entry, LEG_SECONDS, pause_ms=0))
    meter.stop(time.monotonic())
    return {
        "fast_rate": found["rate"],
        "fast_us": 1e6 * meter.seconds / found["reads"],
        "fast_others": meter.others,
    }


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=65.0)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--fresh", action="store_true")
    options = parser.parse_args()
    if not _wrk.is_there():
        raise NotStarted("wrk is missing (apt-get install wrk)")
    settings = {
        "rounds": options.rounds,
        "seconds": options.seconds,
        "signatures a second": options.rate,
    }
    rounds = Rounds("readers", settings)
    fixture = _instance.make_fixture(
        bodies=0, fresh=options.fresh, name="readers", mode="standard"
    )
    variants = [ALONE, PROGRAM, *([NGINX] if _nginx.is_there() else [])]
    prepared = _signers.prepare_many(fixture, round(options.rate * options.seconds))
    for number in range(options.rounds):
        for variant in variants:
            if rounds.count(variant) <= number:
                print(f"round {number + 1}, {variant}", flush=True)
                found = measure(
                    fixture, prepared, variant, options.rate, options.seconds
                )
                rounds.add(variant, found)
    code = report(rounds, settings).finish()
    rounds.drop()
    return code


def _cost(rounds: Rounds, variant: str) -> list[float]:
    """Return each round's CPU of a read, in µs: what signing alone takes left out."""
    return [
        1e6 * (both - alone) / reads
        for both, alone, reads in zip(
            rounds.list_values(variant, "cpu_seconds"),
            rounds.list_values(ALONE, "cpu_seconds"),
            rounds.list_values(variant, "reads"),
            strict=True,
        )
    ]


def report(rounds: Rounds, settings: dict[str, float]) -> Result:
    """Return the result of all rounds."""
    result = Result("readers", "Readers who poll the count while people sign", settings)
    rows = []
    alone = rounds.median(ALONE, "sign_p99_ms")
    for variant in (PROGRAM, NGINX):
        if not rounds.count(variant):
            result.notes.append("nginx is missing (apt-get install nginx-light).")
            continue
        rate, p99 = (rounds.median(variant, n) for n in ("rate", "sign_p99_ms"))
        what = f"count.json on condition, a second, from the {variant}"
        result.bars.append(Bar(what, WANTED_RATE, rate, "requests/s"))
        what = f"signing meanwhile, p99, readers at the {variant}"
        result.bars.append(Bar(what, WANTED_MS, p99, "ms", at_most=True))
        costs = sorted(_cost(rounds, variant))
        rows.append(
            [
                variant,
                f"{rate:,.0f}",
                f"{costs[len(costs) // 2]:.1f}",
                f"{rounds.median(variant, 'read_p50_ms'):.2f}",
                f"{rounds.median(variant, 'read_p99_ms'):.1f}",
                f"{rounds.median(variant, 'sign_p50_ms'):.1f}",
                f"{p99:.0f}",
                f"{p99 / alone:.1f}",
                f"{rounds.median(variant, 'others'):.2f}",
            ]
        )
    signing = [
        rounds.median(ALONE, n) for n in ("sign_p50_ms", "sign_p99_ms", "others")
    ]
    rows.append(
        [
            "nobody reads",
            *["–"] * 4,
            f"{signing[0]:.1f}",
            f"{signing[1]:.0f}",
            "1.0",
            f"{signing[2]:.2f}",
        ]
    )
    columns = [
        "Readers at",
        "reads/s",
        "CPU µs a read",
        "read p50 ms",
        "p99 ms",
        "sign p50 ms",
        "p99 ms",
        "p99, times alone",
        "others, cores",
    ]
    result.tables.append(Table("While people sign (medians)", columns, rows))
    result.tables.append(
        Table(
            f"As fast as it answers, {FAST_CONNECTIONS} connections, nobody signs",
            ["Readers at", "reads/s", "CPU µs a read", "others, cores"],
            [
                [
                    variant,
                    f"{rounds.median(variant, 'fast_rate'):,.0f}",
                    f"{rounds.median(variant, 'fast_us'):.1f}",
                    f"{rounds.median(variant, 'fast_others'):.2f}",
                ]
                for variant in (PROGRAM, NGINX)
                if rounds.count(variant)
            ],
        )
    )
    result.notes += [
        "Readers, signers, nginx and the program share the machine's processors; "
        "“others” is what else kept them busy: beyond half a core, latencies and rates "
        "are those of a crowded machine.",
        "A signature's time is that of the whole journey, issue and redeem, from the "
        "moment when it should have begun. The campaign publishes each minute.",
        "Without TLS.",
    ]
    result.measured = {"rounds": rounds.found}
    return result


if __name__ == "__main__":
    raise SystemExit(main())
