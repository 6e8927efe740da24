"""``double``: one address one token, one nonce one leaf, however it is asked for.

Over the live server: what people and Mallory can send. With a clock that stands still:
what depends on days.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from tempfile import mkdtemp

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.live import LiveServer, running
from undersigned.drills.public_log import list_nonces
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Signer
from undersigned.drills.site import Answer, NetSite, Site, get
from undersigned.drills.stage import Stage, open_stage
from undersigned.ledger.operations import publish_now


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("double")
    with open_stage() as stage:
        campaign = stage.open_campaign(
            write_campaign("double-still", classes=("email", "invitation", "open"))
        )
        asyncio.run(_still(stage, campaign.path, options, report))
    if options.size != "tiny":
        _live(options, report)
    return report.as_json()


# --- over the wire


def _live(options: Options, report: Report) -> None:
    folder = Path(mkdtemp(prefix="undersigned-live-"))
    server = LiveServer(folder)
    path = save_campaign(folder, "double", write_campaign("double"))
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", "double")
    with running(server):
        asyncio.run(_try_wire(NetSite(server.port), "c/double", options, report))


async def _try_wire(site: Site, path: str, options: Options, report: Report) -> None:
    campaign = path.removeprefix("c/")
    key = (await signing.read_keys(site, path))["email"]
    report.say("one address, many requests at once, over the live server")
    asha = Signer("asha@example.org")
    ticket = await signing.get_ticket_by_email(site, campaign, asha)
    crowd = options.pick(tiny=8, ci=32, full=256)
    granted, refused = await _race(site, key, [ticket] * crowd)
    report.check(
        f"{crowd} different requests at once over the wire: exactly one token",
        (granted, refused) == (1, crowd - 1),
        f"{granted} granted, {refused} refused",
    )
    other = await signing.get_ticket_by_email(site, campaign, asha)
    answer = await _ask(site, key, other)
    report.check(
        "a second token for one address is refused with 409 already-issued",
        answer.status == 409 and answer.code == "already-issued",
        answer.said,
    )
    before = len(await signing.list_mails(site, asha.address))
    spelled = Signer("  Asha@EXAMPLE.org ")
    ask = await signing.ask_by_email(site, campaign, spelled)
    mail = await signing.wait_for_mail(site, asha.address, beyond=before)
    ticket = await signing.confirm_code(site, campaign, ask, mail.code, spelled)
    answer = await _ask(site, key, ticket)
    report.check(
        "another spelling of the address is the same address",
        answer.code == "already-issued",
        answer.said,
    )


# --- with a clock that stands still


async def _still(stage: Stage, path: str, options: Options, report: Report) -> None:
    site, campaign = stage.site, path.removeprefix("c/")
    keys = await signing.read_keys(site, path)
    key = keys["email"]
    await _try_tickets(stage, key, campaign, report)
    await _try_races(site, key, campaign, options, report)
    await _try_nonces(stage, key, campaign, options, report)
    await _try_classes(stage, keys, campaign, report)


async def _ask(site: Site, key: KeyFacts, ticket: str) -> Answer:
    """Ask for a token with a fresh blinded request."""
    return await signing.request_token(site, key, ticket, signing.prepare(key).request)


async def _race(site: Site, key: KeyFacts, tickets: list[str]) -> tuple[int, int]:
    """Send different requests of one nullifier at once.

    Returns how many were granted, and how many refused as already issued.
    """
    answers = await asyncio.gather(*[_ask(site, key, ticket) for ticket in tickets])
    return (
        sum(answer.status == 200 for answer in answers),
        sum(answer.code == "already-issued" for answer in answers),
    )


async def _try_races(
    site: Site, key: KeyFacts, campaign: str, options: Options, report: Report
) -> None:
    rounds, crowd = options.pick(tiny=2, ci=10, full=100), 24
    outcomes = []
    for number in range(rounds):
        signer = Signer(f"race-{number}@example.org")
        # Two tickets of one address, used in turn by all the requests.
        tickets = [
            await signing.get_ticket_by_email(site, campaign, signer) for _ in range(2)
        ]
        outcomes.append(await _race(site, key, tickets * (crowd // 2)))
    report.check(
        f"{rounds} times {crowd} different requests at once for one address: exactly "
        "one token, all others 409 already-issued",
        all(outcome == (1, crowd - 1) for outcome in outcomes),
        f"(granted, refused): {sorted(set(outcomes))}",
    )


async def _try_tickets(
    stage: Stage, key: KeyFacts, campaign: str, report: Report
) -> None:
    site = stage.site
    asha = Signer("asha@example.org")
    ticket = await signing.get_ticket_by_email(site, campaign, asha)
    second = await signing.get_ticket_by_email(site, campaign, asha)
    prepared = signing.prepare(key)
    first = await signing.request_token(site, key, ticket, prepared.request)
    again = await signing.request_token(site, key, ticket, prepared.request)
    report.check(
        "the same ticket and the same blinded request: the same bytes again",
        first.status == again.status == 200 and first.body == again.body,
        f"{first.said}, {again.said}",
    )
    answer = await _ask(site, key, ticket)
    report.check(
        "a replayed ticket with another blinded request: 409 already-issued",
        answer.status == 409 and answer.code == "already-issued",
        answer.said,
    )
    answer = await _ask(site, key, second)
    report.check(
        "the second of two tickets of one address: 409 already-issued",
        answer.code == "already-issued",
        answer.said,
    )
    answer = await signing.request_token(site, key, second, prepared.request)
    report.check(
        "the second ticket with the request answered before: the same bytes",
        answer.status == 200 and answer.body == first.body,
        answer.said,
    )
    await _try_bad_tickets(stage, key, campaign, ticket, report)


async def _try_bad_tickets(
    stage: Stage, key: KeyFacts, campaign: str, spent: str, report: Report
) -> None:
    site = stage.site
    petra = Signer("petra@example.org")
    good = await signing.get_ticket_by_email(site, campaign, petra)
    flipped = good[:-5] + ("A" if good[-5] != "A" else "B") + good[-4:]
    for name, ticket in (("a damaged", flipped), ("an invented", "A" * len(good))):
        answer = await _ask(site, key, ticket)
        report.check(
            f"{name} ticket: 403 ticket-not-valid",
            answer.status == 403 and answer.code == "ticket-not-valid",
            answer.said,
        )
    other = stage.open_campaign(write_campaign("double-other"))
    other_key = (await signing.read_keys(site, other.path))["email"]
    answer = await _ask(site, other_key, good)
    report.check(
        "a ticket of another campaign: 403 ticket-not-valid",
        answer.code == "ticket-not-valid",
        answer.said,
    )
    stage.pass_time(days=3)
    answer = await _ask(site, key, good)
    report.check(
        "a ticket three days old: 403 ticket-expired",
        answer.status == 403 and answer.code == "ticket-expired",
        answer.said,
    )
    answer = await _ask(site, key, spent)
    report.check("a spent ticket, expired too", answer.status == 403, answer.said)
    fresh = await signing.get_ticket_by_email(site, campaign, petra)
    answer = await _ask(site, key, fresh)
    report.check(
        "an address whose ticket expired unused still gets its one token",
        answer.status == 200,
        answer.said,
    )


async def _try_nonces(
    stage: Stage, key: KeyFacts, campaign: str, options: Options, report: Report
) -> None:
    site = stage.site
    vkey = (await get(site, f"/{key.path}/log.vkey")).text
    signers = options.pick(tiny=2, ci=12, full=60)
    made = []
    for number in range(signers):
        ticket = await signing.get_ticket_by_email(
            site, campaign, Signer(f"nonce-{number}@example.org")
        )
        made.append((await signing.make_signature(site, key, ticket))[1])
    # Each body many times at once, mixed: one batch holds copies of itself.
    answers = await asyncio.gather(
        *[signing.send_signature(site, key, one) for one in made * 5]
    )
    equal = all(
        answer.status == 200
        and signing.read_promise(answer, origin=key.origin, vkey=vkey).nonce
        == one.nonce
        for one, answer in zip(made * 5, answers, strict=True)
    )
    report.check("the same body five times at once: five equal promises", equal)
    first = {answer.body for answer in answers[: len(made)]}
    publish_now(
        ledger=stage.engine.services.ledger, origin=key.origin, at=stage.clock.now()
    )
    later = [await signing.send_signature(site, key, one) for one in made]
    report.check(
        "the same body after publication: the promise again, to the same effect",
        {answer.body for answer in later} == first,
        sorted({answer.said for answer in later}),
    )
    publish_now(
        ledger=stage.engine.services.ledger, origin=key.origin, at=stage.clock.now()
    )
    folder = stage.engine.services.ledger.public / key.path
    nonces = [nonce for _index, nonce in list_nonces(folder, key.challenge_digest)]
    counts = {one.nonce: nonces.count(one.nonce) for one in made}
    report.check(
        "each nonce stands in the log exactly once",
        set(counts.values()) == {1} and len(nonces) == len(set(nonces)),
        f"{len(nonces)} signatures, {len(set(nonces))} nonces",
    )


async def _try_classes(
    stage: Stage, keys: dict[str, KeyFacts], campaign: str, report: Report
) -> None:
    """One code one token, one puzzle one token; classes do not mix."""
    from undersigned.campaigns.queries import get_campaign
    from undersigned.eligibility.operations import make_invitation_codes
    from undersigned.kernel.ids import CampaignId

    site, omar = stage.site, Signer("omar@example.org")
    (code,) = make_invitation_codes(
        desk=stage.engine.services.desk,
        campaign=get_campaign(campaign_id=CampaignId(campaign)),
        count=1,
    )
    ticket = ""
    for spelling in (code, f" {code.lower().replace('-', ' ')} "):
        ticket = await signing.use_invitation(site, campaign, spelling, omar)
        answer = await _ask(site, keys["invitation"], ticket)
        wanted = 200 if spelling == code else 409
        report.check(
            f"an invitation code {'once' if wanted == 200 else 'again, respelled'}: "
            f"{wanted}",
            answer.status == wanted,
            answer.said,
        )
    answer = await _ask(site, keys["email"], ticket)
    report.check(
        "a ticket of one class buys no token of another",
        answer.status == 400 and answer.code == "token-request-malformed",
        answer.said,
    )
    ticket = await signing.solve_puzzle(site, campaign, omar)
    answers = [await _ask(site, keys["open"], ticket) for _ in range(2)]
    report.check(
        "one puzzle buys one token",
        [answer.status for answer in answers] == [200, 409],
        [answer.said for answer in answers],
    )
