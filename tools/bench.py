"""Run the benches one after another, or the one that is named: `make bench B=name`.

A bench is a module of bench/ with a ``main``; it writes its own result, with machine,
date and commit, under bench/results (bench/README.md).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def list_benches() -> list[str]:
    """Return the names that can be given."""
    return sorted(
        path.stem
        for path in (ROOT / "bench").glob("*.py")
        if not path.stem.startswith("_") and "def main(" in path.read_text("utf-8")
    )


def main() -> int:
    """Run what is asked for; the first failure ends it."""
    known = list_benches()
    # A whole series takes an hour: only for who names it.
    wanted = sys.argv[1:] or [it for it in known if not it.startswith("replay_")]
    for name in wanted:
        if name not in known:
            print(f"No bench {name!r}; there are: {', '.join(known)}")
            return 2
        done = subprocess.run(
            [sys.executable, "-m", f"bench.{name}"], cwd=ROOT, check=False
        )
        if done.returncode:
            return done.returncode
    # From all results that are there, so after one bench too.
    return subprocess.run(
        [sys.executable, "-m", "bench._overview"], cwd=ROOT, check=False
    ).returncode


if __name__ == "__main__":
    raise SystemExit(main())
