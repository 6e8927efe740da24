"""Intake from several processes: what is new, what is known, what comes too late."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from psycopg import Rollback

from tests.ledger.pg.conftest import Connect, make_arrival, publish
from undersigned.drills.postgres import Server
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import (
    Arrival,
    Fate,
    Key,
    end_intake,
    pool_signatures,
)
from undersigned.ledger.pg.schema import add_log
from undersigned.ledger.pg.session import Session


def read_pool(ledger: Session, log_id: int) -> dict[bytes, tuple[bytes, bytes | None]]:
    rows = ledger.connection.execute(
        "SELECT nonce, leaf, shown FROM inbox WHERE log = %s", (log_id,)
    ).fetchall()
    return {nonce: (leaf, shown) for nonce, leaf, shown in rows}


class Running:
    """A batch on a thread of its own; ``wait`` returns or raises what it did."""

    def __init__(self, session: Session, arrivals: list[Arrival]) -> None:
        self._found: dict[Key, Fate] | BaseException | None = None
        self._session, self._arrivals = session, arrivals
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._found = pool_signatures(
                session=self._session, arrivals=self._arrivals
            )
        except StorageFailed as error:
            self._found = error

    def wait(self) -> dict[Key, Fate]:
        self._thread.join(60)
        assert not self._thread.is_alive()
        if isinstance(self._found, BaseException):
            raise self._found
        assert self._found is not None
        return self._found


def wait_until_blocked(watcher: Session, session: Session) -> None:
    """Wait until a session waits for another's lock."""
    pid = session.connection.info.backend_pid
    until = time.monotonic() + 30
    while time.monotonic() < until:
        row = watcher.connection.execute(
            "SELECT cardinality(pg_blocking_pids(%s))", (pid,)
        ).fetchone()
        if row is not None and row[0]:
            return
        time.sleep(0.01)
    raise AssertionError("it does not wait")


@contextmanager
def missing_standby(server: Server) -> Iterator[None]:
    """Let commits wait for a standby that never comes."""
    _set_standby(server, "gone")
    try:
        yield
    finally:
        _set_standby(server, "")


def _set_standby(server: Server, name: str) -> None:
    server.run_sql(f"ALTER SYSTEM SET synchronous_standby_names = '{name}'")
    server.run_sql("SELECT pg_reload_conf()")
    until = time.monotonic() + 30
    while server.run_sql("SHOW synchronous_standby_names") != name:
        assert time.monotonic() < until
        time.sleep(0.02)
    # What waits for standbys is told by the checkpointer, a moment later.
    time.sleep(0.2)


