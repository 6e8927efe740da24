"""Petra's witness, and a spine that Omar's instance would show it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from undersigned.drills.small_log import SmallLog
from undersigned.kernel.keystore import Keystore
from undersigned.witness.operations import trust_log
from undersigned.witness.witness import Witness

HOST = "petra.example"
ORIGIN = "omar.example/spine"


def open_witness(folder: Path, host: str = HOST) -> Witness:
    """Return the witness of a data directory, as a starting process does."""
    return Witness(folder, host=host, keystore=Keystore(folder / "secrets"))


@pytest.fixture
def spine() -> SmallLog:
    """A log of five leaves."""
    log = SmallLog(ORIGIN)
    log.append(5)
    return log


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Petra's data directory."""
    return tmp_path / "petra"


@pytest.fixture
def witness(data: Path, spine: SmallLog) -> Iterator[Witness]:
    """A witness that trusts the spine."""
    found = open_witness(data)
    trust_log(witness=found, vkey=spine.vkey)
    yield found
    found.store.close()
