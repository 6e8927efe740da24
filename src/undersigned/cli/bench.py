"""``undersigned bench``: the benches of the checkout that this program runs from."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

from undersigned.kernel.errors import Refused

# src/undersigned/cli/bench.py in a checkout.
CHECKOUT = Path(__file__).resolve().parents[3]


class BenchesNotHere(Refused):
    """Benches need the source checkout: they measure it beside what it is built on."""

    code: ClassVar[str] = "benches-not-here"


def run_benches(
    arguments: argparse.Namespace, context: object, *, checkout: Path = CHECKOUT
) -> int:
    """Run the benches that are named, or all; the first failure ends it.

    They work on instances of their own in ``bench/fixtures`` and write to
    ``bench/results``; ``context`` is not used. Raises BenchesNotHere.
    """
    del context
    if not (checkout / "tools" / "bench.py").is_file():
        raise BenchesNotHere()
    command = [sys.executable, "-m", "tools.bench", *arguments.names]
    return subprocess.run(command, cwd=checkout, check=False).returncode
