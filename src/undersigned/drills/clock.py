"""``clock``: the machine's clock goes back, by an hour and to before the campaign.

Also ahead, and back again; while the server runs, and while it is off. No checkpoint
is dated before the one it follows, every promise is kept by the dates that the log
shows, no ticket is good for a second token, and what was destroyed stays destroyed.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from undersigned_verify.audit import audit_log

from undersigned.campaigns.operations import begin_closing
from undersigned.campaigns.queries import get_any_campaign
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.disk_acts import make_tickets
from undersigned.drills.public_log import list_nonces
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Promise
from undersigned.drills.site import Answer, get
from undersigned.drills.stage import START, Stage, open_stage
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.ids import CampaignId

CAMPAIGN = "clock"
PATH = f"c/{CAMPAIGN}"
BEFORE_OPENING = timedelta(days=900)
# Longer than any ticket is good for.
LONG = timedelta(days=40)


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("clock")
    life = _Life(report)
    with life.running(START) as stage:
        stage.open_campaign(write_campaign(CAMPAIGN))
        stage.engine.tick(stage.clock.now())
    rng = random.Random(options.seed)
    jumps = list(_choose_jumps(rng, options.pick(tiny=4, ci=10, full=60)))
    for span, restarts in jumps:
        asyncio.run(life.jump(span, restarts=restarts))
    asyncio.run(life.try_tickets())
    life.judge(len(jumps))
    asyncio.run(life.try_closing())
    life.stop()
    report.figures |= {"jumps": len(jumps), "promises": len(life.promises)}
    return report.as_json()


def _choose_jumps(rng: random.Random, count: int) -> Iterator[tuple[timedelta, bool]]:
    """Return how far the clock jumps, and whether the server is off meanwhile."""
    hour = timedelta(hours=1)
    yield -hour, False
    yield hour, False
    yield -BEFORE_OPENING, True
    yield BEFORE_OPENING, True
    for _number in range(count - 4):
        span = rng.choice([hour, BEFORE_OPENING, timedelta(seconds=rng.randint(1, 90))])
        yield rng.choice([-1, 1]) * span, rng.random() < 0.5


@dataclass(slots=True)
class _Life:
    """One instance, its clock, and every promise it made."""

    report: Report
    promises: list[Promise] = field(default_factory=list)
    _now: datetime = START
    _count: int = 0
    _stage: Stage | None = None
    _open: ExitStack = field(default_factory=ExitStack)

    @contextmanager
    def running(self, at: datetime) -> Iterator[Stage]:
        """Start, if it does not run, at that time of the machine's clock."""
        if self._stage is None:
            self._stage = self._open.enter_context(open_stage(at=at))
            # The first tick after a start only notes the time.
            self._stage.engine.tick(at)
        yield self._stage
        self._now = self._stage.clock.now()

    def stop(self) -> None:
        """Stop the engine; the next ``running`` starts it again."""
        self._open.close()
        self._open, self._stage = ExitStack(), None

    async def jump(self, span: timedelta, *, restarts: bool) -> None:
        """Set the clock; sign, let it tick, and sign again.

        What still waits is published before the clock goes ahead: a time that was left
        out passes for a server that was off, and no server can keep a promise then.
        """
        if span > timedelta():
            with self.running(self._now) as stage:
                stage.pass_time(minutes=1)
        at = self._now + span
        if restarts:
            self.stop()
        with self.running(at) as stage:
            stage.clock.set(at)
            await self._sign(stage, 2)
            for _tick in range(3):
                stage.pass_time(minutes=1)
                await self._sign(stage, 1)

    async def _sign(self, stage: Stage, count: int) -> None:
        key = (await signing.read_keys(stage.site, PATH))["email"]
        vkey = (await get(stage.site, f"/{PATH}/log.vkey")).text
        for _number in range(count):
            self._count += 1
            ticket = self._make_ticket(stage)
            _made, signature = await signing.make_signature(stage.site, key, ticket)
            answer = await signing.send_signature(stage.site, key, signature)
            self.promises.append(
                signing.read_promise(answer, origin=key.origin, vkey=vkey)
            )

    def _make_ticket(self, stage: Stage) -> str:
        self._count += 1
        (ticket,) = make_tickets(stage, 1, prefix=f"signer-{self._count}-")
        return ticket

    # --- what must hold

    async def try_tickets(self) -> None:
        """Spend tickets before, during and after jumps of the clock."""
        report = self.report
        with self.running(self._now) as stage:
            key = (await signing.read_keys(stage.site, PATH))["email"]
            spent, unspent = self._make_ticket(stage), self._make_ticket(stage)
            request = signing.prepare(key).request
            first = await self._ask(stage, key, spent, request)
            began = stage.clock.now()
            answers = {}
            for name, at in (
                ("an hour back", began - timedelta(hours=1)),
                ("before the opening", began - BEFORE_OPENING),
                ("long after", began + LONG),
                ("and back", began),
            ):
                stage.clock.set(at)
                stage.pass_time(minutes=1)
                other = signing.prepare(key).request
                answers[name] = await self._ask(stage, key, spent, other)
            report.check(
                "a spent ticket is good for no second token, whatever the clock says",
                first.status == 200
                and all(answer.status in (403, 409) for answer in answers.values()),
                {name: answer.said for name, answer in answers.items()},
            )
            again = await self._ask(stage, key, spent, request)
            report.check(
                "the same request gets the same token",
                (again.status, again.body) == (200, first.body),
                again.said,
            )
            # Its day was over, and it was forgotten then.
            late = await self._ask(stage, key, unspent, signing.prepare(key).request)
            report.check(
                "a ticket that expired is not good again when the clock goes back",
                400 <= late.status < 500,
                late.said,
            )

    @staticmethod
    async def _ask(stage: Stage, key: KeyFacts, ticket: str, request: bytes) -> Answer:
        return await signing.request_token(stage.site, key, ticket, request)

    def judge(self, jumps: int) -> None:
        """Compare checkpoints, their dates and all promises."""
        with self.running(self._now) as stage:
            stage.pass_time(minutes=1)
            stage.pass_time(minutes=1)
            campaign = get_any_campaign(campaign_id=CampaignId(CAMPAIGN))
            folder = stage.engine.environment.public / campaign.path
            digest = asyncio.run(signing.read_keys(stage.site, PATH))["email"]
        rows = [
            line.split(",") for line in (folder / "growth.csv").read_text().split()[1:]
        ]
        dates = [datetime.fromisoformat(at).timestamp() for _size, _net, at in rows]
        sizes = [int(size) for size, _net, _at in rows]
        self.report.check(
            f"after {jumps} jumps, {len(rows)} checkpoints are in order, dates too",
            dates == sorted(dates) and sizes == sorted(set(sizes)),
        )
        index = {
            nonce: at for at, nonce in list_nonces(folder, digest.challenge_digest)
        }
        lost = [one for one in self.promises if one.nonce not in index]
        late = [
            one
            for one in self.promises
            if one.nonce in index
            and dates[
                next(n for n, size in enumerate(sizes) if size > index[one.nonce])
            ]
            > one.publish_by
        ]
        self.report.check(
            f"0 of {len(self.promises)} promises are broken by the dates of the log",
            not lost and not late,
            f"{len(lost)} not published, {len(late)} late",
        )
        audit = audit_log(folder, workers=1)
        self.report.check(
            "the recount accepts the log", audit.accepted, audit.fault or ""
        )

    async def try_closing(self) -> None:
        """Set the clock back in each hour of a closing."""
        with self.running(self._now) as stage:
            key = (await signing.read_keys(stage.site, PATH))["email"]
            ticket = self._make_ticket(stage)
            request = signing.prepare(key).request
            await self._ask(stage, key, ticket, request)
            begun = stage.clock.now()
            begin_closing(
                actor=OPERATOR,
                campaign_id=CampaignId(CAMPAIGN),
                issuer=stage.engine.services.issuer,
                reason="drill",
                at=begun,
            )
            stage.clock.set(begun - BEFORE_OPENING)
            stage.pass_time(minutes=1)
            retried = await self._ask(stage, key, ticket, request)
            self.report.check(
                "closing, the clock back: retries are answered, keys not yet destroyed",
                retried.status == 200,
                retried.said,
            )
            stage.clock.set(begun + timedelta(minutes=62))
            stage.pass_time(minutes=1)
            stage.clock.set(begun - timedelta(hours=1))
            stage.pass_time(minutes=1)
            gone = await self._ask(stage, key, ticket, request)
            self.report.check(
                "keys destroyed, the clock back: they stay destroyed",
                gone.status == 410,
                gone.said,
            )
            stage.clock.set(begun + timedelta(hours=26))
            stage.pass_time(minutes=1)
            folder = stage.engine.environment.public / PATH
            audit = audit_log(folder, workers=1)
            log = stage.engine.services.ledger.get_log(key.origin)
            self.report.check(
                "it closes, and the recount accepts the closed log",
                log.is_closed and audit.accepted,
                audit.fault or "",
            )
