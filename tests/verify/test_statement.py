"""The bytes that people sign."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.errors import Fault
from undersigned_verify.statement import check_characters, check_form, digest


class TestForm:
    @given(st.text("aé河سא\n\u200f\u200d", max_size=30))
    def test_nfc_with_line_feeds_is_read_as_it_is(self, text: str) -> None:
        data = text.encode()
        assert check_form(data) == text
        assert digest(data) == sha256(data).hexdigest()

    @pytest.mark.parametrize(
        "data,reason",
        [
            (b"a\xffb", "byte 1"),
            (b"\xed\xa0\x80", "UTF-8"),
            (b"a\r\nb", "carriage return"),
            (b"a\rb", "carriage return"),
            ("e\u0301".encode(), "NFC"),
            ("\u212b".encode(), "NFC"),
        ],
    )
    def test_it_refuses(self, data: bytes, reason: str) -> None:
        with pytest.raises(Fault, match=reason) as caught:
            check_form(data)
        assert caught.value.code == "statement-form"


class TestCharacters:
    @pytest.mark.parametrize(
        "text", ["a\nb\n", "سلام\u200f!", "क्\u200dष", "👩\u200d🌾"]
    )
    def test_it_allows_what_scripts_need(self, text: str) -> None:
        check_characters(text)

    @pytest.mark.parametrize(
        "character",
        "\0\t\r\x1b\x7f\x85\u2028\u2029\u202a\u202e\u2066\u2069\ufeff\ufff9\U000e0041",
    )
    def test_it_refuses_what_hides_or_reorders(self, character: str) -> None:
        with pytest.raises(
            Fault, match=rf"U\+{ord(character):04X} stands at character 2"
        ):
            check_characters(f"ab{character}c")

    @pytest.mark.parametrize("text", ["", "\n\n", "  \n"])
    def test_it_refuses_nothing(self, text: str) -> None:
        with pytest.raises(Fault, match="empty"):
            check_characters(text)
