"""Whether a text may be shown: characters, and structured personal data."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned.safety.text import (
    PersonalDataFound,
    TextNotClean,
    TextTooLong,
    find_unclean,
    normalize,
    require_clean,
    require_publishable,
)


def publish(text: str, limit: int = 500) -> str:
    return require_publishable(text, field="comment", limit=limit, lines=True)


class TestNormalising:
    def test_it_makes_one_form_of_lines_letters_and_ends(self) -> None:
        assert normalize("  cafe\u0301\r\na\rb \n") == "caf\u00e9\na\nb"

    @given(text=st.text(max_size=80))
    def test_it_is_final(self, text: str) -> None:
        once = normalize(text)
        assert normalize(once) == once
        assert unicodedata.is_normalized("NFC", once)
        assert "\r" not in once


class TestCharacters:
    @pytest.mark.parametrize(
        "text",
        [
            "We drink it.",
            "我们喝这里的水。",
            "نشرب منه",
            "हम यही पानी पीते हैं",
            "two\nlines",
            "emoji 🌊 and a family 👩\u200d👧",
            "naïve “quotes” — dashes…",
        ],
    )
    def test_what_people_write_is_clean(self, text: str) -> None:
        require_clean(text, field="comment")
        assert publish(text) == unicodedata.normalize("NFC", text)

    @pytest.mark.parametrize(
        "character",
        [
            "\u202e",
            "\u2066",
            "\u200f",
            "\u061c",
            "\u200b",
            "\ufeff",
            "\u00ad",
            "\x00",
            "\x1b",
            "\t",
            "\x85",
            "\ue000",
            "\U0010ffff",
            "\ud800",
            "\u2028",
            "\u2029",
            "\ufff9",
            "\U000e0041",
        ],
        ids=lambda c: f"U+{ord(c):04X}",
    )
    def test_what_misleads_or_hides_is_named(self, character: str) -> None:
        with pytest.raises(TextNotClean) as caught:
            publish(f"ab{character}c")
        assert caught.value.data["position"] == 2
        assert caught.value.data["field"] == "comment"
        assert caught.value.data["character"]

    def test_the_first_one_is_found(self) -> None:
        assert find_unclean("a\u202eb\u200b") == (1, "RIGHT-TO-LEFT OVERRIDE")
        assert find_unclean("plain") is None

    @given(text=st.text(max_size=60))
    def test_whatever_is_published_is_clean_and_final(self, text: str) -> None:
        try:
            found = publish(text)
        except (TextNotClean, PersonalDataFound):
            return
        assert find_unclean(found) is None
        assert publish(found) == found


class TestLength:
    def test_it_is_counted_in_letters_after_trimming(self) -> None:
        assert publish(" " + "水" * 10 + " ", limit=10) == "水" * 10
        with pytest.raises(TextTooLong) as caught:
            publish("水" * 11, limit=10)
        assert caught.value.data == {"field": "comment", "limit": 10, "length": 11}

    def test_nothing_is_short_enough(self) -> None:
        assert publish("", limit=0) == ""


class TestPersonalData:
    @pytest.mark.parametrize(
        "text",
        [
            "asha@example.org",
            "write to asha@example.org please",
            "ASHA@EXAMPLE.ORG",
            "asha＠example.org",
            "asha@example.org.cn",
        ],
    )
    def test_a_mail_address_is_found(self, text: str) -> None:
        self.check(text, "email")

    @pytest.mark.parametrize(
        "text",
        [
            "5551234567",
            "555 123 4567",
            "555-123-4567",
            "+86 138 0013 8000",
            "(020) 7946 0958",
            "13800138000",
            "１３８００１３８０００",
            "١٢٣٤٥٦٧٨٩",
            "१२३४५६७८",
            "①③⑧⓪⓪①③⑧⓪⓪⓪",
            "138\u00a00013\u00a08000",
            "138.0013.8000",
            "4111 1111 1111 1111",
            "110101199003074518",
            "11010119900307451X",
            "𝟏𝟑𝟖𝟎𝟎𝟏𝟑𝟖𝟎𝟎𝟎",
        ],
    )
    def test_a_long_number_is_found_in_any_digits(self, text: str) -> None:
        self.check(f"mine is {text} call me", "number")

    @pytest.mark.parametrize(
        "text",
        ["https://mallory.example/x", "HTTP://x", "www.mallory.example", "ｗｗｗ.x.y"],
    )
    def test_a_link_is_found(self, text: str) -> None:
        self.check(f"see {text}", "link")

    @pytest.mark.parametrize(
        "text",
        [
            "In 2026 we were 1,200 people.",
            "Since 1998",
            "Room 12, floor 3",
            "3.14159",
            "24/7",
            "a @ b",
            "50 % by 2030",
            "第123456号",
        ],
    )
    def test_a_year_or_a_count_is_none(self, text: str) -> None:
        assert publish(text) == text

    def check(self, text: str, kind: str) -> None:
        with pytest.raises(PersonalDataFound) as caught:
            publish(text)
        assert caught.value.data == {"field": "comment", "kind": kind}
        # What was found is not repeated: an error may end up in a log.
        assert text not in str(caught.value)


class TestDisguises:
    """What looks like the plain thing to a reader is found like it."""

    @pytest.mark.parametrize(
        "text",
        [
            "1\u034f3\u034f8\u034f0\u034f0\u034f1\u034f3",
            "1\ufe0f\u20e33\ufe0f\u20e38\ufe0f\u20e30\ufe0f\u20e30\ufe0f\u20e31\ufe0f\u20e33",
            "138,0013,8000",
            "138_0013_8000",
            "138:0013:8000",
            "138   0013   8000",
            "138\u20130013\u20138000",
            "138\u20110013\u20118000",
            "138·0013·8000",
            "138\u06400013\u06408000",
            "一三八零零一三八零零零",
            "一三八〇〇一三八〇〇〇",
        ],
    )
    def test_a_number(self, text: str) -> None:
        with pytest.raises(PersonalDataFound) as caught:
            publish(f"call {text} now")
        assert caught.value.data["kind"] == "number"

    @pytest.mark.parametrize(
        "text, kind",
        [
            ("asha@example。com", "email"),
            ("t.me/asha", "link"),
            ("write to @asha_of_the_river", "handle"),
            ("车牌 京A12345", "plate"),
            ("京A·D12345", "plate"),
        ],
    )
    def test_an_address_a_handle_a_plate(self, text: str, kind: str) -> None:
        with pytest.raises(PersonalDataFound) as caught:
            publish(text)
        assert caught.value.data["kind"] == kind

    @pytest.mark.parametrize(
        "text",
        [
            "1\u200d3\u200d8",
            "\u200dab",
            "ab\u200c",
            "a\u200d b",
            "\u3164",
            "a\u115fb",
            "a\u2800b",
            "a" + "\u0301" * 6,
        ],
    )
    def test_what_only_hides_is_refused(self, text: str) -> None:
        with pytest.raises(TextNotClean):
            publish(text)

    @pytest.mark.parametrize(
        "text",
        [
            "In 2008, 2012, 2016 and 2020.",
            "100,000 of us, at 7 to 9 o'clock",
            "二〇〇八年五月十二日",
            "نمی\u200cخواهم",
            "क्\u200dष",
            "e-mail me @ home",
            "中国A股",
            "1/2, 3/4",
        ],
    )
    def test_what_people_write_passes(self, text: str) -> None:
        assert publish(text) == unicodedata.normalize("NFC", text)

    def test_a_name_has_one_line(self) -> None:
        with pytest.raises(TextNotClean) as caught:
            require_publishable("Asha\nOmar", field="name", limit=80)
        assert caught.value.data == {
            "field": "name",
            "position": 4,
            "character": "LINE FEED",
        }
