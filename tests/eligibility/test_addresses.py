"""One address counts once, however it is typed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from undersigned.eligibility.rules import normalize_address

LOCAL = st.text("abcXYZ019.+-_!#", min_size=1, max_size=20)
DOMAIN = st.lists(
    st.text("abcXYZ019", min_size=1, max_size=10), min_size=2, max_size=4
).map(".".join)


class TestAnAddress:
    @pytest.mark.parametrize(
        "typed",
        [
            "asha@example.org",
            "  asha@example.org\n",
            "Asha@Example.ORG",
            "ASHA@EXAMPLE.ORG",
            "asha@example.org.",
        ],
    )
    def test_it_is_the_same_however_it_is_typed(self, typed: str) -> None:
        assert normalize_address(typed) == "asha@example.org"

    @pytest.mark.parametrize(
        "typed, counted",
        [
            ("omar@münchen.example", "omar@xn--mnchen-3ya.example"),
            ("omar@xn--mnchen-3ya.example", "omar@xn--mnchen-3ya.example"),
            ("mina@例え.example", "mina@xn--r8jz45g.example"),
            ("mina@MÜNCHEN.example", "mina@xn--mnchen-3ya.example"),
        ],
    )
    def test_its_international_domain_has_one_form(
        self, typed: str, counted: str
    ) -> None:
        assert normalize_address(typed) == counted

    def test_its_composed_and_decomposed_letters_are_one(self) -> None:
        composed = normalize_address("jos\u00e9@example.org")
        assert composed is not None
        assert composed == normalize_address("jose\u0301@example.org")

    def test_its_dots_and_tags_are_its_hosts_affair(self) -> None:
        typed = ["asha@example.org", "a.sha@example.org", "asha+river@example.org"]
        assert len({normalize_address(one) for one in typed}) == 3

    @pytest.mark.parametrize(
        "typed",
        [
            "",
            "asha",
            "@example.org",
            "asha@",
            "asha@example",
            "asha@.org",
            "asha@example..org",
            "asha@-example.org",
            "asha@example-.org",
            "asha@exam_ple.org",
            "asha @example.org",
            "asha@exa mple.org",
            "asha@@example.org",
            "asha@omar@example.org",
            ".asha@example.org",
            "asha.@example.org",
            '"asha"@example.org',
            "Asha <asha@example.org>",
            "asha@example.org, omar@example.org",
            "asha@[127.0.0.1]",
            "asha\x00@example.org",
            "asha@example.org\x00",
            "asha\r\nBcc: omar@example.org",
            "asha@example.org\r\nBcc: omar@example.org",
            f"{'a' * 65}@example.org",
            f"asha@{'a' * 64}.org",
            "asha@" + "a." * 130 + "org",
        ],
    )
    def test_what_is_none_is_refused(self, typed: str) -> None:
        assert normalize_address(typed) is None

    @given(local=LOCAL, domain=DOMAIN)
    def test_its_case_never_counts(self, local: str, domain: str) -> None:
        address = f"{local}@{domain}"
        found = normalize_address(address)
        assume(found is not None)
        assert found == normalize_address(address.upper())
        assert found == normalize_address(address.swapcase())

    @given(typed=st.text(max_size=40) | st.emails())
    def test_its_form_is_final_and_safe_in_a_mails_header(self, typed: str) -> None:
        found = normalize_address(typed)
        if found is not None:
            assert normalize_address(found) == found
            assert found.count("@") == 1
            assert not any(c.isspace() or c in ",;:<>\x00" for c in found)
            found.encode()
