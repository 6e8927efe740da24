"""An ``undersigned`` command that is cut off: killed at a call, or out of disk.

``python -m undersigned.drills.cut_command PLACE COUNT WORD…``: PLACE is "fsync" or
"replace", at whose COUNT-th call the process kills itself, or "limit": then no file
grows beyond COUNT bytes, which is what a full disk does.
"""

from __future__ import annotations

import resource
import signal
import sys

from undersigned.config.main import main as run_product
from undersigned.drills.crash_server import Fuse


def main() -> int:
    """Run the command."""
    place, count, *words = sys.argv[1:]
    if place == "limit":
        # Told to whoever writes, as by a full disk; the default would end the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(count), hard))
    else:
        fuse = Fuse()
        fuse.watch_calls()
        fuse.light(place, count=int(count), fails=False, lasts=False)
    return run_product(words)


if __name__ == "__main__":
    sys.exit(main())
