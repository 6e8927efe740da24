"""What an instance does to its disk, one act at a time, each ready to be disturbed.

An act runs over a stage and notes in the journal what it was acknowledged: a process
that is killed can tell nothing afterwards.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from django.db import DatabaseError

from undersigned.campaigns.operations import begin_closing
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.credentials import tickets
from undersigned.credentials.operations import get_version_key
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.journal import write_mark
from undersigned.drills.report import Values
from undersigned.drills.restart import Facts, Issued, Signed
from undersigned.drills.signer import KeyFacts, Signature, Signer
from undersigned.drills.site import Answer
from undersigned.drills.stage import START, Stage
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.errors import StorageFailed, UndersignedError
from undersigned.kernel.ids import CampaignId

# What a failing disk looks like to a caller: told to the person who asked, or by the
# clock to the operator.
REFUSALS = (UndersignedError, StorageFailed, DatabaseError)
CAMPAIGN = "disk"
PATH = f"c/{CAMPAIGN}"
CAMPAIGN_FILE = write_campaign(CAMPAIGN)
OTHER_FILE = write_campaign("second")
SHOWN = {"comment": "", "name": "Name beside a signature", "place": ""}
# What a restart takes.
RESTART = timedelta(minutes=3)
# A full tile, so that a publication has one to finish, and some more.
PUBLISHED = 250


@dataclass(slots=True)
class Hand:
    """What signers hold when the acts begin, and all that was acknowledged before."""

    facts: Facts
    # Tokens not yet redeemed, and a ticket whose request was not yet sent.
    ready: list[Signature]
    ticket: tuple[str, bytes]
    # Published, not withdrawn; with a name beside it.
    standing: Signature

    def as_json(self) -> Values:
        """Return plain values."""
        return {
            "facts": self.facts.as_json(),
            "ready": [_signature_as_json(one) for one in self.ready],
            "ticket": [self.ticket[0], self.ticket[1].hex()],
            "standing": _signature_as_json(self.standing),
        }

    @classmethod
    def from_json(cls, values: Values) -> Hand:
        """Return what ``as_json`` wrote."""
        ticket, request = values["ticket"]
        return cls(
            facts=Facts.from_json(values["facts"]),
            ready=[_signature_from_json(one) for one in values["ready"]],
            ticket=(ticket, bytes.fromhex(request)),
            standing=_signature_from_json(values["standing"]),
        )


def _signature_as_json(signature: Signature) -> Values:
    parts = (signature.nonce, signature.r, signature.w, signature.body)
    return {"parts": [part.hex() for part in parts]}


def _signature_from_json(values: Values) -> Signature:
    # Its salt stands in the body already.
    nonce, r, w, body = map(bytes.fromhex, values["parts"])
    return Signature(nonce=nonce, r=r, w=w, body=body, salt=None)


@dataclass(slots=True)
class Scene:
    """An act's surroundings: the stage, what is in hand, the journal for marks."""

    stage: Stage
    hand: Hand
    journal: Path
    key: KeyFacts

    def acknowledge(self, word: str, value: str) -> None:
        """Note in the journal that something was answered."""
        write_mark(self.journal, f"{word} {value}")

    def pass_time(self, span: timedelta) -> None:
        """Move the clock and let the engine do what is due."""
        clock = self.stage.clock
        clock.advance(span)
        write_mark(self.journal, f"at {clock.now().isoformat()}")
        self.stage.engine.tick(clock.now())


Act = Callable[[Scene], Awaitable[str]]


async def sign(scene: Scene) -> str:
    """Redeem a token."""
    signature = scene.hand.ready[0]
    answer = await signing.send_signature(scene.stage.site, scene.key, signature)
    if answer.status == 200:
        scene.acknowledge("signed", signature.nonce.hex())
    return _say(answer)


async def issue(scene: Scene) -> str:
    """Ask for a token with a ticket."""
    ticket, request = scene.hand.ticket
    answer = await signing.request_token(scene.stage.site, scene.key, ticket, request)
    if answer.status == 200:
        issued = Issued(ticket, request, answer.body, answered=True)
        scene.acknowledge("issued", json.dumps(issued.as_json()))
    return _say(answer)


async def grant(scene: Scene) -> str:
    """Register a ticket, as a confirmed address gets one."""
    try:
        (ticket,) = make_tickets(scene.stage, 1, prefix="late-comer")
    except REFUSALS as error:
        return type(error).__name__
    request = signing.prepare(scene.key).request
    issued = Issued(ticket, request, b"", answered=False)
    scene.acknowledge("granted", json.dumps(issued.as_json()))
    return ""


async def withdraw(scene: Scene) -> str:
    """Withdraw a published signature with a name beside it."""
    found = scene.hand.standing
    scene.acknowledge("asked", found.nonce.hex())
    answer = await signing.send_withdrawal(scene.stage.site, PATH, found.nonce, found.w)
    if answer.status == 200:
        scene.acknowledge("withdrawn", found.nonce.hex())
    return _say(answer)


async def publish(scene: Scene) -> str:
    """Publish what is pooled, hand on names, enter the spine, rebuild."""
    try:
        scene.pass_time(timedelta(minutes=1))
    except REFUSALS as error:
        return type(error).__name__
    return ""


