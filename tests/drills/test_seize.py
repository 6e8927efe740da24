"""The search for canaries finds what a careless program leaves, and nothing else."""

from __future__ import annotations

import random

import pytest

from undersigned.drills import seize
from undersigned.drills.raw import Needles, find_numbers
from undersigned.drills.report import Report
from undersigned.drills.seize import Haul
from undersigned.drills.signer import KeyFacts
from undersigned.drills.visitors import Visitors

# Half past ten and seventeen seconds, on some day of 2026.
NOW = 1_773_138_617.0


class Pile:
    """A thief with hauls that were made up."""

    def __init__(self, moment: str, files: dict[str, bytes]) -> None:
        self.hauls = [Haul(moment, files, {})]


@pytest.fixture
def visitors() -> Visitors:
    key = KeyFacts("c/seize", "drill.example/c/seize", "email", 0, b"", bytes(32))
    found = Visitors(0, {"email": key}, random.Random(1))
    found.traces.first, found.traces.last = NOW - 20, NOW + 20
    found.traces.seconds = {int(NOW)}
    found.traces.texts.append(("a code", "48151623"))
    found.traces.secrets.append(("a withdrawal secret", bytes(range(100, 132))))
    return found


def judge(visitors: Visitors, files: dict[str, bytes], moment: str) -> list[str]:
    report = Report("seize")
    seize.judge(Pile(moment, files), visitors, report)  # type: ignore[arg-type]  # hauls are all it reads
    return [check.name for check in report.failed]


def test_the_control_finds_all_that_it_plants() -> None:
    report = Report("seize")
    seize.try_search(report)
    assert report.failed == []


def test_an_innocent_disk_is_innocent(visitors: Visitors) -> None:
    files = {"ledger.sqlite3": random.Random(2).randbytes(100_000)}
    assert judge(visitors, files, "after kill -9") == []


@pytest.mark.parametrize(
    "write",
    [
        lambda v: f"{v.markers.secret}7@example.org".encode(),
        lambda v: v.markers.secret.encode("utf-16-le"),
        lambda v: v.markers.refused.encode(),
        lambda _v: b"code 48151623 for",
        lambda _v: bytes(range(100, 132)),
        lambda _v: bytes(range(100, 132)).hex().encode(),
    ],
)
def test_what_is_secret_is_found_anywhere(visitors: Visitors, write: object) -> None:
    assert callable(write)
    files = {"app.sqlite3-wal": b"x" * 50 + write(visitors) + b"y" * 50}
    failed = judge(visitors, files, "between two publications")
    assert any("spellings of addresses" in name for name in failed)


def test_an_erased_name_is_found_where_it_was_left(visitors: Visitors) -> None:
    files = {"app.sqlite3": f"Asha {visitors.markers.erased}".encode()}
    assert judge(visitors, files, "after a publication") == []
    failed = judge(visitors, files, "just after erasing")
    assert failed == ["just after erasing: no name that was erased"]


def test_a_shown_name_may_stand_with_the_pages_alone(visitors: Visitors) -> None:
    name = f"Omar {visitors.markers.shown}".encode()
    moment = "after a publication"
    assert judge(visitors, {"app.sqlite3": name}, moment) == []
    assert judge(visitors, {"ledger.sqlite3-wal": name}, moment) != []


def test_a_time_is_found_unless_it_is_the_batch(visitors: Visitors) -> None:
    moment = "after kill -9"
    fine = b"at=%d;" % int(NOW)
    coarse = b"at=%d;" % (int(NOW) - int(NOW) % 60)
    assert judge(visitors, {"file": coarse}, moment) == []
    assert judge(visitors, {"file": fine}, moment) != []
    column = (int(NOW).to_bytes(4) + b"-row") * 30
    assert judge(visitors, {"file": column}, moment) != []


def test_numbers_are_found_at_any_offset() -> None:
    data = b"abc" + (1_773_138_617_250).to_bytes(8) + b"d"
    found = find_numbers(
        data, low=1_773_138_600_000, high=1_773_138_700_000, width=8, order="big"
    )
    assert list(found) == [(3, 1_773_138_617_250)]


def test_short_values_are_not_searched_for() -> None:
    needles = Needles()
    needles.add("short", b"abc")
    assert all(len(data) >= 6 for _name, _spelling, data in needles.spelled)
