"""What a node knows of the logs, asked of the issuer's process again and again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import msgspec

from undersigned_verify import token

from undersigned.web.hot.nodes import BookFacts, EntryFacts

ASK_SECONDS: Final = 1.0
# What is older is not acted on: a switch may have been flipped meanwhile.
OLDEST_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class NodeEntry:
    """One log that a node may take signatures for: what ``check_request`` reads."""

    facts: EntryFacts
    challenge_digest: bytes
    stances: frozenset[int]
    keys: dict[int, token.TokenKey]
    takes_names: bool


def make_entry(facts: EntryFacts) -> NodeEntry:
    """Return the entry; a key is parsed once."""
    return NodeEntry(
        facts=facts,
        challenge_digest=facts.challenge_digest,
        stances=frozenset(facts.stances),
        keys={index: token.TokenKey(spki) for index, spki in facts.keys.items()},
        takes_names=facts.takes_names,
    )


@dataclass(slots=True)
class NodeBook:
    """Entries by path, and when they were true. ``now``: only goes forward."""

    now: Callable[[], float]
    _entries: dict[str, NodeEntry] = field(default_factory=dict)
    _as_of: float | None = None

    def take(self, body: bytes, *, asked_at: float) -> None:
        """Take up an answer of ``GET node/book``. Raises msgspec.MsgspecError."""
        found = msgspec.json.decode(body, type=BookFacts)
        entries = {}
        for facts in found.entries:
            known = self._entries.get(facts.path)
            if known is None or known.facts != facts:
                known = make_entry(facts)
            entries[facts.path] = known
        self._entries, self._as_of = entries, asked_at

    @property
    def is_current(self) -> bool:
        """Whether what is known may be acted on."""
        return self._as_of is not None and self.now() - self._as_of < OLDEST_SECONDS

    def find(self, path: str) -> NodeEntry | None:
        """Return the log at a path, if signatures for it may be taken here."""
        entry = self._entries.get(path)
        return entry if entry is not None and entry.facts.is_open else None
