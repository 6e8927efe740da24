"""The ``undersigned`` command with a recovery that believes the database alone."""

from __future__ import annotations

import sys
from unittest.mock import patch

from undersigned.config.context import set_up_django
from undersigned.config.main import main as run_product


def main() -> int:
    """Set each mark to what the database holds, and import nothing."""
    set_up_django()
    from undersigned.ledger.highwater import HighWater
    from undersigned.ledger.importing import Imported
    from undersigned.ledger.recovery import Plan
    from undersigned.signatures.operations import recover

    def mark_the_database(high_water: HighWater, plan: Plan) -> None:
        high_water.raise_all(
            {
                log.origin: (log.old_size, log.tree.root)
                for log in plan.everything
                if log.tree is not None
            }
        )

    def import_nothing(**_arguments: object) -> Imported:
        return Imported(leaves=0)

    with (
        patch.object(recover, "write_marks", mark_the_database),
        patch.object(recover, "import_log", import_nothing),
        patch.object(recover, "import_spine", import_nothing),
    ):
        return run_product()


if __name__ == "__main__":
    sys.exit(main())
