"""Small logs, made directly with the keys: what the verifier's tests recount.

``LogBuilder`` publishes intervals and exports the layout of PROTOCOL section 8. It
obeys the order of leaves, nothing else: a test that wants a refused log adds a leaf
that may not stand, or changes a file. ``SpineBuilder`` takes the states of such logs
and is exported beside them. Drills reuse both.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Self, TypeVar

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, PSS
from cryptography.hazmat.primitives.asymmetric.rsa import (
    RSAPrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.hashes import SHA384

from undersigned_verify import entry as leaf
from undersigned_verify import spine
from undersigned_verify.canonical import encode_base64
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.cosignature import cosignature_line, witness_key
from undersigned_verify.count import LogState
from undersigned_verify.merkle import inclusion_proof, leaf_hash, range_hash
from undersigned_verify.note import VerifierKey, parse_note, sign_note
from undersigned_verify.proof import InclusionProof, signature_nonce
from undersigned_verify.tile import (
    WIDTH,
    bundles_of,
    encode_bundle,
    tile_path,
    tile_root,
    tiles_of,
)
from undersigned_verify.token import (
    NO_PUBLIC,
    Challenge,
    encode_spki,
    key_id,
    nonce,
    token_input,
    withdraw_hash,
)

STATEMENT = b"We ask the council to keep the river path open.\n"
CASE = sha256(b"a moderation case").hexdigest()

Approved = TypeVar("Approved", leaf.Removal, leaf.PaperSheet, leaf.Release)


def secret(label: str) -> bytes:
    """Return 32 bytes that are the same in every run."""
    return sha256(b"test secret " + label.encode()).digest()


class Issuer:
    """An issuer's RSA key, which signs tokens directly instead of blindly."""

    def __init__(self, private: RSAPrivateKey | None = None) -> None:
        self.private = private or generate_private_key(65537, 2048)

    @cached_property
    def spki(self) -> bytes:
        return encode_spki(self.private.public_key().public_numbers().n)

    def authenticate(self, data: bytes) -> bytes:
        return self.private.sign(data, PSS(MGF1(SHA384()), 48), SHA384())


@dataclass(frozen=True)
class Approver:
    """A moderator's key under its pseudonym."""

    id: str
    private: Ed25519PrivateKey

    @classmethod
    def called(cls, name: str) -> Self:
        return cls(name, Ed25519PrivateKey.from_private_bytes(secret(name)))

    @property
    def announcement(self) -> leaf.ApproverKey:
        public = self.private.public_key().public_bytes_raw()
        return leaf.make_approver_key(id=self.id, public=public)

    def approve(self, origin: str, entry: leaf.Approved) -> leaf.Approval:
        message = leaf.approval_message(origin, entry)
        return leaf.Approval(self.id, encode_base64(self.private.sign(message)))


MINA = Approver.called("mina")
NOOR = Approver.called("noor")


@dataclass(frozen=True)
class Witness:
    """A witness of spines."""

    name: str
    private: Ed25519PrivateKey

    @classmethod
    def called(cls, name: str) -> Self:
        return cls(name, Ed25519PrivateKey.from_private_bytes(secret(name)))

    @property
    def key(self) -> VerifierKey:
        return witness_key(self.name, self.private.public_key().public_bytes_raw())

    def cosign(self, note: bytes, time: int = 1_800_000_000) -> bytes:
        """Return a signed checkpoint with this witness's line after the others."""
        text = parse_note(note).text
        line = cosignature_line(text, name=self.name, private=self.private, time=time)
        return note + line.encode()


def cosign(note: bytes, *witnesses: Witness) -> bytes:
    """Return a signed checkpoint with the lines of all these witnesses."""
    for witness in witnesses:
        note = witness.cosign(note)
    return note


