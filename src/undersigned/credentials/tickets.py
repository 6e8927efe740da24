"""Sealed strings handed to people: tickets, confirmation links, asks, puzzles.

Each is ``base64url(nonce 12 ‖ ChaCha20-Poly1305(payload))`` under a key derived from
the version key for one purpose, with the origin as associated data. So the server
stores nothing to recognise them, they tell nothing to whoever holds them (the
nullifier of an address, above all), and all die with the version key at close.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from datetime import UTC, datetime, timedelta
from typing import ClassVar, Literal, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from undersigned.credentials.data import TicketFacts
from undersigned.kernel.errors import Refused

Purpose: TypeAlias = Literal["ticket", "link", "ask", "puzzle"]

# A ticket lasts until the end of the UTC day after the one it was made on: at least a
# day, and its expiry tells the day only.
TICKET_DAYS = 2
_MAX_LENGTH = 2048


class TicketNotValid(Refused):
    """Not a ticket of this campaign, or spent on another request."""

    code: ClassVar[str] = "ticket-not-valid"


class TicketExpired(Refused):
    """The ticket's last day is over."""

    code: ClassVar[str] = "ticket-expired"


class TicketNotYetValid(Refused):
    """A waiting ticket of the open class, shown too early. ``valid_from``: instant."""

    code: ClassVar[str] = "ticket-not-yet-valid"


class VersionKey:
    """The secret of one statement version, outside every database."""

    def __init__(self, origin: str, secret: bytes) -> None:
        self.origin = origin
        self._secret = secret
        # Made once: a ticket is opened for every token.
        self._ciphers: dict[Purpose, ChaCha20Poly1305] = {}

    def _derive(self, label: str) -> bytes:
        text = f"undersigned/{label}/v1\0{self.origin}".encode()
        return hmac.digest(self._secret, text, "sha256")

    def make_nullifier(self, *, klass: int, value: str) -> bytes:
        """Return HMAC-SHA256 of a normalised address or code, by class (§4.1)."""
        data = bytes([klass]) + value.encode()
        return hmac.digest(self._derive("nullifier"), data, "sha256")

    def make_code_tag(self, body: bytes, length: int) -> bytes:
        """Return the authenticating tail of an invitation code."""
        return hmac.digest(self._derive("invitation"), body, "sha256")[:length]

    def make_salt(self, source: bytes) -> bytes:
        """Return the 16 bytes that tell the ticket for one source from others."""
        return hmac.digest(self._derive("ticket-salt"), source, "sha256")[:16]

    def _get_cipher(self, purpose: Purpose) -> ChaCha20Poly1305:
        if purpose not in self._ciphers:
            self._ciphers[purpose] = ChaCha20Poly1305(self._derive(purpose))
        return self._ciphers[purpose]

    def seal(self, purpose: Purpose, payload: bytes) -> str:
        """Return ``payload`` sealed for one purpose."""
        nonce = secrets.token_bytes(12)
        cipher = self._get_cipher(purpose)
        sealed = nonce + cipher.encrypt(nonce, payload, self.origin.encode())
        return _encode(sealed)

    def open(self, purpose: Purpose, text: str) -> bytes:
        """Return the payload. Raises TicketNotValid."""
        if len(text) > _MAX_LENGTH:
            raise TicketNotValid()
        try:
            data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
            if _encode(data) != text:
                # The decoder skips what it does not know: one text, one meaning.
                raise TicketNotValid()
            cipher = self._get_cipher(purpose)
            return cipher.decrypt(data[:12], data[12:], self.origin.encode())
        except (binascii.Error, ValueError, InvalidTag):
            raise TicketNotValid() from None


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def end_of_day(at: datetime, *, days: int) -> datetime:
    """Return the midnight (UTC) that ends the ``days``-th day counted from ``at``."""
    midnight = at.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + timedelta(days=days)


def make_ticket(
    key: VersionKey,
    *,
    klass: int,
    nullifier: bytes,
    at: datetime,
    valid_from: datetime | None = None,
    source: bytes | None = None,
) -> tuple[str, TicketFacts]:
    """Return a sealed ticket and its facts; the caller registers its hash.

    ``source``: what it is given for (a mailed link, a code): the same source gives the
    same ticket all day, so that pressing a button again and again fills no file. None:
    a ticket of its own each time.
    """
    expires_at = end_of_day(at, days=TICKET_DAYS)
    start = int(valid_from.timestamp()) if valid_from is not None else 0
    payload = (
        bytes([klass])
        + nullifier
        + (secrets.token_bytes(16) if source is None else key.make_salt(source))
        + start.to_bytes(8)
        + int(expires_at.timestamp()).to_bytes(8)
    )
    text = key.seal("ticket", payload)
    return text, _read_payload(key.origin, payload)


def read_ticket(key: VersionKey, text: str, *, at: datetime) -> TicketFacts:
    """Return a ticket's facts. Raises TicketNotValid, TicketExpired, …NotYetValid."""
    payload = key.open("ticket", text)
    if len(payload) != 65:
        raise TicketNotValid()
    facts = _read_payload(key.origin, payload)
    if at >= facts.expires_at:
        raise TicketExpired()
    if at < facts.valid_from:
        raise TicketNotYetValid(valid_from=facts.valid_from)
    return facts


def _read_payload(origin: str, payload: bytes) -> TicketFacts:
    return TicketFacts(
        origin=origin,
        klass=payload[0],
        nullifier=payload[1:33],
        ticket_hash=hashlib.sha256(b"undersigned/ticket/v1\0" + payload).digest(),
        valid_from=datetime.fromtimestamp(int.from_bytes(payload[49:57]), tz=UTC),
        expires_at=datetime.fromtimestamp(int.from_bytes(payload[57:65]), tz=UTC),
    )
