"""The one mail: what it says, and what it never says."""

from __future__ import annotations

import pytest

from undersigned.eligibility.data import ConfirmationMail, Mail
from undersigned.web.mail.confirmation import make_renderer


def render(language: str) -> Mail:
    renderer = make_renderer(host="undersigned.example", base_url="https://u.example")
    return renderer(
        ConfirmationMail(
            address="asha@example.org",
            language=language,
            code="48291366",
            link_token="opaque",
        )
    )


def test_it_carries_code_and_link() -> None:
    mail = render("en")
    assert mail.to == "asha@example.org"
    assert "    4829 1366\n" in mail.body
    assert "https://u.example/en/confirm/?t=opaque" in mail.body
    assert "https://u.example/en/unasked/" in mail.body
    assert "Opening the link alone does nothing" in mail.body


def test_it_speaks_the_readers_language() -> None:
    mail = render("zh-hans")
    assert mail.subject == "您的验证码"
    assert "https://u.example/zh-hans/confirm/" in mail.body


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_subject_gives_nothing_away(language: str) -> None:
    subject = render(language).subject
    assert "4829" not in subject
    assert "undersigned" not in subject.lower()
    for word in ("sign", "petition", "campaign", "签名", "联署"):
        assert word not in subject.lower()
