"""The leaves of a campaign's log: ten types, one exact byte string for each.

Byte 0 is the version, 1; byte 1 the type; integers are big-endian. Types 1, 2 and 3
are binary of fixed length, the others RFC 8785 JSON of exactly the listed members.
``parse`` refuses every other spelling with a Fault ``leaf-…``, ``json-not-canonical``
or ``base64-not-canonical``; ``encode`` is its inverse. Forms only: whether a leaf may
stand where it stands is decided in ``count``. Source: PROTOCOL section 3.
"""

import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final

from undersigned_verify.canonical import (
    MAX_INTEGER,
    Value,
    encode_base64,
    parse_base64,
)
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.canonical import parse as parse_json
from undersigned_verify.errors import Fault
from undersigned_verify.token import Challenge, parse_spki

VERSION: Final = 1
MAX_LEAF: Final = 65_535

HEADER: Final = 0
SIGNATURE: Final = 1
ISSUER_KEY: Final = 2
WITHDRAWAL: Final = 3
CLOSE: Final = 4
REMOVAL: Final = 5
PAPER_SHEET: Final = 6
PUBLIC_RECORD: Final = 7
RELEASE: Final = 8
APPROVER_KEY: Final = 9

SIGNATURE_SIZE: Final = 357
ISSUER_KEY_SIZE: Final = 348
WITHDRAWAL_SIZE: Final = 42
SIGNATURE_PREFIX: Final = bytes([VERSION, SIGNATURE])

MODES: Final = ("standard", "careful", "danger")
CLASS_NAMES: Final[dict[int, str]] = {
    1: "email",
    2: "invitation",
    3: "vouched",
    4: "open",
}
STANCE_NAMES: Final[dict[int, str]] = {0: "for", 1: "reservation", 2: "against"}
QUARANTINE: Final = 1
MAX_SHEET_ROWS: Final = 60

Ranges = tuple[tuple[int, int], ...]

ORIGIN: Final = re.compile(r"[!-*,-.0-~]+/c/[!-*,-.0-~]+(/([2-9]|[1-9][0-9]+))?")
_HEX_DIGITS: Final = frozenset(string.digits + "abcdef")


def _refuse(detail: str) -> Fault:
    return Fault("leaf-value", detail)


def _check(condition: bool, detail: str) -> None:
    if not condition:
        raise _refuse(detail)


def check_integer(value: object, low: int, high: int, name: str) -> None:
    """Refuse what is no integer of this range."""
    # bool is a subclass of int, and JSON's true must not pass for 1.
    if type(value) is not int or not low <= value <= high:
        raise _refuse(f"{name} is not an integer from {low} to {high}.")


def _check_text(value: object, name: str) -> None:
    _check(isinstance(value, str) and value != "", f"{name} is not a text, or empty.")


def check_sha256(value: object, name: str) -> None:
    """Refuse what is no SHA-256 in lower-case hexadecimal."""
    _check(
        isinstance(value, str) and len(value) == 64 and set(value) <= _HEX_DIGITS,
        f"{name} is not 64 lower-case hexadecimal digits.",
    )


def _check_base64(value: object, size: int, name: str) -> None:
    _check(isinstance(value, str), f"{name} is not a text.")
    assert isinstance(value, str)
    _check(len(parse_base64(value)) == size, f"{name} is not {size} bytes long.")


def _check_bytes(value: bytes, size: int, name: str) -> None:
    _check(len(value) == size, f"{name} is not {size} bytes long.")


