"""The leaves of an instance's spine log, and where they may stand.

Six kinds, each RFC 8785 JSON of exactly the listed members, without a version or type
byte. ``parse`` refuses every other spelling with a Fault ``leaf-…`` or
``json-not-canonical``; ``encode`` is its inverse. ``SpineState`` holds the rules over
leaves in order, the same for the auditor and for whoever appends. What a spine says of
a campaign is compared with that campaign's log in ``spined``. Source: PROTOCOL
section 8.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar, Final

from undersigned_verify.canonical import MAX_INTEGER
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.canonical import parse as parse_json
from undersigned_verify.entry import (
    MAX_LEAF,
    ORIGIN,
    check_integer,
    check_members,
    check_sha256,
)
from undersigned_verify.errors import Fault

# Where the spine lies below an instance's root, and in its origin.
PATH: Final = "spine"


def spine_origin(origin: str) -> str:
    """Return the origin of the spine that a log of this origin belongs to."""
    return f"{origin.partition('/')[0]}/{PATH}"


def check_spine_origin(origin: str) -> None:
    """Raise a Fault unless this is HOST/spine."""
    host = origin.removesuffix(f"/{PATH}")
    if not host or host == origin or "/" in host:
        detail = f"The log of {origin!r} is no spine: its origin is not HOST/{PATH}."
        raise Fault("origin-path", detail)


def _check_origin(origin: object) -> None:
    if not isinstance(origin, str) or ORIGIN.fullmatch(origin) is None:
        raise Fault("leaf-value", "origin is not HOST/c/ID.")


@dataclass(frozen=True, slots=True)
class CampaignLeaf:
    """A campaign's log begins: ``header_sha256`` is of the whole of its leaf 0."""

    kind: ClassVar[str] = "campaign"
    origin: str
    header_sha256: str  # lower-case hexadecimal

    def __post_init__(self) -> None:
        _check_origin(self.origin)
        check_sha256(self.header_sha256, "header_sha256")


@dataclass(frozen=True, slots=True)
class KeyLeaf:
    """An issuer key of a campaign, announced in its log under the same index."""

    kind: ClassVar[str] = "key"
    origin: str
    key_index: int  # u16
    spki_sha256: str

    def __post_init__(self) -> None:
        _check_origin(self.origin)
        check_integer(self.key_index, 0, 0xFFFF, "key_index")
        check_sha256(self.spki_sha256, "spki_sha256")


@dataclass(frozen=True, slots=True)
class CheckpointLeaf:
    """A kept checkpoint of a campaign's log."""

    kind: ClassVar[str] = "checkpoint"
    origin: str
    size: int  # at least 1
    root: str  # lower-case hexadecimal

    def __post_init__(self) -> None:
        _check_origin(self.origin)
        check_integer(self.size, 1, MAX_INTEGER, "size")
        check_sha256(self.root, "root")


@dataclass(frozen=True, slots=True)
class ClientLeaf:
    """The file that signs in browsers, as it is served from now on."""

    kind: ClassVar[str] = "client"
    sha256: str

    def __post_init__(self) -> None:
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True, slots=True)
class IssuedLeaf:
    """How many tokens were issued under a key so far."""

    kind: ClassVar[str] = "issued"
    origin: str
    key_index: int  # u16
    total: int  # cumulative

    def __post_init__(self) -> None:
        _check_origin(self.origin)
        check_integer(self.key_index, 0, 0xFFFF, "key_index")
        check_integer(self.total, 0, MAX_INTEGER, "total")


@dataclass(frozen=True, slots=True)
class RetiredLeaf:
    """The spine says nothing more of this campaign's log."""

    kind: ClassVar[str] = "retired"
    origin: str

    def __post_init__(self) -> None:
        _check_origin(self.origin)


OfCampaign = CampaignLeaf | KeyLeaf | CheckpointLeaf | IssuedLeaf | RetiredLeaf
Leaf = OfCampaign | ClientLeaf

# Names in the order of each class's parameters.
_MEMBERS: Final[dict[str, tuple[str, ...]]] = {
    CampaignLeaf.kind: ("origin", "header_sha256"),
    KeyLeaf.kind: ("origin", "key_index", "spki_sha256"),
    CheckpointLeaf.kind: ("origin", "size", "root"),
    ClientLeaf.kind: ("sha256",),
    IssuedLeaf.kind: ("origin", "key_index", "total"),
    RetiredLeaf.kind: ("origin",),
}
_KINDS: Final[dict[str, type[Leaf]]] = {
    CampaignLeaf.kind: CampaignLeaf,
    KeyLeaf.kind: KeyLeaf,
    CheckpointLeaf.kind: CheckpointLeaf,
    ClientLeaf.kind: ClientLeaf,
    IssuedLeaf.kind: IssuedLeaf,
    RetiredLeaf.kind: RetiredLeaf,
}
# Nearly every leaf of a spine is a checkpoint, and this is its canonical form wherever
# the origin needs no escapes: ten times as fast as reading JSON and writing it again.
_CHECKPOINT: Final = re.compile(
    rb'\{"kind":"checkpoint","origin":"([!#-*,-.0-\[\]-~]+/c/[!#-*,-.0-\[\]-~]+'
    rb'(?:/(?:[2-9]|[1-9][0-9]+))?)","root":"([0-9a-f]{64})",'
    rb'"size":([1-9][0-9]{0,14})\}'
)


