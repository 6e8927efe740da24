"""The product's engine in this process, with a clock that stands still.

For drills that must decide when something happens. To be used in a child of
``isolated``: Django's database is the one of its environment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from undersigned.campaigns.data import Campaign
from undersigned.campaigns.drafting import parse_campaign_file
from undersigned.campaigns.operations import create_campaign, open_campaign
from undersigned.config.asgi import make_app
from undersigned.config.context import set_up_database
from undersigned.config.engine import Engine, open_engine
from undersigned.config.env import read_environment
from undersigned.drills.site import AppSite
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.clock import FixedClock

# A Tuesday, in the middle of an hour and of a day: no boundary is near by chance.
START = datetime(2026, 3, 10, 10, 20, 17, tzinfo=UTC)


@dataclass(slots=True)
class Stage:
    """An engine, its application, and the clock in the drill's hand."""

    engine: Engine
    site: AppSite
    clock: FixedClock

    def open_campaign(self, data: bytes) -> Campaign:
        """Create and open a campaign from a campaign file."""
        services = self.engine.services
        now, host = self.clock.now(), services.settings.host
        campaign_id = create_campaign(
            actor=OPERATOR, draft=parse_campaign_file(data), host=host, at=now
        )
        campaign = open_campaign(
            actor=OPERATOR,
            campaign_id=campaign_id,
            ledger=services.ledger,
            issuer=services.issuer,
            host=host,
            at=now,
        )
        self.engine.enter_campaign(campaign)
        return campaign

    def pass_time(self, **span: float) -> None:
        """Move the clock (``timedelta`` words) and let the engine do what is due."""
        self.engine.tick(self.clock.now())
        self.clock.advance(timedelta(**span))
        self.engine.tick(self.clock.now())


@contextmanager
def open_stage(
    *,
    at: datetime = START,
    at_step: Callable[[str], None] = lambda _name: None,
) -> Iterator[Stage]:
    """Run the engine over this child's data directory."""
    environment = read_environment()
    set_up_database(environment)
    clock = FixedClock(at)
    with open_engine(
        environment, clock=clock, at_step=at_step, run_clock=False
    ) as engine:
        yield Stage(engine=engine, site=AppSite(make_app(engine)), clock=clock)
