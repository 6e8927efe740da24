"""``close``: the order of PROTOCOL §4.7, kept when any of its steps is cut off.

First one campaign whose clock is moved by hand through stopping, the hour for retries,
the destruction of keys, the grace for redeeming and the close leaf. Then one campaign
for each place at which the process is killed: what a second process finds it must
bring to the same end.
"""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_der_private_key
from typing_extensions import override

from undersigned_verify import entry
from undersigned_verify.audit import audit_log

from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.operations import begin_closing
from undersigned.campaigns.queries import get_any_campaign
from undersigned.credentials.client import Prepared
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.isolated import ChildFailed, make_folder, run_isolated
from undersigned.drills.log_image import CASE, Author
from undersigned.drills.public_log import list_nonces, read_leaves
from undersigned.drills.raw import Needles, copy_all
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Signature, Signer
from undersigned.drills.site import Site, get, post_form
from undersigned.drills.stage import START, Stage, open_stage
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.ids import CampaignId
from undersigned.ledger.data import LogSettings
from undersigned.ledger.operations import (
    LeafRefused,
    close_log,
    create_log,
    publish_now,
    submit_control,
)

# Careful mode with its shortest clock: a small crowd waits for the close.
CLOCK = timedelta(minutes=15)
DAY = timedelta(days=1)


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("close")
    with open_stage() as stage:
        asyncio.run(_walk_through(stage, report))
        _try_undecided(stage, report)
    _try_interruptions(options, report)
    return report.as_json()


# --- one campaign, by hand


def write_closing_campaign(campaign_id: str) -> bytes:
    """Return a careful campaign whose crowd is never large enough."""
    return write_campaign(
        campaign_id, mode="careful", interval_minutes=15, crowd=20, show_names=False
    )


def let_time_pass(stage: Stage, until: datetime) -> None:
    """Let the clock tick as a running server's does, an interval at a time."""
    while stage.clock.now() < until:
        stage.clock.set(min(stage.clock.now() + CLOCK, until))
        stage.engine.tick(stage.clock.now())


async def _walk_through(stage: Stage, report: Report) -> None:
    site = stage.site
    campaign = stage.open_campaign(write_closing_campaign("closing"))
    key = (await signing.read_keys(site, campaign.path))["email"]
    stage.engine.tick(stage.clock.now())
    needles = secrets_of(stage, campaign.path)
    tickets = {
        name: await signing.get_ticket_by_email(
            site, "closing", Signer(f"{name}@example.org")
        )
        for name in ("asha", "omar", "petra", "vic", "late", "idle")
    }
    add_nullifiers(needles, stage, campaign.origin, list(tickets))
    made: dict[str, tuple[Prepared, Signature]] = {
        name: await signing.make_signature(site, key, ticket)
        for name, ticket in tickets.items()
        if name != "idle"
    }
    walk = _Walk(stage, key, tickets, made, report, site)
    await walk.send("asha", "before the close began: a signature", 200)
    begun = stage.clock.now()
    begin_closing(
        actor=OPERATOR,
        campaign_id=CampaignId("closing"),
        issuer=stage.engine.services.issuer,
        reason="drill",
        at=begun,
    )
    await walk.try_stopped()
    let_time_pass(stage, begun + timedelta(minutes=58))
    await walk.ask("asha", "58 minutes later: a retry is still answered", 200)
    report.check(
        "58 minutes later: keys and issuance file are still there",
        has_keys(stage, campaign.path) and issuance_path(stage, "closing").exists(),
    )
    let_time_pass(stage, begun + timedelta(minutes=62))
    await walk.try_destroyed(needles, campaign.path)
    let_time_pass(stage, begun + timedelta(hours=24, minutes=50))
    await walk.send("vic", "ten minutes before the grace ends: a signature", 200)
    let_time_pass(stage, begun + timedelta(hours=25, minutes=2))
    await walk.try_closed(campaign.path)


