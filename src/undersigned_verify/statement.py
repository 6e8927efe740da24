"""The bytes that people sign: what a statement file may hold.

A log binds to SHA-256 of these bytes, so they have one form: UTF-8, NFC, lines ended
by LF. The check of characters goes further than a log's acceptance does: it refuses
what makes a text look other than it reads. Who publishes a statement should call both.
"""

import unicodedata
from hashlib import sha256
from typing import Final

from undersigned_verify.errors import Fault

MAX_STATEMENT: Final = 1_000_000

# Embeddings, overrides and isolates reorder what follows them; marks (U+200E, U+200F,
# U+061C) only settle neighbours, and Arabic and Hebrew texts need them.
_DIRECTION: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
# Line and paragraph separators, byte order mark, annotations and tag characters.
_HIDDEN: Final = frozenset(
    map(chr, (0x2028, 0x2029, 0xFEFF, *range(0xFFF9, 0xFFFC), *range(0xE0000, 0xE0080)))
)


def check_form(data: bytes) -> str:
    """Return the text of a statement; Fault unless UTF-8, NFC and LF only."""
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        detail = f"The statement is not UTF-8 at byte {error.start}."
        raise Fault("statement-form", detail) from error
    if "\r" in text:
        raise Fault("statement-form", "A line ends in a carriage return.")
    if not unicodedata.is_normalized("NFC", text):
        raise Fault("statement-form", "The statement is not in Unicode's form NFC.")
    return text


def check_characters(text: str) -> None:
    """Refuse control, direction and hidden characters other than line feeds."""
    for at, character in enumerate(text):
        if character != "\n" and (
            unicodedata.category(character) == "Cc"
            or character in _DIRECTION
            or character in _HIDDEN
        ):
            detail = f"U+{ord(character):04X} stands at character {at}."
            raise Fault("statement-characters", detail)
    if not text.strip():
        raise Fault("statement-characters", "The statement is empty.")


def digest(data: bytes) -> str:
    """Return the statement's digest as a header writes it."""
    return sha256(data).hexdigest()
