"""Tampering is noticed by the drill exactly when the audit notices it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from undersigned_verify import entry
from undersigned_verify.audit import AuditReport
from undersigned_verify.errors import Fault

from undersigned.drills import tamper
from undersigned.drills.log_image import Author
from undersigned.drills.report import Options, Report

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
    bench = tamper.Bench(folder, image.files(), report, misname)
    tamper.try_files(bench, TINY, "log")
    assert any("statement" in check.name for check in report.failed)
    assert bench.accepts(), "what was tampered with was put right again"
