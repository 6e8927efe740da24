"""Canonical JSON and base64."""

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.canonical import (
    MAX_INTEGER,
    encode,
    encode_base64,
    parse,
    parse_base64,
)
from undersigned_verify.errors import Fault

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-MAX_INTEGER, MAX_INTEGER) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


class TestJSON:
    @given(VALUES)
    def test_it_reads_back_what_it_writes(self, value: object) -> None:
        data = encode(value)
        assert parse(data) == value
        assert json.loads(data) == value

    @given(VALUES)
    def test_it_has_one_form_only(self, value: object) -> None:
        data = encode(value)
        for other in (
            json.dumps(value, ensure_ascii=True).encode(),
            json.dumps(value, indent=1).encode(),
            data + b"\n",
        ):
            if other != data:
                with pytest.raises(Fault, match="json-not-canonical"):
                    parse(other)

    def test_it_orders_members_by_utf_16(self) -> None:
        # RFC 8785 section 3.2.3: U+1F600 is a surrogate pair, so before U+FB33.
        value = {"\ufb33": 1, "\U0001f600": 2, "1": 3, "\r": 4, "€": 5}
        assert list(json.loads(encode(value))) == [
            "\r",
            "1",
            "€",
            "\U0001f600",
            "\ufb33",
        ]

    def test_it_escapes_as_ecmascript_does(self) -> None:
        value = '\x00\b\t\n\x0b\f\r\x1f"\\/\x7f\u2028é'
        assert encode(value) == (
            b'"\\u0000\\b\\t\\n\\u000b\\f\\r\\u001f\\"\\\\/\x7f'
            + "\u2028é".encode()
            + b'"'
        )

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b" 1",
            b"1.0",
            b"1e2",
            b"-0",
            b"01",
            b"NaN",
            b"Infinity",
            b"-Infinity",
            b'{"a":1,"a":1}',
            b'{"a":1,"a":2}',
            b'{"b":1,"a":2}',
            b'{"a": 1}',
            b'"\\u0041"',
            b'"\\/"',
            b'"\\u000A"',
            b'"\\ud800"',
            b'"\xff"',
            b"\xef\xbb\xbf1",
            b"9007199254740993",
            b"-9007199254740993",
            b"123456789012345678",
            b"1" * 5000,
            b"[" * 20 + b"]" * 20,
            b"[" * 60_000,
            b"1 2",
        ],
    )
    def test_it_refuses(self, data: bytes) -> None:
        with pytest.raises(Fault, match="json-not-canonical"):
            parse(data)

    @pytest.mark.parametrize(
        "value",
        [1.5, b"x", {1: 2}, {"a": object()}, 2**53 + 1, "\ud800", {"\ud800": 1}],
    )
    def test_it_cannot_write(self, value: object) -> None:
        with pytest.raises(Fault, match="json-not-canonical"):
            encode(value)


class TestBase64:
    @given(st.binary(max_size=80))
    def test_it_reads_back_what_it_writes(self, data: bytes) -> None:
        assert parse_base64(encode_base64(data)) == data

    @given(st.text("AZaz09+/=-_ \n", max_size=12))
    def test_it_accepts_one_spelling_of_each(self, text: str) -> None:
        try:
            data = parse_base64(text)
        except Fault:
            return
        assert base64.b64encode(data).decode() == text

    @pytest.mark.parametrize("text", ["AA", "AB==", "AA==\n", "A-==", "AA =", "é", "="])
    def test_it_refuses(self, text: str) -> None:
        with pytest.raises(Fault, match="base64-not-canonical"):
            parse_base64(text)
