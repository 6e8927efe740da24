"""What a data directory must hold and do after whatever became of its last process.

Facts are what had been acknowledged by then, and every checkpoint that anybody could
have fetched. The product's engine is started over the directory, and goes on: nothing
acknowledged may be missing or twice, nothing public contradicted, no token given twice.
"""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path

from django.db import connection

from undersigned_verify import entry
from undersigned_verify.audit import audit_log
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey

from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.drafting import parse_campaign_file
from undersigned.campaigns.operations import (
    CampaignExists,
    create_campaign,
    open_campaign,
)
from undersigned.campaigns.queries import find_closing, get_any_campaign
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.credentials.operations import get_version_key, grant_ticket
from undersigned.drills import signer as signing
from undersigned.drills.public_log import nonce_of, prefix_roots, read_leaves
from undersigned.drills.report import Values
from undersigned.drills.signer import KeyFacts
from undersigned.drills.stage import Stage, open_stage
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.errors import StorageFailed, UndersignedError
from undersigned.kernel.ids import CampaignId
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.ledger import Ledger

# Of the tokens answered: the newest, and some of the others.
TOKENS_TRIED = 4


@dataclass(frozen=True, slots=True)
class Signed:
    """An acknowledged signature. ``name``: shown beside it, or "".

    ``withdrawn``: "yes" once a withdrawal was acknowledged, "asked" when one may have
    been on its way, else "no".
    """

    nonce: bytes
    name: str
    withdrawn: str


@dataclass(frozen=True, slots=True)
class Issued:
    """A ticket in somebody's hands, the one request made for it, and its answer.

    ``answer``: empty where it is not known. ``answered``: whether it had left by then.
    """

    ticket: str
    request: bytes
    answer: bytes
    answered: bool

    def as_json(self) -> Values:
        """Return plain values."""
        return {
            "ticket": self.ticket,
            "request": b64encode(self.request).decode(),
            "answer": b64encode(self.answer).decode(),
            "answered": self.answered,
        }

    @classmethod
    def from_json(cls, values: Values) -> Issued:
        """Return what ``as_json`` wrote."""
        return cls(
            ticket=values["ticket"],
            request=b64decode(values["request"]),
            answer=b64decode(values["answer"]),
            answered=values["answered"],
        )


@dataclass(slots=True)
class Facts:
    """What had been acknowledged and seen. ``at``: the instant of the restart.

    ``notes``: every checkpoint that stood under a public name, with its log's folder.
    ``is_open``: whether the operator had been told that the campaign is open.
    ``unfinished``: files of campaigns that were being opened; opening is tried again.
    """

    campaign_file: bytes
    campaign: str
    at: datetime
    is_open: bool
    signed: list[Signed] = field(default_factory=list)
    issued: list[Issued] = field(default_factory=list)
    notes: list[tuple[str, bytes]] = field(default_factory=list)
    unfinished: list[bytes] = field(default_factory=list)

    def as_json(self) -> Values:
        """Return plain values."""
        values = asdict(self)
        values["at"] = self.at.isoformat()
        values["campaign_file"] = self.campaign_file.decode()
        values["unfinished"] = [one.decode() for one in self.unfinished]
        values["notes"] = [(path, note.decode()) for path, note in self.notes]
        values["signed"] = [
            {**asdict(one), "nonce": one.nonce.hex()} for one in self.signed
        ]
        values["issued"] = [one.as_json() for one in self.issued]
        return values

    @classmethod
    def from_json(cls, values: Values) -> Facts:
        """Return what ``as_json`` wrote."""
        return cls(
            campaign_file=values["campaign_file"].encode(),
            campaign=values["campaign"],
            at=datetime.fromisoformat(values["at"]),
            is_open=values["is_open"],
            unfinished=[one.encode() for one in values["unfinished"]],
            notes=[(path, note.encode()) for path, note in values["notes"]],
            signed=[
                Signed(bytes.fromhex(one["nonce"]), one["name"], one["withdrawn"])
                for one in values["signed"]
            ],
            issued=[Issued.from_json(one) for one in values["issued"]],
        )


