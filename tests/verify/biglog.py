"""Logs too large for ``building``: written as they grow, signed by several processes.

``python -m tests.verify.biglog LEAVES DIR`` writes one with real tokens (some 3,000
a second for each processor), for benches and drills. Tests that look at tiles only
take ``write_unsigned_log``, whose tokens are noise.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)

from undersigned_verify import entry as leaf
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.chunk import tile_rows
from undersigned_verify.count import LogState
from undersigned_verify.merkle import Frontier, leaf_hash
from undersigned_verify.note import sign_note
from undersigned_verify.tile import WIDTH, encode_bundle, tile_path
from undersigned_verify.token import key_id, nonce_prefix, token_input, withdraw_hash

from tests.verify.building import Issuer, LogBuilder, growth, write

INTERVAL = 2_000


class LogWriter:
    """Writes a log's files interval by interval, keeping nothing but its right edge."""

    def __init__(self, log: LogBuilder, root: Path) -> None:
        """``log``: with its first interval published, and nothing else."""
        self._log = log
        self._folder = root / log.path
        self._frontier = Frontier()
        self._rows: list[list[bytes]] = []
        self._full: list[int] = []
        self._bundle: list[bytes] = []
        self._bundles = 0
        self._kept: list[int] = []
        self._note = b""
        self.state = LogState(log.leaves.__getitem__)
        for index, data in enumerate(log.leaves):
            self.state.apply(index, leaf.parse(data))
        self._append(log.leaves)

    def append(self, leaves: list[bytes]) -> None:
        """Publish an interval of signatures under key 0, stance 0, in order."""
        self.state.apply_signatures([0] * len(leaves), bytes(len(leaves)))
        self._append(leaves)

    def _append(self, leaves: Iterable[bytes]) -> None:
        for data in leaves:
            digest = leaf_hash(data)
            self._frontier.append(digest)
            self._push(0, digest)
            self._bundle.append(data)
            if len(self._bundle) == WIDTH:
                path = tile_path("entries", self._bundles)
                write(self._folder / path, encode_bundle(self._bundle))
                self._bundle, self._bundles = [], self._bundles + 1
        size = self._frontier.size
        self.state.checkpoint(size)
        self._kept.append(size)
        text = Checkpoint(self._log.origin, size, self._frontier.root()).text()
        self._note = sign_note(text, self._log.origin, self._log.log_key)
        write(self._folder / f"checkpoints/{size}", self._note)

    def _push(self, level: int, node: bytes) -> None:
        if level == len(self._rows):
            self._rows.append([])
            self._full.append(0)
        row = self._rows[level]
        row.append(node)
        if len(row) == WIDTH:
            path = tile_path(level, self._full[level])
            write(self._folder / path, b"".join(row))
            self._rows[level] = []
            self._full[level] += 1
            self._push(level + 1, tile_rows(row)[-1][0])

    def finish(self) -> None:
        """Write the right edge and what stands beside the tiles."""
        for level, row in enumerate(self._rows):
            if row:
                path = tile_path(level, self._full[level], len(row))
                write(self._folder / path, b"".join(row))
        if self._bundle:
            path = tile_path("entries", self._bundles, len(self._bundle))
            write(self._folder / path, encode_bundle(self._bundle))
        for name, data in {
            "checkpoint": self._note,
            "log.vkey": f"{self._log.key.vkey}\n".encode(),
            "statement": self._log.statement,
            "growth.csv": growth(self._kept),
            "count.json": self.state.count_json(self._frontier.root()),
        }.items():
            write(self._folder / name, data)


def cut(size: int, interval: int) -> Iterator[int]:
    """Yield the lengths of intervals that make ``size``."""
    full, rest = divmod(size, interval)
    yield from [interval] * full + [rest] * bool(rest)


def write_unsigned_log(
    root: Path, size: int, *, interval: int = INTERVAL
) -> LogBuilder:
    """Write a log whose tokens do not verify; everything else about it is right."""
    log = LogBuilder(classes=("email",))
    log.announce(0, Issuer()).publish()
    writer = LogWriter(log, root)
    number = 0
    for count in cut(size - len(log.leaves), interval):
        leaves = []
        for _ in range(count):
            r = number.to_bytes(32)
            leaves.append(leaf.SIGNATURE_PREFIX + bytes(67) + r + bytes(256))
            number += 1
        writer.append(sorted(leaves, key=leaf_hash))
    writer.finish()
    return log


class _Signer:
    """Signs tokens directly; travels to other processes by its key's bytes."""

    def __init__(self, private: bytes, challenge_digest: bytes, spki: bytes) -> None:
        self._private = private
        self._prefix = nonce_prefix(challenge_digest)
        self._digest = challenge_digest
        self._key_id = key_id(spki)

    @cached_property
    def _issuer(self) -> Issuer:
        loaded = load_der_private_key(
            self._private, None, unsafe_skip_rsa_key_validation=True
        )
        assert isinstance(loaded, RSAPrivateKey)
        return Issuer(loaded)

    def sign(self, count: int) -> list[bytes]:
        """Return an interval of signature leaves, sorted."""
        leaves = []
        for _ in range(count):
            r = os.urandom(32)
            choices = bytes(33) + withdraw_hash(r) + r
            nonce = sha256(self._prefix + choices).digest()
            signed = token_input(nonce, self._digest, self._key_id)
            token = self._issuer.authenticate(signed)
            leaves.append(leaf.SIGNATURE_PREFIX + bytes(2) + choices + token)
        return sorted(leaves, key=leaf_hash)


def write_signed_log(
    root: Path,
    size: int,
    *,
    interval: int = INTERVAL,
    workers: int,
    progress: Callable[[int, int], None] | None = None,
) -> LogBuilder:
    """Write a log with real tokens of one key."""
    issuer = Issuer()
    log = LogBuilder(classes=("email",))
    log.announce(0, issuer).publish()
    writer = LogWriter(log, root)
    private = issuer.private.private_bytes(
        Encoding.DER, PrivateFormat.PKCS8, NoEncryption()
    )
    signer = _Signer(private, log.challenge.digest, issuer.spki)
    for leaves in _sign_all(signer, cut(size - len(log.leaves), interval), workers):
        writer.append(leaves)
        if progress is not None:
            progress(writer.state.size, size)
    writer.finish()
    return log


def _sign_all(
    signer: _Signer, counts: Iterator[int], workers: int
) -> Iterator[list[bytes]]:
    if workers == 1:
        yield from map(signer.sign, counts)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers) as pool:
        yield from pool.imap(signer.sign, counts)


def main() -> None:
    """Write a log from the command line."""
    parser = argparse.ArgumentParser(description="Write a log with real tokens.")
    parser.add_argument("leaves", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    began = time.monotonic()

    def show(done: int, total: int) -> None:
        rate = done / (time.monotonic() - began)
        sys.stderr.write(f"\r{done:,}/{total:,} leaves  {rate:,.0f}/s ")

    write_signed_log(
        options.folder, options.leaves, workers=options.workers, progress=show
    )
    sys.stderr.write("\n")


if __name__ == "__main__":
    main()
