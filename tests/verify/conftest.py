"""The cast's keys, made once a session, and a log that uses every rule."""

from collections.abc import Callable

import pytest

from tests.verify.building import MINA, NOOR, Issuer, LogBuilder


@pytest.fixture(scope="session")
def issuers() -> list[Issuer]:
    """Three issuer keys; making one takes a tenth of a second."""
    return [Issuer() for _ in range(3)]


@pytest.fixture
def new_log(issuers: list[Issuer]) -> Callable[..., LogBuilder]:
    """Make a log whose keys are announced: 0 email, 1 open, 2 email in quarantine."""

    def make(
        *, mode: str = "standard", origin: str = "example.org/c/river"
    ) -> LogBuilder:
        log = LogBuilder(mode=mode, origin=origin)
        log.announce(0, issuers[0]).announce(1, issuers[1], klass=4)
        if mode != "danger":
            log.announce(2, issuers[2], flags=1)
        return log.add(MINA.announcement, NOOR.announcement).publish()

    return make


@pytest.fixture
def log(new_log: Callable[..., LogBuilder]) -> LogBuilder:
    """The usual log: keys announced, nothing signed."""
    return new_log()
