"""Places in line as people carry them, and the lines before the stages of signing.

A turn is ``base64url(stage u8 ‖ number u64 ‖ ready u32 ‖ tag 16)``: a number in a line
or, where too many come from one network, a number and the whole second at which its
holder may come. The tag is an HMAC by a key in memory. Nothing in it tells who asked
or from where, and the server remembers nobody: after a restart an old turn is not
known any more, and its holder gets a new one.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import secrets
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Final, Literal, TypeAlias, get_args

from undersigned.kernel.errors import Unavailable
from undersigned.safety.intake import Intake, TooManyRequests
from undersigned.safety.line import Line, Used, Wait

Stage: TypeAlias = Literal["ask", "mail", "confirm", "finish", "issue", "sign"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)

# Pages have two threads and take some ten milliseconds each: a second's worth.
PAGE_ROOM: Final = 64
# About two seconds of blind signatures on two processors.
ISSUE_ROOM: Final = 1000
# Commits of up to a thousand: two of them.
SIGN_ROOM: Final = 2000
# Of one network: numbers in the lines of token and signature, and how many more wait
# for their network's next ones.
NUMBERS_BURST: Final = 600
NUMBERS_PER_MINUTE: Final = 600.0
MOST_OF_A_NETWORK: Final = 600

# These count every request of a network, whether there is a line or not.
_COUNTED: Final[frozenset[Stage]] = frozenset({"ask", "mail", "confirm"})
_FORM: Final = struct.Struct(">BQL")
_TAG_BYTES: Final = 16
TURN_LENGTH: Final = 39


class PleaseWait(Unavailable):
    """More people come than can be taken at once. ``turn`` keeps the place.

    ``before``: people in front, ``seconds``: roughly how long; each None where that is
    not known. ``reason``: "site", "network" where it is one's own network's turn, or
    "away" where the process that gives places does not answer.
    ``turn`` is empty where there is no place to keep.
    """

    code: ClassVar[str] = "please-wait"

    def __init__(
        self,
        *,
        before: int | None = None,
        seconds: int | None = None,
        turn: str = "",
        reason: Literal["site", "network", "away"] = "site",
        retry_after_seconds: int,
    ) -> None:
        self.before = before
        self.seconds = seconds
        self.turn = turn
        self.reason = reason
        super().__init__(
            retry_after_seconds=retry_after_seconds,
            before=before,
            seconds=seconds,
            turn=turn,
            reason=reason,
        )


@dataclass(frozen=True, slots=True)
class Turn:
    """What a turn says. ``ready``: 0 for a number in the line, else a whole second."""

    stage: Stage
    number: int
    ready: int


class Turns:
    """Writes and reads turns, by a key that dies with the process."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def write(self, turn: Turn) -> str:
        """Return 39 characters of base64url."""
        body = _FORM.pack(STAGES.index(turn.stage), turn.number, turn.ready)
        return base64.urlsafe_b64encode(body + self._tag(body)).rstrip(b"=").decode()

    def find(self, text: str) -> Turn | None:
        """Return what a turn says, or None where it is none of this process."""
        if len(text) != TURN_LENGTH:
            return None
        try:
            data = base64.urlsafe_b64decode(text + "=")
        except (binascii.Error, ValueError):
            return None
        body, tag = data[: _FORM.size], data[_FORM.size :]
        if not hmac.compare_digest(tag, self._tag(body)):
            return None
        stage, number, ready = _FORM.unpack(body)
        return Turn(STAGES[stage], number, ready)

    def _tag(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, "sha256")[:_TAG_BYTES]


