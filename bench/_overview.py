"""One table of what a host can do and what the product makes of it.

``python -m bench._overview``: from the results that are there, each with its own date
and commit, into ``results/overview.md`` and ``.json``, beside the plot of ``scale``.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench._results import RESULTS

Rounds = dict[str, list[dict[str, float]]]


@dataclass(frozen=True, slots=True)
class Row:
    """A figure: what, how much, which bench said so and on what day."""

    what: str
    figure: str
    bench: str
    date: str
    commit: str


@dataclass(frozen=True, slots=True)
class Found:
    """One bench's result file."""

    name: str
    values: dict[str, Any]

    def median(self, variant: str, figure: str) -> float | None:
        """Return a figure's median, None where it was not measured."""
        rounds = self.values["measured"].get("rounds", {})
        if isinstance(rounds, list):
            rounds = {self.name: rounds}
        values = [it[figure] for it in rounds.get(variant, []) if figure in it]
        return statistics.median(values) if values else None


def _per_second(value: float) -> str:
    return f"{value:,.0f} a second"


def _per_cpu_second(value: float) -> str:
    return f"{value:,.0f} a CPU-second"


def _cpu(value: float) -> str:
    return f"{value:,.0f} µs of CPU"


def _cpu_of_rate(value: float) -> str:
    return f"{1e6 / value:,.0f} µs of CPU"


def _ms(value: float) -> str:
    return f"{value:,.2f} ms"


def _minutes(value: float) -> str:
    return f"{value:,.0f} minutes"


def _per_minute(value: float) -> str:
    return f"{value:,.0f} a minute"


# What is said, the bench, its variant and figure, and how it is written.
_SAID: list[tuple[str, str, str, str, Callable[[float], str]]] = [
    ("fdatasync of 4 kB, median", "host", "host", "fsync_ms", _ms),
    ("fdatasync of 4 kB, p99", "host", "host", "fsync_p99_ms", _ms),
    ("PSS verification, raw", "host", "host", "verify", _per_cpu_second),
    ("BlindSign with its check, raw", "host", "host", "blind_sign", _per_cpu_second),
    ("Ed25519 signature, raw", "host", "host", "sign", _per_cpu_second),
    (
        "rows into SQLite, 1,000 a batch",
        "inbox",
        "sqlite 1000",
        "rows_cpu",
        _per_cpu_second,
    ),
    (
        "rows into PostgreSQL, 1,000 a batch, server counted",
        "inbox",
        "postgresql 1000",
        "rows_cpu",
        _per_cpu_second,
    ),
    (
        "rows through the stream into PostgreSQL, 1,000 at once, all servers counted",
        "stream",
        "stream 1000",
        "rows_cpu",
        _per_cpu_second,
    ),
    ("issue a token, over HTTP, durable", "sign", "issue", "us", _cpu),
    ("redeem it, over HTTP, durable", "sign", "redeem", "us", _cpu),
    ("both", "sign", "whole", "us", _cpu),
    ("both, all processors", "sign", "whole", "rate", _per_second),
    ("publish a signature", "sign", "redeem", "publish_us", _cpu),
    ("ask for a code: the page", "sign", "eligibility", "ask_us", _cpu),
    ("audit a leaf, one process", "audit", "200000-1", "per_cpu_second", _cpu_of_rate),
    (
        "the floor: bare WSGI and one PostgreSQL INSERT",
        "sign",
        "floor",
        "us",
        _cpu,
    ),
    ("count.json, a connection at a time", "pages", "count.json", "p50_ms", _ms),
    ("count.json", "pages", "count.json", "rate", _per_second),
    (
        "count.json on condition, while people sign",
        "readers",
        "program",
        "rate",
        _per_second,
    ),
    ("the same from nginx", "readers", "nginx", "rate", _per_second),
    ("replay with full crypto", "replay", "slice", "rate", _per_second),
    *[
        row
        for name, what in (
            ("replay_131215", "4.19 million signatures of 131215"),
            ("replay_700143", "3 million signatures of 700143"),
        )
        for row in (
            (f"{what}, replayed and recounted", name, name, "minutes", _minutes),
            (f"{what}, in the best ten minutes", name, name, "peak", _per_minute),
        )
    ],
]


def read_results(folder: Path) -> dict[str, Found]:
    """Return the results of a folder by bench."""
    found = {}
    for path in sorted(folder.glob("*.json")):
        values = json.loads(path.read_text("utf-8"))
        if "bench" in values and "measured" in values:
            found[values["bench"]] = Found(values["bench"], values)
    return found


def list_rows(found: dict[str, Found]) -> list[Row]:
    """Return all that was measured, in the table's order."""
    rows = []
    for what, bench, variant, figure, write in _SAID:
        result = found.get(bench)
        value = None if result is None else result.median(variant, figure)
        if result is not None and value is not None:
            rows.append(_make_row(what, write(value), result))
    if scale := found.get("scale"):
        rows += _list_sizes(scale)
    return rows


def _list_sizes(scale: Found) -> list[Row]:
    rows = []
    sizes = sorted(map(int, scale.values["measured"]["rounds"]))
    for size in sizes:

        def get(figure: str, of: int = size) -> float:
            return scale.median(str(of), figure) or 0.0

        log = get("tiles_bytes") + get("ledger_bytes")
        at = f"at {size:,} leaves"
        for what, figure in (
            (f"whole signature {at}, published", _cpu(get("us"))),
            (f"memory {at}", f"{get('memory_mb'):,.0f} MB"),
            (f"log on the disk {at}", f"{log:,.0f} bytes a signature"),
            (f"start after kill -9 {at}", f"{get('recovery_s'):,.1f} s"),
        ):
            rows.append(_make_row(what, figure, scale))
    return rows


def _make_row(what: str, figure: str, result: Found) -> Row:
    machine = result.values["machine"]
    return Row(what, figure, result.name, machine["date"][:10], machine["commit"])


def write(folder: Path = RESULTS) -> Path:
    """Write the table; return the page."""
    found = read_results(folder)
    rows = list_rows(found)
    cpus = sorted({result.values["machine"]["cpu"] for result in found.values()})
    lines = [
        "# Overview",
        "",
        "Made by `make bench` from the results beside it; processor: "
        f"{', '.join(cpus)}.",
        "Bars, spreads and conditions stand in the bench that is named.",
        "",
        "| What | Figure | Bench | Day | Commit |",
        "|---|---:|---|---|---|",
        *[
            f"| {it.what} | {it.figure} | [{it.bench}]({it.bench}.md) | {it.date} "
            f"| {it.commit} |"
            for it in rows
        ],
        "",
    ]
    if (folder / "scale.svg").exists():
        lines += ["![Processor time of a signature by size of the log](scale.svg)", ""]
    page = folder / "overview.md"
    page.write_text("\n".join(lines), "utf-8")
    values = {"rows": [asdict(row) for row in rows]}
    text = json.dumps(values, indent=1, ensure_ascii=False)
    (folder / "overview.json").write_text(f"{text}\n", "utf-8")
    return page


if __name__ == "__main__":
    print(write().read_text("utf-8"))
