"""Every string has its Chinese, and the Chinese promises with the same marks."""

from __future__ import annotations

import re

import pytest
from babel.messages.catalog import Catalog
from babel.messages.pofile import read_po

from tests.web.catalogs import Message, find_messages
from undersigned.web.shared.locale import FOLDER

PLACEHOLDER = re.compile(r"%\((\w+)\)s")


@pytest.fixture(scope="module")
def messages() -> dict[Message, set[str]]:
    return find_messages()


@pytest.fixture(scope="module")
def chinese() -> Catalog:
    path = FOLDER / "zh_Hans" / "LC_MESSAGES" / "django.po"
    with path.open("rb") as source:
        return read_po(source, locale="zh_Hans")


def forms_of(text: object) -> tuple[str, ...]:
    """Return the forms of a message id or string: several where it has a plural."""
    if isinstance(text, (list, tuple)):
        return tuple(str(form or "") for form in text)
    return (str(text or ""),)


def test_nothing_is_untranslated(
    messages: dict[Message, set[str]], chinese: Catalog
) -> None:
    missing = []
    for (single, plural), files in messages.items():
        found = chinese.get(single)
        known = found is not None and bool(found.pluralizable) is (plural is not None)
        if found is None or not known or not all(forms_of(found.string)):
            missing.append((single, plural, sorted(files)))
    assert missing == []


def test_nothing_is_left_over(
    messages: dict[Message, set[str]], chinese: Catalog
) -> None:
    said = {single for single, _plural in messages}
    kept = {forms_of(message.id)[0] for message in chinese if message.id}
    assert kept - said == set()


def test_no_placeholder_is_made_up(chinese: Catalog) -> None:
    for message in chinese:
        known = {
            name for text in forms_of(message.id) for name in PLACEHOLDER.findall(text)
        }
        for text in forms_of(message.string) if message.id else ():
            assert set(PLACEHOLDER.findall(text)) <= known, message.id


def test_strings_are_found_at_all(messages: dict[Message, set[str]]) -> None:
    singles = {single for single, _plural in messages}
    assert "Sign these words" in singles
    assert "This campaign is closed" in singles
    assert len(singles) > 400
