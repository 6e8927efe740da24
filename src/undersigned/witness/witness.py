"""The witness of an instance: its name, its key and its memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from undersigned.kernel.keystore import KeyMissing, KeysLocked, Keystore
from undersigned.witness.key import KEY_FILE, WitnessKey, make_seed
from undersigned.witness.mark import Mark, read_mark, write_mark
from undersigned.witness.store import Change, WitnessStateLost, WitnessStore

_NOT_OF_THIS_STATE: Final = (
    "the witness's key does not belong to this state: one of them was put back from a "
    "copy, or the host was changed. See docs/operate/witnesses.md"
)


class Witness:
    """One a data directory. ``keystore`` None: the secrets are sealed and stay so."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str,
        keystore: Keystore | None,
        at_step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        self.host = host
        self.store = WitnessStore(folder, at_step=at_step)
        self._keystore = keystore

    @property
    def name(self) -> str:
        """The name under which it cosigns."""
        return f"{self.host}/witness"

    @property
    def has_key(self) -> bool:
        """Whether a key was ever made here."""
        return self._keystore is not None and self._keystore.has(KEY_FILE)

    def get_key(self, change: Change) -> WitnessKey:
        """Return the key that the state belongs to, within a change.

        Raises KeysLocked, KeyMissing, WitnessStateLost.
        """
        keystore = self._require_keystore()
        mark = change.mark
        if not keystore.has(KEY_FILE):
            raise KeyMissing(name=KEY_FILE)
        key = WitnessKey(self.name, keystore.get(KEY_FILE))
        if mark is None or mark.vkey != key.vkey:
            raise WitnessStateLost(problem=_NOT_OF_THIS_STATE)
        return key

    def find_trouble(self) -> str | None:
        """Say why nothing can be cosigned, None where something can."""
        found = self.store.find_trouble()
        if found is not None or self._keystore is None or not self.has_key:
            return found
        mark = read_mark(self.store.mark_path)
        key = WitnessKey(self.name, self._keystore.get(KEY_FILE))
        return (
            None if mark is not None and mark.vkey == key.vkey else _NOT_OF_THIS_STATE
        )

    def get_or_make_key(self, change: Change) -> WitnessKey:
        """Return the key; the first time, make it. Raises as ``get_key`` does.

        Where the mark names a key that is gone, it is made anew only while nothing was
        cosigned: a crash between the mark and the key, and no loss.
        """
        keystore = self._require_keystore()
        begun = change.mark is not None and bool(change.mark.logs)
        if keystore.has(KEY_FILE) or begun:
            return self.get_key(change)
        return self._make_key(change, {})

    def replace_key(
        self, change: Change, logs: dict[str, tuple[int, str]]
    ) -> WitnessKey:
        """Destroy the key and make another, over a state of which ``logs`` is the mark.

        Raises KeysLocked, StorageFailed.
        """
        self._require_keystore().destroy(KEY_FILE)
        return self._make_key(change, logs)

    def _make_key(self, change: Change, logs: dict[str, tuple[int, str]]) -> WitnessKey:
        seed = make_seed()
        key = WitnessKey(self.name, seed)
        change.mark = Mark(key.vkey, logs)
        # The mark first, and within the change: a key without a mark is a key that was
        # put back from a copy, to every later look.
        write_mark(self.store.mark_path, change.mark)
        self._require_keystore().put(KEY_FILE, seed)
        return key

    def _require_keystore(self) -> Keystore:
        if self._keystore is None:
            raise KeysLocked(reason="the witness's key is sealed")
        return self._keystore
