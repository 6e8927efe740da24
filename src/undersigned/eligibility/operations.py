"""From an address, a code or some work to a ticket (PROTOCOL §4.1, §4.2)."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from datetime import UTC, datetime
from typing import ClassVar

from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.queries import list_campaigns
from undersigned.campaigns.rules import CLASS_NUMBERS
from undersigned.credentials.issuer import IntakeClosed, IssuingStopped
from undersigned.credentials.operations import (
    ClassNotOffered,
    get_version_key,
    grant_ticket,
)
from undersigned.credentials.tickets import TicketNotValid, VersionKey
from undersigned.eligibility import rules
from undersigned.eligibility.data import (
    Confirmation,
    ConfirmationMail,
    Puzzle,
    WaitingTicket,
)
from undersigned.eligibility.desk import EligibilityDesk, MailQueueFull
from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import Refused, Unavailable

EMAIL, INVITATION, OPEN = (CLASS_NUMBERS[n] for n in ("email", "invitation", "open"))


class AddressNotValid(Refused):
    """This is not an e-mail address."""

    code: ClassVar[str] = "address-not-valid"


class MailNotSetUp(Unavailable):
    """This instance has no mail server: nobody can sign by e-mail."""

    code: ClassVar[str] = "mail-not-set-up"


class CodeWrong(Refused):
    """The short code does not belong to this question."""

    code: ClassVar[str] = "code-wrong"


class AskExpired(Refused):
    """The question is a day old, or its code was tried too often: ask again."""

    code: ClassVar[str] = "ask-expired"


class InvitationNotValid(Refused):
    """Not a code that was handed out for this campaign."""

    code: ClassVar[str] = "invitation-not-valid"


class PuzzleNotSolved(Refused):
    """The work does not belong to this puzzle, or the puzzle is too old."""

    code: ClassVar[str] = "puzzle-not-solved"


def _open_key(desk: EligibilityDesk, campaign: Campaign, klass: str) -> VersionKey:
    if campaign.state is not CampaignState.OPEN:
        raise IssuingStopped(campaign=campaign.id)
    if klass not in campaign.classes:
        raise ClassNotOffered(campaign=campaign.id, klass=klass)
    if not desk.issuer.is_taking:
        # Stopped after a storage failure: a mail sent now could not be used.
        raise StoreStopped()
    return get_version_key(issuer=desk.issuer, origin=campaign.origin)


def _stamp(at: datetime) -> bytes:
    return int(at.timestamp()).to_bytes(8)


def _read_stamp(data: bytes) -> datetime:
    return datetime.fromtimestamp(int.from_bytes(data), tz=UTC)


def ask_by_email(
    *,
    desk: EligibilityDesk,
    campaign: Campaign,
    address: str,
    language: str,
    at: datetime,
) -> str:
    """Send a code and a link to ``address``; return the ask token for the code form.

    The answer is the same whether the address has signed, has had its five mails, or
    neither. Raises AddressNotValid, ClassNotOffered, IssuingStopped, IntakeClosed,
    MailNotSetUp, MailQueueFull.
    """
    key = _open_key(desk, campaign, "email")
    if not desk.takes_mail:
        # Said at once: a mail that is silently dropped would be waited for.
        raise MailNotSetUp()
    normalized = rules.normalize_address(address)
    if normalized is None:
        raise AddressNotValid()
    nullifier = key.make_nullifier(klass=EMAIL, value=normalized)
    code = f"{secrets.randbelow(10**rules.CODE_DIGITS):0{rules.CODE_DIGITS}d}"
    expiry = _stamp(at + rules.ASK_LIFETIME)
    sealed_code = code.encode()
    if desk.count_mail(nullifier, rules.MAILS_PER_ADDRESS):
        mail = ConfirmationMail(
            address=normalized,
            language=language,
            code=code,
            link_token=key.seal("link", expiry + nullifier),
        )
        try:
            desk.enqueue(mail)
        except MailQueueFull:
            desk.give_back_mail(nullifier)
            raise
    else:
        # No mail, so no code: asking for an address again and again gives no more
        # tries at guessing one. These bytes cannot be typed.
        sealed_code = b"\xff" * rules.CODE_DIGITS
    return key.seal("ask", secrets.token_bytes(16) + expiry + nullifier + sealed_code)


def confirm_code(
    *, desk: EligibilityDesk, campaign: Campaign, token: str, code: str, at: datetime
) -> str:
    """Return a ticket for the code from the mail.

    Raises CodeWrong, AskExpired (also after five wrong codes), IssuingStopped.
    """
    key = _open_key(desk, campaign, "email")
    try:
        payload = key.open("ask", token)
    except TicketNotValid:
        raise AskExpired() from None
    ask_id, expiry, nullifier = payload[:16], payload[16:24], payload[24:56]
    if at >= _read_stamp(expiry):
        raise AskExpired()
    if not desk.count_attempt(ask_id, rules.CODE_ATTEMPTS):
        raise AskExpired()
    typed = "".join(c for c in code if not c.isspace() and c != "-")
    plain = "".join(str(int(c)) if c.isdecimal() else c for c in typed)
    if not hmac.compare_digest(plain.encode(), payload[56:]):
        raise CodeWrong()
    return grant_ticket(
        issuer=desk.issuer,
        origin=campaign.origin,
        klass=EMAIL,
        nullifier=nullifier,
        at=at,
        source=token.encode(),
    )


def _find_link(
    desk: EligibilityDesk, token: str, at: datetime
) -> tuple[Campaign, bytes]:
    # The link names no campaign, so that the mail does not: try each open one's key.
    for campaign in list_campaigns():
        if "email" not in campaign.classes or campaign.state is not CampaignState.OPEN:
            continue
        try:
            key = get_version_key(issuer=desk.issuer, origin=campaign.origin)
            payload = key.open("link", token)
        except (TicketNotValid, IntakeClosed, IssuingStopped):
            continue
        if at >= _read_stamp(payload[:8]):
            raise AskExpired()
        return campaign, payload[8:40]
    raise AskExpired()


def read_confirmation(
    *, desk: EligibilityDesk, token: str, at: datetime
) -> Confirmation:
    """Return what a link leads to; changes nothing (mail scanners open links).

    Raises AskExpired.
    """
    campaign, _nullifier = _find_link(desk, token, at)
    return Confirmation(campaign_id=campaign.id)


def confirm_link(
    *, desk: EligibilityDesk, token: str, at: datetime
) -> tuple[Campaign, str]:
    """Return campaign and ticket for a link whose button was pressed.

    Raises AskExpired.
    """
    campaign, nullifier = _find_link(desk, token, at)
    ticket = grant_ticket(
        issuer=desk.issuer,
        origin=campaign.origin,
        klass=EMAIL,
        nullifier=nullifier,
        at=at,
        source=token.encode(),
    )
    return campaign, ticket


def make_invitation_codes(
    *, desk: EligibilityDesk, campaign: Campaign, count: int
) -> list[str]:
    """Return ``count`` fresh codes. Nothing is stored: a code authenticates itself.

    Raises ClassNotOffered, IntakeClosed, IssuingStopped.
    """
    key = _open_key(desk, campaign, "invitation")
    codes = []
    for _number in range(count):
        body = secrets.token_bytes(rules.CODE_BODY_BYTES)
        codes.append(
            rules.encode_code(body + key.make_code_tag(body, rules.CODE_TAG_BYTES))
        )
    return codes


def use_invitation(
    *, desk: EligibilityDesk, campaign: Campaign, code: str, at: datetime
) -> str:
    """Return a ticket for an invitation code.

    A code used before gives a ticket too, which then buys no second token: who holds
    the sheet learns nothing here. Raises InvitationNotValid.
    """
    key = _open_key(desk, campaign, "invitation")
    data = rules.decode_code(code)
    if data is None:
        raise InvitationNotValid()
    body, tag = data[: rules.CODE_BODY_BYTES], data[rules.CODE_BODY_BYTES :]
    if not hmac.compare_digest(key.make_code_tag(body, rules.CODE_TAG_BYTES), tag):
        raise InvitationNotValid()
    return grant_ticket(
        issuer=desk.issuer,
        origin=campaign.origin,
        klass=INVITATION,
        nullifier=key.make_nullifier(klass=INVITATION, value=body.hex()),
        at=at,
        source=body,
    )


def make_puzzle(*, desk: EligibilityDesk, campaign: Campaign, at: datetime) -> Puzzle:
    """Return a fresh puzzle of the open class. Raises ClassNotOffered, …."""
    key = _open_key(desk, campaign, "open")
    payload = secrets.token_bytes(16) + _stamp(at + rules.PUZZLE_LIFETIME)
    return Puzzle(token=key.seal("puzzle", payload), bits=rules.PUZZLE_BITS)


def _has_zero_bits(digest: bytes, bits: int) -> bool:
    return int.from_bytes(digest) >> (8 * len(digest) - bits) == 0


def solve_puzzle(
    *,
    desk: EligibilityDesk,
    campaign: Campaign,
    token: str,
    solution: str,
    at: datetime,
) -> str:
    """Return a ticket for a solved puzzle; one puzzle buys one token.

    Raises PuzzleNotSolved.
    """
    key = _open_key(desk, campaign, "open")
    try:
        payload = key.open("puzzle", token)
    except TicketNotValid:
        raise PuzzleNotSolved() from None
    if len(solution) > 20 or not solution.isascii() or not solution.isdigit():
        raise PuzzleNotSolved()
    digest = hashlib.sha256(f"{token}:{solution}".encode()).digest()
    if not _has_zero_bits(digest, rules.PUZZLE_BITS) or at >= _read_stamp(payload[16:]):
        raise PuzzleNotSolved()
    return grant_ticket(
        issuer=desk.issuer,
        origin=campaign.origin,
        klass=OPEN,
        nullifier=key.make_nullifier(klass=OPEN, value=payload[:16].hex()),
        at=at,
        source=token.encode(),
    )


def ask_waiting_ticket(
    *, desk: EligibilityDesk, campaign: Campaign, at: datetime
) -> WaitingTicket:
    """Return a ticket valid after some minutes, in place of work, without scripts.

    The time stands inside the sealed ticket and nowhere on disk.
    """
    key = _open_key(desk, campaign, "open")
    valid_from = at + rules.WAITING
    ticket = grant_ticket(
        issuer=desk.issuer,
        origin=campaign.origin,
        klass=OPEN,
        nullifier=key.make_nullifier(klass=OPEN, value=secrets.token_hex(16)),
        at=at,
        valid_from=valid_from,
    )
    return WaitingTicket(ticket=ticket, valid_from=valid_from)
