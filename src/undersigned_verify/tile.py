"""C2SP tlog-tiles: how leaves and hashes lie in files of at most 256.

Hash tile ``(level, n)`` holds the 32-byte nodes ``(8 * level, 256 * n)`` onwards;
an entry bundle holds leaves, each after its length as a big-endian u16. Full tiles
never change; the newest one of a level may be partial: ``tile/0/x001/067.p/12``.
Paths here are relative to the log's own folder.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Literal

from undersigned_verify.errors import Fault
from undersigned_verify.merkle import HASH_SIZE, ReadNode, fold, node_hash

HEIGHT: Final = 8
WIDTH: Final = 256
# Tile indexes of a tree below 2**63 leaves, in groups of three digits.
MAX_INDEX: Final = 2**55

Level = int | Literal["entries"]
ReadTile = Callable[[int, int, int], bytes]

_PATH: Final = re.compile(
    r"tile/(0|[1-9][0-9]?|entries)/((?:x[0-9]{3}/)*[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)


def tile_path(level: Level, n: int, width: int = WIDTH) -> str:
    """Return the path of a tile: ``tile_path(0, 1234067)`` has ``x001/x234/067``."""
    if not (1 <= width <= WIDTH and 0 <= n < MAX_INDEX):
        raise Fault("tile-path", f"There is no tile {n} of width {width}.")
    groups = [f"{n % 1000:03}"]
    while n := n // 1000:
        groups.insert(0, f"x{n % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"tile/{level}/{'/'.join(groups)}{partial}"


def parse_tile_path(path: str) -> tuple[Level, int, int]:
    """Return level, index and width; Fault unless the path is canonical."""
    match = _PATH.fullmatch(path)
    if match is None:
        raise Fault("tile-path")
    level: Level = "entries" if match[1] == "entries" else int(match[1])
    n = int(match[2].replace("x", "").replace("/", ""))
    width = int(match[3]) if match[3] else WIDTH
    if match[3] == str(WIDTH) or tile_path(level, n, width) != path:
        raise Fault("tile-path")
    return level, n, width


def encode_bundle(leaves: Iterable[bytes]) -> bytes:
    """Return the bytes of an entry bundle; leaves of at most 65,535 bytes each."""
    parts = []
    for leaf in leaves:
        if len(leaf) > 0xFFFF:
            raise Fault("leaf-length", "A leaf is longer than 65,535 bytes.")
        parts += [len(leaf).to_bytes(2), leaf]
    return b"".join(parts)


def parse_bundle(data: bytes) -> list[bytes]:
    """Return the leaves of an entry bundle; Fault if bytes are left over."""
    leaves: list[bytes] = []
    at, end = 0, len(data)
    while at < end:
        start = at + 2
        at = start + int.from_bytes(data[at:start])
        if at > end or start > end:
            raise Fault("entries-form", f"Leaf {len(leaves)} of the bundle is cut off.")
        leaves.append(data[start:at])
    return leaves


def tiles_of(size: int) -> Iterator[tuple[int, int, int]]:
    """Yield ``(level, n, width)`` of every hash tile of a tree, level by level."""
    level = 0
    while size:
        yield from ((level, n, width) for n, width in _widths(size))
        level, size = level + 1, size >> HEIGHT


def bundles_of(size: int) -> Iterator[tuple[int, int]]:
    """Yield ``(n, width)`` of every entry bundle of a tree."""
    yield from _widths(size)


def _widths(count: int) -> Iterator[tuple[int, int]]:
    full, rest = divmod(count, WIDTH)
    for n in range(full):
        yield n, WIDTH
    if rest:
        yield full, rest


def tile_root(hashes: list[bytes]) -> bytes:
    """Return the node above the hashes of a tile (of any width from 1 to 256)."""
    peaks: list[bytes] = []
    at, left = 0, len(hashes)
    while left:
        span = 1 << left.bit_length() - 1
        row = hashes[at : at + span]
        while len(row) > 1:
            row = [node_hash(row[i], row[i + 1]) for i in range(0, len(row), 2)]
        peaks.append(row[0])
        at, left = at + span, left - span
    return fold(peaks)


def split_hashes(data: bytes) -> list[bytes]:
    """Return the 32-byte hashes of a hash tile's bytes."""
    return [data[i : i + HASH_SIZE] for i in range(0, len(data), HASH_SIZE)]


def node_reader(size: int, read_tile: ReadTile) -> ReadNode:
    """Return a reader of single nodes over the hash tiles of a tree of ``size``.

    ``read_tile(level, n, width)`` returns the bytes of that tile. The result is what
    ``merkle.inclusion_proof`` and ``merkle.consistency_proof`` ask for. A tile of
    another length than its width says is a Fault, never a short hash.
    """

    def read_node(level: int, n: int) -> bytes:
        tile_level, inside = divmod(level, HEIGHT)
        first, count = n << inside, 1 << inside
        tile_n, offset = divmod(first, WIDTH)
        width = min(WIDTH, (size >> (HEIGHT * tile_level)) - tile_n * WIDTH)
        if offset + count > width:
            raise Fault("proof-index", f"Node {level}/{n} is not in the tree.")
        data = read_tile(tile_level, tile_n, width)
        if len(data) != width * HASH_SIZE:
            raise Fault("tile-trailing", path=tile_path(tile_level, tile_n, width))
        return tile_root(split_hashes(data)[offset : offset + count])

    return read_node
