"""The drill's server, which tells people any place and forgets what they wrote."""

from __future__ import annotations

import random
import sys
from unittest.mock import patch

from undersigned.drills import crash_server
from undersigned.safety.line import Line, Wait
from undersigned.web.public import waiting


def main() -> int:
    """Serve, rudely."""
    keep = waiting._make_fields
    with (
        patch.object(
            waiting, "_make_fields", lambda held: keep(held).replace("children", "")
        ),
        patch.object(
            Line, "look", lambda _line, _number: Wait(random.randrange(9000), None)
        ),
    ):
        return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
