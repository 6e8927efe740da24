"""The ``undersigned`` command with a backup that takes the pool along."""

from __future__ import annotations

import sys

from undersigned.config.main import main as run_product
from undersigned.ledger import backup


def main() -> int:
    """Copy the pool too, as a plain copy of the file does."""
    backup.TABLES["inbox"] = ("1", "log, nonce")
    return run_product()


if __name__ == "__main__":
    sys.exit(main())
