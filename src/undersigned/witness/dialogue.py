"""One conversation with one witness: offer a checkpoint, understand the answer.

No threads and no clock in here, so that every turn of it can be played through in a
test. ``feeder`` runs one for each witness.

What a witness answers is believed in one thing only: a cosignature that verifies. All
else (sizes, refusals) is an unsigned claim, which may stop us and can never change what
we publish.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint, parse_decimal
from undersigned_verify.cosignature import find_cosignature
from undersigned_verify.errors import Fault
from undersigned_verify.note import parse_note

from undersigned.witness.data import OurWitness, Standing
from undersigned.witness.request import encode_request

SIZE_MEDIA: Final = "text/x.tlog.size"
# First what we remember, then what it says, and once more if it was raced by another.
TRIES: Final = 3
# A cosignature from the future would outrank honest ones for whoever looks at times.
AHEAD_SECONDS: Final = 86_400


class Unanswered(Exception):
    """A witness could not be reached, broke off, was too slow or sent too much."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: status, media type in lower case without parameters, body."""

    status: int
    media: str
    body: bytes


class Transport(Protocol):
    """The way to a witness; may be used by several threads at once."""

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        """POST ``body`` to ``url``/add-checkpoint and return the answer.

        Bounds time and size of the answer, follows no redirect. Raises Unanswered.
        """
        ...


class Spine(Protocol):
    """The log that is witnessed. Called from several threads at once.

    A checkpoint that ``newest`` has returned, or that was offered, is durable and never
    contradicted.
    """

    def newest(self) -> bytes | None:
        """Return the newest signed checkpoint, None while there is none.

        Cosignature lines may follow the log's own.
        """
        ...

    def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """Return the RFC 6962 proof between two sizes, 0 < old < new ≤ newest."""
        ...

    def add_cosignatures(self, size: int, lines: Sequence[str]) -> None:
        """Add verified signature lines, each with its line feed, to a checkpoint.

        Once for each that was offered, when its time is over, even without any line:
        now it may be shown. Again whenever a late one comes.
        """
        ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a conversation ended. ``size``: what the witness has cosigned, if known.

    ``line``: its verified signature line, with a line feed, or None.
    """

    standing: Standing
    size: int | None
    line: str | None = None
    detail: str = ""


class Dialogue:
    """What is remembered of one witness between conversations: its size."""

    def __init__(self, witness: OurWitness, transport: Transport) -> None:
        self.witness = witness
        self._transport = transport
        self._size: int | None = None

    def offer(self, spine: Spine, note: bytes, *, at_seconds: int) -> Outcome:
        """Ask for a cosignature of ``note``, a checkpoint of the spine.

        ``at_seconds``: the present, since 1970. Raises nothing a witness could cause.
        """
        checkpoint = Checkpoint.parse(parse_note(note).text)
        asked = _Asked(spine, note, checkpoint)
        for _try in range(TRIES):
            old = self._size or 0
            if old > checkpoint.size:
                # It cosigned a newer one meanwhile, for us or for somebody else.
                return self._judge_larger(asked, old)
            try:
                answer = self._send(asked, old)
            except Unanswered as error:
                return Outcome(Standing.GONE, self._size, detail=str(error))
            if answer.status != 409:
                return self._judge(asked, old, answer, at_seconds)
            found = _find_size(answer)
            if found is None:
                return self._broken("409 without a size")
            if found == old:
                # Nothing to correct: so it is the root hash that it holds against us.
                return self._judge_same(asked, old)
            self._size = found
        return self._broken("it names another size each time")

    def _send(self, asked: _Asked, old: int) -> Answer:
        proof = (
            asked.spine.consistency_proof(old, asked.size)
            if 0 < old < asked.size
            else []
        )
        body = encode_request(old_size=old, proof=proof, note=asked.note)
        return self._transport.add_checkpoint(self.witness.url, body)

    def _judge(
        self, asked: _Asked, old: int, answer: Answer, at_seconds: int
    ) -> Outcome:
        match answer.status:
            case 200:
                return self._take(asked, answer.body, at_seconds)
            case 422 if 0 < old < asked.size:
                return Outcome(
                    Standing.BESIDE,
                    self._size,
                    detail=f"it refuses our proof from size {old}",
                )
            case 403 | 404:
                return Outcome(
                    Standing.NOT_TRUSTING,
                    self._size,
                    detail=f"it does not trust our log or its key ({answer.status})",
                )
            case 429 | 503:
                return Outcome(
                    Standing.GONE, self._size, detail=f"it answers {answer.status}"
                )
            case status:
                return self._broken(f"it answers {status}")

    def _take(self, asked: _Asked, body: bytes, at_seconds: int) -> Outcome:
        """Find this witness's cosignature among the lines; ignore all others."""
        key = self.witness.key
        try:
            note = parse_note(f"{asked.text}\n".encode() + body)
            if note.text != asked.text:
                raise Fault("note-form", "An answer of more than signature lines.")
            found = find_cosignature(note, key)
        except Fault as fault:
            return self._broken(fault.detail)
        if found is None:
            return self._broken("200 without its cosignature")
        if found.time > at_seconds + AHEAD_SECONDS:
            return self._broken("a cosignature from the future")
        (blob,) = [
            blob
            for name, identity, blob in note.signatures
            if (name, identity) == (key.name, key.key_id)
        ]
        self._size = asked.size
        line = f"\u2014 {key.name} {encode_base64(key.key_id + blob)}\n"
        return Outcome(Standing.GOOD, self._size, line)

    def _judge_larger(self, asked: _Asked, size: int) -> Outcome:
        note = asked.spine.newest() or asked.note
        newest = Checkpoint.parse(parse_note(note).text).size
        if size <= newest:
            return Outcome(Standing.GOOD, size, detail="it has a newer one of ours")
        # Asked again next time: a mistake of its own should not last for ever.
        self._size = None
        return Outcome(
            Standing.AHEAD,
            size,
            detail=f"it says that it has cosigned size {size}, and ours is {newest}",
        )

    def _judge_same(self, asked: _Asked, old: int) -> Outcome:
        if old == asked.size:
            return Outcome(
                Standing.BESIDE,
                old,
                detail=f"it says that it has cosigned another root hash of size {old}",
            )
        return self._broken("409 with the size that it was asked from")

    def _broken(self, detail: str) -> Outcome:
        self._size = None
        return Outcome(Standing.BROKEN, None, detail=detail)


@dataclass(frozen=True, slots=True)
class _Asked:
    spine: Spine
    note: bytes
    checkpoint: Checkpoint

    @property
    def size(self) -> int:
        return self.checkpoint.size

    @property
    def text(self) -> str:
        return self.checkpoint.text()


def _find_size(answer: Answer) -> int | None:
    if answer.media != SIZE_MEDIA or not answer.body.endswith(b"\n"):
        return None
    try:
        return parse_decimal(answer.body[:-1].decode("ascii"))
    except (UnicodeDecodeError, Fault):
        return None
