"""Audit logs: recount each, compare them with their spine, and say what was found.

The functions for programs are ``audit_log`` and ``audit_logs``; ``cli`` prints what
they return.
"""

import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Final

from undersigned_verify.errors import Evidence, Fault, Unreadable
from undersigned_verify.facts import KeptRoots, LogFacts
from undersigned_verify.note import MAX_NOTE
from undersigned_verify.policy import Policy, parse_policy
from undersigned_verify.recount import Progress, Recount
from undersigned_verify.source import Source, find_logs, find_spine
from undersigned_verify.spine_audit import (
    ACCEPTED,
    REFUSED,
    UNWITNESSED,
    WITNESSED,
    SpineReport,
    audit_spine,
)

__all__ = [
    "ACCEPTED",
    "REFUSED",
    "UNWITNESSED",
    "WITNESSED",
    "AuditReport",
    "InstanceReport",
    "audit_log",
    "audit_logs",
    "count_workers",
    "find_shared_key",
    "read_policy",
]
SPINE_NAME: Final = "spine"
# Faults in which two signed states of one log contradict each other.
_FORKS: Final = ("checkpoint-root", "checkpoint-beyond")


@dataclass(frozen=True)
class AuditReport:
    """What an audit found. Unless accepted, the figures are of what was read so far."""

    source: str
    path: str | None  # c/ID below the root that was audited; None where unknown
    verdict: str  # ACCEPTED, REFUSED, or with a policy WITNESSED or UNWITNESSED
    fault: Fault | None  # the first one; None where the log holds
    # Of the newest checkpoint; None where not even that could be opened.
    origin: str | None
    tree_size: int | None
    root_hash: str | None  # lower-case hexadecimal
    # The members of count.json but its first three; None where the log is refused.
    totals: dict[str, object] | None
    checkpoints: int  # kept checkpoints verified
    leaves: int  # leaves hashed
    tokens: int  # tokens verified
    key_ids: tuple[str, ...] = field(default=())  # SHA-256 of each announced SPKI
    # Of the instance's spine; None where it has none, or was not looked at.
    spine: SpineReport | None = None

    @property
    def accepted(self) -> bool:
        """Whether no fault was found, witnessed or not."""
        return self.fault is None

    def as_json(self) -> dict[str, object]:
        """Return the report as plain values, for ``--json``."""
        return {
            "source": self.source,
            "path": self.path,
            "verdict": self.verdict,
            "fault": self.fault.as_json() if self.fault is not None else None,
            "origin": self.origin,
            "tree_size": self.tree_size,
            "root_hash": self.root_hash,
            "totals": self.totals,
            "checkpoints": self.checkpoints,
            "leaves": self.leaves,
            "tokens": self.tokens,
            "spine": self.spine.as_json() if self.spine is not None else None,
        }


