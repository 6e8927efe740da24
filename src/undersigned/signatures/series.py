"""A published count series: ``time,total`` rows, checked before anything is signed."""

from __future__ import annotations

import csv
import hashlib
import io
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import ClassVar

from undersigned.kernel.errors import Refused

# A span this many times longer than the usual step is a hole: nothing was recorded.
HOLE_STEPS = 10
HOLE_LEAST = timedelta(minutes=30)


class SeriesNotValid(Refused):
    """The file is not a count series. ``line`` and ``problem`` say where and why."""

    code: ClassVar[str] = "series-not-valid"


@dataclass(frozen=True, slots=True)
class SeriesPoint:
    """The total at one moment."""

    at: datetime
    total: int


@dataclass(frozen=True, slots=True)
class Series:
    """A checked series, oldest point first. ``sha256``: of the file's bytes."""

    points: tuple[SeriesPoint, ...]
    sha256: str

    @property
    def rises(self) -> int:
        """How many signatures a whole replay makes."""
        totals = [0, *(point.total for point in self.points)]
        return sum(max(0, b - a) for a, b in pairwise(totals))

    def list_falls(self) -> list[tuple[SeriesPoint, int]]:
        """Return each point at which the total fell, with by how much."""
        return [
            (after, before.total - after.total)
            for before, after in pairwise(self.points)
            if after.total < before.total
        ]

    def find_holes(self) -> list[tuple[datetime, datetime]]:
        """Return the spans in which nothing was recorded."""
        steps = [after.at - before.at for before, after in pairwise(self.points)]
        if not steps:
            return []
        usual = timedelta(
            seconds=statistics.median(step.total_seconds() for step in steps)
        )
        limit = max(HOLE_STEPS * usual, HOLE_LEAST)
        return [
            (before.at, after.at)
            for before, after in pairwise(self.points)
            if after.at - before.at > limit
        ]


def parse_series(data: bytes) -> Series:
    """Return the series in a CSV file of two columns, time (ISO 8601) and total.

    A first row that is no data is a heading. Times without a zone are UTC; they must
    rise. Raises SeriesNotValid, naming the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SeriesNotValid(line=0, problem=f"not UTF-8: byte {error.start}") from None
    if "\0" in text:
        raise SeriesNotValid(line=0, problem="holds a NUL character")
    points: list[SeriesPoint] = []
    reader = csv.reader(io.StringIO(text))
    for line, row in enumerate(_read_rows(reader), start=1):
        if not row or (len(row) == 1 and not row[0].strip()):
            continue
        if len(row) != 2:
            raise SeriesNotValid(line=line, problem=f"{len(row)} columns, not 2")
        if line == 1 and not row[1].strip().lstrip("-").isdigit() and not _is_time(row):
            continue
        point = _parse_row(row, line)
        if points and point.at <= points[-1].at:
            raise SeriesNotValid(line=line, problem="the time does not rise")
        points.append(point)
    if not points:
        raise SeriesNotValid(line=0, problem="no rows")
    return Series(tuple(points), hashlib.sha256(data).hexdigest())


def _is_time(row: list[str]) -> bool:
    try:
        datetime.fromisoformat(row[0].strip())
    except ValueError:
        return False
    return True


def _read_rows(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    line = 0
    while True:
        line += 1
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            raise SeriesNotValid(line=line, problem=str(error)) from None
        yield row


def _parse_row(row: list[str], line: int) -> SeriesPoint:
    try:
        at = datetime.fromisoformat(row[0].strip())
        at = at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        raise SeriesNotValid(
            line=line, problem=f"{row[0].strip()[:40]!r} is no time"
        ) from None
    text = row[1].strip()
    if text.startswith("-") and text[1:].isdigit():
        raise SeriesNotValid(line=line, problem="the total is below zero")
    if not (text.isascii() and text.isdigit() and len(text) <= 12):
        raise SeriesNotValid(line=line, problem=f"{text[:40]!r} is no total")
    return SeriesPoint(
        at=at,
        total=int(text),
    )
