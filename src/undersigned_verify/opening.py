"""The first steps into a log: its key, its newest checkpoint, its header."""

from functools import lru_cache
from typing import Final

from undersigned_verify import entry as leaf
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import (
    HASH_SIZE,
    ReadNode,
    inclusion_proof,
    leaf_hash,
    verify_inclusion,
)
from undersigned_verify.note import MAX_NOTE, VerifierKey
from undersigned_verify.source import Source
from undersigned_verify.tile import (
    WIDTH,
    encode_bundle,
    node_reader,
    parse_bundle,
    parse_tile_path,
    tile_path,
)

MAX_BUNDLE: Final = WIDTH * (2 + leaf.MAX_LEAF)
MAX_SMALL: Final = 100_000


def read_file(source: Source, path: str, limit: int) -> bytes:
    """Return a file that every log has; Fault where it is not there."""
    data = source.read(path, limit)
    if data is None:
        raise Fault("file-missing", path=path)
    return data


def open_key(source: Source) -> VerifierKey:
    """Return the log's key: log.vkey is one line and a line feed."""
    data = read_file(source, "log.vkey", MAX_SMALL)
    try:
        line, feed, rest = data.decode().partition("\n")
        if not feed or rest:
            raise Fault("vkey-form")
        return VerifierKey.parse(line)
    except UnicodeDecodeError as error:
        raise Fault("vkey-form", path="log.vkey") from error
    except Fault as fault:
        raise fault.at(path="log.vkey") from fault


def open_state(source: Source, key: VerifierKey) -> tuple[Checkpoint, bytes]:
    """Return the newest checkpoint of any log, and its whole signed note."""
    data = read_file(source, "checkpoint", MAX_NOTE)
    try:
        return open_checkpoint(data, key), data
    except Fault as fault:
        raise fault.at(path="checkpoint") from fault


def open_newest(source: Source, key: VerifierKey) -> Checkpoint:
    """Return the newest checkpoint of a campaign's log, which has leaves."""
    newest, _ = open_state(source, key)
    if newest.size == 0:
        raise Fault("header-missing", "The log is empty.", path="checkpoint")
    return newest


def open_header(source: Source) -> tuple[leaf.Header, Checkpoint]:
    """Return a log's header, proven to be in its newest checkpoint."""
    newest = open_newest(source, open_key(source))
    path = tile_path("entries", 0, min(WIDTH, newest.size))
    try:
        data = parse_bundle(read_whole(source, path))[0]
        verify_inclusion(
            leaf_hash=leaf_hash(data),
            index=0,
            size=newest.size,
            proof=inclusion_proof(0, newest.size, open_nodes(source, newest.size)),
            root=newest.root,
        )
        header = leaf.parse(data)
        if not isinstance(header, leaf.Header):
            raise Fault("header-missing")
        if header.origin != newest.origin:
            raise Fault("checkpoint-origin")
    except IndexError as error:
        raise Fault("header-missing", index=0, path=path) from error
    except Fault as fault:
        raise fault.at(0, path) from fault
    return header, newest


def open_nodes(source: Source, size: int) -> ReadNode:
    """Return a reader of single nodes over a log's hash tiles, which are not trusted.

    Where a server has already replaced a partial tile by a longer one, that is used.
    """

    # Neighbouring nodes lie in one tile, which may be far away.
    @lru_cache(maxsize=64)
    def read_tile(level: int, n: int, width: int) -> bytes:
        return read_whole(source, tile_path(level, n, width))

    return node_reader(size, read_tile)


def read_whole(source: Source, path: str) -> bytes:
    """Return a tile or bundle; Fault where it is not there."""
    data = read_tiles(source, [path])[0]
    if data is None:
        raise Fault("file-missing", path=path)
    return data


def read_tiles(source: Source, paths: list[str]) -> list[bytes | None]:
    """Return tiles or bundles by their paths, None where one is missing.

    tlog-tiles lets a server drop a partial tile once the full one is there, which may
    happen after the checkpoint was read: of a live log the beginning of the full one
    stands in for it.
    """
    found = source.read_many(paths, MAX_BUNDLE)
    for i, path in enumerate(paths):
        full, partial, width = path.partition(".p/")
        if found[i] is None and partial and source.live:
            data = source.read(full, MAX_BUNDLE)
            found[i] = None if data is None else _cut(full, data, int(width))
    return found


def _cut(path: str, data: bytes, width: int) -> bytes:
    if parse_tile_path(path)[0] == "entries":
        return encode_bundle(parse_bundle(data)[:width])
    return data[: width * HASH_SIZE]