def wait_until_uncertain(watcher: Session, session: Session) -> None:
    """Wait until a session's commit waits for the standby."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        row = watcher.connection.execute(
            "SELECT wait_event FROM pg_stat_activity WHERE pid = %s",
            (session.connection.info.backend_pid,),
        ).fetchone()
        if row == ("SyncRep",):
            return
        time.sleep(0.01)
    raise AssertionError("it waits for no standby")


class TestAStandbyThatIsMissing:
    @pytest.mark.parametrize("is_published", [False, True])
    @pytest.mark.parametrize("is_closed", [False, True])
    def test_the_same_again_is_not_answered_from_one_disk(
        self,
        server: Server,
        connect: Connect,
        ledger: Session,
        log_id: int,
        *,
        is_published: bool,
        is_closed: bool,
    ) -> None:
        first, again = connect("ledger"), connect("ledger")
        arrival = make_arrival(log_id)
        if is_published:
            publish(ledger, arrival, 0)
        if is_closed:
            pool_signatures(session=ledger, arrivals=[arrival])
            end_intake(session=ledger, log_id=log_id)
        with missing_standby(server):
            for session in (first, again):
                running = Running(session, [arrival])
                wait_until_uncertain(ledger, session)
                session.connection.cancel()
                with pytest.raises(StorageFailed, match="one machine only"):
                    running.wait()
        # There it is again: the same body is answered.
        found = pool_signatures(session=connect("ledger"), arrivals=[arrival])
        assert found[arrival.key] is (Fate.PUBLISHED if is_published else Fate.POOLED)


class TestABatch:
    def test_it_is_in_the_pool_and_says_so(
        self, intake: Session, ledger: Session, log_id: int
    ) -> None:
        batch = [make_arrival(log_id, shown=one) for one in (None, b"", b'{"a":1}')]
        found = pool_signatures(session=intake, arrivals=batch)
        assert found == {one.key: Fate.NEW for one in batch}
        assert read_pool(ledger, log_id) == {
            one.pooled.nonce: (one.pooled.leaf, one.pooled.shown) for one in batch
        }

    def test_nothing_is_nothing(self, intake: Session) -> None:
        assert pool_signatures(session=intake, arrivals=[]) == {}

    def test_nobody_shows_anything(self, intake: Session, log_id: int) -> None:
        batch = [make_arrival(log_id) for _ in range(3)]
        assert set(pool_signatures(session=intake, arrivals=batch).values()) == {
            Fate.NEW
        }

    def test_the_same_again_is_known_and_stays_as_it_was(
        self, intake: Session, ledger: Session, log_id: int
    ) -> None:
        first, second = make_arrival(log_id, shown=b"first"), make_arrival(log_id)
        pool_signatures(session=intake, arrivals=[first])
        again = replace(first, pooled=replace(first.pooled, shown=b"second"))
        found = pool_signatures(session=intake, arrivals=[again, second, second])
        assert found == {first.key: Fate.POOLED, second.key: Fate.NEW}
        assert read_pool(ledger, log_id)[first.pooled.nonce][1] == b"first"

    def test_what_is_published_does_not_come_back(
        self, intake: Session, ledger: Session, log_id: int
    ) -> None:
        batch = [make_arrival(log_id) for _ in range(4)]
        pool_signatures(session=intake, arrivals=batch[:2])
        with ledger.transaction():
            publish(ledger, batch[0], 7)
        found = pool_signatures(session=intake, arrivals=batch)
        assert [found[one.key] for one in batch] == [
            Fate.PUBLISHED,
            Fate.POOLED,
            Fate.NEW,
            Fate.NEW,
        ]
        assert set(read_pool(ledger, log_id)) == {one.pooled.nonce for one in batch[1:]}

    def test_a_nonce_of_one_log_is_free_in_another(
        self, intake: Session, ledger: Session, log_id: int, origin: str
    ) -> None:
        other = add_log(ledger.connection, origin=f"{origin}/2", settings="{}")
        one = make_arrival(log_id)
        pool_signatures(session=intake, arrivals=[one])
        twin = replace(one, log_id=other)
        assert pool_signatures(session=intake, arrivals=[twin, one]) == {
            twin.key: Fate.NEW,
            one.key: Fate.POOLED,
        }

    def test_rows_lie_in_order_of_nonce_whoever_came_first(
        self, intake: Session, ledger: Session, log_id: int
    ) -> None:
        batch = [make_arrival(log_id) for _ in range(200)]
        # On new pages: among old ones the rows also fill what vacuum has freed, each
        # hole in its turn, so that where they lie is not the order they came in.
        ledger.connection.execute("TRUNCATE inbox")
        pool_signatures(session=intake, arrivals=batch)
        rows = ledger.connection.execute(
            "SELECT nonce, xmin::text FROM inbox WHERE log = %s ORDER BY ctid",
            (log_id,),
        ).fetchall()
        assert [nonce for nonce, _xmin in rows] == sorted(nonce for nonce, _ in rows)
        assert len({xmin for _nonce, xmin in rows}) == 1

    def test_one_bad_row_leaves_none(
        self, intake: Session, ledger: Session, log_id: int
    ) -> None:
        good = make_arrival(log_id)
        bad = Arrival(log_id, PooledSignature(bytes(31), bytes(357), None))
        with pytest.raises(StorageFailed):
            pool_signatures(session=intake, arrivals=[good, bad])
        assert read_pool(ledger, log_id) == {}
        assert pool_signatures(session=intake, arrivals=[good]) == {good.key: Fate.NEW}


class TestAClosedLog:
    def test_it_takes_nothing_new_and_knows_what_it_holds(
        self, intake: Session, ledger: Session, log_id: int, origin: str
    ) -> None:
        other = add_log(ledger.connection, origin=f"{origin}/2", settings="{}")
        pooled, public, late = (make_arrival(log_id) for _ in range(3))
        pool_signatures(session=intake, arrivals=[pooled, public])
        with ledger.transaction():
            publish(ledger, public, 1)
        end_intake(session=ledger, log_id=log_id)
        elsewhere = make_arrival(other)
        batch = [pooled, public, late, elsewhere]
        found = pool_signatures(session=intake, arrivals=batch)
        assert [found[one.key] for one in batch] == [
            Fate.POOLED,
            Fate.PUBLISHED,
            Fate.CLOSED,
            Fate.NEW,
        ]
        assert set(read_pool(ledger, log_id)) == {pooled.pooled.nonce}

    def test_a_log_that_is_not_there_takes_nothing(self, intake: Session) -> None:
        one = make_arrival(999_999)
        assert pool_signatures(session=intake, arrivals=[one]) == {one.key: Fate.CLOSED}

    def test_the_end_waits_for_a_batch_under_way(
        self, connect: Connect, ledger: Session, log_id: int
    ) -> None:
        """Else that batch would be acknowledged after the last publication."""
        blocker, web = connect("ledger"), connect("intake")
        one = make_arrival(log_id)
        # The batch has found the log open, and hangs at the index.
        with blocker.transaction() as connection:
            connection.execute("INSERT INTO inbox VALUES (%s, %s, '', NULL)", one.key)
            running = Running(web, [one])
            wait_until_blocked(ledger, web)
            closer = connect("ledger")
            ended = threading.Thread(
                target=end_intake, kwargs={"session": closer, "log_id": log_id}
            )
            ended.start()
            wait_until_blocked(ledger, closer)
            row = ledger.connection.execute(
                "SELECT accepting FROM log WHERE id = %s", (log_id,)
            ).fetchone()
            assert row == (True,)
        assert running.wait() == {one.key: Fate.POOLED}
        ended.join(60)
        late = make_arrival(log_id)
        assert pool_signatures(session=web, arrivals=[late]) == {late.key: Fate.CLOSED}


class TestARetryDuringAPublication:
    """The insert waits for the sequencer's transaction, however that ends."""

    @pytest.mark.parametrize("commits", [True, False])
    def test_it_is_one_signature(
        self, connect: Connect, ledger: Session, log_id: int, commits: bool
    ) -> None:
        web, watcher = connect("intake"), connect("ledger")
        first, second = make_arrival(log_id), make_arrival(log_id)
        pool_signatures(session=web, arrivals=[first])
        with ledger.connection.transaction() as publication:
            publish(ledger, first, 1)
            running = Running(web, [first, second])
            wait_until_blocked(watcher, web)
            if not commits:
                raise Rollback(publication)
        found = running.wait()
        expected = Fate.PUBLISHED if commits else Fate.POOLED
        assert found == {first.key: expected, second.key: Fate.NEW}
        pool = {second.pooled.nonce} | (set() if commits else {first.pooled.nonce})
        assert set(read_pool(ledger, log_id)) == pool


