"""The signing book: what must be known to accept a signature, without any database.

One entry a log, made from the log's own leaves and the campaign's frozen rules. The
hot path reads it in the event loop.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from undersigned_verify import token

from undersigned.campaigns.data import Campaign, PublicationMode
from undersigned.campaigns.rules import STANCE_NUMBERS
from undersigned.ledger.ledger import Ledger
from undersigned.ledger.open_log import OpenLog
from undersigned.safety.switches import Switches


@dataclass(slots=True)
class BookEntry:
    """One log that takes signatures."""

    campaign: Campaign
    log: OpenLog
    # As the log's header has it, for ever; the instance may have been renamed since.
    issuer_name: str
    challenge_digest: bytes
    stances: frozenset[int]
    keys: dict[int, token.TokenKey]

    @property
    def takes_names(self) -> bool:
        """Whether something may be shown beside a signature."""
        return (
            self.campaign.show_names
            and self.campaign.mode is not PublicationMode.DANGER
        )


class SigningBook:
    """Entries by URL path (``c/ID``)."""

    def __init__(self, ledger: Ledger, switches: Switches) -> None:
        self.ledger = ledger
        self.switches = switches
        self.entries: dict[str, BookEntry] = {}
        # Called when something shown beside signatures was erased, after that is
        # durable: no copy of it that is kept elsewhere may outlive the call.
        self.on_shown_changed: Callable[[], None] = lambda: None

    def add(self, campaign: Campaign) -> BookEntry:
        """Enter an opened campaign; called at start and when one opens."""
        log = self.ledger.get_log(campaign.origin)
        header = log.state.header
        if header is None:
            raise ValueError(f"{campaign.origin} has no header")
        challenge = token.Challenge(
            issuer_name=header.issuer_name,
            origin=header.origin,
            statement_sha256=bytes.fromhex(header.statement_sha256),
        )
        entry = BookEntry(
            campaign=campaign,
            log=log,
            issuer_name=header.issuer_name,
            challenge_digest=challenge.digest,
            stances=frozenset(STANCE_NUMBERS[name] for name in campaign.stances),
            keys={
                index: token.TokenKey(info.spki)
                for index, info in log.state.keys.items()
            },
        )
        self.entries[campaign.path] = entry
        return entry

    def get_issuer_name(self, path: str, default: str) -> str:
        """Return the issuer's name in the header of the log at ``path``."""
        entry = self.entries.get(path)
        return default if entry is None else entry.issuer_name

    def find(self, path: str) -> BookEntry | None:
        """Return the entry of a path, or None."""
        return self.entries.get(path)
