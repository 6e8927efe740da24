"""A crowd of signers in simulated time, one interval after another.

What matters to a linker is who came when, and how soon signing followed asking; the
arithmetic is real (keys, blinding, tokens), the time is the drill's.
"""

from __future__ import annotations

import random
from concurrent.futures import Future
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from undersigned.campaigns.data import Campaign
from undersigned.credentials import client, operations
from undersigned.credentials.client import Prepared
from undersigned.drills.stage import Stage
from undersigned.kernel.errors import UndersignedError
from undersigned.signatures.book import BookEntry
from undersigned.signatures.operations.redeem import SignRequest, redeem_and_wait

Step = Literal["ask", "issue", "sign"]
EMAIL = 1


@dataclass(slots=True)
class Person:
    """One signer of one interval, and what happened to them so far."""

    address: str
    times: dict[Step, datetime]
    nullifier: bytes = b""
    ticket: str = ""
    prepared: Prepared | None = None
    authenticator: bytes = b""
    nonce: bytes = b""
    has_signed: bool = False


@dataclass(slots=True)
class Crowd:
    """The signers of one interval, in the order in which they asked."""

    people: list[Person]
    events: list[tuple[datetime, Person, Step]] = field(default_factory=list)


def gather_crowd(
    rng: random.Random, *, label: str, count: int, begin: datetime, span: timedelta
) -> Crowd:
    """Draw a crowd: people come all through the interval and sign when they can.

    Nineteen in twenty sign seconds after they got their token, the others some minutes
    later; all of them before the interval ends.
    """
    people = []
    whole = span.total_seconds()
    for number in range(count):
        asks = rng.uniform(0, whole * 0.8)
        issues = asks + rng.expovariate(1 / 20)
        waits = rng.expovariate(1 / 4) if rng.random() < 0.95 else rng.uniform(60, 600)
        signs = min(issues + waits, whole - 1)
        seconds: dict[Step, float] = {
            "ask": asks,
            "issue": min(issues, whole - 2),
            "sign": signs,
        }
        people.append(
            Person(
                address=f"{label}-{number}-{rng.getrandbits(32):08x}@example.org",
                times={s: begin + timedelta(seconds=v) for s, v in seconds.items()},
            )
        )
    people.sort(key=lambda person: person.times["ask"])
    events = [
        (at, person, step) for person in people for step, at in person.times.items()
    ]
    events.sort(key=lambda event: event[0])
    return Crowd(people=people, events=events)


class Actors:
    """Lets people act on one campaign of a stage."""

    def __init__(self, stage: Stage, campaign: Campaign) -> None:
        self._stage = stage
        self._campaign = campaign
        self._issuer = stage.engine.services.issuer
        self._book = stage.engine.services.book
        entry = self._book.find(campaign.path)
        if entry is None:
            raise RuntimeError("the campaign is not open")
        self._entry: BookEntry = entry
        self._key = operations.get_class_key(
            issuer=self._issuer, origin=campaign.origin, klass=EMAIL
        )

    @property
    def challenge_digest(self) -> bytes:
        """The digest that stands in every token of the campaign."""
        return self._entry.challenge_digest

    def nullify(self, address: str) -> bytes:
        """Return the nullifier of an address, as whoever holds the version key can."""
        key = operations.get_version_key(
            issuer=self._issuer, origin=self._campaign.origin
        )
        return key.make_nullifier(klass=EMAIL, value=address)

    def act(self, at: datetime, person: Person, step: Step) -> None:
        """Let one person take one step at one instant."""
        self._stage.clock.set(at)
        if step == "ask":
            person.nullifier = self.nullify(person.address)
            person.ticket = operations.grant_ticket(
                issuer=self._issuer,
                origin=self._campaign.origin,
                klass=EMAIL,
                nullifier=person.nullifier,
                at=at,
            )
        elif step == "issue":
            person.prepared = client.prepare(
                key_index=self._key.key_index,
                spki=self._key.spki,
                challenge_digest=self._entry.challenge_digest,
            )
            person.nonce = person.prepared.nonce
            answer = self._request(person.ticket, person.prepared.request, at)
            person.authenticator = client.finalize(person.prepared, answer)
        else:
            self._sign(person, at)

    def _request(self, ticket: str, request: bytes, at: datetime) -> bytes:
        future: Future[bytes | UndersignedError] = Future()
        operations.issue(
            issuer=self._issuer,
            origin=self._campaign.origin,
            ticket=ticket,
            request=request,
            at=at,
            done=future.set_result,
        )
        answer = future.result()
        if isinstance(answer, UndersignedError):
            raise answer
        return answer

    def _sign(self, person: Person, at: datetime) -> None:
        prepared = person.prepared
        if prepared is None:
            raise RuntimeError("nobody signs before the token is there")
        redeem_and_wait(
            book=self._book,
            book_entry=self._entry,
            request=SignRequest(
                key_index=prepared.key_index,
                stance=prepared.stance,
                public_hash=prepared.public_hash,
                withdraw_hash=prepared.withdraw_hash,
                r=prepared.r,
                authenticator=person.authenticator,
                public=None,
                salt=None,
            ),
            at=at,
        )
        person.has_signed = True
