"""The cast's clock and keys, the database of the tests, and no network.

The environment of a run is set in the conftest.py above this folder, before Django
reads it. What builds campaigns, signatures and logs is in ``factories/``.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.factories.instances import Instance
from tests.factories.keys import KeyBox
from tests.support import refuse_network
from undersigned.kernel.clock import FixedClock

# A Saturday morning, at the start of a minute, an interval and an hour.
MORNING = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)

# A machine under load is slow; that is no failure of the code under test.
settings.register_profile("undersigned", deadline=None, max_examples=60)
settings.load_profile("undersigned")


@pytest.fixture(autouse=True)
def _stay_on_this_machine() -> Iterator[None]:
    # Not through the monkeypatch fixture: Hypothesis refuses fixtures of one test.
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        yield


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    tmp_path_factory: pytest.TempPathFactory,
    django_db_modify_db_settings_parallel_suffix: None,
) -> None:
    """Keep the tests' database in a file: the engine's threads share it as in life."""
    from django.conf import settings as django_settings

    folder = tmp_path_factory.mktemp("pages")
    database: dict[str, Any] = django_settings.DATABASES["default"]
    database.setdefault("TEST", {})["NAME"] = str(folder / "app.sqlite3")


@pytest.fixture
def clock() -> FixedClock:
    """A clock that stands at nine in the morning until it is told to move."""
    return FixedClock(MORNING)


@pytest.fixture(scope="session")
def all_keys() -> KeyBox:
    """Every issuer key of the session; making one takes a twentieth of a second."""
    return KeyBox()


@pytest.fixture
def keys(all_keys: KeyBox, monkeypatch: pytest.MonkeyPatch) -> KeyBox:
    """Issuer keys made before, each handed out once in a test, also by operations."""
    all_keys.rewind()
    operations = "undersigned.credentials.operations"
    monkeypatch.setattr(f"{operations}.make_key", all_keys.take)
    monkeypatch.setattr(f"{operations}.BlindSigner", all_keys.load)
    return all_keys


@pytest.fixture
def instance(
    tmp_path: Path, clock: FixedClock, keys: KeyBox, transactional_db: None
) -> Iterator[Instance]:
    """A running instance of its own, whose clock moves only when told to."""
    running = Instance(tmp_path / "data", clock)
    running.start()
    try:
        yield running
    finally:
        running.stop()
