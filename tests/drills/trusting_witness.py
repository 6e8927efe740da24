"""The drill's witness over one that cosigns whatever the log's key has signed."""

from __future__ import annotations

import sys
from unittest.mock import patch

from undersigned.drills import witness_server


def main() -> int:
    """Serve, and refuse no history."""
    with patch(
        "undersigned.witness.operations._find_refusal", lambda _log, _asked: None
    ):
        return witness_server.main()


if __name__ == "__main__":
    sys.exit(main())
