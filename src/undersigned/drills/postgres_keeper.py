"""Ends the servers of one throw-away cluster and removes its folder, whatever happens.

Run as a program of its own by ``drills.postgres``: ``python -I postgres_keeper.py
FOLDER`` waits for the end of its standard input, which comes when whoever started it
closes it or dies, by kill -9 too. It needs nothing but the standard library.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import time
from pathlib import Path

PATIENCE_SECONDS = 10.0


def find_postmaster(data: Path) -> int | None:
    """Return the process id of the server that runs over ``data``, or None.

    The file of its id may be left from a crash, and the number be somebody else's by
    now: a server's working directory is its data.
    """
    try:
        pid = int((data / "postmaster.pid").read_text("ascii").splitlines()[0])
        own = Path(os.readlink(f"/proc/{pid}/cwd")) == data
    except (OSError, ValueError, IndexError):
        return None
    return pid if own else None


def end_servers(folder: Path) -> None:
    """Stop every server below ``folder`` at once, as a crash would."""
    until = time.monotonic() + PATIENCE_SECONDS
    folders = [path.parent for path in folder.glob("*/PG_VERSION")]
    number = signal.SIGQUIT
    while running := [pid for data in folders if (pid := find_postmaster(data))]:
        for pid in running:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        if time.monotonic() > until:
            number = signal.SIGKILL
        time.sleep(0.05)


def main() -> None:
    """Wait, then leave nothing."""
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_servers(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
