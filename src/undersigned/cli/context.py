"""What a command is given by ``config``, which this package may not import."""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol, TypeAlias

from undersigned.campaigns.data import Campaign
from undersigned.cli.pages_dump import PagesAddress
from undersigned.kernel.ids import CampaignId
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.data import Published
from undersigned.ledger.store import Store
from undersigned.web.shared.services import Services
from undersigned.witness.witnessing import Witnessing

Values: TypeAlias = dict[str, Any]


class Facts(Protocol):
    """The settings a command may read (``config.env.Environment``)."""

    @property
    def data(self) -> Path: ...

    @property
    def public(self) -> Path: ...

    @property
    def database(self) -> PagesAddress | None: ...

    @property
    def host(self) -> str: ...

    @property
    def base_url(self) -> str: ...

    @property
    def mode(self) -> str: ...

    @property
    def passphrase(self) -> str | None: ...

    @property
    def keeps_ledger_here(self) -> bool: ...


class RunningEngine(Protocol):
    """The engine (``config.engine.Engine``)."""

    @property
    def services(self) -> Services: ...

    @property
    def keystore(self) -> Keystore | None: ...

    @property
    def witnessing(self) -> Witnessing: ...

    def enter_campaign(self, campaign: Campaign) -> None:
        """Make an opened campaign known to the signing path."""
        ...

    def tick(self, at: datetime) -> list[Published]:
        """Do what time asks for."""
        ...

    def advance_closing(self, campaign_id: CampaignId, at: datetime) -> None:
        """Take one campaign's closing as far as its clocks allow."""
        ...

    def show_changes(self) -> None:
        """Let the public pages show now what a command has changed."""
        ...

    def settle_issuance(self, origin: str, at: datetime) -> None:
        """Leave no order of requests in the issuance file."""
        ...


# A function of the engine and plain values that yields progress and returns a result.
Job: TypeAlias = Callable[[RunningEngine, Values], Generator[Values, None, Values]]


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
    # Of ``config.engine.open_engine`` what follows the environment.
    open_engine: Callable[..., AbstractContextManager[Any]]
    # The ledger, for the holder of the writer lock while nothing runs.
    open_store: Callable[[], Store]
    run_server: Callable[..., None]
    examine: Callable[[], list[Finding]]
