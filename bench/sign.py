"""What a signature costs: redeem, issue and redeem, and the rivals, in one run.

``python -m bench.sign [--rounds 5] [--seconds 5] [--flows 3000] [--fresh]``

Every round measures each variant once, on a fresh copy of the same data directory,
with the host's own rates beside it; a result is the median of its rounds' ratios.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from bench import _eligibility, _flow, _instance, _signers, _wrk
from bench._cpu import Meter
from bench._host import Ceiling, HostRates, occupied
from bench._instance import PATH, WORK, Fixture
from bench._programs import NotStarted
from bench._report_sign import report
from bench._results import Rounds
from bench._rivals import run_floor, run_ordinary
from undersigned.credentials.client import Prepared

HOST_SECONDS = 0.5
WARM_SECONDS = 2.0
WARM_FLOWS = 200
# Beyond the size up to which the issuance file is rebuilt at each commit.
LARGE_ROWS = 2_100
ADDRESSES = 60

Measured = dict[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """How long each measurement takes, and of what."""

    fixture: Fixture
    prepared: list[Prepared]
    host: HostRates
    seconds: float


def _load(plan: Plan, *, port: int, path: str, warm: bool = False) -> _wrk.Load:
    bodies = plan.fixture.warm if warm else plan.fixture.bodies
    seconds = WARM_SECONDS if warm else plan.seconds
    if not _wrk.is_there():
        return _flow.post_bodies(port=port, path=path, bodies=bodies, seconds=seconds)
    return _wrk.post_bodies(
        port=port, path=path, bodies=bodies, folder=WORK, seconds=seconds
    )


def _measure_host(plan: Plan) -> Ceiling:
    with occupied():
        return plan.host.measure(seconds=HOST_SECONDS)


def _figures(plan: Plan, before: Ceiling, meter: Meter, load: _wrk.Load) -> Measured:
    # The processor is twice as fast in one second as in the next where others share
    # it: the host's rates are taken on both sides of what is measured.
    after = _measure_host(plan)
    ceiling = before.mean(after)
    return {
        "us": 1e6 * meter.seconds / load.accepted,
        "rate": load.rate,
        "p50_ms": load.p50_ms,
        "p99_ms": load.p99_ms,
        "accepted": load.accepted,
        "others": meter.others,
        "redeem_ceiling_us": ceiling.redeem_us,
        "whole_ceiling_us": ceiling.whole_us,
        "issue_ceiling_us": 1e6 / ceiling.blind_sign,
    }


def _measure_bodies(
    plan: Plan, what: str, pids: tuple[int, ...], port: int, path: str
) -> Measured:
    _load(plan, port=port, path=path, warm=True)
    before = _measure_host(plan)
    meter = Meter(pids)
    meter.start(time.monotonic())
    load = _load(plan, port=port, path=path)
    meter.stop(time.monotonic())
    load.require_clean(what)
    return _figures(plan, before, meter, load)


def measure_redeem(plan: Plan) -> Measured:
    """Redeem ready tokens, then close: every acknowledged one must be counted."""
    _instance.avoid_tick(plan.seconds + 30)
    with _instance.copy_data(plan.fixture) as data:
        with _instance.serve(data) as server:
            found = _measure_bodies(
                plan, "redeem", (server.pid,), server.port, f"{PATH}/sign"
            )
            meter = Meter((server.pid,))
            meter.start(time.monotonic())
            counted = _instance.close_and_count(data)
            meter.stop(time.monotonic())
        if counted < found["accepted"]:
            raise NotStarted(f"{found['accepted']} acknowledged, {counted} counted")
        return found | {"publish_us": 1e6 * meter.seconds / counted}


def _measure_flows(plan: Plan, *, whole: bool, rows: int) -> Measured:
    with _instance.copy_data(plan.fixture) as data:
        if rows:
            _signers.fill_issuance(plan.fixture, data, rows)
        tickets = _signers.grant_tickets(data, len(plan.prepared))
        signers = _signers.make_signers(plan.fixture, plan.prepared, tickets)
        warm, signers = signers[:WARM_FLOWS], signers[WARM_FLOWS:]
        journeys = _signers.list_whole if whole else _signers.list_issues
        _instance.avoid_tick(60)
        with _instance.serve(data) as server:
            _flow.run_journeys(port=server.port, journeys=journeys(warm))
            before = _measure_host(plan)
            meter = Meter((server.pid,))
            meter.start(time.monotonic())
            load = _flow.run_journeys(port=server.port, journeys=journeys(signers))
            meter.stop(time.monotonic())
    return _figures(plan, before, meter, load)


def measure_whole(plan: Plan) -> Measured:
    """Issue and redeem, once the campaign is past its first two thousand tokens."""
    return _measure_flows(plan, whole=True, rows=LARGE_ROWS)


def measure_whole_begun(plan: Plan) -> Measured:
    """Issue and redeem in a campaign that has just begun."""
    return _measure_flows(plan, whole=True, rows=0)


def measure_issue(plan: Plan) -> Measured:
    """Issue alone, past the first two thousand tokens."""
    return _measure_flows(plan, whole=False, rows=LARGE_ROWS)


def measure_floor(plan: Plan) -> Measured:
    """The floor, with the same bodies."""
    with run_floor() as rival:
        return _measure_bodies(plan, "floor", rival.pids, rival.port, rival.path)


def measure_ordinary(plan: Plan) -> Measured:
    """The ordinary Django view, with the same bodies."""
    with run_ordinary(plan.fixture) as rival:
        return _measure_bodies(plan, "ordinary", rival.pids, rival.port, rival.path)


def measure_eligibility(plan: Plan) -> Measured:
    """Asking for a code, the mail, confirming."""
    found = _eligibility.measure(plan.fixture, addresses=ADDRESSES)
    return {
        "ask_us": found.ask_us,
        "mail_us": found.mail_us,
        "confirm_us": found.confirm_us,
    }


VARIANTS: dict[str, Callable[[Plan], Measured]] = {
    "redeem": measure_redeem,
    "floor": measure_floor,
    "whole": measure_whole,
    "ordinary": measure_ordinary,
    "whole-begun": measure_whole_begun,
    "issue": measure_issue,
    "eligibility": measure_eligibility,
}


def main() -> int:
    """Measure all rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--flows", type=int, default=3000)
    parser.add_argument("--fresh", action="store_true", help="make the fixture anew")
    parser.add_argument("--only", choices=VARIANTS, help="one variant, no result")
    options = parser.parse_args()
    host = HostRates()
    ceiling = host.measure(seconds=HOST_SECONDS)
    # No redeem can be faster than its two operations, so this many bodies suffice.
    bodies = int(1e6 / ceiling.redeem_us * options.seconds) + 1_000
    fixture = _instance.make_fixture(bodies=bodies, fresh=options.fresh)
    prepared = _signers.prepare_many(fixture, options.flows + WARM_FLOWS)
    plan = Plan(fixture, prepared, host, options.seconds)
    settings = {
        "connections": _wrk.CONNECTIONS,
        "rounds": options.rounds,
        "seconds": options.seconds,
        "flows": options.flows,
        "load": "wrk" if _wrk.is_there() else "this process (wrk is missing)",
    }
    with ExitStack() as stack:
        if options.only:
            for _number in range(options.rounds):
                _say(options.only, VARIANTS[options.only](plan))
            return 0
        rounds = Rounds("sign", settings)
        stack.callback(print, flush=True)
        for number in range(options.rounds):
            for name, measure in VARIANTS.items():
                if rounds.count(name) <= number:
                    measured = measure(plan)
                    rounds.add(name, measured)
                    _say(name, measured)
    code = report(rounds, settings).finish()
    rounds.drop()
    return code


def _say(name: str, measured: Measured) -> None:
    shown = [f"{key} {value:,.1f}" for key, value in measured.items() if value]
    print(f"{name:12} {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
