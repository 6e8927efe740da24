"""The drill's server, which syncs files and forgets the folders they are in."""

from __future__ import annotations

import os
import stat
import sys

from undersigned.drills import crash_server


def main() -> int:
    """Serve, syncing no folder: SQLite still does, for its journals."""
    fsync = os.fsync

    def sync_files_alone(handle: int) -> None:
        if not stat.S_ISDIR(os.fstat(handle).st_mode):
            fsync(handle)

    os.fsync = sync_files_alone  # type: ignore[assignment]  # broken on purpose
    return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