class TestSeveralProcesses:
    def test_each_nonce_is_new_once(
        self, connect: Connect, ledger: Session, log_id: int
    ) -> None:
        """Three send overlapping batches in their orders while rows are published."""
        arrivals = [make_arrival(log_id) for _ in range(300)]
        fates: list[tuple[Key, Fate]] = []

        def send(session: Session, step: int) -> None:
            for at in range(0, 300, 20):
                batch = [arrivals[(at + n) * step % 300] for n in range(40)]
                fates.extend(pool_signatures(session=session, arrivals=batch).items())

        threads = [
            threading.Thread(target=send, args=(connect("intake"), step))
            for step in (1, 7, 299)
        ]
        for thread in threads:
            thread.start()
        published: set[bytes] = set()
        while any(thread.is_alive() for thread in threads):
            for nonce in list(read_pool(ledger, log_id))[:25]:
                assert nonce not in published, "a published signature came back"
                one = Arrival(log_id, PooledSignature(nonce, b"", None))
                with ledger.transaction():
                    publish(ledger, one, len(published))
                published.add(nonce)
        for thread in threads:
            thread.join()
        assert published.isdisjoint(read_pool(ledger, log_id))
        assert len(published) + len(read_pool(ledger, log_id)) == 300
        new = Counter(key for key, fate in fates if fate is Fate.NEW)
        assert set(new.values()) == {1}
        assert len(new) == 300


def test_a_lost_connection_is_told_as_a_failure(
    ledger: Session, log_id: int, intake: Session
) -> None:
    one = make_arrival(log_id)
    intake.close()
    with pytest.raises(StorageFailed):
        pool_signatures(session=intake, arrivals=[one])
    assert read_pool(ledger, log_id) == {}
