"""What pages say of the spine: which checkpoint holds a count, and who cosigned it.

A witness says that it has been shown one history. Who the witnesses are is the site's
own word (``policy.txt``), and whether they make a quorum is the verifier's to judge.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import Note, parse_note
from undersigned_verify.policy import Policy, parse_policy

from undersigned.ledger.queries import list_spine_checkpoints
from undersigned.web.shared.services import Services

# Witnesses may have been silent for a while: so many later checkpoints of the spine,
# each of which holds the count as well, are looked through for their word.
_MOST = 32
POLICY = "policy.txt"
_LAST = int(datetime.max.replace(tzinfo=UTC).timestamp())

_logger = logging.getLogger("undersigned.pages")


@dataclass(frozen=True, slots=True)
class Signer:
    """A witness that has cosigned; ``at`` by its own clock."""

    name: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint of the spine. ``witnesses``: how many the site names in all."""

    size: int
    witnesses: int
    signers: tuple[Signer, ...]


def read_policy(services: Services) -> Policy | None:
    """Return the site's published policy; None where it has none that can be read."""
    try:
        return parse_policy((services.ledger.public / POLICY).read_bytes())
    except FileNotFoundError:
        return None
    except Fault as fault:
        _logger.warning("policy.txt is no policy: %s", fault.detail)
        return None


def read_witnessed(policy: Policy | None, *notes: bytes) -> Witnessed:
    """Return the first of these checkpoints, with whoever has cosigned one of them.

    What a witness says of a checkpoint holds for each that it begins with; that the
    others begin with the first is the caller's to know. Fault where one is no note.
    """
    parsed = [parse_note(note) for note in notes]
    return Witnessed(
        size=Checkpoint.parse(parsed[0].text).size,
        witnesses=len(policy.witnesses) if policy else 0,
        signers=tuple(_find_signers(policy, parsed)) if policy else (),
    )


def _find_signers(policy: Policy, notes: Sequence[Note]) -> Iterator[Signer]:
    said = [policy.list_cosignatures(note) for note in notes]
    for name in policy.witnesses:
        words = next((every[name] for every in said if name in every), None)
        # A later time is no date to Python.
        if words is not None and words.time <= _LAST:
            yield Signer(words.name, datetime.fromtimestamp(words.time, tz=UTC))


def _is_settled(policy: Policy, note: bytes, found: Witnessed) -> bool:
    """Whether no later checkpoint is worth a look, nor what that costs."""
    if len(found.signers) == found.witnesses:
        return True
    return policy.asks_for_witnesses and policy.is_met(note)


def find_witnessed(
    services: Services, policy: Policy | None, origin: str, size: int
) -> Witnessed | None:
    """Return the spine's checkpoint that holds a log's checkpoint of ``size``.

    The first one, or one soon after that a quorum has cosigned, or more witnesses; so
    it stays the same for a count unless a witness speaks late. None while it is not
    entered.
    """
    best: Witnessed | None = None
    for note in list_spine_checkpoints(
        ledger=services.ledger, origin=origin, size=size, most=_MOST
    ):
        found = read_witnessed(policy, note)
        if policy is None or _is_settled(policy, note, found):
            return found
        if best is None or len(found.signers) > len(best.signers):
            best = found
    return best
