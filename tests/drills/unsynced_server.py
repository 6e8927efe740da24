"""The drill's server over a ledger that does not wait for the disk."""

from __future__ import annotations

import sqlite3
import sys
from pathlib import Path
from unittest.mock import patch

from undersigned.drills import crash_server


def main() -> int:
    """Serve, syncing nothing of the ledger's file."""
    from undersigned.config.context import set_up_django

    set_up_django()
    from undersigned.ledger import embedded

    open_writer = embedded.open_writer

    def open_carelessly(path: Path) -> sqlite3.Connection:
        connection = open_writer(path)
        connection.execute("PRAGMA synchronous=OFF")
        return connection

    with patch.object(embedded, "open_writer", open_carelessly):
        return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
