"""What a signature costs through the stream into PostgreSQL, against SQLite's pool.

    python -m bench.stream [--rounds N] [--rows N] [--published N]

All of the way is counted: a node's frames and seals, three servers that each wait for
the disk, who takes, and the pool's commit in PostgreSQL with every process of its. What
waits for a disk costs none. SQLite's is the product's own writer, as in bench/inbox.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvloop

from bench._cpu import tree_seconds
from bench._results import Bar, Result, Rounds, Table, median
from bench.inbox import BATCHES, Store, measure, run_sqlite
from undersigned.config.env import parse_stream_url
from undersigned.drills.brokers import Trio
from undersigned.drills.postgres import Cluster, Server
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.schema import add_log, make_schema
from undersigned.ledger.pg.session import Session
from undersigned.ledger.stream.frame import Seal
from undersigned.ledger.stream.taker import StreamTaker
from undersigned.web.node.stream import StreamIntake

WANTED = 0.4
# What a stream is for. Fewer at once are measured too: then a frame's own cost counts.
BURST = BATCHES[0]


@contextmanager
def run_stream(server: Server, trio: Trio, published: int) -> Iterator[Store]:
    """Run a node's side, the servers, who takes, and a fresh database."""
    name = f"stream{secrets.token_hex(4)}"
    server.make_database(name, owner="ledger")
    url = server.url(name, user="ledger")
    owner = Session(url)
    make_schema(owner.connection, intake="intake")
    log_id = add_log(owner.connection, origin="bench.example/c/river", settings="{}")
    with owner.connection.cursor().copy("COPY nonce FROM STDIN") as copy:
        for nonce in sorted(secrets.token_bytes(32) for _ in range(published)):
            copy.write_row((log_id, nonce, 1))
    owner.connection.execute("ANALYZE")
    seal = Seal(secrets.token_hex(24))
    taker = StreamTaker(
        address=parse_stream_url(trio.url("issuer")),
        seal=seal,
        connect=lambda: Session(url),
    )
    taker.start()
    node = StreamIntake(
        address=parse_stream_url(trio.url("node")), seal=seal, now=time.monotonic
    )
    loop = uvloop.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def connect() -> None:
        node.start()
        # Until the stream is made, led, and taken from.
        one = PooledSignature(secrets.token_bytes(32), secrets.token_bytes(357), None)
        told: list[bool | None] = []
        async with asyncio.timeout(60):
            while True not in told:
                node.submit(log_id, one, told.append)
                await asyncio.sleep(0.1)

    async def add(batch: list[PooledSignature]) -> None:
        left, ready = [len(batch)], loop.create_future()

        def done(taken: bool | None) -> None:
            assert taken, "the direct way would have been taken"
            left[0] -= 1
            if not left[0]:
                ready.set_result(None)

        for one in batch:
            node.submit(log_id, one, done)
        await ready

    def pool(batch: list[PooledSignature]) -> None:
        asyncio.run_coroutine_threadsafe(add(batch), loop).result()

    def others_seconds() -> float:
        return tree_seconds(server.pid) + sum(tree_seconds(pid) for pid in trio.pids)

    asyncio.run_coroutine_threadsafe(connect(), loop).result()
    try:
        yield Store(pool, others_seconds)
    finally:
        asyncio.run_coroutine_threadsafe(node.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        taker.stop()
        owner.close()


def measure_round(
    server: Server, trio: Trio, rounds: Rounds, rows: int, published: int
) -> None:
    """Measure each with each batch, one right after the other."""
    for batch in BATCHES:
        with (
            tempfile.TemporaryDirectory(prefix="undersigned-stream-") as folder,
            run_sqlite(Path(folder), published) as sqlite,
        ):
            rounds.add(f"sqlite {batch}", measure(sqlite, rows=rows, batch=batch))
        with run_stream(server, trio, published) as store:
            before = sum(tree_seconds(pid) for pid in trio.pids)
            found = measure(store, rows=rows, batch=batch)
            brokers = sum(tree_seconds(pid) for pid in trio.pids) - before
            found["brokers_us"] = brokers / rows * 1e6
            rounds.add(f"stream {batch}", found)


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--published", type=int, default=200_000)
    options = parser.parse_args()
    settings = vars(options)
    rounds = Rounds("stream", settings)
    with Cluster(durable=True) as cluster, Trio() as trio:
        server = cluster.start_primary()
        server.make_role("intake")
        versions = server.run_sql("SHOW server_version").split()[0]
        broker = trio.ask(0, "/varz")["version"]
        for _number in range(rounds.count(f"stream {BATCHES[-1]}"), options.rounds):
            measure_round(server, trio, rounds, options.rows, options.published)
    result = Result("stream", "A signature through the stream", settings)
    pairs = zip(
        rounds.list_values(f"stream {BURST}", "rows_cpu"),
        rounds.list_values(f"sqlite {BURST}", "rows_cpu"),
        strict=True,
    )
    ratio = median(here / there for here, there in pairs)
    name = f"Rows in a CPU-second through the stream against SQLite's, {BURST} at once"
    result.bars.append(Bar(name, WANTED, ratio, "%"))
    rows = [
        [
            variant,
            f"{rounds.median(variant, 'rows_cpu'):,.0f}",
            f"{rounds.median(variant, 'own_us'):.1f}",
            f"{rounds.median(variant, 'others_us'):.1f}",
            f"{rounds.median(variant, 'brokers_us'):.1f}"
            if variant.startswith("stream")
            else "–",
            f"{rounds.median(variant, 'rows'):,.0f}",
        ]
        for variant in rounds.found
    ]
    columns = ["Way, and how many at once", "Rows in a CPU-second", "Own µs a row"]
    columns += ["Servers' µs a row", "of these the stream's", "Rows a second"]
    result.tables = [Table("Medians", columns, rows)]
    result.measured = {"rounds": rounds.found}
    result.notes = [
        f"NATS {broker}: three servers on one machine, three copies, sync_interval "
        f"always. PostgreSQL {versions}, durable, without a standby.",
        "Three disks waited for cost some milliseconds of processor time a frame, "
        "however few are in it: a stream pays where many come at once.",
        "Own: the node's side and who takes, in one process. Rows of 357 bytes that "
        "show nothing, under a nonce of 32, in sealed frames of at most 256.",
    ]
    code = result.finish()
    rounds.drop()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
