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
