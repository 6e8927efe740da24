"""What a drill found: checks that passed or failed, figures, and what was left out."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

Values: TypeAlias = dict[str, Any]
Size: TypeAlias = Literal["tiny", "ci", "full"]


@dataclass(frozen=True, slots=True)
class Options:
    """How a drill is run.

    ``size``: "tiny" for this project's own tests, "ci", or "full" for the sizes that
    were promised. ``seed``: of everything random but keys, tokens and canaries.
    """

    size: Size
    seed: int

    def pick(self, *, tiny: int, ci: int, full: int) -> int:
        """Return the number for this size."""
        return {"tiny": tiny, "ci": ci, "full": full}[self.size]


@dataclass(frozen=True, slots=True)
class Check:
    """One thing a drill looked at. ``detail``: what was found, for people."""

    name: str
    passed: bool
    detail: str


@dataclass(slots=True)
class Report:
    """A drill's outcome, filled as it goes.

    ``figures``: what was measured, JSON values only. ``skipped``: reasons, each a
    sentence, why something could not be looked at here.
    """

    drill: str
    checks: list[Check] = field(default_factory=list)
    figures: Values = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def passed(self) -> bool:
        """Whether something was checked and nothing failed."""
        return bool(self.checks or self.skipped) and not self.failed

    @property
    def failed(self) -> list[Check]:
        """The checks that did not pass."""
        return [check for check in self.checks if not check.passed]

    def check(self, name: str, passed: bool, detail: object = "") -> bool:
        """Note one check; return whether it passed."""
        self.checks.append(Check(name, bool(passed), str(detail)))
        if not passed:
            self.say(f"FAILED {name}: {detail}")
        return bool(passed)

    def skip(self, reason: str) -> None:
        """Note that something was not looked at, and why."""
        self.skipped.append(reason)
        self.say(f"skipped: {reason}")

    def say(self, text: str) -> None:
        """Tell whoever watches how far the drill has come."""
        print(f"  {self.drill}: {text}", file=sys.stderr, flush=True)

    def as_json(self) -> Values:
        """Return the report as plain values."""
        return {
            "drill": self.drill,
            "passed": self.passed,
            "seconds": round(self.seconds, 1),
            "checks": [asdict(check) for check in self.checks],
            "figures": self.figures,
            "skipped": self.skipped,
        }

    @classmethod
    def from_json(cls, values: Values) -> Report:
        """Return what ``as_json`` wrote."""
        return cls(
            drill=values["drill"],
            checks=[Check(**check) for check in values["checks"]],
            figures=values["figures"],
            skipped=values["skipped"],
            seconds=values["seconds"],
        )
