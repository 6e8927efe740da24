"""Whether a text may be shown or signed: characters, and structured personal data."""

from __future__ import annotations

import re
import unicodedata
from typing import ClassVar

from undersigned.kernel.errors import Refused

# Format characters reorder, hide or join what a reader sees. These belong to the way
# some scripts are written: the two joiners, and Arabic and Syriac number signs.
_NEEDED = frozenset(
    "\u200c\u200d\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u08e2"
)
# Control, format, surrogate, private, unassigned; line and paragraph separators.
_MISLEADING = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})

# The same rules for the browser: ECMAScript patterns with the flags "iu", applied to
# text in NFKC. Refusing before the token is made costs the signer nothing.
BROWSER_PATTERNS: dict[str, str] = {
    "email": r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.[^\s@<>.]{2,}",
    "number": r"(?:\p{Nd}[\s().\-\/]{0,2}){6,}\p{Nd}",
    "link": r"https?:\/\/|www\.",
    "hidden": (
        r"(?![\n\u200c\u200d\u0600-\u0605\u06dd\u070f\u08e2])"
        r"[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]"
    ),
}

_EMAIL = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.[^\s@<>.]{2,}")
# Seven digits or more, also when grouped: phone, card, identity and bank numbers.
_LONG_NUMBER = re.compile(r"(?:\d[\s().\-/]{0,2}){6,}\d")
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)


class TextNotClean(Refused):
    """A character that may not stand there. ``position``: code points, from 0."""

    code: ClassVar[str] = "text-not-clean"


class TextTooLong(Refused):
    """More code points than ``limit``."""

    code: ClassVar[str] = "text-too-long"


class PersonalDataFound(Refused):
    """Looks like an address, a number or a link that could expose someone."""

    code: ClassVar[str] = "personal-data-found"


def normalize(text: str) -> str:
    """Return NFC with LF line ends and no white space at the ends."""
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", unified).strip()


def find_unclean(text: str) -> tuple[int, str] | None:
    """Return position and name of the first control, bidi or invisible character."""
    for position, character in enumerate(text):
        if character == "\n" or character in _NEEDED:
            continue
        if unicodedata.category(character) in _MISLEADING:
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            return position, name
    return None


def require_clean(text: str, *, field: str) -> None:
    """Raise TextNotClean for a character that could mislead a reader."""
    found = find_unclean(text)
    if found is not None:
        raise TextNotClean(field=field, position=found[0], character=found[1])


def _digits_to_ascii(text: str) -> str:
    """Return the text with full-width and other decimal digits as ASCII ones."""
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFKC", text)
    )


def require_publishable(text: str, *, field: str, limit: int) -> str:
    """Return ``text`` normalised if it may be published beside a signature.

    Raises TextTooLong, TextNotClean, PersonalDataFound. Names are not searched for:
    the signer writes their own.
    """
    clean = normalize(text)
    if len(clean) > limit:
        raise TextTooLong(field=field, limit=limit, length=len(clean))
    require_clean(clean, field=field)
    plain = _digits_to_ascii(clean)
    for kind, pattern in (
        ("email", _EMAIL),
        ("number", _LONG_NUMBER),
        ("link", _LINK),
    ):
        if pattern.search(plain):
            raise PersonalDataFound(field=field, kind=kind)
    return clean
