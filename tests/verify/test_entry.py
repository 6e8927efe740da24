"""Leaves: one byte string for each entry, and none other accepted."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify import entry as leaf
from undersigned_verify.canonical import MAX_INTEGER, encode_base64
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.errors import Fault
from undersigned_verify.token import encode_spki

from tests.verify.building import CASE, MINA, NOOR, Issuer

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
HASH = st.binary(min_size=32, max_size=32)
INDEX = st.integers(0, 0xFFFF)
COUNT = st.integers(0, MAX_INTEGER)
HOST = st.text("abcdefghijklmnopqrstuvwxyz0123456789.-:", min_size=1, max_size=20)
VERSION = st.none() | st.integers(2, 999)


def base64_of(size: int) -> st.SearchStrategy[str]:
    return st.binary(min_size=size, max_size=size).map(encode_base64)


def make_ranges(cuts: list[int]) -> leaf.Ranges:
    ordered = sorted(cuts)
    return tuple(zip(ordered[0::2], ordered[1::2], strict=False))


RANGES = st.lists(
    st.integers(1, MAX_INTEGER), min_size=2, max_size=12, unique=True
).map(make_ranges)
APPROVALS = st.lists(
    st.builds(leaf.Approval, TEXT, base64_of(64)),
    min_size=2,
    max_size=2,
    unique_by=lambda approval: approval.id,
).map(tuple)
PARTS = {
    "by_class": ("email", "invitation", "vouched", "open"),
    "by_stance": ("for", "reservation", "against"),
}
TOTALS = st.fixed_dictionaries(
    {
        **dict.fromkeys(
            (
                *("signatures", "held", "withdrawals", "removals"),
                *("net", "open_net", "paper"),
            ),
            COUNT,
        ),
        **{
            name: st.fixed_dictionaries(dict.fromkeys(parts, COUNT))
            for name, parts in PARTS.items()
        },
    }
)
ROWS = st.lists(st.integers(0, 60), min_size=2, max_size=2).map(sorted)


def removals(kind: type[Any]) -> st.SearchStrategy[Any]:
    by_range = st.builds(kind, RANGES, st.none(), TEXT, HEX, APPROVALS)
    return by_range | st.builds(kind, st.none(), INDEX, TEXT, HEX, APPROVALS)


ENTRIES: st.SearchStrategy[leaf.Entry] = st.one_of(
    st.builds(
        lambda host, name, version, digest, mode, classes: leaf.Header(
            f"{host}/c/{name}" + (f"/{version}" if version else ""),
            digest,
            host,
            mode,
            tuple(classes),
        ),
        HOST,
        HOST,
        VERSION,
        HEX,
        st.sampled_from(leaf.MODES),
        st.lists(
            st.sampled_from(list(leaf.CLASS_NAMES.values())), min_size=1, unique=True
        ),
    ),
    st.builds(
        leaf.Signature,
        INDEX,
        st.integers(0, 2),
        HASH,
        HASH,
        HASH,
        st.binary(min_size=256, max_size=256),
    ),
    st.builds(
        leaf.IssuerKey,
        INDEX,
        st.integers(1, 4),
        st.integers(0, 1),
        st.integers(2**2046, 2**2047 - 1).map(lambda n: encode_spki(2 * n + 1)),
    ),
    st.builds(leaf.Withdrawal, st.integers(0, 2**64 - 1), HASH),
    st.builds(leaf.Close, TEXT, TOTALS),
    removals(leaf.Removal),
    st.builds(
        lambda sheet, rows, digest, approvals: leaf.PaperSheet(
            sheet, rows[1], rows[0], digest, approvals
        ),
        COUNT,
        ROWS,
        HEX,
        APPROVALS,
    ),
    st.builds(leaf.PublicRecord, TEXT, HEX),
    removals(leaf.Release),
    st.builds(leaf.ApproverKey, TEXT, base64_of(32)),
)

TWO = tuple(
    leaf.Approval(one.id, encode_base64(bytes([i]) * 64))
    for i, one in enumerate((MINA, NOOR))
)
REMOVAL = leaf.Removal(((1, 2), (4, 4)), None, "spam", CASE, TWO)
SHEET = leaf.PaperSheet(1, 60, 59, CASE, TWO)
HEADER = leaf.Header("h/c/i", CASE, "issuer", "standard", ("email", "open"))
RECORD = leaf.PublicRecord("answer", CASE)
KEY = leaf.ApproverKey("mina", encode_base64(bytes(32)))
TOTALS_NONE: dict[str, Any] = {
    **dict.fromkeys(("signatures", "held", "withdrawals", "removals"), 0),
    **dict.fromkeys(("net", "open_net", "paper"), 0),
    **{name: dict.fromkeys(parts, 0) for name, parts in PARTS.items()},
}
CLOSE = leaf.Close("done", TOTALS_NONE)


@given(ENTRIES)
def test_it_reads_back_what_it_writes(entry: leaf.Entry) -> None:
    data = leaf.encode(entry)
    assert leaf.parse(data) == entry
    assert data[:2] == bytes([1, entry.number])


@given(ENTRIES, st.data())
def test_no_other_bytes_are_the_same_entry(
    entry: leaf.Entry, data: st.DataObject
) -> None:
    changed = bytearray(leaf.encode(entry))
    at = data.draw(st.integers(0, len(changed) - 1))
    changed[at] ^= data.draw(st.integers(1, 255))
    try:
        other = leaf.parse(bytes(changed))
    except Fault:
        return
    assert other != entry
    assert leaf.encode(other) == bytes(changed)


@given(st.binary(max_size=60))
def test_any_bytes_are_a_leaf_or_a_fault(data: bytes) -> None:
    try:
        entry = leaf.parse(b"\1" + data)
    except Fault:
        return
    assert leaf.encode(entry) == b"\1" + data


class TestLengths:
    def test_they_are_the_protocol_s(self, issuers: list[Issuer]) -> None:
        signature = leaf.Signature(0, 0, bytes(32), bytes(32), bytes(32), bytes(256))
        assert len(leaf.encode(signature)) == leaf.SIGNATURE_SIZE == 357
        key = leaf.IssuerKey(0, 1, 0, issuers[0].spki)
        assert len(leaf.encode(key)) == leaf.ISSUER_KEY_SIZE == 348
        withdrawal = leaf.Withdrawal(7, bytes(32))
        assert len(leaf.encode(withdrawal)) == leaf.WITHDRAWAL_SIZE == 42
        for entry in (signature, key, withdrawal):
            data = leaf.encode(entry)
            for other in (data[:-1], data + b"\0"):
                with pytest.raises(Fault, match="leaf-length"):
                    leaf.parse(other)

    @pytest.mark.parametrize("data", [b"", b"\1"])
    def test_a_leaf_has_a_type(self, data: bytes) -> None:
        with pytest.raises(Fault, match="leaf-length"):
            leaf.parse(data)

    def test_a_leaf_has_at_most_65535_bytes(self) -> None:
        room = leaf.MAX_LEAF - len(leaf.encode(leaf.PublicRecord("a", CASE)))
        longest = leaf.PublicRecord("a" * (room + 1), CASE)
        assert leaf.parse(leaf.encode(longest)) == longest
        longer = leaf.PublicRecord("a" * (room + 2), CASE)
        with pytest.raises(Fault, match="leaf-length"):
            leaf.encode(longer)
        with pytest.raises(Fault, match="leaf-length"):
            leaf.parse(leaf.encode(longest) + b" ")


def test_what_it_reads_it_would_write(monkeypatch: pytest.MonkeyPatch) -> None:
    data = leaf.encode(RECORD)
    monkeypatch.setattr(leaf, "encode", lambda entry: data + b" ")
    with pytest.raises(Fault, match="json-not-canonical"):
        leaf.parse(data)


class TestTypes:
    def test_there_is_one_version(self) -> None:
        data = leaf.encode(RECORD)
        for version in (0, 2, 255):
            with pytest.raises(Fault, match="leaf-version"):
                leaf.parse(bytes([version]) + data[1:])

    @pytest.mark.parametrize("number", [10, 11, 255])
    def test_others_are_unknown(self, number: int) -> None:
        with pytest.raises(Fault, match="leaf-type"):
            leaf.parse(bytes([1, number]) + leaf.encode(RECORD)[2:])


def change(entry: leaf.Entry, edit: Callable[[dict[str, Any]], object]) -> bytes:
    """Return a JSON leaf whose members were edited."""
    data = leaf.encode(entry)
    members = json.loads(data[2:])
    edit(members)
    return data[:2] + encode_json(members)


def put(name: str, value: object) -> Callable[[dict[str, Any]], object]:
    return lambda members: members.update({name: value})


def drop(name: str) -> Callable[[dict[str, Any]], object]:
    return lambda members: members.pop(name)


class TestMembers:
    @pytest.mark.parametrize(
        "entry",
        [HEADER, CLOSE, REMOVAL, SHEET, RECORD, KEY],
        ids=lambda e: type(e).__name__,
    )
    def test_exactly_the_listed_ones(self, entry: leaf.Entry) -> None:
        assert leaf.parse(change(entry, lambda members: None)) == entry
        for name in json.loads(leaf.encode(entry)[2:]):
            with pytest.raises(Fault, match="leaf-members"):
                leaf.parse(change(entry, drop(name)))
        with pytest.raises(Fault, match="leaf-members"):
            leaf.parse(change(entry, put("note", "more")))

    @pytest.mark.parametrize("content", [b"[]", b"null", b'"text"', b"1"])
    def test_the_content_is_an_object(self, content: bytes) -> None:
        with pytest.raises(Fault, match="leaf-members"):
            leaf.parse(b"\1\7" + content)

    def test_the_json_is_canonical(self) -> None:
        data = leaf.encode(RECORD)
        for other in (data + b" ", data.replace(b":", b": ", 1)):
            with pytest.raises(Fault, match="json-not-canonical"):
                leaf.parse(other)

    @pytest.mark.parametrize("entry", [REMOVAL, leaf.Release(None, 1, "x", CASE, TWO)])
    def test_targets_or_a_key_but_not_both(self, entry: leaf.Entry) -> None:
        name = "remove_key" if isinstance(entry, leaf.Removal) else "release_key"
        other = "release_key" if isinstance(entry, leaf.Removal) else "remove_key"
        for edit in (
            lambda members: members.update({name: 1, "targets": [[1, 1]]}),
            lambda members: (members.pop("targets", 0), members.pop(name, 0)),
            lambda members: (members.pop("targets", 0), members.update({other: 1})),
        ):
            with pytest.raises(Fault, match="leaf-members"):
                leaf.parse(change(entry, edit))
        with pytest.raises(Fault, match="leaf-members"):
            leaf.Removal(None, None, "x", CASE)
        with pytest.raises(Fault, match="leaf-members"):
            leaf.Removal(((1, 1),), 1, "x", CASE)


class TestValues:
    @pytest.mark.parametrize(
        "entry,name,value",
        [
            (HEADER, "origin", ""),
            (HEADER, "origin", 1),
            (HEADER, "origin", "h"),
            (HEADER, "origin", "h/c/"),
            (HEADER, "origin", "h/c/i/"),
            (HEADER, "origin", "h/c/i/1"),
            (HEADER, "origin", "h/c/i/02"),
            (HEADER, "origin", "h/c/i/x"),
            (HEADER, "origin", "h/c/i j"),
            (HEADER, "origin", "h/c/i+j"),
            (HEADER, "origin", "h/c/ï"),
            (HEADER, "origin", "h/c/i\n"),
            (HEADER, "statement_sha256", CASE.upper()),
            (HEADER, "statement_sha256", CASE[:-1]),
            (HEADER, "statement_sha256", None),
            (HEADER, "issuer_name", ""),
            (HEADER, "issuer_name", "a b"),
            (HEADER, "issuer_name", "é"),
            (HEADER, "mode", "Standard"),
            (HEADER, "mode", ["standard"]),
            (HEADER, "classes", []),
            (HEADER, "classes", "email"),
            (HEADER, "classes", ["email", "email"]),
            (HEADER, "classes", ["paper"]),
            (HEADER, "classes", [1]),
            (REMOVAL, "reason", ""),
            (REMOVAL, "reason", False),
            (REMOVAL, "case_sha256", "x" * 64),
            (REMOVAL, "case_sha256", "０" * 64),
            (REMOVAL, "approvals", []),
            (REMOVAL, "approvals", {}),
            (leaf.Removal(None, 1, "x", CASE, TWO), "remove_key", True),
            (leaf.Removal(None, 1, "x", CASE, TWO), "remove_key", -1),
            (leaf.Removal(None, 1, "x", CASE, TWO), "remove_key", 65_536),
            (leaf.Removal(None, 1, "x", CASE, TWO), "remove_key", "1"),
            (leaf.Release(None, 1, "x", CASE, TWO), "release_key", None),
            (SHEET, "sheet", -1),
            (SHEET, "sheet", "1"),
            (SHEET, "rows_claimed", 61),
            (SHEET, "rows_accepted", 61),
            (SHEET, "rows_accepted", -1),
            (SHEET, "rows_accepted", True),
            (SHEET, "scan_sha256", ""),
            (RECORD, "kind", ""),
            (RECORD, "kind", []),
            (RECORD, "sha256", 0),
            (KEY, "id", ""),
            (KEY, "public_key", encode_base64(bytes(31))),
            (KEY, "public_key", encode_base64(bytes(33))),
            (KEY, "public_key", None),
            (CLOSE, "reason", ""),
            (CLOSE, "totals", {**TOTALS_NONE, "net": -1}),
            (CLOSE, "totals", {**TOTALS_NONE, "net": True}),
            (CLOSE, "totals", {**TOTALS_NONE, "net": "0"}),
            (
                CLOSE,
                "totals",
                {**TOTALS_NONE, "by_class": {**TOTALS_NONE["by_class"], "open": None}},
            ),
        ],
    )
    def test_it_refuses(self, entry: leaf.Entry, name: str, value: object) -> None:
        with pytest.raises(Fault, match="leaf-value"):
            leaf.parse(change(entry, put(name, value)))

    @pytest.mark.parametrize(
        "totals",
        [
            {},
            [],
            {**TOTALS_NONE, "more": 0},
            {**TOTALS_NONE, "by_class": {}},
            {**TOTALS_NONE, "by_stance": {**TOTALS_NONE["by_stance"], "no": 0}},
            {**TOTALS_NONE, "by_stance": 0},
        ],
    )
    def test_totals_have_their_members(self, totals: object) -> None:
        with pytest.raises(Fault, match="leaf-members"):
            leaf.parse(change(CLOSE, put("totals", totals)))

    def test_base64_has_one_spelling(self) -> None:
        with pytest.raises(Fault, match="base64-not-canonical"):
            leaf.parse(change(KEY, put("public_key", "=")))

    @pytest.mark.parametrize("field,value", [(4, 3), (4, 255)])
    def test_a_stance_is_one_of_three(self, field: int, value: int) -> None:
        signature = leaf.Signature(0, 2, bytes(32), bytes(32), bytes(32), bytes(256))
        data = bytearray(leaf.encode(signature))
        data[field] = value
        with pytest.raises(Fault, match="leaf-value"):
            leaf.parse(bytes(data))

    @pytest.mark.parametrize("field,value", [(4, 0), (4, 5), (5, 2), (5, 128)])
    def test_a_key_has_known_class_and_flags(
        self, issuers: list[Issuer], field: int, value: int
    ) -> None:
        data = bytearray(leaf.encode(leaf.IssuerKey(0, 1, 1, issuers[0].spki)))
        data[field] = value
        with pytest.raises(Fault, match="leaf-value"):
            leaf.parse(bytes(data))

    def test_bytes_have_their_size(self) -> None:
        with pytest.raises(Fault, match="leaf-value"):
            leaf.Withdrawal(1, bytes(31))


class TestRanges:
    @given(RANGES)
    def test_they_read_back(self, ranges: leaf.Ranges) -> None:
        assert leaf.parse_ranges(leaf.encode_ranges(ranges)) == ranges
        assert leaf.count_targets(ranges) >= len(ranges)

    @pytest.mark.parametrize(
        "targets",
        [
            [],
            {},
            [[0, 1]],
            [[0, 0]],
            [[2, 1]],
            [[1, 3], [3, 4]],
            [[4, 5], [1, 2]],
            [[1, 2], [1, 2]],
            [[1]],
            [[1, 2, 3]],
            [1, 2],
        ],
    )
    def test_it_refuses(self, targets: object) -> None:
        with pytest.raises(Fault, match="leaf-ranges"):
            leaf.parse(change(REMOVAL, put("targets", targets)))

    @pytest.mark.parametrize(
        "targets", [[[1, True]], [["1", 2]], [[True, 2]], [[-1, 2]]]
    )
    def test_their_ends_are_integers(self, targets: object) -> None:
        with pytest.raises(Fault, match="leaf-value"):
            leaf.parse(change(REMOVAL, put("targets", targets)))

    def test_neighbours_need_not_be_joined(self) -> None:
        assert leaf.parse_ranges([[1, 2], [3, 3]]) == ((1, 2), (3, 3))


class TestApprovals:
    @pytest.mark.parametrize(
        "approvals",
        [TWO[:1], (*TWO, leaf.Approval("x", TWO[0].signature)), (TWO[0],) * 2],
    )
    def test_they_are_two_of_different_ids(
        self, approvals: tuple[leaf.Approval, ...]
    ) -> None:
        as_json = [{"id": a.id, "signature": a.signature} for a in approvals]
        with pytest.raises(Fault, match="leaf-value"):
            leaf.parse(change(REMOVAL, put("approvals", as_json)))
        with pytest.raises(Fault, match="leaf-value"):
            leaf.encode(replace(REMOVAL, approvals=approvals))

    @pytest.mark.parametrize(
        "member,code",
        [
            ({"id": "x"}, "leaf-members"),
            ({"id": "x", "signature": TWO[0].signature, "at": 1}, "leaf-members"),
            ({"id": "", "signature": TWO[0].signature}, "leaf-value"),
            ({"id": "x", "signature": encode_base64(bytes(63))}, "leaf-value"),
            ({"id": "x", "signature": "?"}, "base64-not-canonical"),
            ("x", "leaf-members"),
        ],
    )
    def test_each_has_its_form(self, member: object, code: str) -> None:
        kept = {"id": TWO[0].id, "signature": TWO[0].signature}
        with pytest.raises(Fault, match=code):
            leaf.parse(change(REMOVAL, put("approvals", [kept, member])))

    def test_they_sign_everything_but_themselves(self) -> None:
        message = leaf.approval_message("h/c/i", REMOVAL)
        assert message == (
            b"undersigned/approve/v1\0h/c/i\0\5"
            b'{"case_sha256":"' + CASE.encode() + b'","reason":"spam",'
            b'"targets":[[1,2],[4,4]]}'
        )
        assert leaf.approval_message("h/c/i", replace(REMOVAL, approvals=())) == message
