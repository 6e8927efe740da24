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
# Letters and symbols by their category that show nothing: fillers and a blank pattern.
_BLANK = frozenset("\u115f\u1160\u2800\u3164\uffa0")
_JOINERS = frozenset("\u200c\u200d")
# Scripts stack two or three marks on a letter; more is decoration that hides text.
_MARKS_AT_MOST = 4

# The same rules for the browser: ECMAScript patterns with the flags "iu", applied to
# text in NFKC. Refusing before the token is made costs the signer nothing.
BROWSER_PATTERNS: dict[str, str] = {
    "email": r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.[^\s@<>.]{2,}",
    "number": (
        r"(?:[\p{Nd}〇零一二三四五六七八九][\p{Cf}\p{M}\u0640]*"
        r"(?:[\s().\-\/]{0,3}|[,_:·\u2010-\u2015])[\p{Cf}\p{M}\u0640]*){6,}"
        r"[\p{Nd}〇零一二三四五六七八九]"
    ),
    "link": r"https?:\/\/|www\.|\bt\.me\/",
    "handle": r"(?:^|[^\p{L}\p{N}_])@[\p{L}\p{N}_.]{3,}",
    "plate": r"[\u4e00-\u9fff][A-Z][·\s]?(?=[A-Z0-9]*[0-9])[A-Z0-9]{5,6}(?![A-Z0-9])",
    "hidden": (
        r"(?![\n\u200c\u200d\u0600-\u0605\u06dd\u070f\u08e2])"
        r"[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}\u115f\u1160\u2800\u3164]"
        r"|\p{M}{5,}|(?:^|[^\p{L}\p{M}\p{S}])[\u200c\u200d]"
        r"|[\u200c\u200d](?![\p{L}\p{M}\p{S}])"
    ),
}

_EMAIL = re.compile(r"[^\s@<>]{1,64}@[^\s@<>]{1,255}\.[^\s@<>.]{2,}")
# Seven digits or more, also when grouped: phone, card, identity and bank numbers. A
# comma or a dash joins digits only where no space follows: a list of years is none.
_LONG_NUMBER = re.compile(r"(?:\d(?:[\s().\-/]{0,3}|[,_:·\u2010-\u2015])){6,}\d")
_LINK = re.compile(r"https?://|www\.|\bt\.me/", re.IGNORECASE)
_HANDLE = re.compile(r"(?<!\w)@[\w.]{3,}")
_PLATE = re.compile(
    r"[\u4e00-\u9fff][A-Z][·\s]?(?=[A-Z0-9]*[0-9])[A-Z0-9]{5,6}(?![A-Z0-9])"
)
_GUARDS = (
    ("email", _EMAIL),
    ("number", _LONG_NUMBER),
    ("link", _LINK),
    ("handle", _HANDLE),
    ("plate", _PLATE),
)
# As they are read out digit by digit, and a full stop that closes a sentence in Chinese
# and a host's name in an address.
_AS_READ = str.maketrans("〇零一二三四五六七八九。", "00123456789.")


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
    """Return position and name of the first control, bidi or invisible character.

    A joiner stands between two letters, marks or symbols, as scripts and emoji use it;
    between digits it only hides them from who looks for a number.
    """
    marks = 0
    for position, character in enumerate(text):
        category = unicodedata.category(character)
        marks = marks + 1 if category[0] == "M" else 0
        if character == "\n":
            continue
        if (
            (category in _MISLEADING and character not in _NEEDED)
            or character in _BLANK
            or marks > _MARKS_AT_MOST
            or (character in _JOINERS and not _joins(text, position))
        ):
            name = unicodedata.name(character, f"U+{ord(character):04X}")
            return position, name
    return None


def _joins(text: str, position: int) -> bool:
    around = text[max(0, position - 1) : position] + text[position + 1 : position + 2]
    return len(around) == 2 and all(
        unicodedata.category(one)[0] in "LMS" for one in around
    )


def require_clean(text: str, *, field: str) -> None:
    """Raise TextNotClean for a character that could mislead a reader."""
    found = find_unclean(text)
    if found is not None:
        raise TextNotClean(field=field, position=found[0], character=found[1])


def _make_plain(text: str) -> str:
    """Return the text as it is searched: undecorated, and its digits ASCII."""
    return "".join(
        str(unicodedata.decimal(character)) if character.isdecimal() else character
        for character in unicodedata.normalize("NFKC", text).translate(_AS_READ)
        if unicodedata.category(character) not in ("Cf", "Mn", "Me")
        and character != "\u0640"
    )


def require_publishable(
    text: str, *, field: str, limit: int, lines: bool = False
) -> str:
    """Return ``text`` normalised if it may be published beside a signature.

    ``lines``: whether it may have more than one. Raises TextTooLong, TextNotClean,
    PersonalDataFound. Names are not searched for: the signer writes their own.
    """
    clean = normalize(text)
    if len(clean) > limit:
        raise TextTooLong(field=field, limit=limit, length=len(clean))
    require_clean(clean, field=field)
    if not lines and "\n" in clean:
        at = clean.index("\n")
        raise TextNotClean(field=field, position=at, character="LINE FEED")
    plain = _make_plain(clean)
    for kind, pattern in _GUARDS:
        if pattern.search(plain):
            raise PersonalDataFound(field=field, kind=kind)
    return clean
