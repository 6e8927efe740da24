"""The host's own raw rates on one core: what every other figure stands against.

``python -m bench.host [--rounds 3] [--seconds 1]``
"""

from __future__ import annotations

import argparse
import hashlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from bench._host import HostRates, cpu_rate
from bench._results import FIXTURES, Result, Rounds, Table, median
from undersigned.kernel.durable import make_private_folder

BLOCK = secrets.token_bytes(1 << 20)
FSYNCS = 200
# A batch as the writer commits them: rows of a pooled signature's size.
ROWS, BATCHES = 500, 20

Measured = dict[str, float]


def measure_hash(seconds: float) -> float:
    """Return megabytes of SHA-256 in a CPU-second."""
    rate = cpu_rate(lambda: hashlib.sha256(BLOCK).digest(), seconds=seconds)
    return rate * len(BLOCK) / 1e6


def measure_fsync() -> tuple[float, float]:
    """Return median and 99th percentile of fdatasync after 4 kB, in milliseconds."""
    path = FIXTURES / "fsync.bin"
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    spans = []
    try:
        os.write(handle, bytes(1 << 20))
        os.fsync(handle)
        for number in range(FSYNCS):
            os.pwrite(handle, BLOCK[:4096], number % 256 * 4096)
            begun = time.perf_counter()
            os.fdatasync(handle)
            spans.append(1e3 * (time.perf_counter() - begun))
    finally:
        os.close(handle)
        path.unlink()
    spans.sort()
    return spans[len(spans) // 2], spans[len(spans) * 99 // 100]


def measure_rows() -> tuple[float, float]:
    """Return SQLite rows a second and in a CPU-second: WAL, synchronous=FULL.

    Rows of 389 bytes under a random key, 500 a transaction.
    """
    path = FIXTURES / "rows.sqlite3"
    _remove(path)
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute(
            "CREATE TABLE pool (nonce BLOB PRIMARY KEY, leaf BLOB) WITHOUT ROWID"
        )
        batches = [
            sorted((secrets.token_bytes(32), BLOCK[:357]) for _row in range(ROWS))
            for _batch in range(BATCHES)
        ]
        begun, cpu = time.perf_counter(), time.process_time()
        for batch in batches:
            db.execute("BEGIN IMMEDIATE")
            db.executemany("INSERT INTO pool VALUES (?, ?)", batch)
            db.execute("COMMIT")
        passed, spent = time.perf_counter() - begun, time.process_time() - cpu
    finally:
        db.close()
        _remove(path)
    return ROWS * BATCHES / passed, ROWS * BATCHES / spent


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def measure(host: HostRates, seconds: float) -> Measured:
    """Return every rate once."""
    ceiling = host.measure(seconds=seconds)
    fsync_ms, fsync_p99_ms = measure_fsync()
    rows, rows_cpu = measure_rows()
    return {
        "verify": ceiling.verify,
        "sign": ceiling.sign,
        "blind_sign": ceiling.blind_sign,
        "sha256_mb": measure_hash(seconds),
        "fsync_ms": fsync_ms,
        "fsync_p99_ms": fsync_p99_ms,
        "sqlite_rows": rows,
        "sqlite_rows_cpu": rows_cpu,
    }


_SAID: dict[str, tuple[str, Callable[[float], str]]] = {
    "verify": ("PSS verifications in a CPU-second", "{:,.0f}".format),
    "sign": ("Ed25519 signatures in a CPU-second", "{:,.0f}".format),
    "blind_sign": ("blind signatures in a CPU-second", "{:,.0f}".format),
    "sha256_mb": ("SHA-256, MB in a CPU-second", "{:,.0f}".format),
    "fsync_ms": ("fdatasync of 4 kB, median ms", "{:.2f}".format),
    "fsync_p99_ms": ("fdatasync of 4 kB, p99 ms", "{:.2f}".format),
    "sqlite_rows": ("SQLite rows a second, FULL, 500 a batch", "{:,.0f}".format),
    "sqlite_rows_cpu": ("SQLite rows in a CPU-second", "{:,.0f}".format),
}


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0)
    options = parser.parse_args()
    make_private_folder(FIXTURES)
    settings = {"rounds": options.rounds, "seconds": options.seconds}
    rounds, host = Rounds("host", settings), HostRates()
    for _number in range(rounds.count("host"), options.rounds):
        rounds.add("host", measure(host, options.seconds))
    rows = []
    for name, (text, shown) in _SAID.items():
        values = rounds.list_values("host", name)
        spread = f"{shown(min(values))}–{shown(max(values))}"
        rows.append([text, shown(median(values)), spread])
    result = Result("host", "What this machine can do", settings)
    result.tables = [Table("One core", ["What", "Median", "All rounds"], rows)]
    result.measured = {"rounds": rounds.found["host"]}
    result.notes = [
        "Blind signatures are made by our own code over OpenSSL, checked as in use.",
        "Processor time of this process alone; nothing else was started for it.",
    ]
    code = result.finish()
    rounds.drop()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