class Tree:
    """The leaves of any log, its kept checkpoints and its files."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.log_key = Ed25519PrivateKey.from_private_bytes(secret(origin))
        self.leaves: list[bytes] = []
        self.kept: list[int] = []
        self.pending: list[bytes] = []

    @property
    def path(self) -> str:
        return self.origin.partition("/")[2]

    @property
    def key(self) -> VerifierKey:
        return VerifierKey.of(self.origin, self.log_key.public_key().public_bytes_raw())

    def read_node(self, level: int, n: int) -> bytes:
        """Return a complete node of the tree."""
        if level == 0:
            return leaf_hash(self.leaves[n])
        low, high = n << level, (n + 1) << level
        return tile_root([leaf_hash(data) for data in self.leaves[low:high]])

    def root(self, size: int | None = None) -> bytes:
        size = len(self.leaves) if size is None else size
        return range_hash(0, size, self.read_node)

    def note(self, size: int | None = None, root: bytes | None = None) -> bytes:
        """Return the signed checkpoint of a prefix."""
        size = len(self.leaves) if size is None else size
        checkpoint = Checkpoint(self.origin, size, root or self.root(size))
        return sign_note(checkpoint.text(), self.origin, self.log_key)

    def prove(self, index: int, size: int) -> tuple[bytes, ...]:
        """Return the hashes that show a leaf in a prefix."""
        return tuple(inclusion_proof(index, size, self.read_node))

    def tree_files(self) -> dict[str, bytes]:
        """Return what every log has: key, checkpoints, tiles."""
        size = self.kept[-1]
        files = {
            "log.vkey": f"{self.key.vkey}\n".encode(),
            "checkpoint": self.note(size),
        }
        for kept in self.kept:
            files[f"checkpoints/{kept}"] = self.note(kept)
        for n, width in bundles_of(size):
            data = encode_bundle(self.leaves[n * WIDTH : n * WIDTH + width])
            files[tile_path("entries", n, width)] = data
        for level, n, width in tiles_of(size):
            nodes = range(n * WIDTH, n * WIDTH + width)
            data = b"".join(self.read_node(8 * level, node) for node in nodes)
            files[tile_path(level, n, width)] = data
        return files


class LogBuilder(Tree):
    """A campaign's log in memory; ``export`` writes it."""

    def __init__(
        self,
        *,
        origin: str = "example.org/c/river",
        statement: bytes = STATEMENT,
        mode: str = "standard",
        classes: tuple[str, ...] = ("email", "invitation", "vouched", "open"),
    ) -> None:
        super().__init__(origin)
        self.statement = statement
        digest = sha256(statement)
        self.header = leaf.Header(
            origin, digest.hexdigest(), "issuer.example.org", mode, classes
        )
        self.challenge = Challenge("issuer.example.org", origin, digest.digest())
        self.pending = [leaf.encode(self.header)]
        self.issuers: dict[int, Issuer] = {}

    # --- leaves -------------------------------------------------------------------

    def add(self, *entries: leaf.Entry | bytes) -> Self:
        """Put leaves into the interval that is open."""
        for entry in entries:
            data = entry if isinstance(entry, bytes) else leaf.encode(entry)
            self.pending.append(data)
        return self

    def announce(
        self, key_index: int, issuer: Issuer, *, klass: int = 1, flags: int = 0
    ) -> Self:
        """Announce an issuer key."""
        self.issuers[key_index] = issuer
        return self.add(leaf.IssuerKey(key_index, klass, flags, issuer.spki))

    def make_signature(
        self,
        label: str,
        *,
        key_index: int = 0,
        stance: int = 0,
        public_hash: bytes = NO_PUBLIC,
        issuer: Issuer | None = None,
    ) -> leaf.Signature:
        """Return a signature whose w and r follow from its label."""
        issuer = issuer or self.issuers[key_index]
        hidden = withdraw_hash(self.secret_w(label))
        r = secret(f"r {label}")
        digest = self.challenge.digest
        number = nonce(digest, stance, public_hash, hidden, r)
        authenticator = issuer.authenticate(
            token_input(number, digest, key_id(issuer.spki))
        )
        return leaf.Signature(key_index, stance, public_hash, hidden, r, authenticator)

    def secret_w(self, label: str) -> bytes:
        return secret(f"w {label}")

    def sign(self, *labels: str, key_index: int = 0, stance: int = 0) -> Self:
        """Add a signature for each label."""
        for label in labels:
            self.add(self.make_signature(label, key_index=key_index, stance=stance))
        return self

    def approve(self, entry: Approved, *approvers: Approver) -> Approved:
        """Return the entry with approvals, by default of Mina and Noor."""
        found = tuple(
            one.approve(self.origin, entry) for one in approvers or (MINA, NOOR)
        )
        return replace(entry, approvals=found)

    def index_of(self, label: str) -> int:
        """Return where the published signature of this label stands."""
        r = secret(f"r {label}")
        return next(i for i, data in enumerate(self.leaves) if data[69:101] == r)

    def withdraw(self, label: str) -> Self:
        return self.add(leaf.Withdrawal(self.index_of(label), self.secret_w(label)))

    def remove(self, *labels: str, reason: str = "duplicate-person") -> Self:
        targets = ranges_of(map(self.index_of, labels))
        return self.add(self.approve(leaf.Removal(targets, None, reason, CASE)))

    def reinstate(self, *labels: str) -> Self:
        targets = ranges_of(map(self.index_of, labels))
        return self.add(self.approve(leaf.Release(targets, None, "appeal", CASE)))

    def remove_key(self, key_index: int) -> Self:
        return self.add(self.approve(leaf.Removal(None, key_index, "abuse", CASE)))

    def release_key(self, key_index: int) -> Self:
        return self.add(self.approve(leaf.Release(None, key_index, "cleared", CASE)))

    def close(self, reason: str = "done") -> Self:
        """Add the close leaf with the true totals of what is published."""
        return self.add(leaf.Close(reason, self.recount().totals()))

    # --- publication --------------------------------------------------------------

    def publish(
        self, *, order: Callable[[bytes], tuple[int, bytes]] | None = None
    ) -> Self:
        """End the interval: sort it, append it, keep a checkpoint."""
        self.leaves += sorted(self.pending, key=order or rank)
        self.pending = []
        self.kept.append(len(self.leaves))
        return self

    def recount(self) -> LogState:
        """Return the state of what is published; Fault where it may not stand."""
        state = LogState(self.leaves.__getitem__)
        for index, data in enumerate(self.leaves):
            state.apply(index, leaf.parse(data))
            if index + 1 in self.kept:
                state.checkpoint(index + 1)
        return state

    # --- files --------------------------------------------------------------------

    def receipt(
        self, label: str, *, with_w: bool = True, size: int | None = None
    ) -> bytes:
        """Return the receipt file of a published signature."""
        size = self.kept[-1] if size is None else size
        index = self.index_of(label)
        extra = self.leaves[index] + (self.secret_w(label) if with_w else b"")
        proof = InclusionProof(index, self.prove(index, size), self.note(size), extra)
        return proof.encode()

    def promise(self, label: str, publish_by: int, *, stance: int = 0) -> bytes:
        """Return the signed promise for a signature, published or not."""
        found = self.make_signature(label, stance=stance)
        number = signature_nonce(found, self.challenge).hex()
        text = f"undersigned promise v1\n{self.origin}\n{number}\n{publish_by}\n"
        return sign_note(text, f"{self.origin}/promise", self.log_key)

    def files(self, *, count: bytes | None = None) -> dict[str, bytes]:
        """Return every file of the log by its path in the log's folder."""
        if count is None:
            count = self.recount().count_json(self.root(self.kept[-1]))
        return {
            **self.tree_files(),
            "statement": self.statement,
            "growth.csv": growth(self.kept),
            "count.json": count,
        }

    def export(self, root: Path, *, count: bytes | None = None) -> Path:
        """Write the log under an instance's root; return the root."""
        for path, data in self.files(count=count).items():
            write(root / self.path / path, data)
        return root