@dataclass(frozen=True, slots=True)
class Header:
    """Type 0, only and always leaf 0: which text this log signs, and how."""

    number: ClassVar[int] = HEADER
    origin: str  # HOST/c/ID, or HOST/c/ID/N for version N from 2 on
    statement_sha256: str  # lower-case hexadecimal
    issuer_name: str  # the issuer's host, visible ASCII
    mode: str  # one of MODES
    classes: tuple[str, ...]  # of CLASS_NAMES, at least one, each once

    @property
    def challenge(self) -> Challenge:
        """What the tokens of this log are bound to."""
        digest = bytes.fromhex(self.statement_sha256)
        return Challenge(self.issuer_name, self.origin, digest)

    def __post_init__(self) -> None:
        _check_text(self.origin, "origin")
        _check(ORIGIN.fullmatch(self.origin) is not None, "origin is not HOST/c/ID.")
        check_sha256(self.statement_sha256, "statement_sha256")
        _check_text(self.issuer_name, "issuer_name")
        visible = all("!" <= c <= "~" for c in self.issuer_name)
        _check(visible, "issuer_name is not a host.")
        _check(self.mode in MODES, "mode is unknown.")
        known = all(name in CLASS_NAMES.values() for name in self.classes)
        _check(known and bool(self.classes), "classes are empty or unknown.")
        _check(len(set(self.classes)) == len(self.classes), "A class stands twice.")


@dataclass(frozen=True, slots=True)
class Signature:
    """Type 1: a token spent on the statement, with a stance."""

    number: ClassVar[int] = SIGNATURE
    key_index: int  # u16
    stance: int  # 0 for, 1 for with a reservation, 2 against
    public_hash: bytes  # 32 bytes; zeros when nothing is shown
    withdraw_hash: bytes  # 32 bytes
    r: bytes  # 32 bytes
    authenticator: bytes  # 256 bytes, RSASSA-PSS

    def __post_init__(self) -> None:
        check_integer(self.key_index, 0, 0xFFFF, "key_index")
        check_integer(self.stance, 0, 2, "stance")
        _check_bytes(self.public_hash, 32, "public_hash")
        _check_bytes(self.withdraw_hash, 32, "withdraw_hash")
        _check_bytes(self.r, 32, "r")
        _check_bytes(self.authenticator, 256, "authenticator")


@dataclass(frozen=True, slots=True)
class IssuerKey:
    """Type 2: an issuer key, announced before its first use."""

    number: ClassVar[int] = ISSUER_KEY
    key_index: int  # u16
    klass: int  # a key of CLASS_NAMES
    flags: int  # 0, or QUARANTINE
    spki: bytes  # 342 bytes

    def __post_init__(self) -> None:
        check_integer(self.key_index, 0, 0xFFFF, "key_index")
        check_integer(self.klass, 1, 4, "class")
        check_integer(self.flags, 0, QUARANTINE, "flags")
        parse_spki(self.spki)


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """Type 3: a signer takes the signature at ``target`` back by showing ``w``."""

    number: ClassVar[int] = WITHDRAWAL
    target: int  # u64
    w: bytes  # 32 bytes

    def __post_init__(self) -> None:
        check_integer(self.target, 0, 2**64 - 1, "target")
        _check_bytes(self.w, 32, "w")


@dataclass(frozen=True, slots=True)
class Close:
    """Type 4: the end of signing, with the recount at this leaf."""

    number: ClassVar[int] = CLOSE
    reason: str
    # The members of count.json but origin, tree_size and root_hash; integers of 0 up.
    totals: Mapping[str, object]

    def __post_init__(self) -> None:
        _check_text(self.reason, "reason")
        _check_totals(self.totals)


@dataclass(frozen=True, slots=True)
class Approval:
    """One of the two approvals of a control leaf."""

    id: str  # of an approver key that stands earlier
    signature: str  # base64 of 64 bytes, Ed25519 over ``approval_message``

    def __post_init__(self) -> None:
        _check_text(self.id, "id")
        _check_base64(self.signature, 64, "signature")


@dataclass(frozen=True, slots=True)
class Removal:
    """Type 5: signatures removed by range, or all that are held under one key."""

    number: ClassVar[int] = REMOVAL
    targets: Ranges | None  # None: by key
    remove_key: int | None  # u16; None: by ranges
    reason: str
    case_sha256: str
    approvals: tuple[Approval, ...] = ()

    def __post_init__(self) -> None:
        _check_aim(self.targets, self.remove_key, "remove_key")
        _check_text(self.reason, "reason")
        check_sha256(self.case_sha256, "case_sha256")


