"""What a dump holds, and what must still be true of it: run in a process of its own.

``python -m tests.upgrade.life make`` fills UNDERSIGNED_DATA as the present version
does; ``… check`` opens a data directory that an earlier version left, goes on with it,
and prints what it finds as one JSON line.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned.config.context import set_up_database, set_up_django
from undersigned.config.env import read_environment
from undersigned.kernel.clock import FixedClock

START = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
FILE = """
id = "{id}"
title = "Publish the soil survey"
mode = "standard"
classes = ["email", "invitation", "open"]
stances = ["for", "against"]
[[offices]]
name = "District Education Office"
[statement]
text = "The office shall publish the soil survey."
"""
# Known to the check too, which goes on removing: nobody's keys.
APPROVERS = {
    name: Ed25519PrivateKey.from_private_bytes(sha256(name.encode()).digest())
    for name in ("mina", "noor")
}


def sign(engine: Any, campaign: Any, value: str, **shown: str) -> Any:
    """Sign by invitation, without scripts; return the signature."""
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
    return sign_without_scripts(
        book=services.book,
        book_entry=services.book.find(campaign.path),
        issuer=services.issuer,
        ticket=ticket,
        stance=0,
        shown=ShownInput(name=value, **shown),
        keep_w=True,
        at=at,
    )


def open_one(engine: Any, campaign_id: str) -> Any:
    """Create a campaign and open it."""
    from undersigned.campaigns.drafting import parse_campaign_file
    from undersigned.campaigns.operations import create_campaign, open_campaign
    from undersigned.kernel.actor import OPERATOR

    services = engine.services
    host = services.settings.host
    draft = parse_campaign_file(FILE.format(id=campaign_id).encode())
    made = create_campaign(actor=OPERATOR, draft=draft, host=host, at=START)
    campaign = open_campaign(
        actor=OPERATOR,
        campaign_id=made,
        ledger=services.ledger,
        issuer=services.issuer,
        host=host,
        at=START,
    )
    engine.enter_campaign(campaign)
    return campaign


def go_on(engine: Any, clock: FixedClock, minutes: int = 1) -> None:
    """Let minutes pass, and the clock tick."""
    clock.advance(timedelta(minutes=minutes))
    engine.tick(clock.now())


def withdraw(engine: Any, campaign: Any, signed: Any) -> None:
    """Withdraw a published signature."""
    from undersigned.signatures.operations.withdraw import withdraw_signature

    book = engine.services.book
    withdraw_signature(
        book=book, book_entry=book.find(campaign.path), nonce=signed.nonce, w=signed.w
    )


def remove(engine: Any, campaign: Any, index: int) -> None:
    """Hand in the removal of a leaf, with both approvals."""
    from undersigned.kernel.actor import OPERATOR
    from undersigned.signatures.operations.remove import (
        approve_proposal,
        propose_removal,
        submit_removals,
    )

    (proposal,) = propose_removal(
        origin=campaign.origin,
        targets=[(index, index)],
        reason="scripted-burst",
        case_sha256="cd" * 32,
    )
    for name, key in APPROVERS.items():
        proposal = approve_proposal(proposal=proposal, approver_id=name, secret_key=key)
    services = engine.services
    submit_removals(
        actor=OPERATOR,
        ledger=services.ledger,
        proposals=[proposal],
        at=services.clock.now(),
    )


def find_indexes(engine: Any, campaign: Any, signed: list[Any]) -> list[int]:
    """Return where published signatures stand, in ascending order."""
    from undersigned_verify.proof import parse_receipt

    from undersigned.signatures.queries import find_signature_receipt

    book = engine.services.book
    found = []
    for one in signed:
        receipt = find_signature_receipt(
            book=book, book_entry=book.find(campaign.path), nonce=one.nonce
        )
        assert receipt is not None
        found.append(parse_receipt(receipt)[0].index)
    return sorted(found)


def make(engine: Any, clock: FixedClock) -> dict[str, Any]:
    """Fill a new data directory with some of everything."""
    from undersigned.campaigns.operations import begin_closing
    from undersigned.kernel.actor import OPERATOR
    from undersigned.signatures.operations.remove import (
        announce_approver,
        publish_record,
    )

    services = engine.services
    campaign, closed = open_one(engine, "upgraded"), open_one(engine, "closed")
    engine.tick(clock.now())
    for name, key in APPROVERS.items():
        announce_approver(
            actor=OPERATOR,
            ledger=services.ledger,
            campaign=campaign,
            approver_id=name,
            public_key=key.public_key().public_bytes_raw(),
            at=clock.now(),
        )
    for name in ("Asha", "Omar", "Petra"):
        sign(engine, campaign, name, place="Riverside")
    sign(engine, closed, "Asha")
    left = sign(engine, campaign, "Lund")
    doubted = sign(engine, campaign, "Mallory", comment="Sign here")
    publish_record(
        actor=OPERATOR,
        ledger=services.ledger,
        campaign=campaign,
        kind="answer",
        sha256="ab" * 32,
        at=clock.now(),
    )
    go_on(engine, clock)
    withdraw(engine, campaign, left)
    remove(engine, campaign, find_indexes(engine, campaign, [doubted])[0])
    begin_closing(
        actor=OPERATOR,
        campaign_id=closed.id,
        issuer=services.issuer,
        reason="closed-by-organiser",
        at=clock.now(),
        retries=timedelta(),
        redeem_grace=timedelta(),
    )
    go_on(engine, clock)
    go_on(engine, clock)
    # Left in the pool, as whoever stops a server leaves some.
    sign(engine, campaign, "Vic")
    return {}


def check(engine: Any, clock: FixedClock) -> dict[str, Any]:
    """Open what was left, go on with it, and say what is there."""
    from undersigned_verify.audit import audit_log

    from undersigned.audit.queries import find_broken_entry
    from undersigned.campaigns.queries import list_campaigns
    from undersigned.signatures.queries import get_count, list_shown

    services = engine.services

    def count(campaign: Any) -> Any:
        return get_count(ledger=services.ledger, origin=campaign.origin)

    found: dict[str, Any] = {"trail_broken_at": find_broken_entry()}
    campaigns = {str(row.id): row for row in list_campaigns()}
    before = {name: count(campaign) for name, campaign in campaigns.items()}
    engine.tick(clock.now())
    # What an open one could do it can do still.
    campaign = campaigns["upgraded"]
    mina, late = sign(engine, campaign, "Mina"), sign(engine, campaign, "Late")
    go_on(engine, clock, 2)
    withdraw(engine, campaign, late)
    if before["upgraded"].removals:
        remove(engine, campaign, find_indexes(engine, campaign, [mina])[0])
    go_on(engine, clock, 2)
    for name, campaign in campaigns.items():
        report = audit_log(services.ledger.public / campaign.path, workers=1)
        found[name] = {
            "state": str(campaign.state),
            "before": [before[name].net, before[name].waiting],
            "after": [
                getattr(count(campaign), key)
                for key in ("net", "withdrawals", "removals", "waiting")
            ],
            "names": sorted(
                str(row.name) for row in list_shown(origin=campaign.origin).rows
            ),
            "verdict": report.verdict,
        }
    return found


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
