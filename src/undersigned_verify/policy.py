"""C2SP tlog-policy: which logs are known, and whose cosignatures make a quorum.

Lines, in any amount of spaces and tabs: ``log VKEY [URL]``, ``witness NAME VKEY
[URL]``, ``group NAME all|any|K MEMBER…``, ``quorum NAME|none`` (exactly one), comments
after ``#``, empty lines. Names are octets and mean nothing outside the file; a line
uses only names of earlier lines, and every name is a member once at most.
"""

from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Final

from undersigned_verify.cosignature import Cosignature, find_cosignature
from undersigned_verify.errors import Fault
from undersigned_verify.note import Note, VerifierKey, parse_note

MAX_POLICY: Final = 100_000
NO_QUORUM: Final = b"none"
# C2SP asks for 32 at least. A file with more than these is a mistake or an attack.
MAX_NAMES: Final = 256

_ALLOWED: Final = frozenset([0x09, 0x0A, *range(0x20, 0x7F), *range(0x80, 0x100)])


@dataclass(frozen=True)
class Party:
    """A log or witness: its key, and where it can be reached (None: not said)."""

    key: VerifierKey
    url: str | None


@dataclass(frozen=True)
class Group:
    """At least ``needed`` of ``members`` must have witnessed."""

    needed: int
    members: tuple[bytes, ...]


@dataclass(frozen=True)
class Policy:
    """A parsed policy. ``quorum``: a name of a witness or group, or ``none``."""

    logs: tuple[Party, ...]
    witnesses: dict[bytes, Party]
    groups: dict[bytes, Group]
    quorum: bytes

    @property
    def asks_for_witnesses(self) -> bool:
        """Whether any cosignature is required at all."""
        return self.quorum != NO_QUORUM

    def knows_log(self, key: VerifierKey) -> bool:
        """Whether the log's key is listed; a policy without logs knows all."""
        return not self.logs or any(party.key == key for party in self.logs)

    def is_met_by(self, names: AbstractSet[bytes]) -> bool:
        """Whether cosignatures of these witnesses make the quorum."""
        return not self.asks_for_witnesses or self._has(self.quorum, names)

    def is_witnessed(self, key: VerifierKey, names: AbstractSet[bytes]) -> bool:
        """Whether these witnesses make anything of this log witnessed.

        Stricter than ``is_met_by``: a quorum of nobody shows nothing.
        """
        return self.asks_for_witnesses and self.knows_log(key) and self.is_met_by(names)

    def _has(self, name: bytes, names: AbstractSet[bytes]) -> bool:
        group = self.groups.get(name)
        if group is None:
            return name in names
        found = sum(self._has(member, names) for member in group.members)
        return found >= group.needed

    def list_cosignatures(self, note: Note) -> dict[bytes, Cosignature]:
        """Return the valid cosignatures on a checkpoint, by the policy's own names.

        A line that bears a witness's name and is false counts for nothing, as if it
        were not there: whoever can add lines could otherwise make a good one refused.
        """
        found = {}
        for name, party in self.witnesses.items():
            try:
                cosignature = find_cosignature(note, party.key)
            except Fault:
                continue
            if cosignature is not None:
                found[name] = cosignature
        return found

    def is_met(self, checkpoint: bytes) -> bool:
        """Whether a signed checkpoint carries the quorum; Fault if it is no note."""
        return self.is_met_by(set(self.list_cosignatures(parse_note(checkpoint))))


@dataclass
class _Draft:
    logs: list[Party] = field(default_factory=list)
    witnesses: dict[bytes, Party] = field(default_factory=dict)
    groups: dict[bytes, Group] = field(default_factory=dict)
    members: set[bytes] = field(default_factory=set)
    quorum: bytes | None = None

    def take(self, words: list[bytes]) -> None:
        """Add one line."""
        kind, rest = words[0], words[1:]
        match kind, len(rest):
            case b"log", 1 | 2:
                self._add_log(rest)
            case b"witness", 2 | 3:
                self._name(rest[0])
                self.witnesses[rest[0]] = self._party(rest[1:], algorithm=4)
            case b"group", count if count >= 3:
                self._name(rest[0])
                self.groups[rest[0]] = self._group(rest[1], rest[2:])
            case b"quorum", 1:
                if self.quorum is not None:
                    raise Fault("policy-form", "a second quorum")
                if rest[0] != NO_QUORUM:
                    self._require_known(rest[0])
                self.quorum = rest[0]
            case _:
                raise Fault("policy-form", "no line of a policy")

    def _add_log(self, words: list[bytes]) -> None:
        party = self._party(words, algorithm=1)
        if any(other.key.public == party.key.public for other in self.logs):
            raise Fault("policy-form", "a log's key twice")
        self.logs.append(party)

    def _party(self, words: list[bytes], *, algorithm: int) -> Party:
        try:
            key = VerifierKey.parse(words[0].decode(), algorithm)
            url = words[1].decode() if len(words) > 1 else None
        except UnicodeDecodeError as error:
            raise Fault("policy-form", "a key or address that is not UTF-8") from error
        except Fault as fault:
            raise Fault("policy-form", fault.detail) from fault
        if any(other.key.public == key.public for other in self.witnesses.values()):
            raise Fault("policy-form", "a witness's key twice")
        return Party(key, url)

    def _name(self, name: bytes) -> None:
        if name == NO_QUORUM or name in self.witnesses or name in self.groups:
            raise Fault("policy-form", "a name that is taken")
        if len(self.witnesses) + len(self.groups) >= MAX_NAMES:
            raise Fault("policy-form", f"more than {MAX_NAMES} names")

    def _require_known(self, name: bytes) -> None:
        if name not in self.witnesses and name not in self.groups:
            raise Fault("policy-form", "a name that no earlier line defines")

    def _group(self, needed: bytes, members: list[bytes]) -> Group:
        for name in members:
            self._require_known(name)
            if name in self.members:
                raise Fault("policy-form", "a name that is a member twice")
            self.members.add(name)
        if needed in (b"any", b"all"):
            return Group(1 if needed == b"any" else len(members), tuple(members))
        # A plain decimal: no sign, no zero in front.
        if not needed.isdigit() or needed.startswith(b"0") or len(needed) > 4:
            raise Fault("policy-form", "a group without a threshold")
        if int(needed) > len(members):
            raise Fault("policy-form", "a threshold above the number of members")
        return Group(int(needed), tuple(members))


def parse_policy(data: bytes) -> Policy:
    """Return the policy in a file's bytes; Fault naming the line that is wrong."""
    if len(data) > MAX_POLICY or not _ALLOWED.issuperset(data):
        raise Fault("policy-form", "The policy is too long or has control characters.")
    if data and not data.endswith(b"\n"):
        raise Fault("policy-form", "The last line of the policy does not end.")
    draft = _Draft()
    for number, line in enumerate(data.split(b"\n"), start=1):
        # Of white space a line may have spaces and tabs only: checked above.
        words = line.split()
        if not words or words[0].startswith(b"#"):
            continue
        try:
            draft.take(words)
        except Fault as fault:
            raise Fault("policy-form", f"Line {number}: {fault.detail}.") from fault
    if draft.quorum is None:
        raise Fault("policy-form", "The policy has no quorum.")
    return Policy(tuple(draft.logs), draft.witnesses, draft.groups, draft.quorum)
