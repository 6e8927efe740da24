"""Signers who do not give up: load on a server that dies, and a memory of all it said.

What was acknowledged is remembered here and nowhere else; ``crash`` compares it with
what the log holds in the end.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from undersigned.drills import signer as signing
from undersigned.drills.live import JobFailed, LiveServer
from undersigned.drills.signer import (
    JourneyBroken,
    KeyFacts,
    Promise,
    Signature,
    Signer,
)
from undersigned.drills.site import Answer, NetSite, SiteGone, get

# One in twenty shows a name, one in fifty withdraws.
SHOWS, WITHDRAWS = 0.05, 0.02
GRANTED_AT_ONCE = 300


@dataclass(slots=True)
class Memory:
    """All that the server acknowledged, and every checkpoint that anybody saw."""

    # By ticket: the request and the blind signature it was answered with.
    issued: dict[str, tuple[bytes, bytes]] = field(default_factory=dict)
    promises: dict[bytes, tuple[Signature, Promise]] = field(default_factory=dict)
    shown: dict[bytes, dict[str, str]] = field(default_factory=dict)
    withdrawn: set[bytes] = field(default_factory=set)
    # By size: every note that was served for it.
    checkpoints: dict[int, set[bytes]] = field(default_factory=dict)
    # What should never have been answered, in words.
    surprises: list[str] = field(default_factory=list)
    retried: int = 0
    refused_for_now: int = 0


class Load:
    """Signers over one live server; ``up`` says whether it can be asked."""

    def __init__(
        self,
        server: LiveServer,
        key: KeyFacts,
        vkey: str,
        rng: random.Random,
        *,
        pause_seconds: float = 0.0,
        on_withdrawal: Callable[[str, bytes], None] = lambda _word, _nonce: None,
    ) -> None:
        """``pause_seconds``: between two signatures of one signer, at most.

        ``on_withdrawal`` is told "asked" before a withdrawal is sent, and "yes" after
        it was acknowledged.
        """
        self.server = server
        self.key = key
        self.vkey = vkey
        self.memory = Memory()
        self.site = NetSite(server.port)
        self.up = asyncio.Event()
        # Acknowledged, and lost with a disk: to be sent again.
        self.lost: list[Signature] = []
        # The part that withdraws.
        self.withdraws = WITHDRAWS
        self._rng = rng
        self._pause_seconds = pause_seconds
        self._on_withdrawal = on_withdrawal
        self._tickets: list[tuple[str, str]] = []
        self._asked = 0
        self._ending = False
        self._feeding = asyncio.Lock()

    def is_up(self) -> None:
        """Go on with a server that has been started again."""
        self.site.drop(self.server.port)
        self.up.set()

    def forget_tickets(self) -> None:
        """Ask for new tickets: those at hand were in a record that is lost."""
        self._tickets.clear()

    async def run(self, signers: int) -> None:
        """Sign with so many at once until ``end`` is called."""
        async with asyncio.TaskGroup() as group:
            for _number in range(signers):
                group.create_task(self._sign_on_and_on())
            group.create_task(self._watch())

    def end(self) -> None:
        """Let everybody finish what was begun."""
        self._ending = True

    async def persist(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer, as a browser with its state kept does."""
        while True:
            await self.up.wait()
            try:
                answer = await ask()
            except SiteGone:
                self.memory.retried += 1
                await asyncio.sleep(0.02)
                continue
            if answer.status == 503:
                self.memory.refused_for_now += 1
                await asyncio.sleep(0.1)
                continue
            return answer

    async def _take_ticket(self) -> tuple[str, str]:
        async with self._feeding:
            while not self._tickets:
                await self.up.wait()
                first, self._asked = self._asked, self._asked + GRANTED_AT_ONCE
                addresses = [
                    f"s{number}@example.org" for number in range(first, self._asked)
                ]
                try:
                    found = await asyncio.to_thread(
                        self.server.run_job,
                        "drill-tickets",
                        {"campaign": self._campaign, "addresses": addresses},
                    )
                except (JobFailed, OSError):
                    await asyncio.sleep(0.05)
                    continue
                self._tickets = list(zip(addresses, found["tickets"], strict=True))
        return self._tickets.pop()

    @property
    def _campaign(self) -> str:
        return self.key.path.removeprefix("c/")

    async def _sign_on_and_on(self) -> None:
        while not self._ending:
            address, ticket = await self._take_ticket()
            await self._sign_once(address, ticket)
            if self._pause_seconds:
                await asyncio.sleep(self._rng.uniform(0, self._pause_seconds))

    async def _sign_once(self, address: str, ticket: str) -> None:
        shows = self._rng.random() < SHOWS
        signer = Signer(
            address,
            shown={"comment": "", "name": f"Name of {address[:-12]}", "place": ""}
            if shows
            else None,
            stance=self._rng.randrange(3),
        )
        salt = secrets.token_bytes(32) if shows else None
        prepared = signing.prepare(self.key, signer, salt=salt)
        answer = await self.persist(
            lambda: signing.request_token(self.site, self.key, ticket, prepared.request)
        )
        if answer.status != 200:
            self.memory.surprises.append(f"issue: {answer.said}")
            return
        self.memory.issued[ticket] = prepared.request, answer.body
        signature = signing.finish(prepared, answer.body, shown=signer.shown, salt=salt)
        await self.send(signature)
        if signer.shown is not None:
            self.memory.shown[signature.nonce] = signer.shown
        if self._rng.random() < self.withdraws:
            await self._withdraw(signature)

    async def send(self, signature: Signature) -> None:
        """Send a signature, perhaps again; remember its promise."""
        answer = await self.persist(
            lambda: signing.send_signature(self.site, self.key, signature)
        )
        if answer.status != 200:
            self.memory.surprises.append(f"sign: {answer.said}")
            return
        try:
            promise = signing.read_promise(
                answer, origin=self.key.origin, vkey=self.vkey
            )
        except JourneyBroken as error:
            self.memory.surprises.append(str(error))
            return
        if promise.nonce != signature.nonce:
            self.memory.surprises.append("a promise for another nonce")
        before = self.memory.promises.get(signature.nonce)
        if before is None or promise.publish_by < before[1].publish_by:
            self.memory.promises[signature.nonce] = signature, promise

    async def _withdraw(self, signature: Signature) -> None:
        tries = self.memory.retried
        self._on_withdrawal("asked", signature.nonce)
        answer = await self.persist(
            lambda: signing.send_withdrawal(
                self.site, self.key.path, signature.nonce, signature.w
            )
        )
        if answer.status == 200 or (
            # The first try may have been taken before the answer was lost, and be
            # published by now: then a second withdrawal is one too many.
            answer.code == "withdrawal-not-allowed" and self.memory.retried > tries
        ):
            self.memory.withdrawn.add(signature.nonce)
            self._on_withdrawal("yes", signature.nonce)
        else:
            self.memory.surprises.append(f"withdraw: {answer.said}")

    async def _watch(self) -> None:
        """Fetch the checkpoint as monitors do, and forget none."""
        while not self._ending:
            answer = await self.persist(
                lambda: get(self.site, f"/{self.key.path}/checkpoint")
            )
            self.note_checkpoint(answer.body)
            await asyncio.sleep(0.1)

    def note_checkpoint(self, note: bytes) -> None:
        """Remember a checkpoint that was served."""
        size = int(note.split(b"\n")[1])
        self.memory.checkpoints.setdefault(size, set()).add(note)

    async def try_again(self, count: int) -> None:
        """After a restart: what was answered before is answered again."""
        memory = self.memory
        tickets = sorted(memory.issued)
        for ticket in self._rng.sample(tickets, min(count, len(tickets))):
            request, signed = memory.issued[ticket]
            again = await self._request(ticket, request)
            if again.status != 200 or again.body != signed:
                memory.surprises.append(f"issue again: {again.said}")
            other = await self._request(ticket, signing.prepare(self.key).request)
            if other.code != "already-issued":
                memory.surprises.append(f"a second token: {other.said}")
        nonces = sorted(memory.promises)
        for nonce in self._rng.sample(nonces, min(count, len(nonces))):
            await self.send(memory.promises[nonce][0])

    async def _request(self, ticket: str, request: bytes) -> Answer:
        return await self.persist(
            lambda: signing.request_token(self.site, self.key, ticket, request)
        )
