"""Audit a spine once, for all logs of its instance that were recounted before.

The order matters where a server runs: a log's checkpoints go into the spine after they
are published, so what was read of a log is in a spine that is read later, at the latest
a moment later.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from undersigned_verify import spine
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.cosignature import Cosignature
from undersigned_verify.errors import Evidence, Fault
from undersigned_verify.facts import LogFacts
from undersigned_verify.lookup import Lookup
from undersigned_verify.merkle import inclusion_proof
from undersigned_verify.note import MAX_NOTE, parse_note
from undersigned_verify.opening import open_nodes
from undersigned_verify.policy import Policy
from undersigned_verify.proof import InclusionProof
from undersigned_verify.source import Source
from undersigned_verify.spine_pass import SpinePass
from undersigned_verify.spined import Spined

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
WITNESSED: Final = "accepted and witnessed"
UNWITNESSED: Final = "consistent, not witnessed"

# How often a live spine is read again that may only be late, and seconds between.
AGAIN: Final = 3
WAIT_SECONDS: Final = 1.0


@dataclass(frozen=True)
class SpineReport:
    """What an audit found in an instance's spine."""

    source: str
    verdict: str  # ACCEPTED, REFUSED, or with a policy WITNESSED or UNWITNESSED
    fault: Fault | None  # the spine's own; None where it holds
    # Of its newest checkpoint; None where not even that could be opened.
    origin: str | None
    tree_size: int | None
    root_hash: str | None  # lower-case hexadecimal
    checkpoints: int  # kept ones verified
    leaves: int  # leaves read and hashed
    campaigns: int  # logs that the spine names
    # Origins that it names whose logs were not audited with it, or were refused.
    not_compared: tuple[str, ...]
    # Whose cosignatures of the newest checkpoint the policy counts, and their times.
    witnesses: tuple[Cosignature, ...]

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values, for ``--json``."""
        return {
            "source": self.source,
            "verdict": self.verdict,
            "fault": self.fault.as_json() if self.fault is not None else None,
            "origin": self.origin,
            "tree_size": self.tree_size,
            "root_hash": self.root_hash,
            "checkpoints": self.checkpoints,
            "leaves": self.leaves,
            "campaigns": self.campaigns,
            "not_compared": list(self.not_compared),
            "witnesses": [
                {"name": item.name, "time": item.time} for item in self.witnesses
            ],
        }


@dataclass(frozen=True)
class SpineVerdict:
    """The report, and the Fault of each log that contradicts the spine, by origin."""

    report: SpineReport
    faults: dict[str, Fault]


def audit_spine(
    source: Source,
    logs: Sequence[LogFacts],
    *,
    policy: Policy | None = None,
    progress: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> SpineVerdict:
    """Read the spine, and compare each log with it; raises Unreadable only."""
    attempt = _Attempt(source, logs, policy, progress)
    for _ in range(AGAIN if source.live else 0):
        if not attempt.is_late:
            break
        sleep(WAIT_SECONDS)
        attempt = _Attempt(source, logs, policy, progress)
    return attempt.verdict()


class _Attempt:
    """One reading of the spine."""

    def __init__(
        self,
        source: Source,
        logs: Sequence[LogFacts],
        policy: Policy | None,
        progress: Callable[[int, int], None] | None,
    ) -> None:
        self._spined = {facts.newest.origin: Spined(facts) for facts in logs}
        self._policy = policy
        self._pass = SpinePass(source, on_leaf=self._take, progress=progress)
        self._fault: Fault | None = None
        self._witnesses: dict[bytes, Cosignature] = {}
        try:
            self._pass.run()
            if policy is not None:
                self._witnesses = _list_witnesses(self._pass, policy)
        except Fault as fault:
            self._fault = fault.within(spine.PATH)

    def _take(self, index: int, leaf: spine.Leaf) -> None:
        if isinstance(leaf, spine.ClientLeaf):
            return
        found = self._spined.get(leaf.origin)
        if found is not None:
            found.take(index, leaf)

    @property
    def is_late(self) -> bool:
        """Whether reading again may show what is still on its way."""
        if self._fault is not None:
            return False
        lacking = any(item.lacks_leaves for item in self._spined.values())
        return lacking or (self._policy is not None and not self._is_witnessed)

    @property
    def _is_witnessed(self) -> bool:
        """Whether the policy asks for witnesses, knows this spine, and is met."""
        policy, key = self._policy, self._pass.key
        assert policy is not None
        assert key is not None
        return policy.is_witnessed(key, self._witnesses.keys())

    def verdict(self) -> SpineVerdict:
        """Decide, logs included."""
        done, newest = self._pass, self._pass.newest
        verdict = ACCEPTED
        if self._fault is not None:
            verdict = REFUSED
        elif self._policy is not None:
            verdict = WITNESSED if self._is_witnessed else UNWITNESSED
        campaigns = done.state.campaigns if done.state is not None else {}
        report = SpineReport(
            done.source.name,
            verdict,
            self._fault,
            newest.origin if newest else None,
            newest.size if newest else None,
            newest.root.hex() if newest else None,
            done.checkpoints,
            done.leaves,
            len(campaigns),
            tuple(sorted(campaigns.keys() - self._spined.keys())),
            tuple(self._witnesses.values()),
        )
        return SpineVerdict(report, self._find_faults(newest))

    def _find_faults(self, newest: Checkpoint | None) -> dict[str, Fault]:
        """Return each log's own fault; where the spine has one, it is everybody's."""
        if self._fault is not None or newest is None:
            fault = self._fault or Fault("file-missing", path=spine.PATH)
            return dict.fromkeys(self._spined, fault)
        found = {}
        for origin, spined in self._spined.items():
            try:
                _check_host(origin, newest)
                spined.finish(lambda index: _prove_leaf(self._pass, newest, index))
            except Fault as fault:
                found[origin] = fault
        return found


def _check_host(origin: str, newest: Checkpoint) -> None:
    if spine.spine_origin(origin) != newest.origin:
        detail = f"The spine is of {newest.origin}, the log of {origin}."
        raise Fault("spine-host", detail, path=spine.PATH)


def _list_witnesses(done: SpinePass, policy: Policy) -> dict[bytes, Cosignature]:
    """Return whose cosignatures count, from the newest checkpoint and its kept copy.

    Lines may be added to one file before the other; both are of one signed text.
    """
    assert done.newest is not None
    found = policy.list_cosignatures(parse_note(done.note))
    kept = done.source.read(f"checkpoints/{done.newest.size}", MAX_NOTE)
    if kept is not None and parse_note(kept).text == parse_note(done.note).text:
        found = policy.list_cosignatures(parse_note(kept)) | found
    return found


def _prove_leaf(
    done: SpinePass, newest: Checkpoint, index: int
) -> tuple[Evidence, ...]:
    """Return a spine's leaf, and a tlog-proof of it under its newest checkpoint."""
    data = Lookup(done.source, newest).read_leaf(index)
    read_node = open_nodes(done.source, newest.size)
    hashes = tuple(inclusion_proof(index, newest.size, read_node))
    proof = InclusionProof(index, hashes, done.note, data).encode()
    return (
        Evidence(f"{done.source.name}, leaf {index}", data),
        Evidence(f"{done.source.name}, proof of leaf {index}", proof),
    )