@dataclass(slots=True)
class _Walk:
    stage: Stage
    key: KeyFacts
    tickets: dict[str, str]
    made: dict[str, tuple[Prepared, Signature]]
    report: Report
    site: Site

    async def send(self, name: str, what: str, status: int) -> None:
        """Send somebody's signature and expect a status."""
        answer = await signing.send_signature(self.site, self.key, self.made[name][1])
        self.report.check(f"{what}: {status}", answer.status == status, answer.said)

    async def ask(self, name: str, what: str, status: int) -> None:
        """Ask for somebody's token again, with the same request."""
        request = self.made[name][0].request
        answer = await signing.request_token(
            self.site, self.key, self.tickets[name], request
        )
        self.report.check(f"{what}: {status}", answer.status == status, answer.said)

    async def try_stopped(self) -> None:
        """What holds as soon as closing has begun."""
        prepared = signing.prepare(self.key)
        answer = await signing.request_token(
            self.site, self.key, self.tickets["idle"], prepared.request
        )
        self.report.check(
            "closing has begun: no new token, 410 campaign-closed",
            answer.status == 410 and answer.code == "campaign-closed",
            answer.said,
        )
        await self.ask("asha", "closing has begun: a retry gets its answer", 200)
        page = await post_form(
            self.site,
            "/en/c/closing/sign/ask/",
            {"klass": "email", "address": "new@example.org"},
        )
        self.report.check(
            "closing has begun: nobody can ask any more",
            page.status in (302, 404, 410),
            page.status,
        )
        await self.send("omar", "closing has begun: a token is redeemed", 200)

    async def try_destroyed(self, needles: Needles, path: str) -> None:
        """What holds once the hour for retries is over."""
        stage, report = self.stage, self.report
        report.check(
            "after the hour: issuer keys, version key and issuance file are gone",
            not has_keys(stage, path) and not issuance_path(stage, "closing").exists(),
            stage.engine.keystore.list_names() if stage.engine.keystore else "",
        )
        hits = needles.find(copy_all([stage.engine.environment.data]))
        report.check(
            "after the hour: no file holds a byte string of keys or nullifiers",
            not hits,
            [str(hit) for hit in hits[:5]],
        )
        await self.ask("asha", "after the hour: a retry", 410)
        await self.send("petra", "after the hour: a token is still redeemed", 200)
        await self.send("petra", "after the hour: the same body again", 200)
        found = self.made["omar"][1]
        answer = await signing.send_withdrawal(self.site, path, found.nonce, found.w)
        report.check(
            "after the hour: a withdrawal is taken", answer.status == 200, answer.said
        )

    async def try_closed(self, path: str) -> None:
        """What holds at the end, and for ever."""
        stage, report = self.stage, self.report
        folder = stage.engine.environment.public / path
        state = get_any_campaign(campaign_id=CampaignId("closing")).state
        report.check("the campaign is closed", state is CampaignState.CLOSED, state)
        judge_closed_log(
            folder,
            self.key,
            [self.made[name][1].nonce for name in ("asha", "omar", "petra", "vic")],
            report,
            "by hand",
        )
        await self.send("late", "after the close: a signature", 410)
        found = self.made["asha"][1]
        answer = await signing.send_withdrawal(self.site, path, found.nonce, found.w)
        report.check(
            "after the close: a withdrawal is refused",
            answer.status in (400, 410),
            answer.said,
        )
        answer = await signing.fetch_receipt(self.site, path, found.nonce)
        report.check("after the close: a receipt", answer.status == 200, answer.said)
        for page in (
            f"/{path}/checkpoint",
            f"/{path}/count.json",
            "/en/c/closing/",
            "/en/c/closing/removals/",
            "/en/",
        ):
            answer = await get(self.site, page)
            report.check(f"after the close: {page} is read", answer.status == 200)