class SpineBuilder(Tree):
    """An instance's spine in memory: ``take`` what logs have published, ``publish``.

    As the product writes it, so honest unless a test adds leaves of its own.
    """

    def __init__(self, host: str = "example.org", *, client: str | None = None) -> None:
        super().__init__(f"{host}/spine")
        self.logs: dict[str, spine.CampaignState] = {}
        if client is not None:
            self.add(spine.ClientLeaf(client))

    def add(self, *leaves: spine.Leaf | bytes) -> Self:
        """Put leaves into the interval that is open."""
        for item in leaves:
            data = item if isinstance(item, bytes) else spine.encode(item)
            self.pending.append(data)
        return self

    def take(self, *logs: LogBuilder, issued: dict[int, int] | None = None) -> Self:
        """Add what is new in these logs: campaign, keys, issued totals, checkpoints.

        ``issued``: totals by key index; by default, where a close leaf stands, as
        many as there are signatures.
        """
        campaigns, keys, totals, sizes = zip(
            *(self._news_of(log, issued) for log in logs), strict=True
        )
        for kind in (campaigns, keys, totals):
            self.add(*sorted(spine.encode(item) for found in kind for item in found))
        found = [item for rows in sizes for item in rows]
        return self.add(*sorted(found, key=lambda item: (item.origin, item.size)))

    def _news_of(
        self, log: LogBuilder, issued: dict[int, int] | None
    ) -> tuple[
        list[spine.CampaignLeaf],
        list[spine.KeyLeaf],
        list[spine.IssuedLeaf],
        list[spine.CheckpointLeaf],
    ]:
        campaigns, keys = [], []
        if log.origin not in self.logs:
            self.logs[log.origin] = spine.CampaignState()
            header = sha256(log.leaves[0]).hexdigest()
            campaigns.append(spine.CampaignLeaf(log.origin, header))
        known = self.logs[log.origin]
        entries = [leaf.parse(data) for data in log.leaves]
        for entry in entries:
            if isinstance(entry, leaf.IssuerKey) and entry.key_index not in known.keys:
                known.keys.add(entry.key_index)
                spki = sha256(entry.spki).hexdigest()
                keys.append(spine.KeyLeaf(log.origin, entry.key_index, spki))
        if issued is None and any(isinstance(entry, leaf.Close) for entry in entries):
            issued = dict.fromkeys(known.keys, 0)
            for entry in entries:
                if isinstance(entry, leaf.Signature):
                    issued[entry.key_index] += 1
        totals = []
        for index, total in (issued or {}).items():
            if total > known.totals.get(index, -1):
                known.totals[index] = total
                totals.append(spine.IssuedLeaf(log.origin, index, total))
        sizes = [
            spine.CheckpointLeaf(log.origin, size, log.root(size).hex())
            for size in log.kept
            if size > known.size
        ]
        known.size = max(known.size, log.kept[-1])
        return campaigns, keys, totals, sizes

    def retire(self, log: LogBuilder) -> Self:
        return self.add(spine.RetiredLeaf(log.origin))

    def publish(self) -> Self:
        """End the interval: append it as it is, keep a checkpoint."""
        self.leaves += self.pending
        self.pending = []
        self.kept.append(len(self.leaves))
        return self

    def receipt(
        self,
        log: LogBuilder,
        label: str,
        *witnesses: Witness,
        with_w: bool = True,
        size: int | None = None,
    ) -> bytes:
        """Return a receipt of two proofs, its spine checkpoint cosigned."""
        size = log.kept[-1] if size is None else size
        first = log.receipt(label, with_w=with_w, size=size)
        extra = spine.encode(
            spine.CheckpointLeaf(log.origin, size, log.root(size).hex())
        )
        index = self.leaves.index(extra)
        note = cosign(self.note(self.kept[-1]), *witnesses)
        hashes = self.prove(index, self.kept[-1])
        return first + InclusionProof(index, hashes, note, extra).encode()

    def export(self, root: Path, *witnesses: Witness) -> Path:
        """Write the spine under an instance's root, cosigned; return the root."""
        for path, data in self.tree_files().items():
            if path in ("checkpoint", f"checkpoints/{self.kept[-1]}"):
                write(root / self.path / path, cosign(data, *witnesses))
            else:
                write(root / self.path / path, data)
        return root


