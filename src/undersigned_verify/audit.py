"""Audit a log: recount it and say what was found.

The function for programs is ``audit_log``; ``cli`` prints what it returns.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final

from undersigned_verify.errors import Fault
from undersigned_verify.recount import Progress, Recount
from undersigned_verify.source import Source, find_logs

ACCEPTED: Final = "accepted"
REFUSED: Final = "refused"
UNWITNESSED: Final = "consistent, not witnessed"


@dataclass(frozen=True)
class AuditReport:
    """What an audit found. Unless accepted, the figures are of what was read so far."""

    source: str
    path: str | None  # c/ID below the root that was audited; None where unknown
    verdict: str  # ACCEPTED, REFUSED or UNWITNESSED
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
) -> AuditReport:
    """Recount one log and return what was found; never raises a Fault.

    ``source``: a Source, or the folder or address of one log (or of a root that holds
    exactly one). ``workers``: processes that verify tokens, by default one for each
    processor; 1 does everything here. ``progress(done, total)`` is told of leaves.
    ``policy``: a tlog-policy that the log should meet. Witnesses vouch for an
    instance's spine log, which this version does not read, so that with a policy the
    best verdict is UNWITNESSED. Raises Unreadable where there is nothing to audit.
    """
    if isinstance(source, str | Path):
        logs = find_logs(str(source))
        if len(logs) != 1:
            raise ValueError(f"{source} holds {len(logs)} logs: name one.")
        source = logs[0]
    recount = Recount(source, workers=workers or count_workers(), progress=progress)
    fault = None
    try:
        recount.run()
    except Fault as found:
        fault = found
    return _report(recount, fault, policy)


def _report(recount: Recount, fault: Fault | None, policy: bytes | None) -> AuditReport:
    newest, state = recount.newest, recount.state
    verdict = ACCEPTED if policy is None else UNWITNESSED
    return AuditReport(
        source=recount.source.name,
        path=recount.source.path,
        verdict=REFUSED if fault else verdict,
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
