"""``witness-mark.json``: which key the state belongs to, and how far it has come.

``{"key": VKEY, "logs": {ORIGIN: [SIZE, ROOT IN HEX]}}``, written after each commit and
before the answer. A database behind it was put back from a copy; a key that it does not
name was. Either would let one key cosign two histories, so that nothing is cosigned
before the operator has made a new key. It is never backed up.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from undersigned.kernel.durable import write_durable
from undersigned.kernel.errors import StorageFailed


@dataclass(frozen=True, slots=True)
class Mark:
    """The content of the file. ``logs``: size and root hash in hex, by origin."""

    vkey: str
    logs: dict[str, tuple[int, str]] = field(default_factory=dict)

    def raised(self, origin: str, size: int, root: bytes) -> Mark:
        """Return the mark after a checkpoint was cosigned."""
        return Mark(self.vkey, {**self.logs, origin: (size, root.hex())})


def read_mark(path: Path) -> Mark | None:
    """Return what the file says, None where there is none. Raises StorageFailed."""
    try:
        found = json.loads(path.read_bytes())
        logs = found["logs"].items()
        return Mark(
            str(found["key"]),
            {str(origin): (int(size), str(root)) for origin, (size, root) in logs},
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise StorageFailed(f"couldn't read {path}: {error}") from error


def write_mark(path: Path, mark: Mark) -> None:
    """Replace the file, durably. Raises StorageFailed."""
    found = {"key": mark.vkey, "logs": mark.logs}
    write_durable(
        path, json.dumps(found, sort_keys=True, separators=(",", ":")).encode()
    )