@dataclass(frozen=True, slots=True)
class PaperSheet:
    """Type 6: a sheet of paper signatures; a later one replaces its number."""

    number: ClassVar[int] = PAPER_SHEET
    sheet: int
    rows_claimed: int
    rows_accepted: int
    scan_sha256: str
    approvals: tuple[Approval, ...] = ()

    def __post_init__(self) -> None:
        check_integer(self.sheet, 0, MAX_INTEGER, "sheet")
        check_integer(self.rows_claimed, 0, MAX_SHEET_ROWS, "rows_claimed")
        check_integer(self.rows_accepted, 0, self.rows_claimed, "rows_accepted")
        check_sha256(self.scan_sha256, "scan_sha256")


@dataclass(frozen=True, slots=True)
class PublicRecord:
    """Type 7: the digest of an answer, verdict, outcome or other public record."""

    number: ClassVar[int] = PUBLIC_RECORD
    kind: str
    sha256: str

    def __post_init__(self) -> None:
        _check_text(self.kind, "kind")
        check_sha256(self.sha256, "sha256")


@dataclass(frozen=True, slots=True)
class Release:
    """Type 8: held signatures of a key released, or removed ones reinstated."""

    number: ClassVar[int] = RELEASE
    targets: Ranges | None  # None: by key
    release_key: int | None  # u16; None: by ranges
    reason: str
    case_sha256: str
    approvals: tuple[Approval, ...] = ()

    def __post_init__(self) -> None:
        _check_aim(self.targets, self.release_key, "release_key")
        _check_text(self.reason, "reason")
        check_sha256(self.case_sha256, "case_sha256")


@dataclass(frozen=True, slots=True)
class ApproverKey:
    """Type 9: a moderator's key for this campaign, under a pseudonym."""

    number: ClassVar[int] = APPROVER_KEY
    id: str
    public_key: str  # base64 of 32 bytes, Ed25519

    def __post_init__(self) -> None:
        _check_text(self.id, "id")
        _check_base64(self.public_key, 32, "public_key")


Approved = Removal | PaperSheet | Release
Entry = (
    Header
    | Signature
    | IssuerKey
    | Withdrawal
    | Close
    | Approved
    | PublicRecord
    | ApproverKey
)

_TOTALS: Final = ("signatures", "held", "withdrawals", "removals", "net", "open_net")


def _check_totals(totals: object) -> None:
    names = {*_TOTALS, "by_class", "by_stance", "paper"}
    found = check_members(totals, names)
    for name in (*_TOTALS, "paper"):
        check_integer(found[name], 0, MAX_INTEGER, name)
    for name, parts in (("by_class", CLASS_NAMES), ("by_stance", STANCE_NAMES)):
        inner = check_members(found[name], set(parts.values()))
        for part, value in inner.items():
            check_integer(value, 0, MAX_INTEGER, part)


def _check_aim(targets: Ranges | None, key_index: int | None, name: str) -> None:
    if (targets is None) == (key_index is None):
        raise Fault("leaf-members", f"Exactly one of targets and {name} must stand.")
    if targets is not None:
        _check_ranges(targets)
    else:
        check_integer(key_index, 0, 0xFFFF, name)


def _check_ranges(ranges: Ranges) -> None:
    """Inclusive, 0 < first <= last, sorted, disjoint, not empty."""
    before = 0
    for first, last in ranges:
        check_integer(first, 0, MAX_INTEGER, "first")
        check_integer(last, 0, MAX_INTEGER, "last")
        if not before < first <= last:
            raise Fault("leaf-ranges")
        before = last
    if not ranges:
        raise Fault("leaf-ranges")


def encode_ranges(ranges: Ranges) -> list[Value]:
    """Return the JSON form of ranges: ``[[first, last], …]``."""
    _check_ranges(ranges)
    return [[first, last] for first, last in ranges]


def parse_ranges(value: Value) -> Ranges:
    """Return the ranges of their JSON form; Fault unless they are exact."""
    if not isinstance(value, list):
        raise Fault("leaf-ranges", "Targets are not a list of ranges.")
    ranges = []
    for pair in value:
        if not isinstance(pair, list) or len(pair) != 2:
            raise Fault("leaf-ranges", "A range is not a pair.")
        first, last = pair
        # True would compare as 1 below; the check of each end refuses it.
        ranges.append((first, last))
    found: Ranges = tuple(ranges)  # type: ignore[arg-type]  # checked next
    _check_ranges(found)
    return found


