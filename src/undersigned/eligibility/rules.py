"""Numbers and forms of eligibility."""

from __future__ import annotations

import re
import unicodedata
from datetime import timedelta
from typing import Final

MAILS_PER_ADDRESS: Final = 5
CODE_DIGITS: Final = 8
CODE_ATTEMPTS: Final = 5
ASK_LIFETIME: Final = timedelta(hours=24)
# Eighteen bits: about a quarter of a million hashes, seconds on an old phone.
PUZZLE_BITS: Final = 18
PUZZLE_LIFETIME: Final = timedelta(hours=2)
WAITING: Final = timedelta(minutes=5)

# Invitation codes: sixteen characters to copy by hand, half of them random and half an
# authenticating tag: a guess is right once in 2^40, and nothing is stored.
CODE_BODY_BYTES: Final = 5
CODE_TAG_BYTES: Final = 5
CODE_ALPHABET: Final = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"

_LOCAL = re.compile(r"[^\s@,;:<>()\[\]\\\"\x00-\x1f\x7f]{1,64}")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")


def normalize_address(text: str) -> str | None:
    """Return the address that is counted once, or None if it is no address.

    The domain is lower-cased and, if international, encoded (IDNA); the local part is
    lower-cased. Dots and tags are kept: they mean different things at different hosts.
    """
    composed = unicodedata.normalize("NFC", text.strip())
    local, at, domain = composed.rpartition("@")
    if not at or not _LOCAL.fullmatch(local) or local[0] == "." or local[-1] == ".":
        return None
    try:
        ascii_domain = domain.rstrip(".").encode("idna").decode("ascii").lower()
    except UnicodeError:
        return None
    labels = ascii_domain.split(".")
    if len(labels) < 2 or len(ascii_domain) > 253:
        return None
    if not all(_LABEL.fullmatch(label) for label in labels):
        return None
    return f"{local.lower()}@{ascii_domain}"


def encode_code(data: bytes) -> str:
    """Return ``data`` as grouped letters and digits without look-alikes."""
    value, letters = int.from_bytes(data), []
    for _position in range(len(data) * 8 // 5):
        value, digit = divmod(value, 32)
        letters.append(CODE_ALPHABET[digit])
    text = "".join(reversed(letters))
    return "-".join(text[at : at + 4] for at in range(0, len(text), 4))


def decode_code(text: str) -> bytes | None:
    """Return the bytes of an invitation code as people type it, or None."""
    plain = text.upper().translate(str.maketrans("OIL", "011"))
    plain = re.sub(r"[\s\-–—]", "", plain)
    length = CODE_BODY_BYTES + CODE_TAG_BYTES
    if len(plain) != length * 8 // 5 or any(c not in CODE_ALPHABET for c in plain):
        return None
    value = 0
    for character in plain:
        value = value * 32 + CODE_ALPHABET.index(character)
    return value.to_bytes(length)
