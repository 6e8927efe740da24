"""Results as JSON and as a page to read, and measurements that outlive an interrupt."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench._machine import ROOT, Machine, describe, find_commit

RESULTS = ROOT / "bench" / "results"
FIXTURES = ROOT / "bench" / "fixtures"

Values = Mapping[str, object]


def median(values: Iterable[float]) -> float:
    """Return the middle value: one disturbed round does not move it."""
    return statistics.median(values)


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar from the issue, and what was measured. ``unit``: ``%``, ``x`` or a name."""

    name: str
    wanted: float
    got: float
    unit: str
    at_most: bool = False

    @property
    def is_met(self) -> bool:
        """Whether the figure reaches the bar."""
        return self.got <= self.wanted if self.at_most else self.got >= self.wanted

    def _text(self, value: float) -> str:
        if self.unit == "%":
            return f"{value:.1%}"
        if self.unit == "x":
            return f"{value:.2f} ×"
        return f"{value:,.1f} {self.unit}"

    def as_row(self) -> list[str]:
        """Return the cells of its row."""
        sign = "≤" if self.at_most else "≥"
        said = "met" if self.is_met else "**missed**"
        return [
            self.name,
            f"{sign} {self._text(self.wanted)}",
            self._text(self.got),
            said,
        ]


@dataclass(frozen=True, slots=True)
class Table:
    """A table of a result's page; the first column is text, the others figures."""

    heading: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def as_lines(self) -> list[str]:
        """Return it in Markdown."""
        marks = ["---", *["---:" for _column in self.columns[1:]]]
        return [
            f"## {self.heading}",
            "",
            f"| {' | '.join(self.columns)} |",
            f"|{'|'.join(marks)}|",
            *[f"| {' | '.join(row)} |" for row in self.rows],
            "",
        ]


@dataclass(slots=True)
class Result:
    """What one bench found."""

    name: str
    title: str
    settings: Values
    bars: list[Bar] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    measured: dict[str, object] = field(default_factory=dict)
    machine: Machine = field(default_factory=describe)

    def write(self) -> Path:
        """Write ``results/NAME.json`` and ``results/NAME.md``; return the latter."""
        RESULTS.mkdir(parents=True, exist_ok=True)
        values = {
            "bench": self.name,
            "machine": self.machine.as_json(),
            "settings": dict(self.settings),
            "bars": [asdict(bar) | {"met": bar.is_met} for bar in self.bars],
            "measured": self.measured,
        }
        text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
        (RESULTS / f"{self.name}.json").write_text(text, "utf-8")
        page = RESULTS / f"{self.name}.md"
        page.write_text("\n".join(self._as_lines()).rstrip() + "\n", "utf-8")
        return page

    def _as_lines(self) -> list[str]:
        command = f"make bench B={self.name}"
        lines = [f"# {self.title}", "", self.machine.as_line(), ""]
        lines += [f"Made by `{command}`; {_say_settings(self.settings)}.", ""]
        if self.bars:
            rows = [bar.as_row() for bar in self.bars]
            columns = ["What", "Bar", "Measured", "Verdict"]
            lines += Table("Bars", columns, rows).as_lines()
        for table in self.tables:
            lines += table.as_lines()
        if self.notes:
            lines += ["## Notes", "", *[f"- {note}" for note in self.notes], ""]
        return lines

    def finish(self) -> int:
        """Write, print the page, and return an exit code: 1 where a bar is missed."""
        page = self.write()
        print(f"\n{page.read_text('utf-8')}")
        return 0 if all(bar.is_met for bar in self.bars) else 1


def _say_settings(settings: Values) -> str:
    return ", ".join(f"{name} {value}" for name, value in settings.items())


class Rounds:
    """Measurements of rounds, kept in a file until the bench has written its result.

    An interrupted bench goes on where it stopped, unless the code or the settings are
    others by then.
    """

    def __init__(self, name: str, settings: Values) -> None:
        FIXTURES.mkdir(parents=True, exist_ok=True)
        self._path = FIXTURES / f"{name}.rounds.json"
        self._identity = {"commit": find_commit(), **settings}
        self.found: dict[str, list[dict[str, float]]] = {}
        try:
            kept = json.loads(self._path.read_text("utf-8"))
        except (OSError, ValueError):
            return
        if kept.get("identity") == self._identity:
            self.found = kept["found"]

    def add(self, variant: str, measured: dict[str, float]) -> None:
        """Keep one round's figures."""
        self.found.setdefault(variant, []).append(measured)
        values = {"identity": self._identity, "found": self.found}
        self._path.write_text(json.dumps(values), "utf-8")

    def count(self, variant: str) -> int:
        """Return how many rounds of a variant there are."""
        return len(self.found.get(variant, []))

    def list_values(self, variant: str, name: str) -> list[float]:
        """Return one figure of every round of a variant."""
        return [measured[name] for measured in self.found.get(variant, [])]

    def median(self, variant: str, name: str) -> float:
        """Return the median of one figure of a variant."""
        return median(self.list_values(variant, name))

    def drop(self) -> None:
        """Forget them: the result is written."""
        self._path.unlink(missing_ok=True)
