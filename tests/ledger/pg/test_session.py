"""A commit is on every disk that was asked for, or it is a failure."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest
from psycopg import Connection

from tests.ledger.pg.conftest import Connect, make_arrival, read_statements
from undersigned.drills.postgres import Cluster, Server
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.inbox import Fate, pool_signatures
from undersigned.ledger.pg.lease import Lease, LeaseLost, move_log, try_take_lease
from undersigned.ledger.pg.schema import add_log, make_schema
from undersigned.ledger.pg.session import NotDurable, Session


class TestASession:
    def test_an_error_takes_everything_back(self, ledger: Session, log_id: int) -> None:
        def fail_half_way() -> None:
            with ledger.transaction() as connection:
                connection.execute("UPDATE log SET size = 5 WHERE id = %s", (log_id,))
                connection.execute("SELECT 1 / 0")

        with pytest.raises(StorageFailed):
            fail_half_way()
        row = ledger.connection.execute(
            "SELECT size FROM log WHERE id = %s", (log_id,)
        ).fetchone()
        assert row == (0,)

    def test_a_server_that_is_not_there_is_a_failure_without_a_password(
        self, server: Server
    ) -> None:
        url = server.url("ledger", user="ledger").replace(str(server.port), "1")
        with pytest.raises(StorageFailed) as caught:
            Session(url)
        assert server.passwords["ledger"] not in str(caught.value)

    def test_it_refuses_a_careless_server(self, server: Server) -> None:
        name = "synchronous_commit"
        server.run_sql(f"ALTER DATABASE ledger SET {name} = off")
        try:
            with pytest.raises(NotDurable, match=name):
                Session(server.url("ledger", user="ledger"))
        finally:
            server.run_sql(f"ALTER DATABASE ledger RESET {name}")
        Session(server.url("ledger", user="ledger")).close()

    def test_each_statement_sees_what_is_committed_by_then(
        self, server: Server, connect: Connect
    ) -> None:
        server.run_sql(
            "ALTER DATABASE ledger SET default_transaction_isolation = 'serializable'"
        )
        try:
            with connect("ledger").transaction() as connection:
                row = connection.execute("SHOW transaction_isolation").fetchone()
        finally:
            server.run_sql("ALTER DATABASE ledger RESET default_transaction_isolation")
        assert row == ("read committed",)


def test_tables_and_logs_are_made_once(connect: Connect, origin: str) -> None:
    sessions = [connect("ledger") for _ in range(3)]
    ids: list[int] = []

    def make(session: Session) -> None:
        make_schema(session.connection, intake="intake")
        ids.append(add_log(session.connection, origin=origin, settings="{}"))

    threads = [threading.Thread(target=make, args=(one,)) for one in sessions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(ids) == 3
    assert len(set(ids)) == 1


@pytest.mark.slow
class TestASynchronousStandby:
    @pytest.fixture
    def pair(self, cluster: Cluster) -> tuple[Server, Server]:
        """A primary and its standby, set up as the document says."""
        number = len(cluster.servers)
        primary = cluster.start_primary(f"primary{number}")
        for block in read_statements():
            primary.run_sql(block)
        for role in ("ledger", "intake"):
            primary.run_sql(f"ALTER ROLE {role} PASSWORD 'of-a-test'")
            primary.passwords[role] = "of-a-test"
        session = Session(primary.url("ledger", user="ledger"))
        make_schema(session.connection, intake="intake")
        add_log(session.connection, origin="river", settings="{}")
        session.close()
        return primary, cluster.add_standby(primary, f"standby{number}")

    def test_what_was_acknowledged_is_there_after_the_primary_is_gone(
        self, pair: tuple[Server, Server]
    ) -> None:
        primary, standby = pair
        web = Session(primary.url("ledger", user="intake"))
        sequencer = Session(primary.url("ledger", user="ledger"))
        lease = try_take_lease(session=sequencer, origin="river")
        assert lease is not None
        batch = [make_arrival(lease.log_id) for _ in range(30)]
        pool_signatures(session=web, arrivals=batch)
        with sequencer.transaction() as connection:
            move(connection, lease, 0, 1)
        primary.crash()
        standby.promote()
        for session in (web, sequencer):
            session.close()
        web = Session(standby.url("ledger", user="intake"))
        found = pool_signatures(session=web, arrivals=batch)
        assert set(found.values()) == {Fate.POOLED}
        # The lock is gone with the old server, and the epoch is not.
        successor = Session(standby.url("ledger", user="ledger"))
        taken = try_take_lease(session=successor, origin="river")
        assert taken is not None
        assert taken.epoch == lease.epoch + 1
        with pytest.raises(LeaseLost), successor.transaction() as connection:
            move(connection, lease, 1, 2)
        with successor.transaction() as connection:
            move(connection, taken, 1, 2)
        for session in (web, successor):
            session.close()

    def test_a_commit_that_did_not_wait_for_it_is_a_failure(
        self, pair: tuple[Server, Server]
    ) -> None:
        """PostgreSQL says so in a warning, and that the commit succeeded."""
        primary, standby = pair
        web = Session(primary.url("ledger", user="intake"))
        batch = [make_arrival(1)]
        standby.crash()
        raised: list[BaseException] = []

        def pool() -> None:
            try:
                pool_signatures(session=web, arrivals=batch)
            except StorageFailed as error:
                raised.append(error)

        thread = threading.Thread(target=pool)
        thread.start()
        waiting = (
            "SELECT pg_cancel_backend(pid) FROM pg_stat_activity "
            "WHERE wait_event = 'SyncRep'"
        )
        until = time.monotonic() + 30
        while thread.is_alive() and time.monotonic() < until:
            primary.run_sql(waiting)
            time.sleep(0.05)
        thread.join(5)
        web.close()
        assert [type(error) for error in raised] == [NotDurable]


def move(connection: Connection[Any], lease: Lease, old: int, new: int) -> None:
    move_log(
        connection,
        lease=lease,
        old_size=old,
        new_size=new,
        frontier=b"",
    )
