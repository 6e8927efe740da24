"""A log as Mallory holds it: its leaves, and perhaps the keys to sign it anew.

``LogImage`` is a log taken apart into publication intervals, from which every file of
PROTOCOL §8 can be written again after leaves were changed. ``Author`` makes leaves with
all keys at hand, so that one small log has every type of leaf.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from secrets import token_bytes
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384

from undersigned_verify import entry, merkle, note, tile, token
from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.count import LogState
from undersigned_verify.errors import Fault

Files = dict[str, bytes]
Approved = TypeVar("Approved", entry.Removal, entry.PaperSheet, entry.Release)

CASE = sha256(b"a moderation case").hexdigest()


def rank(leaf: bytes) -> tuple[int, bytes]:
    """Return what the leaves of one interval are sorted by (PROTOCOL §4.6)."""
    number = int.from_bytes(leaf[1:2])
    return (256 if number == entry.SIGNATURE else number, merkle.leaf_hash(leaf))


@dataclass
class LogImage:
    """A log's leaves by interval. ``log_key`` None: files cannot be signed anew."""

    origin: str
    statement: bytes
    log_key: Ed25519PrivateKey
    intervals: list[list[bytes]]

    def copy(self) -> LogImage:
        """Return a log whose leaves may be changed without changing this one's."""
        return replace(self, intervals=[list(leaves) for leaves in self.intervals])

    @property
    def path(self) -> str:
        """The log's folder below an instance's root."""
        return self.origin.partition("/")[2]

    @property
    def leaves(self) -> list[bytes]:
        """All leaves in order."""
        return [leaf for interval in self.intervals for leaf in interval]

    @property
    def kept(self) -> list[int]:
        """The sizes of the kept checkpoints."""
        sizes, size = [], 0
        for interval in self.intervals:
            size += len(interval)
            sizes.append(size)
        return sizes

    @property
    def key(self) -> note.VerifierKey:
        """The verifier key."""
        public = self.log_key.public_key().public_bytes_raw()
        return note.VerifierKey.of(self.origin, public)

    def sort(self) -> None:
        """Put every interval into the order that the protocol asks for."""
        for interval in self.intervals:
            interval.sort(key=rank)

    def start_of(self, interval: int) -> int:
        """Return the index of the first leaf of an interval."""
        return sum(len(leaves) for leaves in self.intervals[:interval])

    def index_of(self, leaf: bytes) -> int:
        """Return where a leaf stands last."""
        leaves = self.leaves
        return len(leaves) - 1 - leaves[::-1].index(leaf)

    def find(self, number: int, nth: int = 0) -> tuple[int, int]:
        """Return interval and position of the nth leaf of a type."""
        found = [
            (i, j)
            for i, leaves in enumerate(self.intervals)
            for j, leaf in enumerate(leaves)
            if leaf[1] == number
        ]
        return found[nth]

    def recount(self) -> LogState:
        """Return the state after the last leaf. Raises Fault."""
        leaves, kept = self.leaves, set(self.kept)
        state = LogState(leaves.__getitem__)
        for index, leaf in enumerate(leaves):
            state.apply(index, entry.parse(leaf))
            if index + 1 in kept:
                state.checkpoint(index + 1)
        return state

    def sign(self, size: int, root: bytes) -> bytes:
        """Return a signed checkpoint."""
        text = Checkpoint(self.origin, size, root).text()
        return note.sign_note(text, self.origin, self.log_key)

    def files(self, *, count: bytes | None = None) -> Files:
        """Return every file of the log by its path in the log's folder.

        ``count``: a count.json to use where the recount itself would fail.
        """
        files = {
            "statement": self.statement,
            "growth.csv": self._growth(),
            **write_tree(self.origin, self.log_key, self.intervals),
        }
        if count is None:
            text = note.parse_note(files["checkpoint"]).text
            count = self.recount().count_json(Checkpoint.parse(text).root)
        files["count.json"] = count
        return files

    def _growth(self) -> bytes:
        rows = [f"{size},0,2026-01-01T00:00:00Z\n" for size in self.kept]
        return ("size,net,at\n" + "".join(rows)).encode()

    @classmethod
    def read(cls, folder: Path, log_key: Ed25519PrivateKey) -> LogImage:
        """Take a log's folder apart, with the log's key that was stolen beside it."""
        data = (folder / "checkpoint").read_bytes()
        found = Checkpoint.parse(note.parse_note(data).text)
        public = log_key.public_key().public_bytes_raw()
        open_checkpoint(data, note.VerifierKey.of(found.origin, public))
        leaves: list[bytes] = []
        for n, width in tile.bundles_of(found.size):
            bundle = (folder / tile.tile_path("entries", n, width)).read_bytes()
            leaves += tile.parse_bundle(bundle)
        sizes = sorted(int(path.name) for path in (folder / "checkpoints").iterdir())
        starts = [0, *sizes]
        return cls(
            origin=found.origin,
            statement=(folder / "statement").read_bytes(),
            log_key=log_key,
            intervals=[leaves[a:b] for a, b in zip(starts, sizes, strict=False)],
        )


