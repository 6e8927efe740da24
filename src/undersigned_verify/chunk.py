"""The part of an audit that needs no memory of other leaves, for many leaves at once.

``check_chunk`` takes a run of entry bundles with their level-0 tiles and the kept
checkpoints that fall into it, and does nearly all the work of an audit: hashes, token
signatures, order, notes. It runs in worker processes, so everything it takes and
gives is plain bytes, numbers and tuples. What spans chunks, ``audit`` puts together.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Final

from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.entry import (
    SIGNATURE,
    SIGNATURE_PREFIX,
    SIGNATURE_SIZE,
)
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey
from undersigned_verify.position import Found, Rank
from undersigned_verify.tile import WIDTH, parse_bundle, tile_path
from undersigned_verify.token import TOKEN_TYPE, TokenKey, nonce_prefix

# A signature leaf in a bundle, after its length of two bytes.
STRIDE: Final = 2 + SIGNATURE_SIZE
# Signatures follow every control leaf of an interval, whatever its type.
_LAST: Final = b"\xff"
PARTS: Final = 256
_FIRST_BYTES: Final = [bytes([i]) for i in range(1, PARTS)]


@dataclass(frozen=True)
class Context:
    """What stays the same for a whole log."""

    vkey: str
    challenge_digest: bytes
    # False: replay for a receipt, leaving other people's tokens aside.
    tokens: bool = True
    # False: a spine, in whose intervals leaves stand in any order.
    ordered: bool = True


@dataclass
class Chunk:
    """A run of whole bundles, in order; only the log's last one may be partial."""

    first: int  # leaf index, a multiple of 256
    bundles: list[bytes]
    tiles: list[bytes]  # the level-0 tile of each bundle
    # Size and signed note of each kept checkpoint with first < size <= end.
    notes: list[tuple[int, bytes]]
    # Whether a kept checkpoint has the size ``first``: a new interval begins there.
    starts_interval: bool
    spkis: dict[int, bytes]  # by key index; keys announced before or in this chunk


@dataclass
class Edge:
    """A kept checkpoint, and the subtree roots below its bundle's right edge."""

    size: int
    root: bytes  # as the signed note says
    peaks: list[bytes]  # from largest to smallest; all of level 7 and below


@dataclass
class Checked:
    """What a chunk contributes to the log."""

    first: int
    leaves: int = 0
    tokens: int = 0
    roots: list[bytes] = field(default_factory=list)  # node of level 8 of full bundles
    edges: list[Edge] = field(default_factory=list)
    tail: list[bytes] = field(default_factory=list)  # leaf hashes of a partial bundle
    # Nonces, sorted and joined, and where each first byte from 1 on begins.
    nonces: bytes = b""
    parts: list[int] = field(default_factory=list)
    first_rank: bytes = b""
    last_rank: bytes = b""
    faults: list[Found] = field(default_factory=list)