def encode(leaf: Leaf) -> bytes:
    """Return the bytes of a leaf; Fault where no leaf could be so long."""
    members = {name: getattr(leaf, name) for name in _MEMBERS[leaf.kind]}
    data = encode_json({"kind": leaf.kind, **members})
    if len(data) > MAX_LEAF:
        raise Fault("leaf-length", "A leaf is longer than 65,535 bytes.")
    return data


def parse(data: bytes) -> Leaf:
    """Return the leaf of exactly these bytes; else Fault."""
    quick = _CHECKPOINT.fullmatch(data)
    if quick is not None and len(data) <= MAX_LEAF:
        origin, root, size = quick[1].decode(), quick[2].decode(), int(quick[3])
        return CheckpointLeaf(origin, size, root)
    if len(data) > MAX_LEAF:
        raise Fault("leaf-length")
    value = parse_json(data)
    if not isinstance(value, dict):
        raise Fault("leaf-members", "The leaf is not a JSON object.")
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise Fault("leaf-type", "The leaf's kind is unknown.")
    names = _MEMBERS[kind]
    check_members(value, {"kind", *names})
    # Every member is checked by its class, whatever type it has here.
    return _KINDS[kind](*(value[name] for name in names))  # type: ignore[arg-type]


@dataclass(slots=True)
class CampaignState:
    """What a spine has said of one campaign so far."""

    size: int = 0  # of its newest checkpoint; 0 before the first
    keys: set[int] = field(default_factory=set)
    totals: dict[int, int] = field(default_factory=dict)
    is_retired: bool = False


class SpineState:
    """The rules over a spine's leaves in order. ``apply`` changes all or nothing."""

    def __init__(self, origin: str) -> None:
        """``origin``: the spine's own, HOST/spine; Fault where it is another."""
        check_spine_origin(origin)
        self._host = origin.partition("/")[0]
        self._spkis: set[str] = set()
        self.campaigns: dict[str, CampaignState] = {}

    def apply(self, leaf: Leaf) -> None:
        """Append one leaf; Fault, and no change, where it may not stand."""
        if isinstance(leaf, ClientLeaf):
            return
        found = self._check_campaign(leaf)
        match leaf:
            case CampaignLeaf():
                self.campaigns[leaf.origin] = found
            case CheckpointLeaf():
                if leaf.size <= found.size:
                    detail = f"{leaf.origin}: {leaf.size} follows {found.size}."
                    raise Fault("spine-size", detail)
                found.size = leaf.size
            case KeyLeaf():
                self._add_key(leaf, found)
            case IssuedLeaf():
                _add_total(leaf, found)
            case RetiredLeaf():
                found.is_retired = True

    def _check_campaign(self, leaf: OfCampaign) -> CampaignState:
        """Return the state of the leaf's campaign; Fault where it may not have one."""
        found = self.campaigns.get(leaf.origin)
        begins = isinstance(leaf, CampaignLeaf)
        if found is None:
            if leaf.origin.partition("/")[0] != self._host:
                raise Fault("spine-host", f"{leaf.origin} is not of {self._host}.")
            if not begins:
                raise Fault("spine-campaign", f"{leaf.origin} was not named before.")
            return CampaignState()
        if found.is_retired:
            raise Fault("spine-retired", f"{leaf.origin} was retired before.")
        if begins:
            raise Fault("spine-campaign", f"{leaf.origin} was named before.")
        return found

    def _add_key(self, leaf: KeyLeaf, found: CampaignState) -> None:
        if leaf.key_index in found.keys:
            detail = f"{leaf.origin} announced a key {leaf.key_index} before."
            raise Fault("spine-key-again", detail)
        if leaf.spki_sha256 in self._spkis:
            raise Fault("spine-key-again", "This issuer key was announced before.")
        found.keys.add(leaf.key_index)
        self._spkis.add(leaf.spki_sha256)


def _add_total(leaf: IssuedLeaf, found: CampaignState) -> None:
    if leaf.key_index not in found.keys:
        detail = f"{leaf.origin} has announced no key {leaf.key_index}."
        raise Fault("spine-key-unknown", detail)
    before = found.totals.get(leaf.key_index, -1)
    if leaf.total <= before:
        detail = f"{leaf.origin}, key {leaf.key_index}: {leaf.total} follows {before}."
        raise Fault("spine-issued", detail)
    found.totals[leaf.key_index] = leaf.total
