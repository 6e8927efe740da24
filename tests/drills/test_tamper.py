"""Tampering is noticed by the drill exactly when the audit notices it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from undersigned_verify import entry
from undersigned_verify.audit import AuditReport
from undersigned_verify.errors import Fault

from undersigned.drills import tamper, tampered_spine
from undersigned.drills.log_image import Author
from undersigned.drills.report import Options, Report
from undersigned.drills.tampered_spine import Verdict
from undersigned.drills.tampering import Bench, try_files

pytestmark = pytest.mark.slow

TINY = Options("tiny", 3)


def test_it_passes_with_the_verifier(tmp_path: Path) -> None:
    report = Report("tamper")
    tamper.try_made_log(tmp_path, TINY, report, audit=tamper.recount)
    assert report.failed == []
    assert sum(report.figures["attempts"].values()) > 400


def test_it_fails_with_a_verifier_that_accepts_everything(tmp_path: Path) -> None:
    def accept(folder: Path) -> AuditReport:
        return replace(tamper.recount(folder), fault=None)

    report = Report("tamper")
    tamper.try_made_log(tmp_path, TINY, report, audit=accept)
    assert all("ACCEPTED" in check.detail for check in report.failed)
    assert any("signed anew" in check.name for check in report.failed)


def test_it_fails_with_a_verifier_that_names_another_place(tmp_path: Path) -> None:
    def misname(folder: Path) -> AuditReport:
        found = tamper.recount(folder)
        fault = found.fault
        other = fault and Fault(fault.code, index=fault.index, path="elsewhere")
        return replace(found, fault=other)

    author = Author(origin="drill.example/c/made")
    header = entry.encode(author.header)
    image = author.image([[header, author.announce(0, 1)], author.signs(3)])
    report = Report("tamper")
    folder = tmp_path / image.path
    bench = Bench(folder, image.files(), report, misname)
    try_files(bench, TINY, "log")
    assert any("statement" in check.name for check in report.failed)
    assert bench.accepts(), "what was tampered with was put right again"


def test_the_spine_passes_with_the_verifier(tmp_path: Path) -> None:
    report = Report("tamper")
    tampered_spine.try_spine(tmp_path, TINY, report)
    assert report.failed == []


def test_the_spine_fails_with_a_verifier_that_takes_its_word(tmp_path: Path) -> None:
    """One that reads the spine, and never lays it beside the logs or the policy."""

    def trust(folder: Path, policy: bytes | None = None) -> Verdict:
        found = tampered_spine.recount(folder)
        of_logs = ("spine-absent", "spine-keys", "spine-fork", "spine-total")
        if found.fault is not None and found.fault.code in of_logs:
            return Verdict(True, None)
        return found

    report = Report("tamper")
    tampered_spine.try_spine(tmp_path, TINY, report, audit=trust)
    said = {check.name: check.detail for check in report.failed}
    assert any("by who holds its key" in name for name in said)
    assert any("said to be" in name for name in said)
    assert all("ACCEPTED" in text or "WITNESSED" in text for text in said.values())
