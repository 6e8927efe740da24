"""``undersigned drill``: which drills there are, what is printed, how it ends."""

from __future__ import annotations

import importlib
import json
from pathlib import Path

import pytest

from undersigned.cli.parser import DRILLS, build_parser
from undersigned.drills import command, isolated, vectors
from undersigned.drills.report import Options, Report, Size


def drill(*words: str) -> int:
    arguments = build_parser().parse_args(["drill", *words])
    return command.run_drills(arguments, None)


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Size, int]]:
    """Which drills were run; the one called close fails."""
    found: list[tuple[str, Size, int]] = []

    def pretend(name: str, *, size: Size, seed: int) -> Report:
        found.append((name, size, seed))
        report = Report(name, seconds=1.0)
        report.check("something", name != "close", "a detail")
        return report

    monkeypatch.setattr(command, "run_drill", pretend)
    return found


def test_each_name_is_a_module_that_runs() -> None:
    for name in DRILLS:
        assert callable(importlib.import_module(f"undersigned.drills.{name}").run)


def test_one_is_run_at_ci_size(ran: list[tuple[str, Size, int]]) -> None:
    assert drill("order", "--seed", "5") == 0
    assert ran == [("order", "ci", 5)]


def test_all_are_run_although_one_fails(ran: list[tuple[str, Size, int]]) -> None:
    assert drill("all", "--full", "--seed", "5") == 1
    assert [name for name, _size, _seed in ran] == list(DRILLS)
    assert {size for _name, size, _seed in ran} == {"full"}


def test_the_report_is_written_and_printed(
    ran: list[tuple[str, Size, int]],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "results" / "drills.json"
    assert drill("close", "--json", "--out", str(out)) == 1
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads(out.read_text())
    assert printed["passed"] is False
    assert printed["drills"][0]["checks"][0]["detail"] == "a detail"
    assert printed["machine"]["sqlite"]
    assert ran[0][2] == printed["seed"]


def test_a_drill_that_breaks_down_has_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(target: str, *_values: object, **_named: object) -> None:
        raise isolated.ChildFailed(target, 1)

    monkeypatch.setattr(command, "run_isolated", break_down)
    report = command.run_drill("order", size="ci", seed=1)
    assert not report.passed
    assert "status 1" in report.failed[0].detail


def test_a_drill_that_checked_nothing_has_not_passed() -> None:
    assert not Report("order").passed


def test_a_report_survives_being_written() -> None:
    report = Report("order", figures={"n": 1}, skipped=["no node"], seconds=2.0)
    report.check("one", True, "fine")
    assert Report.from_json(json.loads(json.dumps(report.as_json()))) == report


@pytest.mark.parametrize("ci,passes", [("", True), ("1", False)])
def test_what_is_missing_is_skipped_and_in_ci_fails(
    ci: str, passes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSIGNED_CI", ci)
    report = Report("vectors")
    vectors.leave_out(report, "node is not installed")
    assert report.passed is passes


def test_no_setting_of_the_operator_reaches_a_drill(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNDERSIGNED_SMTP_URL", "smtp://mail.example")
    monkeypatch.setenv("UNDERSIGNED_DATA", "/srv/undersigned")
    found = isolated.make_environment(tmp_path, trusted_proxy="127.0.0.1")
    ours = {name: value for name, value in found.items() if "UNDERSIGNED_" in name}
    assert "UNDERSIGNED_SMTP_URL" not in ours
    assert ours["UNDERSIGNED_DATA"] == str(tmp_path / "data")
    assert ours["UNDERSIGNED_TRUSTED_PROXY"] == "127.0.0.1"
    assert found["TMPDIR"] == str(tmp_path / "tmp")


def test_sizes_are_told_apart() -> None:
    sizes: tuple[Size, ...] = ("tiny", "ci", "full")
    picked = [Options(size, 1).pick(tiny=1, ci=2, full=3) for size in sizes]
    assert picked == [1, 2, 3]
