"""Doing something in a copy of this process that ends without cleaning up.

What opens an engine takes seconds to load and a moment to run; a drill that starts it a
thousand times loads it once and forks. The parent must have no threads and no open
database: to be used in a child of ``isolated``.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeAlias

from undersigned.drills.report import Values

PAUSE_SECONDS = 0.005

# Tells the parent what was found, and ends the copy there and then.
Leave: TypeAlias = Callable[[Values], NoReturn]


@dataclass(frozen=True, slots=True)
class Ended:
    """How a copy ended. ``found``: None when it died; ``said``: its standard error."""

    found: Values | None
    status: int
    said: str

    @property
    def was_killed(self) -> bool:
        """Whether it died by SIGKILL, as drills do on purpose."""
        return os.WIFSIGNALED(self.status) and os.WTERMSIG(self.status) == (
            signal.SIGKILL
        )


def run_forked(function: Callable[[Leave], Values], *, seconds: float = 120.0) -> Ended:
    """Call ``function`` in a copy of this process and return what it found.

    The copy ends as a process that is killed ends: nothing is flushed and no handler
    runs. ``function`` may call what it is given to end so in the middle of something.
    """
    with tempfile.TemporaryDirectory(prefix="undersigned-fork-") as name:
        result, errors = Path(name) / "result", Path(name) / "errors"
        pid = os.fork()
        if pid == 0:
            _be_the_copy(function, result, errors)
        status = _wait(pid, seconds)
        said = errors.read_text(errors="replace") if errors.exists() else ""
        text = result.read_bytes() if result.exists() else b""
        found: Values | None = json.loads(text) if text and status == 0 else None
        return Ended(found, status, said)


def _be_the_copy(
    function: Callable[[Leave], Values], result: Path, errors: Path
) -> NoReturn:
    def leave(found: Values) -> NoReturn:
        result.write_text(json.dumps(found), encoding="utf-8")
        os._exit(0)

    try:
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT, 0o600)
        os.dup2(handle, sys.stderr.fileno())
        leave(function(leave))
    except BaseException:  # noqa: BLE001 - whatever it was, the parent goes on
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(1)


def _wait(pid: int, seconds: float) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return status
        time.sleep(PAUSE_SECONDS)
    os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1]