def count_targets(ranges: Ranges) -> int:
    """Return how many leaves the ranges cover."""
    return sum(last - first + 1 for first, last in ranges)


def encode(entry: Entry) -> bytes:
    """Return the bytes of a leaf; Fault where no leaf could be so."""
    if isinstance(entry, Signature):
        body = (
            entry.key_index.to_bytes(2)
            + bytes([entry.stance])
            + entry.public_hash
            + entry.withdraw_hash
            + entry.r
            + entry.authenticator
        )
    elif isinstance(entry, IssuerKey):
        head = bytes([entry.klass, entry.flags])
        body = entry.key_index.to_bytes(2) + head + entry.spki
    elif isinstance(entry, Withdrawal):
        body = entry.target.to_bytes(8) + entry.w
    else:
        content = _content(entry)
        if isinstance(entry, Approved):
            content["approvals"] = _encode_approvals(entry.approvals)
        body = encode_json(content)
    data = bytes([VERSION, entry.number]) + body
    if len(data) > MAX_LEAF:
        raise Fault("leaf-length", "A leaf is longer than 65,535 bytes.")
    return data


def _content(
    entry: Header | Close | Approved | PublicRecord | ApproverKey,
) -> dict[str, object]:
    """Return the members of a JSON leaf, approvals left out."""
    match entry:
        case Header():
            return {
                "origin": entry.origin,
                "statement_sha256": entry.statement_sha256,
                "issuer_name": entry.issuer_name,
                "mode": entry.mode,
                "classes": entry.classes,
            }
        case Close():
            return {"reason": entry.reason, "totals": entry.totals}
        case PaperSheet():
            return {
                "sheet": entry.sheet,
                "rows_claimed": entry.rows_claimed,
                "rows_accepted": entry.rows_accepted,
                "scan_sha256": entry.scan_sha256,
            }
        case PublicRecord():
            return {"kind": entry.kind, "sha256": entry.sha256}
        case ApproverKey():
            return {"id": entry.id, "public_key": entry.public_key}
        case Removal():
            aim = _aim(entry.targets, entry.remove_key, "remove_key")
            return {**aim, "reason": entry.reason, "case_sha256": entry.case_sha256}
        case _:
            aim = _aim(entry.targets, entry.release_key, "release_key")
            return {**aim, "reason": entry.reason, "case_sha256": entry.case_sha256}


def _aim(targets: Ranges | None, key_index: int | None, name: str) -> dict[str, object]:
    return {name: key_index} if targets is None else {"targets": encode_ranges(targets)}


def approval_message(origin: str, entry_without_approvals: Approved) -> bytes:
    """Return the bytes that two approvers sign; approvals in the entry are ignored."""
    entry = entry_without_approvals
    return (
        b"undersigned/approve/v1\x00"
        + origin.encode()
        + b"\x00"
        + bytes([entry.number])
        + encode_json(_content(entry))
    )


def _encode_approvals(approvals: tuple[Approval, ...]) -> list[dict[str, str]]:
    if len(approvals) != 2 or len({approval.id for approval in approvals}) != 2:
        raise _refuse("There are not exactly two approvals of different ids.")
    return [{"id": item.id, "signature": item.signature} for item in approvals]


def parse(data: bytes) -> Entry:
    """Return the entry of exactly these leaf bytes; else Fault."""
    if not 2 <= len(data) <= MAX_LEAF:
        raise Fault("leaf-length")
    if data[0] != VERSION:
        raise Fault("leaf-version", f"The leaf's version is {data[0]}, not 1.")
    number, body = data[1], data[2:]
    if number == SIGNATURE:
        return _parse_signature(data)
    if number == ISSUER_KEY:
        _check_length(data, ISSUER_KEY_SIZE)
        return IssuerKey(int.from_bytes(body[:2]), body[2], body[3], body[4:])
    if number == WITHDRAWAL:
        _check_length(data, WITHDRAWAL_SIZE)
        return Withdrawal(int.from_bytes(body[:8]), body[8:])
    if number > APPROVER_KEY:
        raise Fault("leaf-type", f"The leaf's type is {number}.")
    return _parse_json(number, body)


