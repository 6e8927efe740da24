"""undersigned bench: the checkout's own benches, and a word where there are none."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from undersigned.cli import bench


def run(checkout: Path, *names: str) -> int:
    return bench.run_benches(
        argparse.Namespace(names=list(names)), None, checkout=checkout
    )


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose benches only note that they were asked for."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "bench.py").write_text(
        "import pathlib, sys\n"
        "pathlib.Path('asked').write_text(' '.join(sys.argv[1:]))\n"
        "sys.exit(3 if 'fails' in sys.argv else 0)\n"
    )
    return tmp_path


def test_it_runs_what_is_named_in_the_checkout(checkout: Path) -> None:
    assert run(checkout, "host", "sign") == 0
    assert (checkout / "asked").read_text() == "host sign"


def test_a_failed_bench_is_a_failed_command(checkout: Path) -> None:
    assert run(checkout, "fails") == 3


def test_an_installed_program_says_that_it_has_none(tmp_path: Path) -> None:
    with pytest.raises(bench.BenchesNotHere):
        run(tmp_path)


def test_the_checkout_is_this_one() -> None:
    assert (bench.CHECKOUT / "bench" / "README.md").is_file()