def judge_closed_log(
    folder: Path, key: KeyFacts, nonces: list[bytes], report: Report, where: str
) -> None:
    """Check that a closed log has everything once, the close last and alone."""
    leaves = read_leaves(folder)
    closes = [index for index, leaf in enumerate(leaves) if leaf[1] == entry.CLOSE]
    kept = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
    report.check(
        f"{where}: one close leaf, the last, in a checkpoint of its own",
        closes == [len(leaves) - 1] and kept[-2:] == [len(leaves) - 1, len(leaves)],
        f"close at {closes} of {len(leaves)}, checkpoints {kept[-3:]}",
    )
    found = [nonce for _index, nonce in list_nonces(folder, key.challenge_digest)]
    report.check(
        f"{where}: everything acknowledged stands before it exactly once",
        sorted(found) == sorted(nonces),
        f"{len(found)} signatures, {len(nonces)} acknowledged",
    )
    audit = audit_log(folder, workers=1)
    report.check(f"{where}: the recount accepts", audit.accepted, audit.fault or "")


# --- secrets


def has_keys(stage: Stage, path: str) -> bool:
    """Say whether any issuing secret of a campaign is still stored."""
    keystore = stage.engine.keystore
    names = keystore.list_names() if keystore else []
    return any(
        name.startswith(f"{path}/") and not name.endswith("log.key") for name in names
    )


def issuance_path(stage: Stage, campaign_id: str) -> Path:
    """Return where a campaign's issuance file is."""
    return stage.engine.services.issuer.folder / f"{campaign_id}.sqlite3"


def secrets_of(stage: Stage, path: str) -> Needles:
    """Return what must not be found once keys are destroyed."""
    keystore = stage.engine.keystore
    if keystore is None:
        raise RuntimeError("the stage has no keys")
    needles = Needles()
    for name in keystore.list_names():
        if not name.startswith(f"{path}/") or name.endswith("log.key"):
            continue
        secret = keystore.get(name)
        if name.endswith(".der"):
            key = load_der_private_key(secret, password=None)
            if not isinstance(key, rsa.RSAPrivateKey):
                raise RuntimeError(f"{name} is no RSA key")
            numbers = key.private_numbers()
            for part in ("p", "q", "d", "dmp1", "dmq1"):
                value = getattr(numbers, part)
                size = (value.bit_length() + 7) // 8
                needles.add(f"{name}, {part}", value.to_bytes(size)[4:44])
        else:
            needles.add(name, secret)
    return needles


def add_nullifiers(
    needles: Needles, stage: Stage, origin: str, names: list[str]
) -> None:
    """Look for the nullifiers of addresses, too."""
    key = stage.engine.services.issuer.get_version(origin).key
    if key is None:
        raise RuntimeError("the campaign has no version key")
    for name in names:
        value = f"{name}@example.org"
        needles.add(f"nullifier of {name}", key.make_nullifier(klass=1, value=value))


# --- a quarantine key that nobody decided about


def _try_undecided(stage: Stage, report: Report) -> None:
    """The close leaf is refused, and the log goes on, until moderators decide."""
    origin = "drill.example/c/undecided"
    author, ledger = Author(origin=origin), stage.engine.services.ledger
    now = stage.clock.now()
    create_log(
        ledger=ledger,
        settings=LogSettings(
            origin=origin, path="c/undecided", mode="standard", interval_seconds=60, k=1
        ),
        leaves=[
            entry.encode(author.header),
            author.announce(0, 1),
            author.announce(1, 1, entry.QUARANTINE),
            *(approver.announcement for approver in author.approvers),
        ],
        statement=author.statement,
        at=now,
    )
    fault = ""
    try:
        close_log(ledger=ledger, origin=origin, reason="drill", at=now)
    except LeafRefused as error:
        fault = str(error.data["fault"])
    log = ledger.get_log(origin)
    report.check(
        "a close while a quarantine key is undecided is refused, and nothing appended",
        fault == "close-undecided" and not log.is_closed,
        fault,
    )
    decision = author.approve(entry.Release(None, 1, "cleared", CASE))
    submit_control(ledger=ledger, origin=origin, leaf=decision)
    publish_now(ledger=ledger, origin=origin, at=now)
    close_log(ledger=ledger, origin=origin, reason="drill", at=now)
    audit = audit_log(log.folder, workers=1)
    report.check(
        "once decided it is taken, and the recount accepts",
        log.is_closed and audit.accepted,
        audit.fault or "",
    )


