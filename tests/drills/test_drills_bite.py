"""Each drill passes over the product and fails when what it guards is broken."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support import ROOT
from undersigned.drills.isolated import run_isolated
from undersigned.drills.report import Report

pytestmark = pytest.mark.slow

# The drills whose smallest size takes seconds; crash, faults and seize need a server
# and minutes of its clock, and run in `make drills`.
QUICK = ("vectors", "double", "close", "clock", "power", "disk")

# What is broken, and words of checks that must then fail.
BROKEN = [
    ("vectors_with_any_signature", ["signed notes"]),
    ("double_for_everybody", ["exactly one token", "second of two tickets"]),
    ("close_and_keep_keys", ["are gone", "no file holds"]),
    ("close_without_last_batch", ["exactly once"]),
    ("order_in_arrival", ["rank correlation"]),
    ("unlink_with_times", ["no better than one in the crowd"]),
    ("witness_that_trusts_everything", ["exactly one", "two histories"]),
    ("promise_that_is_never_due", ["the verifier says broken"]),
    ("crash_with_careless_server", ["are lost"]),
    ("faults_that_nobody_hears", ["stops loudly"]),
    ("power_with_unsynced_ledger", ["of 12 states"]),
    ("power_with_unsynced_names", ["of 12 states"]),
    ("flood_with_a_rude_server", ["ever got worse", "came back in the page"]),
    ("disk_that_nobody_hears", ["without stopping loudly"]),
    ("failover_with_careless_server", ["are lost"]),
    ("failover_with_trusting_sequencer", ["of two that sequence at once one ends"]),
    ("restore_with_the_pool", ["can be told from a backup"]),
    ("restore_without_import", ["every leaf of the mirror", "are inconsistent"]),
]


def run_small(target: str, folder: Path) -> Report:
    return Report.from_json(
        run_isolated(target, {"size": "tiny", "seed": 7}, folder=folder)
    )


@pytest.fixture(autouse=True)
def _children_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    # What is not beside the checkout is skipped here; `make drills` is strict in CI.
    monkeypatch.delenv("UNDERSIGNED_CI", raising=False)


@pytest.mark.parametrize("name", QUICK)
def test_it_passes_over_the_product(name: str, tmp_path: Path) -> None:
    report = run_small(f"undersigned.drills.{name}:run", tmp_path)
    assert report.failed == []
    assert report.checks


def test_order_passes_over_the_product(tmp_path: Path) -> None:
    assert run_small("tests.drills.broken:order_as_it_is", tmp_path).failed == []


@pytest.mark.parametrize("how,words", BROKEN)
def test_it_fails_when_the_product_is_broken(
    how: str, words: list[str], tmp_path: Path
) -> None:
    report = run_small(f"tests.drills.broken:{how}", tmp_path)
    names = [check.name for check in report.failed]
    missed = [word for word in words if not any(word in name for name in names)]
    assert missed == [], names