async def open_other(scene: Scene) -> str:
    """Create and open another campaign."""
    try:
        scene.stage.open_campaign(OTHER_FILE)
    except REFUSALS as error:
        return type(error).__name__
    return ""


async def close(scene: Scene) -> str:
    """Close: stop issuing, destroy keys and record, write the last leaf."""
    stage = scene.stage
    try:
        begin_closing(
            actor=OPERATOR,
            campaign_id=CampaignId(CAMPAIGN),
            issuer=stage.engine.services.issuer,
            reason="drill",
            at=stage.clock.now(),
        )
        for span in (timedelta(minutes=62), timedelta(hours=26)):
            scene.pass_time(span)
    except REFUSALS as error:
        return type(error).__name__
    return ""


ACTS: dict[str, Act] = {
    "sign": sign,
    "issue": issue,
    "grant": grant,
    "withdraw": withdraw,
    "publish": publish,
    "open": open_other,
    "close": close,
}


def _say(answer: Answer) -> str:
    return "" if answer.status == 200 else answer.said


def make_tickets(stage: Stage, count: int, *, prefix: str = "s") -> list[str]:
    """Return tickets of the e-mail class, registered together as a replay's are."""
    issuer = stage.engine.services.issuer
    origin = next(iter(issuer.versions))
    klass = CLASS_NUMBERS["email"]
    key = get_version_key(issuer=issuer, origin=origin)
    made = [
        tickets.make_ticket(
            key,
            klass=klass,
            nullifier=key.make_nullifier(
                klass=klass, value=f"{prefix}{number}@example.org"
            ),
            at=stage.clock.now(),
        )
        for number in range(count)
    ]
    issuer.add_tickets(issuer.get_version(origin), [facts for _text, facts in made])
    return [text for text, _facts in made]


# --- before the acts


async def prepare_instance(stage: Stage) -> Hand:
    """Live for a while: publications, names, a withdrawal, a pool that waits."""
    stage.open_campaign(CAMPAIGN_FILE)
    site = stage.site
    key = (await signing.read_keys(site, PATH))["email"]
    stage.engine.tick(stage.clock.now())
    facts = Facts(
        campaign_file=CAMPAIGN_FILE, campaign=CAMPAIGN, at=START, is_open=True
    )

    async def make(tickets: list[str], *, shows: bool = False) -> list[Signature]:
        async def make_one(ticket: str) -> Signature:
            signer = Signer("", shown=SHOWN if shows else None)
            salt = bytes(range(32)) if shows else None
            prepared = signing.prepare(key, signer, salt=salt)
            answer = await signing.request_token(site, key, ticket, prepared.request)
            if answer.status != 200:
                raise signing.JourneyBroken(f"no token: {answer.said}")
            facts.issued.append(Issued(ticket, prepared.request, answer.body, True))
            return signing.finish(prepared, answer.body, shown=signer.shown, salt=salt)

        return list(await asyncio.gather(*map(make_one, tickets)))

    async def send(
        signatures: list[Signature], name: str = "", withdrawn: str = "no"
    ) -> None:
        answers = await asyncio.gather(
            *(signing.send_signature(site, key, one) for one in signatures)
        )
        if any(answer.status != 200 for answer in answers):
            raise signing.JourneyBroken("not signed")
        facts.signed += [Signed(one.nonce, name, withdrawn) for one in signatures]

    held = make_tickets(stage, PUBLISHED + 20)
    await send(await make(held[: PUBLISHED - 6]))
    gone, standing = await make(held[-2:], shows=True)
    await send([gone], withdrawn="yes")
    await send([standing], SHOWN["name"])
    stage.pass_time(minutes=1)
    await signing.send_withdrawal(site, PATH, gone.nonce, gone.w)
    stage.pass_time(minutes=1)
    # What the publication to come has to do: a tile to fill, a name, a withdrawal.
    await send(await make(held[-10:-2]))
    await send(await make(held[-11:-10], shows=True), SHOWN["name"])
    (late,) = await make(held[-12:-11])
    await send([late], withdrawn="yes")
    await signing.send_withdrawal(site, PATH, late.nonce, late.w)
    ready = await make(held[-14:-12])
    ticket = held[-15], signing.prepare(key).request
    public = stage.engine.environment.public
    for path in (PATH, "spine"):
        facts.notes.append((path, (public / path / "checkpoint").read_bytes()))
    facts.at = stage.clock.now()
    return Hand(facts, ready, ticket, standing)


def hear(facts: Facts, marks: list[str]) -> Facts:
    """Return the facts with what an act was acknowledged, and when it ended."""
    known = {one.nonce: one for one in facts.signed}
    heard = replace(
        facts,
        at=facts.at + RESTART,
        signed=[*facts.signed],
        issued=[*facts.issued],
        unfinished=[],
    )
    for mark in marks:
        word, _space, value = mark.partition(" ")
        if word == "at":
            heard.at = datetime.fromisoformat(value) + RESTART
        elif word == "signed":
            heard.signed.append(Signed(bytes.fromhex(value), "", "no"))
        elif word in ("asked", "withdrawn"):
            nonce = bytes.fromhex(value)
            heard.signed = [one for one in heard.signed if one.nonce != nonce]
            state = "yes" if word == "withdrawn" else word
            heard.signed.append(Signed(nonce, known[nonce].name, state))
        elif word in ("issued", "granted"):
            heard.issued.append(Issued.from_json(json.loads(value)))
    return heard