class Checker:
    """Checks chunks of one log, keeping its loaded keys."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._key = VerifierKey.parse(context.vkey)
        self._prefix = nonce_prefix(context.challenge_digest)
        self._keys: dict[bytes, tuple[TokenKey, bytes]] = {}

    def check(self, chunk: Chunk) -> Checked:
        """Return what the chunk contributes; stops after the first faulty bundle."""
        for key_index, spki in chunk.spkis.items():
            self._load(key_index, spki)
        done = Checked(chunk.first)
        nonces: list[bytes] = []
        notes = self._open_notes(chunk, done)
        starts = {size for size, _ in chunk.notes}
        if chunk.starts_interval:
            starts.add(chunk.first)
        for data, tile in zip(chunk.bundles, chunk.tiles, strict=True):
            self._check_bundle(data, tile, starts, notes, nonces, done)
            # A faulty checkpoint further on does not hide what comes before it.
            if any(found.leaf < chunk.first + done.leaves for found in done.faults):
                break
        nonces.sort()
        done.parts = [bisect_left(nonces, byte) for byte in _FIRST_BYTES]
        done.nonces = b"".join(nonces)
        return done

    def _load(self, key_index: int, spki: bytes) -> None:
        name = key_index.to_bytes(2)
        if name not in self._keys:
            key = TokenKey(spki)
            self._keys[name] = key, self._context.challenge_digest + key.key_id

    def _open_notes(self, chunk: Chunk, done: Checked) -> dict[int, bytes]:
        """Return the signed root of each kept checkpoint, noting faulty ones."""
        roots = {}
        for size, data in chunk.notes:
            path = f"checkpoints/{size}"
            try:
                checkpoint = open_checkpoint(data, self._key)
                if checkpoint.size != size:
                    raise Fault("checkpoint-size")
            except Fault as fault:
                done.faults.append(Found(size - 1, Rank.NOTE, fault.at(path=path)))
            else:
                roots[size] = checkpoint.root
        return roots

    def _check_bundle(
        self,
        data: bytes,
        tile: bytes,
        starts: set[int],
        notes: dict[int, bytes],
        nonces: list[bytes],
        done: Checked,
    ) -> None:
        first = done.first + done.leaves
        if is_uniform(data):
            hashes = self._hash_signatures(data, first, nonces, done)
            ranks: Sequence[bytes] = hashes
            lead = _LAST
        else:
            leaves = parse_bundle(data)
            hashes = self._hash_leaves(leaves, first, nonces, done)
            ranks = [
                _rank(leaf, digest) for leaf, digest in zip(leaves, hashes, strict=True)
            ]
            lead = b""
        done.leaves += len(hashes)
        _compare(hashes, tile, first, done)
        if self._context.ordered:
            self._check_order(ranks, lead, first, starts, done)
        rows = tile_rows(hashes)
        for size in range(first + 1, first + len(hashes) + 1) if notes else ():
            if size in notes:
                peaks = [] if size == first + WIDTH else peaks_of(rows, size - first)
                done.edges.append(Edge(size, notes[size], peaks))
        if len(hashes) == WIDTH:
            done.roots.append(rows[-1][0])
        else:
            done.tail = hashes

    def _hash_signatures(
        self, data: bytes, first: int, nonces: list[bytes], done: Checked
    ) -> list[bytes]:
        """Hash a bundle of signatures only, and verify their tokens.

        The hot loop: everything that can be prepared outside is.
        """
        # Each length's second byte becomes the 0x00 that precedes a leaf in its hash.
        buffer = bytearray(data)
        buffer[1::STRIDE] = bytes(len(data) // STRIDE)
        body = bytes(buffer)
        hashes = []
        prefix, keys, tokens = self._prefix, self._keys, self._context.tokens
        for at in range(1, len(body), STRIDE):
            hashes.append(sha256(body[at : at + 358]).digest())
            nonce = sha256(prefix + body[at + 5 : at + 102]).digest()
            nonces.append(nonce)
            found = keys.get(body[at + 3 : at + 5])
            if tokens and found is not None:
                key, suffix = found
                signed = TOKEN_TYPE + nonce + suffix
                if key.verify(signed, body[at + 102 : at + 358]):
                    done.tokens += 1
                else:
                    _note_token(first + at // STRIDE, done)
        return hashes

    def _hash_leaves(
        self, leaves: list[bytes], first: int, nonces: list[bytes], done: Checked
    ) -> list[bytes]:
        """Hash a bundle of any leaves, and verify the tokens among them."""
        for index, leaf in enumerate(leaves, first):
            if not is_signature(leaf):
                continue
            nonce = sha256(self._prefix + leaf[4:101]).digest()
            nonces.append(nonce)
            found = self._keys.get(leaf[2:4])
            if self._context.tokens and found is not None:
                key, suffix = found
                if key.verify(TOKEN_TYPE + nonce + suffix, leaf[101:]):
                    done.tokens += 1
                else:
                    _note_token(index, done)
        return [sha256(b"\x00" + leaf).digest() for leaf in leaves]

    def _check_order(
        self,
        ranks: Sequence[bytes],
        lead: bytes,
        first: int,
        starts: set[int],
        done: Checked,
    ) -> None:
        """Check the order within intervals, and against the bundle before."""
        head, done.last_rank, before = lead + ranks[0], lead + ranks[-1], done.last_rank
        if not done.first_rank:
            done.first_rank = head
        elif first not in starts and before > head:
            _note_order(first, done)
        cuts = [size - first for size in starts if first < size < first + len(ranks)]
        low = 0
        for high in [*sorted(cuts), len(ranks)]:
            run = ranks[low:high]
            # Sorting what is sorted costs one comparison a leaf, in C.
            if list(run) != sorted(run):
                bad = next(i for i in range(1, len(run)) if run[i - 1] > run[i])
                _note_order(first + low + bad, done)
                return
            low = high


def is_signature(leaf: bytes) -> bool:
    """Tell whether a leaf has a signature's type and length."""
    return len(leaf) == SIGNATURE_SIZE and leaf[:2] == SIGNATURE_PREFIX


