"""The drill's server whose sequencer moves logs whoever has them."""

from __future__ import annotations

import sys
from typing import Any
from unittest.mock import patch

from psycopg import Connection

from undersigned.drills import crash_server


def main() -> int:
    """Serve, comparing nothing in the leaf transaction."""
    from undersigned.config.context import set_up_django

    set_up_django()
    from undersigned.ledger.pg import store
    from undersigned.ledger.pg.lease import Lease
    from undersigned.ledger.pg.traces import settle_inbox

    def move_anyway(
        connection: Connection[Any],
        *,
        lease: Lease,
        old_size: int,
        new_size: int,
        frontier: bytes,
    ) -> None:
        del old_size
        connection.execute(
            "UPDATE log SET size = %s, frontier = %s WHERE origin = %s",
            (new_size, frontier, lease.origin),
        )

    def move_spine_anyway(
        connection: Connection[Any],
        *,
        lease: Lease,
        old_size: int,
        new_size: int,
        frontier: bytes,
        client: str | None,
    ) -> None:
        del lease, old_size
        connection.execute(
            "UPDATE spine SET size = %s, frontier = %s, client = %s",
            (new_size, frontier, client),
        )

    def settle_anyway(self: store.PostgresStore) -> None:
        settle_inbox(session=self._session)

    def hear_nothing(self: store.PostgresStore) -> bool:
        return False

    with (
        patch.object(store.PostgresStore, "settle", settle_anyway),
        patch.object(store.PostgresStore, "_is_superseded", hear_nothing),
        patch.object(store, "move_log", move_anyway),
        patch.object(store, "move_spine", move_spine_anyway),
    ):
        return crash_server.main()


if __name__ == "__main__":
    sys.exit(main())