def write_tree(
    origin: str, key: Ed25519PrivateKey, intervals: list[list[bytes]]
) -> Files:
    """Return what a log and a spine have in common: key, checkpoints and tiles.

    ``intervals``: leaves, with a kept checkpoint after each of these lists.
    """
    leaves = [leaf for interval in intervals for leaf in interval]
    level = [merkle.leaf_hash(leaf) for leaf in leaves]
    public = key.public_key().public_bytes_raw()
    vkey = note.VerifierKey.of(origin, public).vkey
    files = {"log.vkey": f"{vkey}\n".encode()}
    frontier, size = merkle.Frontier(), 0
    for interval in intervals:
        frontier.extend(level[size : size + len(interval)])
        size += len(interval)
        text = Checkpoint(origin, size, frontier.root()).text()
        files[f"checkpoints/{size}"] = note.sign_note(text, origin, key)
    files["checkpoint"] = files[f"checkpoints/{size}"]
    for n, width in tile.bundles_of(size):
        data = tile.encode_bundle(leaves[n * tile.WIDTH : n * tile.WIDTH + width])
        files[tile.tile_path("entries", n, width)] = data
    for number, hashes in enumerate(_levels(level)):
        for at in range(0, len(hashes), tile.WIDTH):
            part = hashes[at : at + tile.WIDTH]
            path = tile.tile_path(number, at // tile.WIDTH, len(part))
            files[path] = b"".join(part)
    return files


def _levels(hashes: list[bytes]) -> Iterable[list[bytes]]:
    """Yield the nodes of each tile level: full tiles' roots make the next one."""
    while hashes:
        yield hashes
        full = len(hashes) // tile.WIDTH
        hashes = [
            merkle.root_of(hashes[n * tile.WIDTH : (n + 1) * tile.WIDTH])
            for n in range(full)
        ]


def _make_key() -> RSAPrivateKey:
    return generate_private_key(65537, 2048)


@dataclass
class IssuerKey:
    """An issuer's RSA key, which signs tokens directly instead of blindly."""

    private: RSAPrivateKey = field(default_factory=_make_key)

    @cached_property
    def spki(self) -> bytes:
        """The 342 bytes of RFC 9578."""
        return token.encode_spki(self.private.public_key().public_numbers().n)

    def authenticate(self, message: bytes) -> bytes:
        """Return the authenticator of a token input."""
        return self.private.sign(message, PSS(MGF1(SHA384()), 48), SHA384())


@dataclass(frozen=True)
class Approver:
    """A moderator's key under its pseudonym."""

    id: str
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def announcement(self) -> bytes:
        """The type-9 leaf."""
        public = self.private.public_key().public_bytes_raw()
        return entry.encode(entry.make_approver_key(id=self.id, public=public))

    def approve(self, origin: str, decision: entry.Approved) -> entry.Approval:
        """Return this approver's approval of a decision."""
        message = entry.approval_message(origin, replace(decision, approvals=()))
        return entry.Approval(self.id, encode_base64(self.private.sign(message)))


class Author:
    """Makes leaves of one log, with every key at hand."""

    def __init__(self, *, origin: str, mode: str = "standard") -> None:
        self.origin = origin
        self.statement = b"We ask the council to keep the river path open.\n"
        self.header = entry.Header(
            origin=origin,
            statement_sha256=sha256(self.statement).hexdigest(),
            issuer_name=origin.partition("/")[0],
            mode=mode,
            classes=("email", "invitation", "vouched", "open"),
        )
        self.digest = token.Challenge(
            self.header.issuer_name, origin, sha256(self.statement).digest()
        ).digest
        self.log_key = Ed25519PrivateKey.generate()
        self.keys: dict[int, IssuerKey] = {}
        self.approvers = [Approver("mina"), Approver("noor")]
        self._made = 0
        self._seed = token_bytes(32)
        self.secrets: dict[bytes, bytes] = {}

    def announce(
        self, key_index: int, klass: int, flags: int = 0, key: IssuerKey | None = None
    ) -> bytes:
        """Return the type-2 leaf of a key, new unless given."""
        self.keys[key_index] = key or IssuerKey()
        spki = self.keys[key_index].spki
        return entry.encode(entry.IssuerKey(key_index, klass, flags, spki))

    def sign(self, key_index: int = 0, stance: int | None = None) -> bytes:
        """Return a fresh, valid signature leaf."""
        self._made += 1
        if stance is None:
            stance = self._made % 3
        label = self._seed + self._made.to_bytes(8)
        w, r = sha256(b"w" + label).digest(), sha256(b"r" + label).digest()
        hidden = token.withdraw_hash(w)
        number = token.nonce(self.digest, stance, token.NO_PUBLIC, hidden, r)
        key = self.keys[key_index]
        message = token.token_input(number, self.digest, token.key_id(key.spki))
        leaf = entry.encode(
            entry.Signature(
                key_index, stance, token.NO_PUBLIC, hidden, r, key.authenticate(message)
            )
        )
        self.secrets[leaf] = w
        return leaf

    def signs(self, count: int, key_index: int = 0) -> list[bytes]:
        """Return many signatures."""
        return [self.sign(key_index) for _number in range(count)]

    def approve(self, decision: Approved, *approvers: Approver) -> bytes:
        """Return the leaf of a decision with its approvals, by default the two."""
        chosen = approvers or tuple(self.approvers)
        approvals = tuple(one.approve(self.origin, decision) for one in chosen)
        return entry.encode(replace(decision, approvals=approvals))

    def remove(self, *targets: tuple[int, int]) -> bytes:
        """Return an approved removal by targets."""
        return self.approve(entry.Removal(targets, None, "scripted-burst", CASE))

    def image(self, intervals: list[list[bytes]]) -> LogImage:
        """Return a log with these intervals, each put into order."""
        image = LogImage(self.origin, self.statement, self.log_key, intervals)
        image.sort()
        return image


def write_files(folder: Path, files: Files) -> Path:
    """Write a log's files below ``folder``; return it."""
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def safe_count(image: LogImage, fallback: bytes) -> bytes:
    """Return the true count.json, or ``fallback`` where the log has none."""
    try:
        state = image.recount()
    except (Fault, ValueError):
        return fallback
    hashes = [merkle.leaf_hash(leaf) for leaf in image.leaves]
    return state.count_json(merkle.root_of(hashes))