def make_policy(*witnesses: Witness, spine_key: VerifierKey | None = None) -> bytes:
    """Return a policy that asks for all of these witnesses."""
    lines = [] if spine_key is None else [f"log {spine_key.vkey}"]
    lines += [f"witness {one.name} {one.key.vkey}" for one in witnesses]
    names = " ".join(one.name for one in witnesses)
    lines += [f"group all all {names}", "quorum all"] if names else ["quorum none"]
    return "".join(f"{line}\n" for line in lines).encode()


def rank(data: bytes) -> tuple[int, bytes]:
    """Return what the leaves of one interval are sorted by."""
    number = data[1]
    return (number if number != leaf.SIGNATURE else 256, leaf_hash(data))


def ranges_of(indexes: Iterable[int]) -> leaf.Ranges:
    """Return sorted ranges that cover exactly these leaves."""
    ranges: list[tuple[int, int]] = []
    for index in sorted(indexes):
        if ranges and ranges[-1][1] == index - 1:
            ranges[-1] = ranges[-1][0], index
        else:
            ranges.append((index, index))
    return tuple(ranges)


def growth(kept: Iterable[int]) -> bytes:
    """Return a growth.csv; the verifier reads nothing but its sizes."""
    rows = [f"{size},0,2026-01-01T00:00:00Z\n" for size in kept]
    return ("size,net,at\n" + "".join(rows)).encode()


def write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