class Lines:
    """All lines of a process. Not for threads: the event loop alone holds them."""

    def __init__(
        self,
        *,
        intake: Intake,
        numbers: Intake | None = None,
        room_for_mail: Callable[[], int] | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``room_for_mail``: how many mails more could be queued now."""
        self._intake = intake
        self._numbers = numbers or Intake(
            burst=NUMBERS_BURST, per_minute=NUMBERS_PER_MINUTE, monotonic=monotonic
        )
        self._turns = Turns()
        # A whole second since the start tells no time to whoever sees it.
        self._started = monotonic()
        self._monotonic = monotonic
        self._reserved = 0
        # Each of a hundred networks may take hundreds while one waits for its own.
        self._used = Used()
        rooms = {"issue": ISSUE_ROOM, "sign": SIGN_ROOM}
        self.lines: dict[Stage, Line] = {
            stage: Line(
                rooms.get(stage, PAGE_ROOM),
                room_behind=room_for_mail if stage == "mail" else None,
                monotonic=monotonic,
            )
            for stage in STAGES
        }

    def come(self, stage: Stage, *, turn: str = "", address: str | None = None) -> None:
        """Come in to a stage; ``leave`` must follow. Raises PleaseWait.

        ``turn``: what an earlier refusal gave. ``address``: used for the limits of its
        network and forgotten.
        """
        line, found = self.lines[stage], self._turns.find(turn)
        is_paid = False
        if found is not None and found.stage == stage:
            if found.ready:
                is_paid = self._is_ready(found, turn)
            elif line.enter(found.number):
                return
            elif line.holds(found.number):
                raise self._refuse(stage, found.number)
        if stage in _COUNTED and not is_paid:
            self._reserve(stage, self._intake, address)
            is_paid = True
        if line.enter():
            return
        if not is_paid:
            self._reserve(stage, self._numbers, address)
        raise self._refuse(stage, line.take_number())

    def come_at_once(self, stage: Stage) -> bool:
        """Come in where nobody waits; False: not now. ``leave`` must follow a True.

        For stages that count no requests of a network: those of token and signature.
        """
        return self.lines[stage].enter()

    def leave(self, stage: Stage) -> None:
        """Go, after ``come`` or ``come_at_once``."""
        self.lines[stage].leave()

    def is_open(self, stage: Stage) -> bool:
        """Whether anybody could come in to a stage without waiting."""
        return self.lines[stage].is_open

    def look(self, turn: str) -> PleaseWait | None:
        """Return how long a turn has still to wait; None: it should come now.

        Also where it is not known (any more): who comes with it gets another.
        """
        found = self._turns.find(turn)
        if found is None:
            return None
        if found.ready:
            seconds = self._count_seconds(found)
            return self._refuse_network(seconds, None, turn) if seconds > 0 else None
        line = self.lines[found.stage]
        line.look(found.number)
        if line.is_called(found.number) or not line.holds(found.number):
            return None
        return self._refuse(found.stage, found.number)

    def _refuse(self, stage: Stage, number: int) -> PleaseWait:
        wait: Wait = self.lines[stage].look(number)
        return PleaseWait(
            before=wait.before,
            seconds=wait.seconds,
            turn=self._turns.write(Turn(stage, number, 0)),
            retry_after_seconds=wait.retry_seconds,
        )

    def _count_seconds(self, turn: Turn) -> int:
        return turn.ready - int(self._monotonic() - self._started)

    def _is_ready(self, turn: Turn, text: str) -> bool:
        """Whether a reserved turn pays for coming; once. Raises PleaseWait."""
        if self._used.has(turn.number):
            return False
        seconds = self._count_seconds(turn)
        if seconds > 0:
            raise self._refuse_network(seconds, None, text)
        self._used.use(turn.number)
        return True

    def _reserve(self, stage: Stage, intake: Intake, address: str | None) -> None:
        try:
            found = intake.reserve(address, most=MOST_OF_A_NETWORK)
        except TooManyRequests as error:
            # No place is kept so far behind; what was typed is, and can come again.
            raise PleaseWait(
                reason="network", retry_after_seconds=error.retry_after_seconds + 60
            ) from None
        if not found.seconds:
            return
        number, self._reserved = self._reserved, self._reserved + 1
        self._used.grow(self._reserved)
        ready = int(self._monotonic() - self._started) + found.seconds
        turn = self._turns.write(Turn(stage, number, ready))
        raise self._refuse_network(found.seconds, found.before, turn)

    @staticmethod
    def _refuse_network(seconds: int, before: int | None, turn: str) -> PleaseWait:
        return PleaseWait(
            before=before,
            seconds=seconds,
            turn=turn,
            reason="network",
            retry_after_seconds=seconds,
        )
