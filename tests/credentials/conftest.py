"""One statement version's issuer, without campaigns, ledger or Django."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.issuers import Office
from tests.factories.keys import KeyBox
from undersigned.kernel.clock import FixedClock


@pytest.fixture
def office(tmp_path: Path, keys: KeyBox, clock: FixedClock) -> Iterator[Office]:
    """An office that issues for the river campaign: by e-mail and openly."""
    office = Office(tmp_path, clock)
    office.start()
    office.create()
    yield office
    office.stop()