def count_workers() -> int:
    """Return how many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def audit_log(
    source: Source | str | Path,
    *,
    workers: int | None = None,
    progress: Progress | None = None,
    policy: bytes | None = None,
    with_spine: bool = True,
) -> AuditReport:
    """Recount one log and return what was found; never raises a Fault.

    ``source``: a Source, or the folder or address of one log (or of a root that holds
    exactly one). ``workers``: processes that verify tokens, by default one for each
    processor; 1 does everything here. ``progress(done, total)`` is told of leaves.
    Where the log lies under a root that has a spine, it is compared with that, unless
    ``with_spine`` is false. ``policy``: a tlog-policy that the spine should meet.
    Raises Unreadable where there is nothing to audit, or the policy is none.
    """
    if isinstance(source, str | Path):
        logs = find_logs(str(source))
        if len(logs) != 1:
            raise ValueError(f"{source} holds {len(logs)} logs: name one.")
        source = logs[0]
    found = audit_logs(
        [source],
        spine=find_spine(source) if with_spine else None,
        workers=workers,
        begin=lambda name: progress if name != SPINE_NAME else None,
        policy=policy,
    )
    return found.logs[0]


@dataclass(frozen=True)
class InstanceReport:
    """What an audit found in logs of one instance."""

    logs: list[AuditReport]
    spine: SpineReport | None  # None where there is none


def audit_logs(
    sources: Sequence[Source],
    *,
    spine: Source | None,
    workers: int | None = None,
    begin: Callable[[str], Progress | None] = lambda name: None,
    policy: bytes | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> InstanceReport:
    """Recount logs of one instance, then read its spine once for all of them.

    ``begin`` is told the path of each log, at last ``spine``, and returns what is to
    be told of its progress. Raises Unreadable.
    """
    wanted = None if policy is None else read_policy(policy)
    reports, facts = [], []
    for source in sources:
        report, found = _recount(
            source,
            workers=workers or count_workers(),
            progress=begin(source.path or source.name),
            with_roots=spine is not None,
        )
        reports.append(report)
        if found is not None:
            facts.append(found)
    if spine is None:
        # Witnesses vouch for spines only.
        verdict = ACCEPTED if wanted is None else UNWITNESSED
        return InstanceReport([_decide(report, verdict) for report in reports], None)
    found_spine = audit_spine(
        spine, facts, policy=wanted, progress=begin(SPINE_NAME), sleep=sleep
    )
    decided = [
        _decide(
            replace(report, spine=found_spine.report),
            found_spine.report.verdict,
            found_spine.faults.get(report.origin or ""),
        )
        for report in reports
    ]
    return InstanceReport(decided, found_spine.report)


def read_policy(policy: bytes) -> Policy:
    """Return a policy that was given to be met; Unreadable where it is none."""
    try:
        return parse_policy(policy)
    except Fault as fault:
        raise Unreadable(f"This is no policy: {fault}") from fault


def _decide(
    report: AuditReport, verdict: str, fault: Fault | None = None
) -> AuditReport:
    """Return the report with its verdict; ``fault``: what the spine has against it."""
    fault = report.fault or fault
    if fault is not None:
        return replace(report, verdict=REFUSED, fault=fault, totals=None)
    return replace(report, verdict=verdict)


def _recount(
    source: Source, *, workers: int, progress: Progress | None, with_roots: bool
) -> tuple[AuditReport, LogFacts | None]:
    """Recount one log; return its report, and its facts where a spine is to follow."""
    kept = KeptRoots()
    recount = Recount(
        source,
        workers=workers,
        progress=progress,
        on_kept=kept.add if with_roots else None,
    )
    try:
        recount.run()
    except Fault as fault:
        return _report(recount, _prove_fork(source, fault)), None
    return _report(recount, None), LogFacts.of(recount, kept) if with_roots else None


def _prove_fork(source: Source, fault: Fault) -> Fault:
    """Return the fault with both signed states, where two contradict each other."""
    if fault.code not in _FORKS or fault.path in (None, "checkpoint"):
        return fault
    evidence = []
    for path in (fault.path, "checkpoint"):
        try:
            data = source.read(path or "", MAX_NOTE)
        except Fault:
            data = None
        if data is not None:
            evidence.append(Evidence(f"{source.name}/{path}", data))
    return fault.proven_by(*evidence)


def _report(recount: Recount, fault: Fault | None) -> AuditReport:
    newest, state = recount.newest, recount.state
    return AuditReport(
        source=recount.source.name,
        path=recount.source.path,
        verdict=REFUSED if fault else ACCEPTED,
        fault=fault,
        origin=newest.origin if newest else None,
        tree_size=newest.size if newest else None,
        root_hash=newest.root.hex() if newest else None,
        totals=None if fault else state.totals(),
        checkpoints=recount.checkpoints,
        leaves=recount.leaves,
        tokens=recount.tokens,
        key_ids=tuple(sha256(key.spki).hexdigest() for key in state.keys.values()),
    )


def find_shared_key(reports: Iterable[AuditReport]) -> Fault | None:
    """Return a Fault where two logs of one instance announce the same issuer key."""
    seen: dict[tuple[str, str], str] = {}
    for report in reports:
        origin = report.origin or ""
        host = origin.partition("/")[0]
        for key_id in report.key_ids:
            other = seen.setdefault((host, key_id), origin)
            if other != origin:
                detail = f"{other} and {origin} announce the same issuer key."
                return Fault("spki-shared", detail)
    return None
