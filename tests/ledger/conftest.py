"""The river log, in the three modes of publication."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest

from tests.factories.keys import KeyBox
from tests.factories.ledgers import River
from undersigned.kernel.clock import FixedClock
from undersigned.ledger.data import Mode

MakeRiver = Callable[..., River]


@pytest.fixture
def make_river(tmp_path: Path, keys: KeyBox, clock: FixedClock) -> Iterator[MakeRiver]:
    """Make river logs, created and running, and stop them at the end."""
    made: list[River] = []

    def make(
        mode: Mode = "standard", *, k: int = 3, closes_at: datetime | None = None
    ) -> River:
        river = River(
            tmp_path / f"river-{len(made)}",
            keys,
            clock,
            mode=mode,
            k=k,
            interval_seconds=60 if mode == "standard" else 1800,
            closes_at=closes_at,
        )
        made.append(river)
        river.start()
        river.create()
        return river

    yield make
    for river in made:
        river.stop()


@pytest.fixture
def river(make_river: MakeRiver) -> River:
    """A standard log without signatures."""
    return make_river()
