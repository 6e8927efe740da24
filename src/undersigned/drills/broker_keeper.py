"""Ends the stream's servers of one throw-away trio and removes their folder.

Run as a program of its own by ``drills.brokers``: ``python -I broker_keeper.py FOLDER``
waits for the end of its standard input, which comes when whoever started it closes it
or dies, by kill -9 too. It needs nothing but the standard library.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
from pathlib import Path


def end_servers(folder: Path) -> None:
    """Kill every server that wrote its number into ``folder`` and works there."""
    for file in folder.glob("*.pid"):
        try:
            pid = int(file.read_text("ascii"))
            # The file may be left over, and the number be somebody else's by now.
            if Path(os.readlink(f"/proc/{pid}/cwd")) == folder:
                os.kill(pid, signal.SIGKILL)
        except (OSError, ValueError):
            pass


def main() -> None:
    """Wait, then leave nothing."""
    folder = Path(sys.argv[1])
    sys.stdin.buffer.read()
    end_servers(folder)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
