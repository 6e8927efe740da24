"""How fast a published series becomes signatures: the demonstration, and a slice.

``python -m bench.replay [--rounds 1] [--limit 20000]``

The slice is of the full two-minute series, which is not part of the repository; where
it is not beside the checkout, the result says so.
"""

from __future__ import annotations

import argparse
import json

from bench import _demo
from bench._demo import DEMO, Spent
from bench._host import HostRates
from bench._machine import ROOT
from bench._results import FIXTURES, Bar, Result, Rounds, Table

EXAMPLES = ROOT / "src" / "undersigned" / "examples"
SERIES = ROOT.parent / "shared" / "data" / "uk-petitions"
SERIES_FILE = SERIES / "131215-every-2-minutes.csv"
DEMO_SECONDS = 120.0

Measured = dict[str, float]


def _figures(spent: Spent, signatures: int, host: HostRates) -> Measured:
    ceiling = host.measure(seconds=0.3)
    return {
        "wall": spent.wall,
        "signatures": signatures,
        "rate": signatures / spent.wall,
        "us": 1e6 * spent.cpu / signatures,
        "blind_us": 1e6 / ceiling.blind_sign,
        "others": spent.others,
    }


def _count_signatures() -> int:
    folder = _demo.FOLDER / "data" / "public" / "c" / DEMO
    return int(json.loads((folder / "count.json").read_bytes())["signatures"])


def measure_demo(host: HostRates) -> Measured:
    """Replay and audit the demonstration, from nothing."""
    spent = _demo.replay_demo(_demo.FOLDER / "data")
    _demo.mark_demo()
    return _figures(spent, _count_signatures(), host)


def measure_slice(host: HostRates, limit: int) -> Measured:
    """Replay the first signatures of the two-minute series, and audit them."""
    data = FIXTURES / "replay" / "data"
    data.parent.mkdir(parents=True, exist_ok=True)
    _demo.create_empty_demo(data, EXAMPLES / f"{DEMO}.toml")
    words = ["replay", str(SERIES_FILE), "--campaign", DEMO, "--limit", str(limit)]
    said = data.parent / "replay.txt"
    return _figures(_demo.run_measured(data, *words, said=said), limit, host)


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--limit", type=int, default=20_000)
    options = parser.parse_args()
    settings = {"rounds": options.rounds, "slice": options.limit}
    rounds, host = Rounds("replay", settings), HostRates()
    has_series = SERIES_FILE.is_file()
    for number in range(options.rounds):
        if rounds.count("demo") <= number:
            rounds.add("demo", measure_demo(host))
        if has_series and rounds.count("slice") <= number:
            rounds.add("slice", measure_slice(host, options.limit))
    code = report(rounds, settings, has_series).finish()
    rounds.drop()
    return code


def report(rounds: Rounds, settings: dict[str, int], has_series: bool) -> Result:
    """Return the result of all rounds."""
    said = {"demo": "the demonstration, 1:100"}
    if has_series:
        said["slice"] = f"first {settings['slice']:,} of the two-minute series"
    rows = []
    for name, text in said.items():
        figure = {key: rounds.median(name, key) for key in rounds.found[name][0]}
        rows.append(
            [
                text,
                f"{figure['signatures']:,.0f}",
                f"{figure['wall']:,.1f}",
                f"{figure['rate']:,.0f}",
                f"{figure['us']:,.0f}",
                f"{figure['us'] / figure['blind_us']:.1f}",
                f"{figure['others']:.2f}",
            ]
        )
    columns = ["What", "Signatures", "Wall s", "A second", "CPU µs", "Blind signatures"]
    result = Result("replay", "How fast a series is replayed", settings)
    wall = rounds.median("demo", "wall")
    result.bars = [
        Bar("the demonstration, wall time", DEMO_SECONDS, wall, "s", at_most=True)
    ]
    result.tables = [Table("Medians", [*columns, "Others"], rows)]
    result.notes = [
        "From an empty data directory to the end of the audit: keys, clients' "
        "arithmetic in worker processes, issue, redeem, publication, recount.",
        "CPU is of every process, the clients' workers included; the next column is "
        "how many blind signatures this machine makes in that time.",
        "Others: processors that were busy with something else meanwhile.",
    ]
    if not has_series:
        result.notes.append("The two-minute series is not beside this checkout.")
    result.measured = {"rounds": rounds.found}
    return result


if __name__ == "__main__":
    raise SystemExit(main())
