"""What happened to a watched instance: its journal, and what its signers know.

A story is recorded once and cut off anywhere. Positions count the journal's records;
an acknowledgement's is that of the bytes that carried it, noted before they left.
"""

from __future__ import annotations

import json
import re
from base64 import b64decode, b64encode
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from undersigned.drills.journal import JournalBroken, Kind, Record, read_journal
from undersigned.drills.load import Memory
from undersigned.drills.platter import Platter
from undersigned.drills.report import Values
from undersigned.drills.restart import Facts, Issued, Signed

_PROMISE = re.compile(rb"undersigned promise v1\\n[^\\]*\\n([0-9a-f]{64})")
_NOTE = re.compile(r"public/(.*)/(?:checkpoint|checkpoints/[0-9]+)")
BLIND_BYTES = 256
NEVER = 1 << 60
# What a restart takes, in the campaign's time.
RESTART = timedelta(minutes=3)


@dataclass(slots=True)
class SignedAt:
    """A signature and the positions of what was said about it."""

    nonce: bytes
    name: str
    at: int
    asked_at: int = NEVER
    withdrawn_at: int = NEVER


@dataclass(slots=True)
class IssuedAt:
    """A token and the positions of its ticket and its answer."""

    ticket: str
    request: bytes
    answer: bytes
    granted_at: int = NEVER
    answered_at: int = NEVER


@dataclass(slots=True)
class Story:
    """``ahead``: by position, how far the clock had been set ahead, in seconds."""

    campaign_file: bytes
    campaign: str
    epoch: float
    speed: float
    signed: list[SignedAt] = field(default_factory=list)
    issued: list[IssuedAt] = field(default_factory=list)
    opened_at: int = NEVER
    ahead: list[tuple[int, float]] = field(default_factory=list)

    # --- making

    def listen(self, journal: Path, memory: Memory) -> None:
        """Find in the journal where everything remembered was said.

        Raises JournalBroken if anything was not.
        """
        signed = {
            nonce: SignedAt(nonce, memory.shown.get(nonce, {}).get("name", ""), NEVER)
            for nonce in memory.promises
        }
        issued = {
            ticket: IssuedAt(ticket, request, answer)
            for ticket, (request, answer) in memory.issued.items()
        }
        by_answer = {one.answer: one for one in issued.values()}
        for position, record in enumerate(read_journal(journal)):
            if record.kind is Kind.MARK:
                self._hear_mark(position, record.path, signed)
            if record.kind is not Kind.SENT:
                continue
            for found in _PROMISE.findall(record.data):
                one = signed.get(bytes.fromhex(found.decode()))
                if one is not None:
                    one.at = min(one.at, position)
            token = by_answer.get(record.data[-BLIND_BYTES:])
            if token is not None:
                token.answered_at = min(token.answered_at, position)
            if b'"tickets"' in record.data[:200]:
                for ticket in re.findall(rb'"([A-Za-z0-9_-]{40,})"', record.data):
                    granted = issued.get(ticket.decode())
                    if granted is not None:
                        granted.granted_at = position
        self.signed, self.issued = list(signed.values()), list(issued.values())
        unheard = sum(one.at == NEVER for one in self.signed)
        unheard += sum(one.answered_at == NEVER for one in self.issued)
        if unheard or not self.signed or self.opened_at == NEVER:
            raise JournalBroken(f"{unheard} acknowledgements are not in the journal")
        self.signed.sort(key=lambda one: one.at)
        self.issued.sort(key=lambda one: one.answered_at)

    def _hear_mark(
        self, position: int, text: str, signed: dict[bytes, SignedAt]
    ) -> None:
        word, _space, value = text.partition(" ")
        if word == "opened":
            self.opened_at = position
        elif word == "ahead":
            self.ahead.append((position, float(value)))
        elif word in ("asked", "yes"):
            one = signed.get(bytes.fromhex(value))
            if one is None:
                return
            if word == "asked":
                one.asked_at = min(one.asked_at, position)
            else:
                one.withdrawn_at = min(one.withdrawn_at, position)

    # --- cutting off

    def find_time(self, position: int, at: float) -> datetime:
        """Return the campaign's time at a position recorded at ``at``."""
        index = bisect_right(self.ahead, (position, float("inf"))) - 1
        ahead = self.ahead[index][1] if index >= 0 else 0.0
        seconds = self.epoch + (at - self.epoch) * self.speed + ahead
        return datetime.fromtimestamp(int(seconds), UTC)

    def make_facts(
        self, position: int, at: float, notes: list[tuple[str, bytes]]
    ) -> Facts:
        """Return what had been said when the power went, after ``position`` records."""

        def state(one: SignedAt) -> str:
            if one.withdrawn_at < position:
                return "yes"
            return "asked" if one.asked_at < position else "no"

        return Facts(
            campaign_file=self.campaign_file,
            campaign=self.campaign,
            at=self.find_time(position, at) + RESTART,
            is_open=self.opened_at < position,
            notes=notes,
            signed=[
                Signed(one.nonce, one.name, state(one))
                for one in self.signed
                if one.at < position
            ],
            issued=[
                Issued(one.ticket, one.request, one.answer, one.answered_at < position)
                for one in self.issued
                if min(one.granted_at, one.answered_at) < position
            ],
        )

    # --- keeping

    def write(self, path: Path) -> None:
        """Write it as JSON."""
        values: Values = {
            "campaign_file": self.campaign_file.decode(),
            "campaign": self.campaign,
            "epoch": self.epoch,
            "speed": self.speed,
            "opened_at": self.opened_at,
            "ahead": self.ahead,
            "signed": [
                [one.nonce.hex(), one.name, one.at, one.asked_at, one.withdrawn_at]
                for one in self.signed
            ],
            "issued": [
                [
                    one.ticket,
                    b64encode(one.request).decode(),
                    b64encode(one.answer).decode(),
                    one.granted_at,
                    one.answered_at,
                ]
                for one in self.issued
            ],
        }
        path.write_text(json.dumps(values), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Story:
        """Return what ``write`` wrote."""
        values = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            campaign_file=values["campaign_file"].encode(),
            campaign=values["campaign"],
            epoch=values["epoch"],
            speed=values["speed"],
            opened_at=values["opened_at"],
            ahead=[(position, seconds) for position, seconds in values["ahead"]],
            signed=[
                SignedAt(bytes.fromhex(nonce), name, at, asked, withdrawn)
                for nonce, name, at, asked, withdrawn in values["signed"]
            ],
            issued=[
                IssuedAt(ticket, b64decode(request), b64decode(answer), granted, at)
                for ticket, request, answer, granted, at in values["issued"]
            ],
        )


@dataclass(slots=True)
class Moment:
    """The platter after so many records, when the last was written, and all notes."""

    position: int
    at: float
    platter: Platter
    notes: list[tuple[str, bytes]]


def follow(journal: Path) -> Iterator[tuple[Moment, Record]]:
    """Follow a journal; the moment is the same object each time, and goes on."""
    moment = Moment(0, 0.0, Platter(), [])
    for position, record in enumerate(read_journal(journal), start=1):
        moment.platter.follow(record)
        moment.position, moment.at = position, record.at
        if record.kind is Kind.RENAME and (found := _NOTE.fullmatch(record.second)):
            file = moment.platter.find(record.second)
            note = found[1], file.live if file is not None else b""
            if note not in moment.notes:
                moment.notes.append(note)
        yield moment, record
