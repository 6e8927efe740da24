"""Kill switches: what an operator can turn off at once, without a restart.

Kept in a small file of the data directory, so that a restart does not turn on again
what was off. Every flip is also an entry of the audit trail; where the pages database
cannot take it, it waits in the file (``unlogged``) and is entered later, because an
emergency is no time to refuse a switch.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar

from undersigned.kernel.durable import write_durable
from undersigned.kernel.errors import Conflict, StorageFailed, Unavailable

EVERYWHERE = ""


class Switch(StrEnum):
    """What can be turned off. Nothing that was promised to anybody: publication,
    receipts and withdrawals have no switch."""

    # Nothing is taken: no address, no code, no token, no signature.
    SIGNING = "signing"
    # No new permissions and tokens; tokens in people's hands can still be used.
    ISSUING = "issuing"
    # No confirmation mails.
    MAIL = "mail"
    # No permissions of the open class.
    OPEN_CLASS = "open-class"
    # No names, places and comments; signatures that show nothing go on.
    SHOWN = "shown"


# Why, for the trail.
REASONS = ("attack", "maintenance", "legal-order", "leaked-key", "other")


class SwitchedOff(Unavailable):
    """An operator has turned this off. ``reason``: one of REASONS."""

    code: ClassVar[str] = "switched-off"


class SwitchStands(Conflict):
    """The switch is in that position already."""

    code: ClassVar[str] = "switch-stands"


@dataclass(frozen=True, slots=True)
class Flip:
    """One flip. ``campaign``: its id, or EVERYWHERE. ``at``: whole minutes."""

    switch: Switch
    campaign: str
    on: bool
    reason: str
    at: datetime

    def as_json(self) -> dict[str, Any]:
        """Return the flip as plain values; the time in seconds since 1970."""
        return {
            "switch": str(self.switch),
            "campaign": self.campaign,
            "on": self.on,
            "reason": self.reason,
            "at": int(self.at.timestamp()),
        }

    @classmethod
    def from_json(cls, found: dict[str, Any]) -> Flip:
        """Return what ``as_json`` wrote. Raises KeyError, ValueError, TypeError."""
        return cls(
            switch=Switch(found["switch"]),
            campaign=str(found["campaign"]),
            on=bool(found["on"]),
            reason=str(found["reason"]),
            at=datetime.fromtimestamp(found["at"], tz=UTC),
        )


class Switches:
    """All switches of an instance. Reads are plain dictionary look-ups.

    ``log_flip`` enters a flip in the audit trail, durably, and may raise anything.
    """

    def __init__(
        self, path: Path | None, *, log_flip: Callable[[Flip], None] = lambda _f: None
    ) -> None:
        """Read the file, if there is one; None: nothing is off, nothing is kept.

        Raises StorageFailed where it cannot be read: what was off must not turn on.
        """
        self._path = path
        self._log_flip = log_flip
        self._lock = threading.Lock()
        self._off: dict[tuple[str, str], Flip] = {}
        self._unlogged: list[Flip] = []
        if path is not None and path.exists():
            try:
                found = json.loads(path.read_bytes())
                for flip in map(Flip.from_json, found["off"]):
                    self._off[flip.switch, flip.campaign] = flip
                self._unlogged = [Flip.from_json(one) for one in found["unlogged"]]
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise StorageFailed(f"couldn't read {path}: {error}") from error

    def require(self, *switches: Switch, campaign: str) -> None:
        """Raise SwitchedOff where one is off, everywhere or for this campaign."""
        if not self._off:
            return
        for switch in switches:
            for place in (EVERYWHERE, campaign):
                flip = self._off.get((switch, place))
                if flip is not None:
                    raise SwitchedOff(
                        switch=str(switch), campaign=campaign, reason=flip.reason
                    )

    def list_off(self) -> list[Flip]:
        """Return what is off, by name and campaign."""
        return [flip for _place, flip in sorted(self._off.items())]

    def flip(self, flip: Flip) -> bool:
        """Put a switch in a position; durable and effective when it returns.

        Returns whether the trail has it; if not, ``log_waiting`` will try again.
        Raises SwitchStands, StorageFailed.
        """
        with self._lock:
            place = (flip.switch, flip.campaign)
            if (place not in self._off) is flip.on:
                raise SwitchStands(switch=str(flip.switch), campaign=flip.campaign)
            off = {key: value for key, value in self._off.items() if key != place}
            if not flip.on:
                off[place] = flip
            self._write(off, [*self._unlogged, flip])
            # A new dictionary: readers on other threads never see half a change.
            self._off = off
        return self.log_waiting()

    def log_waiting(self) -> bool:
        """Enter in the trail what is not there yet; return whether nothing waits.

        A crash between the entry and its note enters a flip twice, never not at all.
        """
        with self._lock:
            while self._unlogged:
                try:
                    self._log_flip(self._unlogged[0])
                except Exception:  # noqa: BLE001 - whatever ails the pages database
                    return False
                self._write(self._off, self._unlogged[1:])
            return True

    def _write(self, off: dict[tuple[str, str], Flip], unlogged: list[Flip]) -> None:
        if self._path is not None:
            content = {
                "off": [flip.as_json() for _place, flip in sorted(off.items())],
                "unlogged": [flip.as_json() for flip in unlogged],
            }
            write_durable(self._path, json.dumps(content).encode())
        self._unlogged = unlogged
