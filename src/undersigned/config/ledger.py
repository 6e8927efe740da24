"""Which store keeps the ledger: a file in the data directory, or a PostgreSQL server.

Whoever calls ``open_store`` holds the writer lock of the data directory.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from undersigned.config.env import DatabaseAddress, Environment
from undersigned.kernel.writer_lock import WriterBusy
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.highwater import HighWater
from undersigned.ledger.spine import spine_origin
from undersigned.ledger.store import Store

if TYPE_CHECKING:
    # psycopg is in the extra ``scale``, which the embedded form does without.
    from undersigned.ledger.pg.store import PostgresStore

LEDGER = "ledger.sqlite3"
# A predecessor's sessions outlive it by moments, and one that was killed by as long as
# the server needs to notice.
PATIENCE_SECONDS = 5.0
_STEP_SECONDS = 0.1


def open_store(
    environment: Environment, *, on_wait: Callable[[], None] | None = None
) -> Store:
    """Open the ledger as its one sequencer.

    ``on_wait`` given: stand by while another process is that, and call it once. Else
    raises WriterBusy. Raises StorageFailed, RolledBack.
    """
    if environment.ledger is None:
        return EmbeddedStore(environment.data / LEDGER)
    # Late, for the same reason.
    from undersigned.ledger.pg.standby import wait_for_lease
    from undersigned.ledger.pg.store import PostgresStore

    store = PostgresStore(make_conninfo(environment.ledger))
    try:
        if on_wait is not None:
            wait_for_lease(
                store=store,
                high_water=HighWater(environment.data / "highwater.json"),
                spine_origin=spine_origin(environment.host),
                on_wait=on_wait,
            )
        else:
            take_over(store)
    except BaseException:
        store.close()
        raise
    return store


def take_over(store: PostgresStore) -> None:
    """Become the instance's sequencer. Raises WriterBusy where another one lives."""
    until = time.monotonic() + PATIENCE_SECONDS
    while not store.try_take_over():
        if time.monotonic() > until:
            raise WriterBusy(ledger="in PostgreSQL")
        time.sleep(_STEP_SECONDS)


def make_conninfo(address: DatabaseAddress) -> str:
    """Return the address in libpq's words, password and all: for no message."""
    from psycopg.conninfo import make_conninfo as join

    login = {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password,
    }
    words = {
        "dbname": address.name,
        **{name: value for name, value in login.items() if value},
        "application_name": "undersigned",
        # A server that is gone is noticed, here and there, in half a minute.
        "connect_timeout": "10",
        "tcp_user_timeout": "30000",
        "keepalives_idle": "10",
        "keepalives_interval": "5",
        "keepalives_count": "3",
        "options": (
            "-c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 "
            "-c tcp_keepalives_count=3"
        ),
        **address.parameters,
        "sslmode": address.tls,
    }
    return join("", **words)
