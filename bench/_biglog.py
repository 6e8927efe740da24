"""Logs of any size, signed directly with the key, for the audit to read.

Signing is what takes long (two cores: about 20 minutes for ten million), so signed
intervals are kept, each in a file that is there whole or not at all: an interrupted
run goes on, and a log of any size is put together from the first of them.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_der_private_key

from undersigned_verify.merkle import leaf_hash

from bench._results import FIXTURES
from bench._tokens import SigningKey, sign_leaves
from tests.verify.biglog import INTERVAL, LogWriter
from tests.verify.building import Issuer, LogBuilder
from undersigned.credentials.rsa import make_key
from undersigned.kernel.durable import write_atomic

FOLDER = FIXTURES / "audit"
SIGNED = FOLDER / "signed"
LEAF_BYTES = 357


def _open_builder() -> tuple[LogBuilder, SigningKey]:
    """Return a log with its header and key published, and the key."""
    path = FOLDER / "issuer.der"
    if not path.exists():
        FOLDER.mkdir(parents=True, exist_ok=True)
        write_atomic(path, make_key(), mode=0o600)
    der = path.read_bytes()
    private = load_der_private_key(der, None)
    if not isinstance(private, RSAPrivateKey):
        raise TypeError("the fixture's key is no RSA key")
    log = LogBuilder(classes=("email",))
    log.announce(0, Issuer(private)).publish()
    return log, SigningKey(der, log.challenge.digest)


def _interval_path(number: int) -> Path:
    return SIGNED / f"{number:06d}"


def _sign_interval(key: SigningKey, number: int) -> int:
    """Sign one interval into its file: runs in a worker process."""
    leaves = sorted(sign_leaves(key, INTERVAL), key=leaf_hash)
    write_atomic(_interval_path(number), b"".join(leaves))
    return number


def _sign_missing(key: SigningKey, intervals: int) -> None:
    SIGNED.mkdir(parents=True, exist_ok=True)
    missing = [n for n in range(intervals) if not _interval_path(n).exists()]
    if not missing:
        return
    workers = len(os.sched_getaffinity(0))
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as processes:
        futures = [processes.submit(_sign_interval, key, n) for n in missing]
        for done, future in enumerate(futures, start=1):
            future.result()
            _show("signed", (intervals - len(missing) + done) * INTERVAL)
    _show("", 0)


def _show(word: str, leaves: int) -> None:
    if sys.stderr.isatty():
        text = f"\r{word} {leaves:,} leaves " if word else "\r" + " " * 40 + "\r"
        print(text, end="", file=sys.stderr, flush=True)


def _read_intervals(signatures: int) -> Iterator[list[bytes]]:
    for number in range(-(-signatures // INTERVAL)):
        data = _interval_path(number).read_bytes()
        left = min(INTERVAL, signatures - number * INTERVAL)
        yield [
            data[at : at + LEAF_BYTES] for at in range(0, left * LEAF_BYTES, LEAF_BYTES)
        ]


def make_log(leaves: int) -> Path:
    """Return the root of a log with so many leaves, making what is missing."""
    log, key = _open_builder()
    root = FOLDER / f"log-{leaves}"
    # The checkpoint is written last but for what stands beside it.
    if (root / log.path / "count.json").exists():
        return root
    signatures = leaves - len(log.leaves)
    _sign_missing(key, -(-signatures // INTERVAL))
    shutil.rmtree(root, ignore_errors=True)
    writer = LogWriter(log, root)
    done = 0
    for interval in _read_intervals(signatures):
        writer.append(interval)
        done += len(interval)
        _show("put together", done)
    writer.finish()
    _show("", 0)
    return root
