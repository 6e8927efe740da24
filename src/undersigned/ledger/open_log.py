"""One campaign's log in memory: the tree, and the state that its leaves make."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from undersigned_verify import entry
from undersigned_verify.count import LogState

from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import LogSettings
from undersigned.ledger.notes import LogKey
from undersigned.ledger.store import Store
from undersigned.ledger.tree import TileTree

CELL_BLOCK = 4096


def encode_settings(settings: LogSettings) -> str:
    """Return the settings as JSON text, times in seconds."""
    values = asdict(settings)
    if settings.closes_at is not None:
        values["closes_at"] = int(settings.closes_at.timestamp())
    return json.dumps(values, sort_keys=True)


def decode_settings(text: str) -> LogSettings:
    """Return what ``encode_settings`` wrote."""
    values = json.loads(text)
    values["uncounted_keys"] = tuple(values["uncounted_keys"])
    if values["closes_at"] is not None:
        values["closes_at"] = datetime.fromtimestamp(values["closes_at"], tz=UTC)
    return LogSettings(**values)


class OpenLog(TileTree):
    """A campaign log's working state. Changed by the writer thread only."""

    def __init__(
        self,
        *,
        log_id: int,
        settings: LogSettings,
        public: Path,
        key: LogKey | None,
    ) -> None:
        super().__init__(
            tree_id=log_id, origin=settings.origin, public=public, path=settings.path
        )
        self.log_id = log_id
        self.settings = settings
        self.key = key
        self.accepting = True
        self.state = LogState(self.read_leaf)
        # When the newest checkpoint was made: a tick of the clock, 0 before the first.
        # The clock may be set back; neither checkpoints nor promises follow it.
        self.published_at = 0
        # By when what is pooled in an interval (counted since 1970) is published.
        self.publish_by: tuple[int, datetime] | None = None

    @property
    def is_closed(self) -> bool:
        """Whether the close leaf is in the log."""
        return self.state.closed

    def load(self, store: Store) -> None:
        """Rebuild from the database. Raises StorageFailed if it contradicts itself."""
        [(size, frontier, accepting)] = store.query(
            "SELECT size, frontier, accepting FROM log WHERE id=?", (self.log_id,)
        )
        self.accepting = bool(accepting)
        newest = store.query(
            "SELECT at FROM checkpoint WHERE log=? ORDER BY size DESC LIMIT 1",
            (self.log_id,),
        )
        self.published_at = newest[0][0] if newest else 0
        self.restore(store, size=size, frontier=frontier)
        controls = (
            (index, entry.parse(leaf))
            for index, leaf in store.query(
                "SELECT idx, leaf FROM published_control WHERE log=? ORDER BY idx",
                (self.log_id,),
            )
        )
        cells = b"".join(
            data
            for (data,) in store.query(
                "SELECT data FROM cells WHERE log=? ORDER BY block", (self.log_id,)
            )
        )
        if len(cells) != self.size:
            raise StorageFailed(
                f"{self.origin}: {len(cells)} cells, {self.size} leaves"
            )
        self.state = LogState.restore(self.read_leaf, controls, cells, self.size)
