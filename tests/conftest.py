"""The cast's clock and keys, the database of the tests, and no network.

The environment of a run is set in the conftest.py above this folder, before Django
reads it. What builds campaigns, signatures and logs is in ``factories/``.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from tests.factories.instances import Instance
from tests.factories.keys import KeyBox
from tests.factories.stores import drop_homes
from tests.support import refuse_network
from undersigned.kernel.clock import FixedClock

# A Saturday morning, at the start of a minute, an interval and an hour.
MORNING = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)

# Much more than a test needs; some containers give 64 MB of shared memory in all.
ROOM_BYTES = 256 << 20

# A machine under load is slow; that is no failure of the code under test.
settings.register_profile("undersigned", deadline=None, max_examples=60)
settings.load_profile("undersigned")


@pytest.fixture(autouse=True)
def _stay_on_this_machine() -> Iterator[None]:
    # Not through the monkeypatch fixture: Hypothesis refuses fixtures of one test.
    with pytest.MonkeyPatch.context() as patch:
        refuse_network(patch)
        yield


@contextmanager
def make_folder() -> Iterator[Path]:
    """Make a folder for a while, in memory where there is room.

    What is under test syncs to the disk thousands of times, as it should; on a busy
    machine that alone would take minutes.
    """
    memory = "/dev/shm"
    try:
        found = os.statvfs(memory)
        has_room = found.f_bavail * found.f_frsize >= ROOM_BYTES
    except OSError:
        has_room = False
    within = memory if has_room and os.access(memory, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="undersigned-test-", dir=within))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder of the test's own, gone after it (in place of pytest's on disk)."""
    with make_folder() as folder:
        yield folder


@pytest.fixture(scope="session")
def django_db_modify_db_settings(
    django_db_modify_db_settings_parallel_suffix: None,
) -> Iterator[None]:
    """Keep the tests' database in a file: the engine's threads share it as in life."""
    from django.conf import settings as django_settings

    database: dict[str, Any] = django_settings.DATABASES["default"]
    if not database["ENGINE"].endswith("sqlite3"):
        # Threads end with their test, and so must what they opened.
        database["CONN_MAX_AGE"] = 0
        yield
        return
    with make_folder() as folder:
        database.setdefault("TEST", {})["NAME"] = str(folder / "app.sqlite3")
        yield


@pytest.fixture(autouse=True)
def _drop_homes() -> Iterator[None]:
    yield
    drop_homes()


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
