"""What the server's raw files still tell, after a publication has been settled."""

from __future__ import annotations

import secrets

import pytest

from tests.ledger.pg.conftest import Connect, publish
from undersigned.drills.postgres import Server
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival, Fate, pool_signatures
from undersigned.ledger.pg.session import Session
from undersigned.ledger.pg.traces import drop_journal, settle_inbox, settle_queues


def make_marked(log_id: int, marker: bytes) -> Arrival:
    """Return a signature whose leaf can be found in raw bytes."""
    leaf = marker + secrets.token_bytes(357 - len(marker))
    return Arrival(log_id, PooledSignature(secrets.token_bytes(32), leaf, None))


def find(server: Server, marker: bytes) -> set[str]:
    """Return the files of the server that hold ``marker``."""
    return {
        str(path.relative_to(server.data))
        for path in server.data.rglob("*")
        if path.is_file() and marker in path.read_bytes()
    }


@pytest.fixture
def alone(ledger: Session) -> None:
    """Nobody else's rows in the pool."""
    with ledger.transaction() as connection:
        connection.execute("TRUNCATE inbox")


@pytest.mark.usefixtures("alone")
class TestSettling:
    def test_what_waits_is_kept_as_it_was(
        self, ledger: Session, intake: Session, log_id: int
    ) -> None:
        batch = [make_marked(log_id, b"x") for _ in range(50)]
        pool_signatures(session=intake, arrivals=batch)
        asked = "SELECT nonce, leaf FROM inbox WHERE log = %s ORDER BY nonce"
        before = ledger.connection.execute(asked, (log_id,)).fetchall()
        assert settle_inbox(session=ledger) == 50
        assert ledger.connection.execute(asked, (log_id,)).fetchall() == before
        found = pool_signatures(session=intake, arrivals=batch)
        assert set(found.values()) == {Fate.POOLED}

    def test_rows_no_longer_tell_which_came_first(
        self, ledger: Session, intake: Session, log_id: int
    ) -> None:
        for _ in range(12):
            batch = [make_marked(log_id, b"x") for _ in range(5)]
            pool_signatures(session=intake, arrivals=batch)
        asked = "SELECT nonce, xmin::text FROM inbox ORDER BY ctid"
        before = ledger.connection.execute(asked).fetchall()
        settle_inbox(session=ledger)
        after = ledger.connection.execute(asked).fetchall()
        assert len({xmin for _nonce, xmin in before}) == 12
        assert [nonce for nonce, _ in before] != sorted(nonce for nonce, _ in before)
        assert len({xmin for _nonce, xmin in after}) == 1
        assert [nonce for nonce, _ in after] == sorted(nonce for nonce, _ in after)

    def test_published_ones_leave_the_raw_files(
        self, server: Server, ledger: Session, intake: Session, log_id: int
    ) -> None:
        gone, stays = secrets.token_bytes(16), secrets.token_bytes(16)
        batch = [make_marked(log_id, gone), make_marked(log_id, stays)]
        pool_signatures(session=intake, arrivals=batch)
        with ledger.transaction():
            publish(ledger, batch[0], 1)
        drop_journal(ledger.connection)
        # Deleted, committed, checkpointed: and there it still is.
        assert find(server, gone)
        settle_inbox(session=ledger)
        drop_journal(ledger.connection)
        assert find(server, gone) == set()
        # The other in one place, the pool's file, and not in the journal.
        (place,) = find(server, stays)
        assert place.startswith("base/")

    def test_a_batch_under_way_waits_and_is_not_lost(
        self, connect: Connect, ledger: Session, log_id: int
    ) -> None:
        web = connect("intake")
        early, late = make_marked(log_id, b"x"), make_marked(log_id, b"y")
        pool_signatures(session=web, arrivals=[early])
        settle_inbox(session=ledger)
        pool_signatures(session=web, arrivals=[late])
        assert settle_inbox(session=ledger) == 2


class TestTheQueues:
    def test_rows_no_longer_tell_which_came_first(self, ledger: Session) -> None:
        rows = [(1, secrets.token_bytes(32), secrets.token_bytes(32)) for _ in range(9)]
        for row in rows:
            with ledger.transaction() as connection:
                connection.execute("INSERT INTO withdrawal VALUES (%s, %s, %s)", row)
        settle_queues(session=ledger)
        found = ledger.connection.execute(
            "SELECT log, nonce, w, xmin::text FROM withdrawal ORDER BY ctid"
        ).fetchall()
        assert [row[:3] for row in found] == sorted(rows)
        assert len({row[3] for row in found}) == 1
        with ledger.transaction() as connection:
            connection.execute("TRUNCATE withdrawal")

    def test_what_has_left_is_in_no_table_any_more(
        self, ledger: Session, server: Server
    ) -> None:
        marker = secrets.token_bytes(32)
        with ledger.transaction() as connection:
            connection.execute(
                "INSERT INTO shown VALUES (1, %s, 0, 0, %s)", (bytes(32), marker)
            )
        with ledger.transaction() as connection:
            connection.execute("DELETE FROM shown")
        settle_queues(session=ledger)
        drop_journal(ledger.connection)
        assert find(server, marker) == set()


def test_a_role_that_may_not_let_the_journal_go_is_told(server: Server) -> None:
    # A database of its own: the right to pg_switch_wal is given in each.
    url = server.make_database("ungranted", owner="ledger")
    session = Session(url)
    try:
        with pytest.raises(StorageFailed, match=r"postgresql\.md"):
            drop_journal(session.connection)
    finally:
        session.close()
