"""The running ledger: the writer, its logs and the sequencer, as one object.

``config`` makes exactly one per data directory, under the writer lock. Operations and
queries take it as their first argument.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.note import parse_note

from undersigned.kernel.clock import round_down
from undersigned.kernel.durable import make_private_folder, make_public_folder
from undersigned.kernel.errors import NotFound
from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore
from undersigned.ledger import export, notes
from undersigned.ledger.data import LogSettings, Published, ShownRecord
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.highwater import HighWater, RolledBack
from undersigned.ledger.notes import LogKey
from undersigned.ledger.open_log import OpenLog, decode_settings
from undersigned.ledger.publish import CheckPooled, Sequencer
from undersigned.ledger.spine import SPINE_PATH, Spine
from undersigned.ledger.store import Store
from undersigned.ledger.writer import Writer

_logger = logging.getLogger("undersigned.ledger")


class LogNotFound(NotFound):
    """There is no log of that origin here."""

    code: ClassVar[str] = "log-not-found"


def _ignore(_value: object) -> None:
    return None


class Ledger:
    """All logs of one data directory.

    ``public``: root of the static files. ``on_shown`` receives shown records of
    published signatures, ``on_erased`` the nonces of records to erase; both must be
    idempotent by nonce, and durable when they return.
    """

    def __init__(
        self,
        *,
        host: str,
        folder: Path,
        public: Path,
        keystore: Keystore | None,
        store: Store | None = None,
        on_shown: Callable[[list[ShownRecord]], None] = _ignore,
        on_erased: Callable[[list[bytes]], object] = _ignore,
        on_published: Callable[[Published], None] = _ignore,
        on_failure: Callable[[BaseException], None] = _ignore,
        at_step: Callable[[str], None] = _ignore,
        gather_seconds: float | None = None,
        check_pooled: CheckPooled | None = None,
    ) -> None:
        """Open or create the ledger; ``host`` names the spine.

        ``folder``: of the high-water file. ``store`` None: the ledger is a file there.
        Else it is this one's from now on, whose lease is taken.
        ``keystore`` None: the secrets are locked; reads work, publishing does not.
        ``check_pooled``: see ``publish.Sequencer``. Raises StorageFailed and
        RolledBack: then the instance must not start.
        """
        make_private_folder(folder)
        make_public_folder(public)
        self.public = public
        self.keystore = keystore
        self.logs: dict[str, OpenLog] = {}
        self.store = store or EmbeddedStore(folder / "ledger.sqlite3")
        try:
            self.high_water = HighWater(folder / "highwater.json")
        except BaseException:
            self.store.close()
            raise
        options = {} if gather_seconds is None else {"gather_seconds": gather_seconds}
        self.writer = Writer(self.store, on_failure=on_failure, **options)
        self.sequencer = Sequencer(
            self.store,
            self.high_water,
            on_shown=on_shown,
            on_erased=on_erased,
            on_published=on_published,
            at_step=at_step,
            check_pooled=check_pooled,
        )
        self.spine = Spine(
            host=host,
            public=public,
            store=self.store,
            high_water=self.high_water,
            at_step=at_step,
        )
        self._last_tick: dict[str, datetime] = {}
        try:
            self._load_all()
        except BaseException:
            self.store.close()
            raise

    def start(self) -> None:
        """Finish what a crash interrupted, then take work."""
        self.writer.start()
        for log in list(self.logs.values()):
            self.writer.run(partial(self.sequencer.finish_interrupted, log))
        self.writer.run(self.spine.finish_interrupted)
        self.writer.run(self.store.settle)
        self.writer.run(self.store.note_checked)

    def stop(self) -> None:
        """Commit what is queued and close the store."""
        self.writer.stop()
        self.store.close()

    def _load_all(self) -> None:
        for log_id, text in self.store.query("SELECT id, settings FROM log"):
            settings = decode_settings(text)
            log = self.make_open_log(log_id, settings)
            self.store.take(log_id, log.origin)
            log.load(self.store)
            roots = dict(self._roots(log_id))
            self.high_water.check(log.origin, log.size, roots)
            self.add_log(log)
        missing = self.high_water.origins() - {*self.logs, self.spine.origin}
        if missing:
            raise RolledBack(
                "logs were published that this database does not hold: "
                + ", ".join(sorted(missing))
            )
        self._load_spine()
        if self.store.is_shared:
            for tree in (*self.logs.values(), self.spine.tree):
                export.require_full_tiles(tree)

    def _load_spine(self) -> None:
        spine = self.spine
        spine.load()
        if self.keystore is None:
            return
        try:
            if spine.size:
                seed = self.keystore.get(notes.key_name(SPINE_PATH))
                spine.key = LogKey(spine.origin, seed)
            else:
                spine.key = self._create_spine_key(self.keystore)
        except (KeyMissing, KeysLocked, ValueError) as error:
            # As with a log's key: nothing new is entered, and doctor says so.
            _logger.error("the spine's key does not open: %s", type(error).__name__)

    def _create_spine_key(self, keystore: Keystore) -> LogKey:
        """Make the key, or take the one that a start of this machine has made.

        The mark comes first: a key without one has come here with other secrets, and
        what it has signed is not here. Raises RolledBack then, and KeysLocked.
        """
        origin = self.spine.origin
        if keystore.has(notes.key_name(SPINE_PATH)) and not self.high_water.knows(
            origin
        ):
            raise RolledBack(
                f"the key of {origin} is here, and nothing that it has signed: these "
                "are the secrets of an instance whose ledger is elsewhere or lost. See "
                "docs/operate/backup-and-restore.md; do not sign with them before"
            )
        self.high_water.begin(origin)
        return LogKey.create(keystore, origin=origin, path=SPINE_PATH)

    def _roots(self, log_id: int) -> list[tuple[int, bytes]]:
        return [
            (size, Checkpoint.parse(parse_note(note).text).root)
            for size, note in self.store.query(
                "SELECT size, note FROM checkpoint WHERE log=?", (log_id,)
            )
        ]

    def make_open_log(self, log_id: int, settings: LogSettings) -> OpenLog:
        """Return the in-memory log, with its key where the keystore opens."""
        key: LogKey | None = None
        if self.keystore is not None:
            try:
                seed = self.keystore.get(notes.key_name(settings.path))
                key = LogKey(settings.origin, seed)
            except (KeyMissing, KeysLocked, ValueError):
                # Weak or missing keys: intake stays closed, reads stay up.
                key = None
        return OpenLog(log_id=log_id, settings=settings, public=self.public, key=key)

    def add_log(self, log: OpenLog) -> None:
        """Make ``log`` known; the sequencer learns what the database holds of it."""
        self.logs[log.origin] = log
        self.sequencer.adopt(log)

    def get_log(self, origin: str) -> OpenLog:
        """Return the log. Raises LogNotFound."""
        try:
            return self.logs[origin]
        except KeyError:
            raise LogNotFound(origin=origin) from None

    @property
    def failure(self) -> BaseException | None:
        """What stopped the writer, or None."""
        return self.writer.failure

    def read(
        self, query: str, parameters: tuple[object, ...] = ()
    ) -> list[tuple[Any, ...]]:
        """Return rows as committed by now, from any thread. Raises StorageFailed."""
        return self.store.read(query, parameters)

    def list_due(self, at: datetime) -> list[tuple[OpenLog, datetime]]:
        """Return the logs whose publication clock has ticked since last asked.

        The first question after a start only notes the tick, so that a restart never
        publishes in the middle of an interval.
        """
        due = []
        for log in self.logs.values():
            tick = round_down(at, seconds=log.settings.interval_seconds)
            last = self._last_tick.setdefault(log.origin, tick)
            if tick > last:
                self._last_tick[log.origin] = tick
                due.append((log, tick))
            elif tick < last:
                # The machine's clock went back: wait from the new time on.
                self._last_tick[log.origin] = tick
        return due
