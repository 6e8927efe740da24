"""The trials of ``disk`` over a product that hears of no failed barrier."""

from __future__ import annotations

import contextlib
import os

from undersigned.drills import disk_trials
from undersigned.drills.report import Values

_fsync = os.fsync


def _sync_deafly(handle: int) -> None:
    with contextlib.suppress(OSError):
        _fsync(handle)


def list_sites(values: Values) -> Values:
    """List calls as the drill does."""
    return disk_trials.list_sites(values)


def run_trials(values: Values) -> Values:
    """Run trials over what was broken."""
    os.fsync = _sync_deafly  # type: ignore[assignment]  # broken on purpose
    return disk_trials.run_trials(values)
