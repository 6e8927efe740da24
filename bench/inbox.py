"""What pooling a signature costs in PostgreSQL, against SQLite in the same run.

    python -m bench.inbox [--rounds N] [--rows N] [--published N]

Both through the same batching thread, durable, in batches of at most 1,000 and of 100.
Counted is the processor time of this process and of every process of the database, to
the server's own background work; what waits for the disk costs none.
"""

from __future__ import annotations

import argparse
import secrets
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench._cpu import tree_seconds
from bench._results import Bar, Result, Rounds, Table, median
from undersigned.drills.postgres import Cluster, Server
from undersigned.kernel.batching import BatchThread
from undersigned.ledger.data import LogSettings, PooledSignature
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.open_log import OpenLog
from undersigned.ledger.pg.inbox import Arrival, Fate, pool_signatures
from undersigned.ledger.pg.schema import add_log, make_schema
from undersigned.ledger.pg.session import Session
from undersigned.ledger.writer import Writer

BATCHES = (1000, 100)
WANTED = 0.7


@dataclass(slots=True)
class Store:
    """One store: ``pool`` returns once a whole batch is durable."""

    pool: Callable[[list[PooledSignature]], None]
    others_seconds: Callable[[], float]


def _fail(error: BaseException) -> None:
    raise error


@contextmanager
def run_sqlite(folder: Path, published: int) -> Iterator[Store]:
    """Run the product's own writer over a fresh file."""
    store = EmbeddedStore(folder / "ledger.sqlite3")
    with store.transaction():
        store.change_each(
            "INSERT INTO nonce VALUES (1, ?, ?)",
            sorted((secrets.token_bytes(32), at) for at in range(published)),
        )
    settings = LogSettings("bench.example/c/river", "c/river", "careful", 900, 20)
    log = OpenLog(log_id=1, settings=settings, public=folder, key=None)
    writer = Writer(store, on_failure=_fail)
    writer.start()

    def pool(batch: list[PooledSignature]) -> None:
        left, ready = [len(batch)], threading.Event()

        def done(error: BaseException | None) -> None:
            assert error is None
            left[0] -= 1
            if not left[0]:
                ready.set()

        for one in batch:
            writer.submit(log, one, done)
        ready.wait()

    try:
        yield Store(pool, lambda: 0.0)
    finally:
        writer.stop()
        store.close()


@contextmanager
def run_postgresql(server: Server, published: int) -> Iterator[Store]:
    """Run the intake over a fresh database, behind the same kind of thread."""
    name = f"inbox{secrets.token_hex(4)}"
    server.make_database(name, owner="ledger")
    owner = Session(server.url(name, user="ledger"))
    make_schema(owner.connection, intake="intake")
    log_id = add_log(owner.connection, origin="bench.example/c/river", settings="{}")
    with owner.connection.cursor().copy("COPY nonce FROM STDIN") as copy:
        for nonce in sorted(secrets.token_bytes(32) for _ in range(published)):
            copy.write_row((log_id, nonce, 1))
    owner.connection.execute("ANALYZE")
    session = Session(server.url(name, user="intake"))
    ready = threading.Event()
    left = [0]

    def commit(arrivals: list[Arrival]) -> None:
        found = pool_signatures(session=session, arrivals=arrivals)
        assert set(found.values()) == {Fate.NEW}
        left[0] -= len(arrivals)
        if not left[0]:
            ready.set()

    thread: BatchThread[Arrival] = BatchThread(
        name="intake",
        commit=commit,
        refuse=lambda _item: None,
        on_failure=_fail,
        max_batch=1000,
        gather_seconds=0.005,
    )
    thread.start()

    def pool(batch: list[PooledSignature]) -> None:
        left[0] = len(batch)
        ready.clear()
        for one in batch:
            thread.put(Arrival(log_id, one))
        ready.wait()

    try:
        yield Store(pool, lambda: tree_seconds(server.pid))
    finally:
        thread.stop()
        session.close()
        owner.close()


def measure(store: Store, *, rows: int, batch: int) -> dict[str, float]:
    """Pool so many rows; return rows in a CPU-second, of both sides together."""
    signatures = [
        PooledSignature(secrets.token_bytes(32), secrets.token_bytes(357), None)
        for _row in range(rows)
    ]
    store.pool(signatures[:batch])
    begun, own, others = (
        time.perf_counter(),
        time.process_time(),
        store.others_seconds(),
    )
    for at in range(batch, rows, batch):
        store.pool(signatures[at : at + batch])
    own = time.process_time() - own
    others = store.others_seconds() - others
    counted = rows - batch
    return {
        "rows_cpu": counted / (own + others),
        "own_us": own / counted * 1e6,
        "others_us": others / counted * 1e6,
        "rows": counted / (time.perf_counter() - begun),
    }


def measure_round(server: Server, rounds: Rounds, rows: int, published: int) -> None:
    """Measure each store with each batch, one right after the other."""
    for batch in BATCHES:
        with (
            tempfile.TemporaryDirectory(prefix="undersigned-inbox-") as folder,
            run_sqlite(Path(folder), published) as sqlite,
        ):
            rounds.add(f"sqlite {batch}", measure(sqlite, rows=rows, batch=batch))
        with run_postgresql(server, published) as store:
            rounds.add(f"postgresql {batch}", measure(store, rows=rows, batch=batch))


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--published", type=int, default=200_000)
    options = parser.parse_args()
    settings = vars(options)
    rounds = Rounds("inbox", settings)
    with Cluster(durable=True) as cluster:
        server = cluster.start_primary()
        server.make_role("intake")
        version = server.run_sql("SHOW server_version").split()[0]
        last = f"postgresql {BATCHES[-1]}"
        for _number in range(rounds.count(last), options.rounds):
            measure_round(server, rounds, options.rows, options.published)
    result = Result("inbox", "Pooling a signature", settings)
    for batch in BATCHES:
        pairs = zip(
            rounds.list_values(f"postgresql {batch}", "rows_cpu"),
            rounds.list_values(f"sqlite {batch}", "rows_cpu"),
            strict=True,
        )
        ratio = median(here / there for here, there in pairs)
        name = f"PostgreSQL's rows in a CPU-second against SQLite's, {batch} a batch"
        result.bars.append(Bar(name, WANTED, ratio, "%"))
    rows = [
        [
            variant,
            f"{rounds.median(variant, 'rows_cpu'):,.0f}",
            f"{rounds.median(variant, 'own_us'):.1f}",
            f"{rounds.median(variant, 'others_us'):.1f}",
            f"{rounds.median(variant, 'rows'):,.0f}",
        ]
        for variant in rounds.found
    ]
    columns = ["Store and batch", "Rows in a CPU-second", "Own µs a row"]
    columns += ["Server's µs a row", "Rows a second"]
    result.tables = [Table("Medians", columns, rows)]
    result.measured = {"rounds": rounds.found}
    result.notes = [
        f"PostgreSQL {version}: fsync, full_page_writes and synchronous_commit on, "
        "without a standby; every process of the server is counted.",
        "Rows of 357 bytes that show nothing, under a nonce of 32; each batch is "
        "compared with the published nonces.",
    ]
    code = result.finish()
    rounds.drop()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
