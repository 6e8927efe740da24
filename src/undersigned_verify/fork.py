"""Whether one signed state of a log is the beginning of another.

Needs the tiles of the larger one, which are not trusted: what is computed from them
counts only where it leads to the larger state's signed root hash.
"""

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Evidence, Fault
from undersigned_verify.merkle import (
    ReadNode,
    consistency_proof,
    range_hash,
    verify_consistency,
)


def prefix_root(size: int, newer: Checkpoint, read_node: ReadNode) -> bytes:
    """Return the root hash that ``newer`` commits to for its first ``size`` leaves.

    Raises Fault("tile-mismatch") where the tiles do not lead to its root hash, and
    whatever reading them raises.
    """
    if size == newer.size:
        return newer.root
    root = range_hash(0, size, read_node)
    try:
        verify_consistency(
            old_size=size,
            new_size=newer.size,
            old_root=root,
            new_root=newer.root,
            proof=consistency_proof(size, newer.size, read_node),
        )
    except Fault as fault:
        detail = f"The tiles do not lead to the checkpoint of {newer.size} leaves."
        raise Fault("tile-mismatch", detail) from fault
    return root


def check_prefix(
    older: Checkpoint,
    newer: Checkpoint,
    read_node: ReadNode,
    *,
    evidence: tuple[Evidence, Evidence],
) -> None:
    """Check that ``older`` is a beginning of ``newer``; Fault("log-fork") if not.

    ``evidence``: both signed notes, which then prove it to anybody.
    """
    if prefix_root(older.size, newer, read_node) != older.root:
        detail = (
            f"{older.origin}: its key signed two histories, one of {older.size} and "
            f"one of {newer.size} leaves. Keep both: together they are proof."
        )
        raise Fault("log-fork", detail).proven_by(*evidence)
