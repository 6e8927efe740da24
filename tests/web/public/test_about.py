"""Promises, privacy, abuse, unasked codes, and the mailbox."""

from __future__ import annotations

import re

import pytest

from tests.factories.instances import Instance
from tests.support import shared_dir
from tests.web.conftest import Reader, text_of


@pytest.mark.parametrize("language", ["en", "zh-hans", "en-xr"])
@pytest.mark.parametrize("name", ["promises", "privacy", "abuse", "unasked", "check"])
def test_every_page_stands_in_every_language(
    reader: Reader, language: str, name: str
) -> None:
    page = reader.opens(f"/{language}/{name}/")
    assert page.status_code == 200
    body = page.content.decode()
    direction = "rtl" if language == "en-xr" else "ltr"
    assert f'dir="{direction}"' in body.split("<head>")[0]


def test_the_promises_are_the_protocols_words(reader: Reader) -> None:
    protocol = shared_dir("design", "PROTOCOL.md").read_text(encoding="utf-8")
    table = protocol.split("## 1.")[1].split("## 2.")[0]
    page = text_of(reader.opens("/en/promises/"))
    checked = 0
    for row in [line for line in table.splitlines() if line.startswith("| P")]:
        for part in re.split(r"[|;]|\. |\*\*", row[5:].strip("|")):
            said = part.strip(" .*").replace("'", "’").replace("`", "")
            if said.startswith("(Reserved") or "as honest as" in said:
                continue
            # The page calls w by what it is, and the file by its content.
            said = said.replace("with w it", "with the withdrawal key it")
            said = said.replace("bytes of statement", "bytes of the statement")
            said = said.replace("**and**", "and").replace("*", "").replace('"', "")
            plain = page.replace("“", "").replace("”", "")
            assert said in plain, said
            checked += 1
    assert checked > 30


def test_the_foot_of_every_page_promises_no_more_than_the_first_promise(
    reader: Reader,
) -> None:
    body = reader.opens("/en/").content.decode().split("<footer")[1]
    assert (
        "better than one in the crowd of the same statement version, issuer key and"
        " publication interval, which may be small"
    ) in body
    assert 'href="/en/promises/#p1"' in body
    assert '<div id="p1">' in reader.opens("/en/promises/").content.decode()


def test_the_measured_figures_stand_in_chinese_too(reader: Reader) -> None:
    page = text_of(reader.opens("/zh-hans/promises/"))
    assert "73 %" in page
    assert "Simulated" not in page
    assert "%%" not in page


def test_the_words_used_are_explained(reader: Reader) -> None:
    body = reader.opens("/en/promises/").content.decode()
    listed = body.split('<h2 id="words">')[1].split("</dl>")[0]
    for word in ("Checkpoint", "Token", "Issuer key", "Pool", "Crowd", "Digest"):
        assert f"<dt>{word}</dt>" in listed
    assert '<div id="mode"><dt>Publication mode</dt>' in listed


def test_the_contact_is_the_operators(instance: Instance, reader: Reader) -> None:
    assert "has not named a contact" in text_of(reader.opens("/en/abuse/"))
    instance.restart(UNDERSIGNED_ABUSE_CONTACT="abuse@example.org")
    named = Reader(instance).opens("/en/abuse/").content.decode()
    assert 'href="mailto:abuse@example.org"' in named


def test_the_mailbox_is_closed_in_production(
    instance: Instance, reader: Reader
) -> None:
    assert reader.opens("/en/mailbox/").status_code == 200
    instance.restart(UNDERSIGNED_MODE="production")
    assert Reader(instance).opens("/en/mailbox/").status_code == 404
    assert "/mailbox/" not in Reader(instance).opens("/en/").content.decode()


def test_an_unasked_code_is_explained(reader: Reader) -> None:
    page = text_of(reader.opens("/en/unasked/"))
    assert "Nothing has been signed" in page
    assert "proves neither that you asked nor that anybody signed" in page