# --- every step cut off


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a process is killed: at a ledger step, or around a function's nth call.

    ``place``: "step:NAME", or "MODULE:QUALIFIED.NAME"; ``when``: before or after.
    """

    place: str
    when: str = "before"
    nth: int = 1

    @override
    def __str__(self) -> str:
        times = f", call {self.nth}" if self.nth > 1 else ""
        return f"{self.when} {self.place.rpartition(':')[2]}{times}"


_STEPS = (
    *("choose", "append", "before-commit", "after-commit", "after-mark"),
    *("after-export", "after-hand-on"),
)
_CLOSE = "undersigned.signatures.operations.close"


def list_cuts() -> list[Cut]:
    """Return every place where closing can be cut off."""
    cuts = [
        Cut("undersigned.campaigns.operations:stop_issuing"),
        Cut("undersigned.campaigns.operations:stop_issuing", "after"),
        Cut(f"{_CLOSE}:destroy_version"),
        Cut("undersigned.kernel.keystore:Keystore.destroy", "after", 1),
        Cut("undersigned.kernel.keystore:Keystore.destroy", "after", 2),
        Cut("undersigned.credentials.issuance_file:destroy_file"),
        Cut("undersigned.credentials.issuance_file:destroy_file", "after"),
        Cut(f"{_CLOSE}:record_keys_destroyed"),
        Cut(f"{_CLOSE}:record_keys_destroyed", "after"),
        Cut(f"{_CLOSE}:close_log"),
        Cut("undersigned.ledger.operations:_stop_accepting"),
        Cut("undersigned.ledger.operations:_stop_accepting", "after"),
    ]
    # The last signatures pass the steps first, then the withdrawal that follows them,
    # then the close leaf (which is not chosen).
    cuts += [Cut(f"step:{name}") for name in _STEPS]
    cuts += [Cut(f"step:{name}", nth=2) for name in ("append", "after-commit")]
    cuts += [Cut(f"step:{name}", nth=3) for name in _STEPS if name != "choose"]
    cuts += [Cut(f"{_CLOSE}:finish_closing"), Cut(f"{_CLOSE}:finish_closing", "after")]
    return cuts


def _try_interruptions(options: Options, report: Report) -> None:
    cuts = list_cuts()
    if options.size == "tiny":
        cuts = cuts[3:5]
    with make_folder(durable=False) as folder:
        for number, cut in enumerate(cuts):
            values = {"number": number, "facts": str(folder / f"cut-{number}.json")}
            place = {"place": cut.place, "when": cut.when, "nth": cut.nth}
            died = False
            try:
                run_isolated(
                    "undersigned.drills.close:be_killed",
                    {**values, "cut": place},
                    folder=folder,
                )
            except ChildFailed as error:
                died = error.was_killed
            found = run_isolated(
                "undersigned.drills.close:bring_to_end", values, folder=folder
            )
            report.check(
                f"killed {cut}: a second process brings it to the same end",
                died and not found["faults"],
                found["faults"] or ("" if died else "it was not killed there"),
            )


def be_killed(values: Values) -> Values:
    """In a child: make a campaign with two pooled signatures, and die closing it.

    Campaigns follow one another, each on days of its own, so that no clock of one runs
    out while another is looked at.
    """
    killer = _Killer(Cut(**values["cut"]))
    begin = START + (values["number"] + 1) * 3 * DAY
    with open_stage(at=begin, at_step=killer.at_step) as stage:
        campaign = stage.open_campaign(write_closing_campaign(_name(values)))
        facts = asyncio.run(_sign_two(stage, campaign.path))
        Path(values["facts"]).write_text(json.dumps(facts), encoding="utf-8")
        with killer.armed():
            _close_through(stage, campaign.id, begin)
    return {}


def bring_to_end(values: Values) -> Values:
    """In a second child: close what the first one left; return what is wrong then."""
    begin = START + (values["number"] + 1) * 3 * DAY
    facts = json.loads(Path(values["facts"]).read_text(encoding="utf-8"))
    with open_stage(at=begin) as stage:
        _close_through(stage, CampaignId(_name(values)), begin)
        return {"faults": list(_find_faults(stage, f"c/{_name(values)}", facts))}


def _name(values: Values) -> str:
    return f"cut-{values['number']}"


def _close_through(stage: Stage, campaign_id: CampaignId, begin: datetime) -> None:
    campaign = get_any_campaign(campaign_id=campaign_id)
    if campaign.state is CampaignState.OPEN:
        begin_closing(
            actor=OPERATOR,
            campaign_id=campaign_id,
            issuer=stage.engine.services.issuer,
            reason="drill",
            at=begin,
        )
    for span in (timedelta(minutes=61), timedelta(hours=25, minutes=1)):
        stage.clock.set(begin + span)
        stage.engine.tick(stage.clock.now())


async def _sign_two(stage: Stage, path: str) -> Values:
    site, campaign = stage.site, path.removeprefix("c/")
    key = (await signing.read_keys(site, path))["email"]
    needles = secrets_of(stage, path)
    signatures = []
    for name in ("asha", "omar"):
        ticket = await signing.get_ticket_by_email(
            site, campaign, Signer(f"{name}@example.org")
        )
        _prepared, signature = await signing.make_signature(site, key, ticket)
        await signing.send_signature(site, key, signature)
        signatures.append(signature)
    add_nullifiers(needles, stage, key.origin, ["asha", "omar"])
    # One of the two is withdrawn before it is published, the hardest case to order.
    await signing.send_withdrawal(site, path, signatures[1].nonce, signatures[1].w)
    return {
        "nonces": [signature.nonce.hex() for signature in signatures],
        "needles": [
            [name, spelling, data.hex()] for name, spelling, data in needles.spelled
        ],
    }


def _find_faults(stage: Stage, path: str, facts: Values) -> Iterator[str]:
    campaign_id = CampaignId(path.removeprefix("c/"))
    state = get_any_campaign(campaign_id=campaign_id).state
    if state is not CampaignState.CLOSED:
        yield f"the campaign is {state}"
    if has_keys(stage, path) or issuance_path(stage, campaign_id).exists():
        yield "keys or issuance file are still there"
    needles = Needles()
    needles.spelled = [
        (name, spelling, bytes.fromhex(data))
        for name, spelling, data in facts["needles"]
    ]
    hits = needles.find(copy_all([stage.engine.environment.data]))
    yield from (str(hit) for hit in hits[:3])
    key = asyncio.run(signing.read_keys(stage.site, path))["email"]
    inner = Report("close")
    nonces = [bytes.fromhex(text) for text in facts["nonces"]]
    folder = stage.engine.environment.public / path
    judge_closed_log(folder, key, nonces, inner, "log")
    yield from (f"{check.name}: {check.detail}" for check in inner.failed)
    leaves = read_leaves(folder)
    if sum(leaf[1] == entry.WITHDRAWAL for leaf in leaves) != 1:
        yield "the withdrawal is not in the log"


class _Killer:
    """Kills this process at a cut, once armed."""

    def __init__(self, cut: Cut) -> None:
        self._cut = cut
        self._calls = 0
        self._armed = False

    def _count(self) -> None:
        if not self._armed:
            return
        self._calls += 1
        if self._calls == self._cut.nth:
            os.kill(os.getpid(), signal.SIGKILL)

    def at_step(self, name: str) -> None:
        """Be called at each step of a publication."""
        if self._cut.place == f"step:{name}":
            self._count()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Wrap the function around which to die, for the length of a block."""
        self._armed = True
        module, _colon, name = self._cut.place.partition(":")
        if module == "step":
            yield
            return
        owner: Any = importlib.import_module(module)
        *path, attribute = name.split(".")
        for part in path:
            owner = getattr(owner, part)
        with patch.object(owner, attribute, self._wrap(getattr(owner, attribute))):
            yield

    def _wrap(self, original: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*arguments: Any, **named: Any) -> Any:
            if self._cut.when == "before":
                self._count()
            result = original(*arguments, **named)
            if self._cut.when == "after":
                self._count()
            return result

        return wrapped