def _check_length(data: bytes, size: int) -> None:
    if len(data) != size:
        raise Fault("leaf-length", f"The leaf has {len(data)} bytes, not {size}.")


def _parse_signature(data: bytes) -> Signature:
    _check_length(data, SIGNATURE_SIZE)
    return Signature(
        int.from_bytes(data[2:4]),
        data[4],
        data[5:37],
        data[37:69],
        data[69:101],
        data[101:],
    )


def _parse_json(number: int, body: bytes) -> Entry:
    found = _object(parse_json(body))
    get = found.get
    if number == HEADER:
        names = {"origin", "statement_sha256", "issuer_name", "mode", "classes"}
        check_members(found, names)
        classes = tuple(_text(name) for name in _list(get("classes")))
        entry: Entry = Header(
            _text(get("origin")),
            _text(get("statement_sha256")),
            _text(get("issuer_name")),
            _text(get("mode")),
            classes,
        )
    elif number == CLOSE:
        check_members(found, {"reason", "totals"})
        entry = Close(_text(get("reason")), _object(get("totals")))
    elif number == PAPER_SHEET:
        rows = {"sheet", "rows_claimed", "rows_accepted"}
        check_members(found, {*rows, "scan_sha256", "approvals"})
        entry = PaperSheet(
            _integer(get("sheet")),
            _integer(get("rows_claimed")),
            _integer(get("rows_accepted")),
            _text(get("scan_sha256")),
            _approvals(get("approvals")),
        )
    elif number == PUBLIC_RECORD:
        check_members(found, {"kind", "sha256"})
        entry = PublicRecord(_text(get("kind")), _text(get("sha256")))
    elif number == APPROVER_KEY:
        check_members(found, {"id", "public_key"})
        entry = ApproverKey(_text(get("id")), _text(get("public_key")))
    else:
        entry = _parse_decision(number, found)
    # A form that this page did not think of cannot slip through: the entry must be
    # encoded to the very bytes it was read from.
    if encode(entry) != bytes([VERSION, number]) + body:
        raise Fault("json-not-canonical")
    return entry


def _parse_decision(number: int, found: dict[str, Value]) -> Removal | Release:
    """Type 5 or 8: by targets or by key, with reason, case and approvals."""
    by_key = "remove_key" if number == REMOVAL else "release_key"
    aim = "targets" if "targets" in found else by_key
    check_members(found, {aim, "reason", "case_sha256", "approvals"})
    kind = Removal if number == REMOVAL else Release
    return kind(
        parse_ranges(found["targets"]) if aim == "targets" else None,
        None if aim == "targets" else _integer(found[by_key]),
        _text(found["reason"]),
        _text(found["case_sha256"]),
        _approvals(found["approvals"]),
    )


def _approvals(value: Value) -> tuple[Approval, ...]:
    found = []
    for item in _list(value):
        members = check_members(_object(item), {"id", "signature"})
        found.append(Approval(_text(members["id"]), _text(members["signature"])))
    _encode_approvals(tuple(found))
    return tuple(found)


def check_members(value: object, names: set[str]) -> Mapping[str, object]:
    """Return a mapping that has exactly these members; else Fault."""
    if not isinstance(value, Mapping) or value.keys() != names:
        raise Fault("leaf-members", f"The members are not {', '.join(sorted(names))}.")
    return value


def _object(value: Value) -> dict[str, Value]:
    if not isinstance(value, dict):
        raise Fault("leaf-members", "The content is not a JSON object.")
    return value


def _list(value: Value) -> list[Value]:
    if not isinstance(value, list):
        raise _refuse("A member is not a list.")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise _refuse("A member is not a text.")
    return value


def _integer(value: object) -> int:
    if type(value) is not int:
        raise _refuse("A member is not an integer.")
    return value


def make_approver_key(*, id: str, public: bytes) -> ApproverKey:
    """Return the type-9 leaf that announces this 32-byte Ed25519 key."""
    return ApproverKey(id, encode_base64(public))
