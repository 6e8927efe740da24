"""A server with the roles that docs/operate/postgresql.md makes, and logs on it."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.support import ROOT, skip_or_fail
from undersigned.drills.postgres import Cluster, NoPostgres, Server
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import Arrival
from undersigned.ledger.pg.schema import add_log, make_schema
from undersigned.ledger.pg.session import Session

_numbers = itertools.count(1)


def read_statements() -> list[str]:
    """Return the SQL that operators are told to run, block by block."""
    text = (ROOT / "docs/operate/postgresql.md").read_text("utf-8")
    return re.findall(r"```sql\n(.*?)```", text, flags=re.S)


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """A cluster in memory."""
    try:
        found = Cluster(durable=False)
    except NoPostgres as error:
        skip_or_fail(str(error))
    with found:
        yield found


@pytest.fixture(scope="session")
def server(cluster: Cluster) -> Server:
    """A server set up word for word as the document says."""
    server = cluster.start_primary(settings={"wal_recycle": "off"})
    for block in read_statements():
        server.run_sql(block)
    for role in re.findall(r"CREATE ROLE (\w+) ", "".join(read_statements())):
        password = secrets.token_urlsafe(12)
        server.run_sql(f"ALTER ROLE {role} PASSWORD '{password}'")
        server.passwords[role] = password
    session = Session(server.url("ledger", user="ledger"))
    make_schema(session.connection, intake="intake")
    session.close()
    return server


Connect = Callable[[str], Session]


@pytest.fixture
def connect(server: Server) -> Iterator[Connect]:
    """Open a session on the ledger's database as a role."""
    opened: list[Session] = []

    def call(role: str) -> Session:
        opened.append(Session(server.url("ledger", user=role)))
        return opened[-1]

    yield call
    for session in opened:
        session.close()


@pytest.fixture
def ledger(connect: Connect) -> Session:
    """A session of the sequencer's role."""
    return connect("ledger")


@pytest.fixture
def intake(connect: Connect) -> Session:
    """A session of a web process."""
    return connect("intake")


@pytest.fixture
def origin() -> str:
    """The name of a log of this test alone."""
    return f"undersigned.example/c/river{next(_numbers)}-{secrets.token_hex(4)}"


@pytest.fixture
def log_id(ledger: Session, origin: str) -> int:
    """A new, empty log that takes signatures."""
    return add_log(ledger.connection, origin=origin, settings="{}")


def make_arrival(log_id: int, *, shown: bytes | None = None) -> Arrival:
    """Return a signature that nobody made: the store does not look into it."""
    pooled = PooledSignature(secrets.token_bytes(32), secrets.token_bytes(357), shown)
    return Arrival(log_id, pooled)


def publish(session: Session, arrival: Arrival, index: int) -> None:
    """Do to one signature what a publication does to its rows."""
    key = arrival.key
    connection = session.connection
    connection.execute("DELETE FROM inbox WHERE log = %s AND nonce = %s", key)
    connection.execute("INSERT INTO nonce VALUES (%s, %s, %s)", (*key, index))