def examine(facts: Facts) -> list[str]:
    """Start over this process's data directory; return what is wrong, in words.

    Each begins with a kind that a drill counts: see ``KINDS``.
    """
    try:
        with open_stage(at=facts.at) as stage:
            return asyncio.run(_Restart(facts, stage).find_faults())
    except (UndersignedError, StorageFailed) as error:
        return [f"start: {type(error).__name__}: {error}"]


KINDS = {
    "start": "do not start, or cannot go on",
    "lost": "lost an acknowledged signature, or have it twice",
    "contradicted": "contradict a checkpoint that was public",
    "refused": "are refused by the recount",
    "token": "give a second token, or not the same one again",
    "shown": "lost a shown name or a withdrawal, or show one withdrawn",
    "mark": "have a high-water mark other than the log",
}


class _Restart:
    def __init__(self, facts: Facts, stage: Stage) -> None:
        self.facts = facts
        self.stage = stage
        self.ledger: Ledger = stage.engine.services.ledger

    async def find_faults(self) -> list[str]:
        faults = self._take_up()
        if faults:
            return faults
        campaign = get_any_campaign(campaign_id=CampaignId(self.facts.campaign))
        self.origin = campaign.origin
        self.folder: Path = self.ledger.public / campaign.path
        keys = await signing.read_keys(self.stage.site, campaign.path)
        self.key = keys["email"]
        self.is_issuing = campaign.state is CampaignState.OPEN
        closing = find_closing(campaign_id=campaign.id)
        # The hour for retries is over: its keys are gone, or about to be.
        self.is_over = closing is not None and closing.retries_until <= self.facts.at
        faults += self._judge_store()
        faults += self._judge_files()
        if not self.is_over:
            faults += [fault async for fault in self._judge_tokens()]
        if self.is_issuing:
            faults += [fault async for fault in self._go_on(self.key)]
        self.stage.pass_time(minutes=2)
        self.stage.pass_time(minutes=2)
        if campaign.state is CampaignState.CLOSING:
            faults += self._go_on_closing()
        faults += self._judge_files()
        faults += self._judge_log()
        faults += self._judge_shown()
        if self.stage.engine.failures:
            faults.append(f"start: it stopped: {self.stage.engine.failures[0]}")
        return faults

    def _take_up(self) -> list[str]:
        """Open what was being opened, as its operator would."""
        facts = self.facts
        was_draft = self._open_again(facts.campaign_file)
        if facts.is_open and was_draft:
            return ["start: the open campaign is gone, or a draft"]
        for file in facts.unfinished:
            self._open_again(file)
        return []

    def _open_again(self, campaign_file: bytes) -> bool:
        """Open a campaign unless it is; return whether there was something to do."""
        services = self.stage.engine.services
        draft = parse_campaign_file(campaign_file)
        host, at = services.settings.host, self.stage.clock.now()
        with suppress(CampaignExists):
            create_campaign(actor=OPERATOR, draft=draft, host=host, at=at)
        campaign = get_any_campaign(campaign_id=CampaignId(draft.id or ""))
        if campaign.state is not CampaignState.DRAFT:
            return False
        campaign = open_campaign(
            actor=OPERATOR,
            campaign_id=campaign.id,
            ledger=services.ledger,
            issuer=services.issuer,
            host=host,
            at=at,
        )
        self.stage.engine.enter_campaign(campaign)
        return True

    def _judge_store(self) -> Iterator[str]:
        pooled = {nonce for (nonce,) in self.ledger.read("SELECT nonce FROM inbox")}
        public = {nonce for (nonce,) in self.ledger.read("SELECT nonce FROM nonce")}
        for one in self.facts.signed:
            if (one.nonce in pooled) + (one.nonce in public) != 1:
                yield f"lost: {one.nonce.hex()[:16]} after the start"
        log = self.ledger.get_log(self.origin)
        try:
            # Read anew: it is what the next start finds.
            HighWater(self.ledger.high_water.path).check(
                self.origin, log.size, {log.size: log.root}
            )
        except StorageFailed as error:
            yield f"mark: {error}"

    def _judge_files(self) -> Iterator[str]:
        for log in self.ledger.logs.values():
            audit = audit_log(log.folder, workers=1)
            if not audit.accepted:
                yield f"refused: {log.origin}: {audit.fault}"
        for path in sorted({path for path, _note in self.facts.notes}):
            notes = [note for other, note in self.facts.notes if other == path]
            yield from _judge_notes(self.ledger.public / path, notes)

    async def _judge_tokens(self) -> AsyncIterator[str]:
        issued = self.facts.issued
        chosen = issued[-2:] + issued[:: max(1, len(issued) // (TOKENS_TRIED - 2))]
        site = self.stage.site
        for one in chosen[:TOKENS_TRIED]:
            again = await signing.request_token(site, self.key, one.ticket, one.request)
            if (
                again.code == "campaign-closed"
                and not self.is_issuing
                and not one.answered
            ):
                continue  # it answers what it answered before, and nothing new
            if again.status != 200 or one.answer not in (b"", again.body):
                yield f"token: the same request again: {again.said}"
            other = signing.prepare(self.key).request
            second = await signing.request_token(site, self.key, one.ticket, other)
            if second.code != "already-issued":
                yield f"token: another request: {second.said}"

    async def _go_on(self, key: KeyFacts) -> AsyncIterator[str]:
        """One person more signs."""
        services = self.stage.engine.services
        klass = CLASS_NUMBERS["email"]
        secret = get_version_key(issuer=services.issuer, origin=self.origin)
        ticket = grant_ticket(
            issuer=services.issuer,
            origin=self.origin,
            klass=klass,
            nullifier=secret.make_nullifier(klass=klass, value="late@example.org"),
            at=self.stage.clock.now(),
        )
        site = self.stage.site
        try:
            _made, signature = await signing.make_signature(site, key, ticket)
        except signing.JourneyBroken as error:
            yield f"start: it issues no more: {error}"
            return
        answer = await signing.send_signature(site, key, signature)
        if answer.status != 200:
            yield f"start: it signs no more: {answer.said}"
        self.facts.signed.append(Signed(signature.nonce, "", "no"))

    def _go_on_closing(self) -> Iterator[str]:
        self.stage.pass_time(minutes=62)
        for _hour in range(25):
            self.stage.pass_time(hours=1)
        if not self.ledger.get_log(self.origin).is_closed:
            yield "start: the closing does not come to its end"

    def _judge_log(self) -> Iterator[str]:
        """Everything acknowledged stands in the log once, withdrawals too."""
        where: dict[bytes, list[int]] = {}
        withdrawn: set[int] = set()
        digest = self.key.challenge_digest
        for index, leaf in enumerate(read_leaves(self.folder)):
            if leaf[1] == entry.SIGNATURE:
                where.setdefault(nonce_of(leaf, digest), []).append(index)
            elif leaf[1] == entry.WITHDRAWAL:
                withdrawn.add(int.from_bytes(leaf[2:10]))
        for nonce, indexes in where.items():
            if len(indexes) > 1:
                yield f"lost: {nonce.hex()[:16]} stands twice"
        for one in self.facts.signed:
            found = where.get(one.nonce, [])
            if not found:
                yield f"lost: {one.nonce.hex()[:16]} is not in the log"
            elif one.withdrawn == "yes" and found[0] not in withdrawn:
                yield f"shown: the withdrawal of {one.nonce.hex()[:16]} is lost"

    def _judge_shown(self) -> Iterator[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT nonce, name FROM signatures_shownrecord")
            names = {bytes(nonce): name for nonce, name in cursor.fetchall()}
        for one in self.facts.signed:
            name = names.get(one.nonce, "")
            if one.withdrawn == "yes" and name:
                yield f"shown: {name!r} was withdrawn"
            elif one.withdrawn == "no" and name != one.name:
                yield f"shown: {one.name!r} is {name!r} after the restart"


def _judge_notes(folder: Path, notes: list[bytes]) -> Iterator[str]:
    """Each note that was public is still that of a prefix, under the same key."""
    try:
        vkey = VerifierKey.parse((folder / "log.vkey").read_text().strip())
        seen = [open_checkpoint(note, vkey) for note in notes]
        roots = prefix_roots(read_leaves(folder), {one.size for one in seen})
    except (Fault, OSError) as error:
        yield f"contradicted: {folder.name} cannot be compared: {error}"
        return
    for one in seen:
        if roots.get(one.size) != one.root:
            yield f"contradicted: the checkpoint of {folder.name}, {one.size} leaves"
