"""A log's public files as a reader on the same disk sees them."""

from __future__ import annotations

from pathlib import Path

from undersigned_verify import entry, merkle, tile, token
from undersigned_verify.audit import AuditReport, audit_log
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note
from undersigned_verify.source import DirectorySource


def read_size(folder: Path) -> int:
    """Return the size of the newest checkpoint."""
    note = parse_note((folder / "checkpoint").read_bytes())
    return Checkpoint.parse(note.text).size


def audit_running(folder: Path) -> AuditReport:
    """Recount a log, with its spine, while its server runs.

    Between two files of a publication the newest checkpoint is a kept one already, and
    not yet the newest.
    """
    return audit_log(DirectorySource(folder, live=True), workers=1)


def read_leaves(folder: Path, size: int | None = None) -> list[bytes]:
    """Return every leaf, in order. ``size``: of a checkpoint that is not the newest."""
    leaves: list[bytes] = []
    for n, width in tile.bundles_of(read_size(folder) if size is None else size):
        data = (folder / tile.tile_path("entries", n, width)).read_bytes()
        leaves += tile.parse_bundle(data)
    return leaves


def nonce_of(leaf: bytes, challenge_digest: bytes) -> bytes:
    """Return the nonce of a signature leaf."""
    return token.nonce(challenge_digest, leaf[4], leaf[5:37], leaf[37:69], leaf[69:101])


def list_nonces(
    folder: Path, challenge_digest: bytes, size: int | None = None
) -> list[tuple[int, bytes]]:
    """Return (index, nonce) of every signature, in order."""
    return [
        (index, nonce_of(leaf, challenge_digest))
        for index, leaf in enumerate(read_leaves(folder, size))
        if leaf[:2] == entry.SIGNATURE_PREFIX
    ]


def prefix_roots(leaves: list[bytes], sizes: set[int]) -> dict[int, bytes]:
    """Return the root hash of each prefix of ``leaves`` that ``sizes`` asks for."""
    frontier = merkle.Frontier()
    roots = {0: merkle.EMPTY_ROOT} if 0 in sizes else {}
    for size, leaf in enumerate(leaves, start=1):
        frontier.append(merkle.leaf_hash(leaf))
        if size in sizes:
            roots[size] = frontier.root()
    return roots
