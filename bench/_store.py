"""Ledgers and issuance files of any size, made by the product's own publications.

``python -m bench._store DATA SIZE`` grows the campaign below DATA to SIZE leaves. The
tokens are random bytes that nobody verified: the server verifies a token before it
reaches the pool, and reads none afterwards. Everything else is what a campaign of that
size has: nonces, tiles, checkpoints, cells, and a row of issuing for each signature.

A fixture is made from the next smaller one and is there whole or not at all.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from undersigned_verify import token

from bench import _programs
from bench._instance import CAMPAIGN, ISSUER_HOST, Fixture, make_fixture, read_challenge
from bench._results import FIXTURES
from undersigned.credentials import issuance_file
from undersigned.kernel.keystore import Keystore
from undersigned.ledger import embedded
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.operations import publish_now, submit_signature

FOLDER = FIXTURES / "scale"
ORIGIN = f"{ISSUER_HOST}/c/{CAMPAIGN}"
# Leaves of one publication, and rows of issuing in one transaction.
STEP = 200_000


def find_store(size: int, smaller: list[int]) -> Fixture:
    """Return a data directory whose log has ``size`` leaves, making it if need be.

    ``smaller``: sizes that may be grown from, if they are there.
    """
    folder = FOLDER / f"{_identify()}-{size}"
    if not folder.exists():
        unfinished = folder.with_suffix(".unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        shutil.copytree(_find_base(smaller).data, unfinished)
        print(f"growing a store to {size:,} leaves", flush=True)
        environment = _programs.make_environment()
        command = _programs.python("-m", "bench._store", str(unfinished), str(size))
        print(_programs.run(command, environment), end="", flush=True)
        unfinished.rename(folder)
    return Fixture(folder, folder / "none", folder / "none", 0)


def _find_base(smaller: list[int]) -> Fixture:
    made = [size for size in smaller if (FOLDER / f"{_identify()}-{size}").exists()]
    if made:
        return find_store(max(made), [])
    folder = FOLDER / f"{_identify()}-0"
    if not folder.exists():
        fixture = make_fixture(bodies=0, name="scale-begun", mode="standard")
        folder.parent.mkdir(parents=True, exist_ok=True)
        fixture.data.rename(folder)
        shutil.rmtree(fixture.data.parent)
    return Fixture(folder, folder / "none", folder / "none", 0)


def _identify() -> str:
    """Return what a store's layout depends on, so that no other is used again."""
    text = embedded.SCHEMA + issuance_file.SCHEMA
    return hashlib.sha256(text.encode()).hexdigest()[:12]


# --- in a process of its own


def _make_pooled(digest: bytes, count: int) -> Iterator[PooledSignature]:
    for _number in range(count):
        drawn = os.urandom(320)
        withdraw_hash, r = drawn[:32], drawn[32:64]
        nonce = token.nonce(digest, 0, token.NO_PUBLIC, withdraw_hash, r)
        leaf = b"\x01\x01\x00\x00\x00" + token.NO_PUBLIC + drawn
        yield PooledSignature(nonce=nonce, leaf=leaf, shown=None)


def _grow_log(data: Path, size: int) -> None:
    failures: list[BaseException] = []
    ledger = Ledger(
        host=ISSUER_HOST,
        folder=data,
        public=data / "public",
        keystore=Keystore(data / "secrets"),
        on_failure=failures.append,
        gather_seconds=0.0,
    )
    ledger.start()
    try:
        log = ledger.get_log(ORIGIN)
        digest = read_challenge(log.folder)
        while log.size < size and not failures:
            _pool(ledger, digest, min(STEP, size - log.size))
            publish_now(
                ledger=ledger, origin=ORIGIN, at=datetime.now(UTC), ignore_crowd=True
            )
    finally:
        ledger.stop()
    if failures:
        raise failures[0]


def _pool(ledger: Ledger, digest: bytes, count: int) -> None:
    log = ledger.get_log(ORIGIN)
    room = threading.Semaphore(4_000)
    for pooled in _make_pooled(digest, count):
        room.acquire()
        submit_signature(
            ledger=ledger, log=log, pooled=pooled, done=lambda _error: room.release()
        )
    ledger.writer.run(lambda: None)


def _grow_issuance(data: Path, rows: int) -> None:
    """Add rows by SQL, in order of their keys: the file's own way signs each."""
    path = data / "issuance" / f"{CAMPAIGN}.sqlite3"
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA synchronous=OFF")
    (there,) = db.execute("SELECT count(*) FROM issued").fetchone()
    left = rows - there
    # Drawn a 4,096th of all hashes at a time, so that they come sorted.
    for part in range(4096):
        count = left * (part + 1) // 4096 - left * part // 4096
        if part % 64 == 0:
            db.execute("BEGIN")
        drawn = sorted(
            (part << 4).to_bytes(2)[:1]
            + bytes([(part << 4 & 0xF0) | secrets.randbelow(16)])
            + secrets.token_bytes(30)
            for _number in range(count)
        )
        db.executemany(
            "INSERT INTO issued VALUES (?, 0, ?)",
            [(nullifier, secrets.token_bytes(32)) for nullifier in drawn],
        )
        if part % 64 == 63:
            db.execute("COMMIT")
    db.execute("INSERT OR REPLACE INTO tally VALUES (0, ?)", (rows,))
    db.execute("VACUUM")
    db.close()


def main() -> int:
    """Grow one store."""
    data, size = Path(sys.argv[1]), int(sys.argv[2])
    _grow_log(data, size)
    _grow_issuance(data, size)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
