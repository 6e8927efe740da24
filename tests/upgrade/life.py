"""What a dump holds, and what must still be true of it: run in a process of its own.

``python -m tests.upgrade.life make`` fills UNDERSIGNED_DATA as the present version
does; ``… check`` opens a data directory that an earlier version left, and prints what
it finds as one JSON line.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

from undersigned.config.context import set_up_database, set_up_django
from undersigned.config.env import read_environment
from undersigned.kernel.clock import FixedClock

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
FILE = b"""
id = "upgraded"
title = "Publish the soil survey"
mode = "standard"
classes = ["email", "invitation", "open"]
stances = ["for", "against"]
[[offices]]
name = "District Education Office"
[statement]
text = "The office shall publish the soil survey."
"""


def sign(engine: Any, campaign: Any, value: str, **shown: str) -> bytes:
    """Sign by invitation, without scripts; return the nonce."""
    from undersigned.eligibility.operations import (
        make_invitation_codes,
        use_invitation,
    )
    from undersigned.signatures.data import ShownInput
    from undersigned.signatures.operations.unscripted import sign_without_scripts

    services = engine.services
    at = services.clock.now()
    (code,) = make_invitation_codes(desk=services.desk, campaign=campaign, count=1)
    ticket = use_invitation(desk=services.desk, campaign=campaign, code=code, at=at)
    done = sign_without_scripts(
        book=services.book,
        book_entry=services.book.find(campaign.path),
        issuer=services.issuer,
        ticket=ticket,
        stance=0,
        shown=ShownInput(name=value, **shown),
        keep_w=True,
        at=at,
    )
    return done.nonce


def make(engine: Any, clock: FixedClock) -> dict[str, Any]:
    """Fill a new data directory with some of everything."""
    from undersigned.campaigns.drafting import parse_campaign_file
    from undersigned.campaigns.operations import create_campaign, open_campaign
    from undersigned.kernel.actor import OPERATOR
    from undersigned.signatures.operations.remove import publish_record

    services = engine.services
    host = services.settings.host
    campaign_id = create_campaign(
        actor=OPERATOR, draft=parse_campaign_file(FILE), host=host, at=START
    )
    campaign = open_campaign(
        actor=OPERATOR,
        campaign_id=campaign_id,
        ledger=services.ledger,
        issuer=services.issuer,
        host=host,
        at=START,
    )
    engine.enter_campaign(campaign)
    engine.tick(clock.now())
    for name in ("Asha", "Omar", "Petra"):
        sign(engine, campaign, name, place="Riverside")
    publish_record(
        actor=OPERATOR,
        ledger=services.ledger,
        campaign=campaign,
        kind="answer",
        sha256="ab" * 32,
        at=clock.now(),
    )
    clock.advance(timedelta(minutes=1))
    engine.tick(clock.now())
    # Left in the pool, as whoever stops a server leaves some.
    sign(engine, campaign, "Vic")
    return {}


def check(engine: Any, clock: FixedClock) -> dict[str, Any]:
    """Open what was left, go on with it, and say what is there."""
    from undersigned_verify.audit import audit_log

    from undersigned.audit.queries import count_entries, find_broken_entry
    from undersigned.campaigns.queries import get_campaign
    from undersigned.kernel.ids import CampaignId
    from undersigned.signatures.queries import get_count, list_shown

    services = engine.services
    campaign = get_campaign(campaign_id=CampaignId("upgraded"))
    before = get_count(ledger=services.ledger, origin=campaign.origin)
    engine.tick(clock.now())
    sign(engine, campaign, "Mina")
    clock.advance(timedelta(minutes=2))
    engine.tick(clock.now())
    after = get_count(ledger=services.ledger, origin=campaign.origin)
    report = audit_log(services.ledger.public / campaign.path, workers=1)
    names = {row.name for row in list_shown(origin=campaign.origin).rows}
    return {
        "before": before.net,
        "waiting": before.waiting,
        "after": after.net,
        "names": sorted(names),
        "verdict": report.verdict,
        "trail": count_entries(),
        "trail_broken_at": find_broken_entry(),
    }


def main() -> None:
    """Run ``make`` or ``check``."""
    environment = read_environment()
    set_up_django()
    set_up_database(environment)
    from undersigned.config.engine import open_engine

    step = {"make": make, "check": check}[sys.argv[1]]
    clock = FixedClock(START + timedelta(hours=1 if sys.argv[1] == "check" else 0))
    with open_engine(environment, clock=clock, run_clock=False) as engine:
        found = step(engine, clock)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
