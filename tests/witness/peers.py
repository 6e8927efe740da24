"""Witnesses to ask: an honest one behind a transport, and one that plays a script."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from undersigned_verify.cosignature import parse_witness_key

from tests.witness.conftest import open_witness
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.errors import Conflict, NotAllowed, NotFound, UndersignedError
from undersigned.witness.data import OurWitness
from undersigned.witness.dialogue import Answer, Unanswered
from undersigned.witness.key import WitnessKey, make_seed
from undersigned.witness.operations import (
    ConsistencyNotProven,
    CosignedOtherwise,
    cosign_checkpoint,
    get_witness_key,
    trust_log,
)
from undersigned.witness.witness import Witness

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)
NOW_SECONDS = int(NOW.timestamp())


class Peer:
    """An honest witness, as its transport shows it. ``before``: run at each request."""

    def __init__(self, listed: OurWitness, witness: Witness | None) -> None:
        self.listed = listed
        self.witness = witness
        self.asked = 0
        self.before: Callable[[], None] = lambda: None

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        """Answer as its server does."""
        self.asked += 1
        self.before()
        assert self.witness is not None
        try:
            line = cosign_checkpoint(witness=self.witness, body=body, at=NOW)
        except CosignedOtherwise as error:
            return Answer(409, "text/x.tlog.size", f"{error.size}\n".encode())
        except ConsistencyNotProven:
            return Answer(422, "application/problem+json", b"{}")
        except UndersignedError as error:
            statuses = {NotAllowed: 403, NotFound: 404, Conflict: 409}
            for family, status in statuses.items():
                if isinstance(error, family):
                    return Answer(status, "application/problem+json", b"{}")
            return Answer(400, "application/problem+json", b"{}")
        return Answer(200, "text/plain", line.encode())

    def close(self) -> None:
        """Close its file."""
        if self.witness is not None:
            self.witness.store.close()


def make_peer(folder: Path | None, host: str, spine: SmallLog | None) -> Peer:
    """Return a witness; without a folder, one that only has a name."""
    url = f"https://{host}/witness"
    if folder is None:
        key = WitnessKey(f"{host}/witness", make_seed())
        return Peer(OurWitness(key.verifier, url), None)
    witness = open_witness(folder, host)
    vkey = get_witness_key(witness=witness)
    if spine is not None:
        trust_log(witness=witness, vkey=spine.vkey)
    return Peer(OurWitness(parse_witness_key(vkey), url), witness)


class Scripted:
    """A transport that gives answers from a list, one after another."""

    def __init__(self, answers: list[Answer | Exception]) -> None:
        self.answers = answers

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        """Return or raise the next."""
        if not self.answers:
            raise Unanswered("the script is over")
        found = self.answers.pop(0)
        if isinstance(found, Exception):
            raise found
        return found


class Switchboard:
    """One transport in front of several, by address."""

    def __init__(self, **peers: Peer | Scripted) -> None:
        self.peers = peers
        self.lock = threading.Lock()
        self.asked: list[str] = []

    def add_checkpoint(self, url: str, body: bytes) -> Answer:
        """Ask the one whose host begins with its name."""
        name = url.removeprefix("https://").partition(".")[0]
        with self.lock:
            self.asked.append(name)
        return self.peers[name].add_checkpoint(url, body)