def is_uniform(data: bytes) -> bool:
    """Tell whether a bundle holds signature leaves of the right length only."""
    count, rest = divmod(len(data), STRIDE)
    return (
        not rest
        and count > 0
        and data[0::STRIDE].count(SIGNATURE_SIZE >> 8) == count
        and data[1::STRIDE].count(SIGNATURE_SIZE & 0xFF) == count
        and data[2::STRIDE].count(SIGNATURE_PREFIX[0]) == count
        and data[3::STRIDE].count(SIGNATURE_PREFIX[1]) == count
    )


def _rank(leaf: bytes, digest: bytes) -> bytes:
    """Return what leaves of one interval are sorted by."""
    number = leaf[1:2]
    return (_LAST if number == bytes([SIGNATURE]) else number) + digest


def tile_rows(hashes: list[bytes]) -> list[list[bytes]]:
    """Return the complete nodes of a tile, level by level from the leaves."""
    rows = [hashes]
    while len(hashes) > 1:
        pairs = zip(hashes[0::2], hashes[1::2], strict=False)
        hashes = [sha256(b"\x01" + left + right).digest() for left, right in pairs]
        rows.append(hashes)
    return rows


def peaks_of(rows: list[list[bytes]], count: int) -> list[bytes]:
    """Return the subtree roots over the first ``count`` leaves of a tile."""
    peaks = []
    at = 0
    for level in reversed(range(count.bit_length())):
        if count >> level & 1:
            peaks.append(rows[level][at >> level])
            at += 1 << level
    return peaks


def _compare(hashes: list[bytes], tile: bytes, first: int, done: Checked) -> None:
    """Compare leaf hashes with the level-0 tile; audit decides which is at fault."""
    if b"".join(hashes) == tile:
        return
    path = tile_path(0, first // WIDTH, len(hashes))
    if len(tile) != 32 * len(hashes):
        fault = Fault("tile-trailing", path=path)
        done.faults.append(Found(first, Rank.MISMATCH, fault))
        return
    bad = next(i for i, h in enumerate(hashes) if h != tile[32 * i : 32 * i + 32])
    fault = Fault("tile-mismatch", index=first + bad, path=path)
    done.faults.append(Found(first + bad, Rank.MISMATCH, fault))


def _note_token(index: int, done: Checked) -> None:
    fault = Fault("token-invalid", index=index)
    done.faults.append(Found(index, Rank.TOKEN, fault))


def _note_order(index: int, done: Checked) -> None:
    fault = Fault("order-in-interval", index=index)
    done.faults.append(Found(index, Rank.ORDER, fault))


def holds_nonce(done: Checked, nonce: bytes) -> bool:
    """Tell whether a signature of this chunk has this nonce."""
    bounds = (0, *done.parts, len(done.nonces) // 32)
    low, high = (32 * at for at in bounds[nonce[0] : nonce[0] + 2])
    at = done.nonces.find(nonce, low, high)
    while at % 32 and at != -1:
        at = done.nonces.find(nonce, at + 1, high)
    return at != -1


def find_repeats(nonces: bytes) -> set[bytes]:
    """Return the 32-byte nonces that stand more than once among these."""
    each = [nonces[i : i + 32] for i in range(0, len(nonces), 32)]
    if len(set(each)) == len(each):
        return set()
    each.sort()
    return {left for left, right in pairwise(each) if left == right}
