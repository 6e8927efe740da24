"""The high-water file: how far each log had grown when it was last shown to anyone.

Kept outside the database, written and synced after each publishing commit and before
any checkpoint leaves. It is never backed up: a database that is older than this file
was rolled back, and going on would fork the log (PROTOCOL §5).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import ClassVar

from undersigned.kernel.durable import write_durable
from undersigned.kernel.errors import StorageFailed


class RolledBack(StorageFailed):
    """The database is older than what was already published."""

    code: ClassVar[str] = "rolled-back"


class HighWater:
    """Sizes and roots by origin, in one small JSON file."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._marks: dict[str, tuple[int, str]] = {}
        if path.exists():
            try:
                found = json.loads(path.read_bytes())
                self._marks = {
                    origin: (int(size), str(root))
                    for origin, (size, root) in found.items()
                }
            except (ValueError, TypeError, AttributeError) as error:
                raise StorageFailed(
                    f"couldn't read the high-water file {path}: {error}"
                ) from error

    def raise_to(self, origin: str, size: int, root: bytes) -> None:
        """Record a publication, durably. Raises StorageFailed."""
        self.raise_all({origin: (size, root)})

    def raise_all(self, marks: dict[str, tuple[int, bytes]]) -> None:
        """Record how far several logs were published, all or none. As ``raise_to``."""
        for origin, (size, root) in marks.items():
            self._marks[origin] = (size, root.hex())
        write_durable(
            self.path,
            json.dumps(self._marks, sort_keys=True, separators=(",", ":")).encode(),
        )

    def begin(self, origin: str) -> None:
        """Mark a log that is about to be created, so that it may be met half-made."""
        if origin not in self._marks:
            self.raise_to(origin, 0, b"")

    def find(self, origin: str) -> tuple[int, str] | None:
        """Return size and root (hex) of a log's mark, or None."""
        return self._marks.get(origin)

    def list_marks(self) -> dict[str, tuple[int, str]]:
        """Return every log's mark: size and root (hex) by origin."""
        return dict(self._marks)

    def origins(self) -> set[str]:
        """Return the origins that were ever published."""
        return {origin for origin, (size, _root) in self._marks.items() if size}

    def knows(self, origin: str) -> bool:
        """Say whether any publication of ``origin`` was recorded."""
        return origin in self._marks

    def check(self, origin: str, size: int, root_at: dict[int, bytes]) -> None:
        """Raise RolledBack if the database's log is behind or beside the mark.

        ``root_at``: roots of kept checkpoints by size, at least the marked one.
        """
        if origin not in self._marks:
            if size:
                # Never backed up: where the mark is missing, this is a restored copy,
                # and nobody can say how far the public has seen the log grow.
                raise RolledBack(
                    f"the log {origin} has {size} leaves and no high-water mark: this "
                    "data directory was restored or taken apart. See "
                    "docs/operate/backup-and-restore.md; do not sign on it before"
                )
            return
        marked_size, marked_root = self._marks[origin]
        if size < marked_size:
            raise RolledBack(
                f"the log {origin} has {size} leaves in the database, but "
                f"{marked_size} were published: this database is older than what "
                "the public has seen, and must not go on. See "
                "docs/operate/backup-and-restore.md"
            )
        if not marked_size:
            return
        root = root_at.get(marked_size)
        if root is None or root.hex() != marked_root:
            raise RolledBack(
                f"the log {origin} at {marked_size} leaves is not the one that was "
                "published: this database belongs to another history"
            )
