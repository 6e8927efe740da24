"""Run every static check, side by side, and print what failed: `make check`.

All of them run even when one fails, so that one round shows all there is to mend.
Each step is one line here; its settings stand in pyproject.toml.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BIN = Path(sys.executable).parent
PYTHON = sys.executable


@dataclass(frozen=True)
class Step:
    """One check: the words after its name on the printed line are ``command``."""

    name: str
    command: tuple[str, ...]
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Outcome:
    """What a step printed, whether it passed, and how long it took."""

    step: Step
    passed: bool
    output: str
    seconds: float


def tool(name: str) -> str:
    """Return the path of a program installed beside this interpreter."""
    return str(BIN / name)


def production(data: Path) -> dict[str, str]:
    """Return an environment as an instance in production would have it."""
    return {
        "UNDERSIGNED_MODE": "production",
        "UNDERSIGNED_DATA": str(data),
        "UNDERSIGNED_HOST": "petitions.example",
        "UNDERSIGNED_BASE_URL": "https://petitions.example",
        "UNDERSIGNED_SMTP_URL": "smtps://omar:example@mail.example:465",
        "UNDERSIGNED_MAIL_FROM": "post@petitions.example",
        "UNDERSIGNED_ABUSE_CONTACT": "abuse@petitions.example",
        "UNDERSIGNED_OPERATOR": "Petitions Example",
    }


def list_steps(data: Path) -> list[Step]:
    """Return every step, the slowest first, so that the two cores end together."""
    manage = (PYTHON, "manage.py")
    templates = "src/undersigned/web/templates"
    folders = ("src", "tests", "tools", "bench", "conftest.py", "manage.py")
    typed = [name for name in folders if (ROOT / name).exists()]
    demo = {"UNDERSIGNED_MODE": "development", "UNDERSIGNED_DATA": str(data)}
    steps = [
        Step("types", (tool("mypy"), *typed)),
        Step(
            "docs and rules",
            (PYTHON, "-m", "pytest", "-q", "--tb=short", "tests/architecture"),
        ),
        Step("templates", (tool("djlint"), "--lint", "--quiet", templates)),
        Step("contracts", (tool("lint-imports"), "--no-logo")),
        Step(
            "migrations",
            (*manage, "makemigrations", "--check", "--dry-run"),
            demo,
        ),
        Step(
            "deployment",
            (*manage, "check", "--deploy", "--fail-level", "WARNING"),
            production(data),
        ),
        Step("dangers", (tool("bandit"), "-q", "-lll", "-r", "src")),
        Step("spelling", (tool("codespell"),)),
        Step("lint", (tool("ruff"), "check", "--output-format=concise", ".")),
        Step(
            "format",
            (tool("ruff"), "format", "--check", "--output-format=concise", "."),
        ),
    ]
    if shutil.which("npm") and shutil.which("node"):  # else .ci/run will say so
        steps.insert(0, Step("browser client", ("sh", "tools/client.sh", "check")))
    return steps


def run(step: Step) -> Outcome:
    """Run ``step`` from the root of the checkout, and wait for it."""
    begun = time.monotonic()
    done = subprocess.run(
        step.command,
        cwd=ROOT,
        env={**os.environ, **step.env},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    seconds = time.monotonic() - begun
    return Outcome(step, done.returncode == 0, done.stdout, seconds)


def main() -> int:
    """Run all steps; 0 when all pass. Names as arguments run only those."""
    wanted = set(sys.argv[1:])
    with (
        tempfile.TemporaryDirectory(prefix="undersigned-check-") as data,
        ThreadPoolExecutor(max_workers=os.cpu_count() or 2) as pool,
    ):
        steps = list_steps(Path(data))
        if unknown := wanted - {step.name for step in steps}:
            print("No such check:", ", ".join(sorted(unknown)))
            return 2
        chosen = [step for step in steps if not wanted or step.name in wanted]
        outcomes = []
        for outcome in pool.map(run, chosen):
            word = "ok  " if outcome.passed else "FAIL"
            print(
                f"{word} {outcome.step.name:<15} {outcome.seconds:5.1f} s", flush=True
            )
            outcomes.append(outcome)
    failed = [outcome for outcome in outcomes if not outcome.passed]
    for outcome in failed:
        print(f"\n--- {outcome.step.name}: {' '.join(outcome.step.command)}")
        print(outcome.output.rstrip())
    print(f"\n{len(outcomes) - len(failed)} of {len(outcomes)} checks passed")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
