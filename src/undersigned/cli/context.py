"""What a command is given by ``config``, which this package may not import."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from undersigned.campaigns.data import Campaign
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.data import Published
from undersigned.web.shared.services import Services


class Facts(Protocol):
    """The settings a command may read (``config.env.Environment``)."""

    @property
    def data(self) -> Path: ...  # noqa: D102 - the data directory

    @property
    def public(self) -> Path: ...  # noqa: D102 - root of the public files

    @property
    def host(self) -> str: ...  # noqa: D102 - issuer name

    @property
    def base_url(self) -> str: ...  # noqa: D102 - as visitors type it

    @property
    def mode(self) -> str: ...  # noqa: D102 - development, demo or production

    @property
    def passphrase(self) -> str | None: ...  # noqa: D102 - opens sealed secrets


class RunningEngine(Protocol):
    """The engine (``config.engine.Engine``)."""

    @property
    def services(self) -> Services: ...  # noqa: D102 - the running parts

    @property
    def keystore(self) -> Keystore | None: ...  # noqa: D102 - None while locked

    def enter_campaign(self, campaign: Campaign) -> None:
        """Make an opened campaign known to the signing path."""
        ...

    def tick(self, at: datetime) -> list[Published]:
        """Do what time asks for."""
        ...

    def settle_issuance(self, origin: str, at: datetime) -> None:
        """Leave no order of requests in the issuance file."""
        ...


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing the doctor looked at. ``level``: ok, note, warning or danger."""

    level: str
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Context:
    """Environment and constructors."""

    environment: Facts
    open_engine: Callable[[bool], AbstractContextManager[Any]]
    run_server: Callable[..., None]
    examine: Callable[[], list[Finding]]
