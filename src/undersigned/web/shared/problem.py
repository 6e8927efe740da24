"""The one table from an error's code to a status and two sentences (HOUSE §6.6).

No Django here: the raw ASGI signing path answers from it too. Pages show the same
sentences in the reader's language; JSON carries them in English (RFC 9457).
"""

from __future__ import annotations

import json
from dataclasses import dataclass

from undersigned.kernel.batching import StoreStopped
from undersigned.kernel.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    StorageFailed,
    Unavailable,
    UndersignedError,
)
from undersigned.safety.turns import PleaseWait


def noop(text: str) -> str:
    """Mark ``text`` for translation without translating it."""
    return text


@dataclass(frozen=True, slots=True)
class Said:
    """What is said of an error: HTTP status, a title and what to do about it."""

    status: int
    title: str
    detail: str


FAMILIES: dict[type[UndersignedError], int] = {
    NotAllowed: 403,
    NotFound: 404,
    Refused: 400,
    Conflict: 409,
    Unavailable: 503,
}

STATUSES: dict[int, Said] = {
    400: Said(
        400,
        noop("This request could not be understood"),
        noop("Something in it was missing or damaged. Nothing was changed."),
    ),
    403: Said(
        403,
        noop("This is not allowed"),
        noop("The request was refused. Nothing was changed."),
    ),
    404: Said(
        404,
        noop("There is nothing here"),
        noop("The address may be mistyped, or the page was never public."),
    ),
    405: Said(
        405,
        noop("This address does not take such a request"),
        noop("Go back to the page you came from and use its button."),
    ),
    409: Said(
        409,
        noop("Something was done here already"),
        noop("Look at the page again before you try once more."),
    ),
    410: Said(
        410,
        noop("This is over"),
        noop("What this address offered has ended. The record stays public."),
    ),
    413: Said(
        413,
        noop("That is too large"),
        noop("More was sent than this form can hold. Nothing was kept."),
    ),
    415: Said(
        415,
        noop("That kind of content is not taken here"),
        noop("The request names another media type than this address reads."),
    ),
    429: Said(
        429,
        noop("Too many requests for now"),
        noop("Wait a little and try again. Nothing was lost."),
    ),
    500: Said(
        500,
        noop("Something failed on our side"),
        noop("It was not your doing. Try again in a few minutes."),
    ),
    503: Said(
        503,
        noop("Not available just now"),
        noop("The public record can still be read. Try again in a few minutes."),
    ),
}

CODES: dict[str, Said] = {}
"""By code; a code that is missing gets its family's sentences."""


def _say(code: str, status: int, title: str, detail: str) -> None:
    CODES[code] = Said(status, title, detail)


_say(
    "campaign-not-found",
    404,
    noop("There is no such campaign"),
    noop("The address may be mistyped, or the campaign has not been opened."),
)
_say(
    "log-not-found",
    404,
    noop("There is no such campaign"),
    noop("The address may be mistyped, or the campaign has not been opened."),
)
_say(
    "campaign-closed",
    410,
    noop("This campaign is closed"),
    noop(
        "No signature can be added or withdrawn any more. Count and record stay public."
    ),
)
_say(
    "campaign-not-open",
    410,
    noop("This campaign does not take signatures now"),
    noop("It is not open, or signing has been stopped. The page shows its state."),
)
_say(
    "body-too-slow",
    408,
    noop("The request did not arrive in time"),
    noop("Your connection may be slow. Nothing was changed; please try again."),
)
_say(
    "class-not-offered",
    400,
    noop("This campaign does not offer that way of signing"),
    noop("Choose one of the ways shown on the signing page."),
)
_say(
    "address-not-valid",
    400,
    noop("This does not look like an e-mail address"),
    noop("Write it as name@example.org, without spaces."),
)
_say(
    "code-wrong",
    400,
    noop("That is not the code in the mail"),
    noop("Compare it with the newest mail and type it again. Spaces do not matter."),
)
_say(
    "ask-expired",
    410,
    noop("This code is no longer valid"),
    noop(
        "It is too old, or was tried too often. Start again from the signing page: you"
        " will get a new one."
    ),
)
_say(
    "invitation-not-valid",
    400,
    noop("This invitation code is not valid here"),
    noop("Compare it with your sheet. A code serves one campaign, and one person."),
)
_say(
    "puzzle-not-solved",
    400,
    noop("The work was not accepted"),
    noop("It was wrong or too old. Start it again from the signing page."),
)
_say(
    "ticket-not-valid",
    403,
    noop("This permission to sign is not valid"),
    noop("It belongs to another campaign or was damaged. Start again from its page."),
)
_say(
    "ticket-expired",
    403,
    noop("This permission to sign has run out"),
    noop("Nothing was signed. Start again from the signing page."),
)
_say(
    "ticket-not-yet-valid",
    403,
    noop("It is too early"),
    noop("This permission to sign starts a few minutes after it was given."),
)
_say(
    "already-issued",
    409,
    noop("A token was already given for this address or code"),
    noop(
        "One address or code gets one token. If you began in another browser, finish"
        " there; if that browser lost it, it cannot be given again."
    ),
)
_say(
    "token-not-valid",
    400,
    noop("The token does not fit this text"),
    noop("It was made for other words, another campaign or another key."),
)
_say(
    "stance-not-offered",
    400,
    noop("This campaign does not offer that answer"),
    noop("Choose one of the answers shown."),
)
_say(
    "body-not-valid",
    400,
    noop("This request could not be understood"),
    noop("Something in it was missing or damaged. Nothing was changed."),
)
_say(
    "body-too-large",
    413,
    noop("That is too large"),
    noop("More was sent than this form can hold. Nothing was kept."),
)
_say(
    "media-type-wrong",
    415,
    noop("That kind of content is not taken here"),
    noop("The request names another media type than this address reads."),
)
_say(
    "receipt-not-ready",
    404,
    noop("Not published yet, or not known"),
    noop(
        "A receipt can be fetched once the signature is published. Compare the number,"
        " and come back after the time in your promise."
    ),
)
_say(
    "withdrawal-not-allowed",
    400,
    noop("This does not withdraw the signature"),
    noop(
        "The number or the withdrawal key does not fit, or the signature was withdrawn"
        " before."
    ),
)
_say(
    "leaf-refused",
    400,
    noop("The log does not take this entry"),
    noop("Its rules forbid it in the log’s present state. Nothing was changed."),
)
_say(
    "receipt-not-valid",
    400,
    noop("This is not a receipt of ours"),
    noop("The file is damaged, or it is something else. Choose the receipt file."),
)
_say(
    "too-many-requests",
    429,
    noop("Too many requests for now"),
    noop("Wait a little and try again. Nothing was lost."),
)
_say(
    "please-wait",
    503,
    noop("Many people are here just now: please wait"),
    noop(
        "More come than this machine can take at once. Nothing is lost; your place is"
        " kept if you come back with it."
    ),
)
_say(
    "mail-queue-full",
    503,
    noop("Too many mails are waiting"),
    noop("Ask for your code again in a few minutes. Nothing was lost."),
)
_say(
    "token-request-malformed",
    400,
    noop("The token request is damaged"),
    noop("Its form is not the one the protocol fixes. Reload the page and try again."),
)
_say(
    "ticket-missing",
    400,
    noop("The permission to sign is missing"),
    noop("Nothing was signed. Start again from the signing page."),
)
_say(
    "key-index-unknown",
    400,
    noop("The signature names a key this campaign does not have"),
    noop("Reload the page and try again. Nothing was signed."),
)
_say(
    "signature-malformed",
    400,
    noop("The signature is damaged"),
    noop("A part of it has the wrong length or form. Nothing was signed."),
)
_say(
    "names-not-shown",
    400,
    noop("This campaign shows no names"),
    noop("Leave name, place and comment empty."),
)
_say(
    "text-too-long",
    400,
    noop("What you want to show is too long"),
    noop("A name has at most 80 characters, a place 60, a comment 500."),
)
_say(
    "text-not-clean",
    400,
    noop("There is a hidden character in what you want to show"),
    noop("It could mislead readers. Type the text anew instead of pasting it."),
)
_say(
    "personal-data-found",
    400,
    noop("What you want to show looks like personal data or a link"),
    noop(
        "Mail addresses, web addresses and long numbers, such as phone numbers, are"
        " not shown here. Take them out."
    ),
)
_say(
    "not-the-signer",
    403,
    noop("This key does not belong to that signature"),
    noop("Compare number and key with your receipt. Nothing was changed."),
)
_say(
    "receipt-without-key",
    400,
    noop("This receipt does not hold the withdrawal key"),
    noop("Without that key nobody can withdraw the signature."),
)
_say(
    "receipt-not-ours",
    400,
    noop("This receipt belongs to another log"),
    noop("Check it on the site that gave it, or with the verifier."),
)
_say(
    "method-not-taken",
    405,
    noop("This address does not take such a request"),
    noop("Go back to the page you came from and use its button."),
)
_say(
    "nothing-here",
    404,
    noop("There is nothing here"),
    noop("The address may be mistyped, or the page was never public."),
)
_say(
    "cross-site",
    403,
    noop("This request came from another site"),
    noop("For your safety it was refused. Open the page here and use its own button."),
)
_say(
    "mail-not-set-up",
    503,
    noop("This site cannot send mail"),
    noop(
        "Its operator has set up no mail server, so nobody can sign by e-mail here."
        " Everything published can be read and checked."
    ),
)
_say(
    "intake-closed",
    503,
    noop("No signatures are taken at the moment"),
    noop(
        "Signing is stopped, for maintenance or because a key is missing. Everything"
        " published can still be read and checked."
    ),
)
_say(
    "switched-off",
    503,
    noop("This is paused"),
    noop(
        "Whoever runs this site has turned this off for now. Nothing that was signed is"
        " lost; what you have begun can be finished later. Everything published can be"
        " read and checked."
    ),
)
_say(
    "issuer-away",
    503,
    noop("Signing has to wait a moment"),
    noop(
        "The part of this site that hands out and confirms signatures does not answer"
        " just now. Everything published can still be read and checked. Nothing is"
        " lost: what was taken stays, and if you send the same thing again in a minute"
        " it counts once."
    ),
)
_say(
    "log-not-trusted",
    404,
    noop("This witness does not know that log"),
    noop("Its operator has to trust the log’s key first."),
)
_say(
    "log-signature-missing",
    403,
    noop("The log’s signature is missing or wrong"),
    noop("The checkpoint bears no valid signature of the key that is trusted here."),
)
_say(
    "witness-request-malformed",
    400,
    noop("This is not a request for a cosignature"),
    noop("It does not have the form of the witness protocol. Nothing was cosigned."),
)
_say(
    "consistency-not-proven",
    422,
    noop("The proof does not verify"),
    noop("It does not lead from the checkpoint cosigned last to this one."),
)
_say(
    "witness-busy",
    503,
    noop("The witness has too much to do"),
    noop("Ask again in a moment. Nothing was cosigned."),
)
for _code in ("witness-state-lost", "witness-stopped"):
    _say(
        _code,
        503,
        noop("This witness does not cosign at the moment"),
        noop("Its operator has to look at it first. Nothing was cosigned."),
    )
for _code in ("issuer-key-weak", "key-missing", "key-not-announced", "keys-locked"):
    CODES[_code] = CODES["intake-closed"]


def as_anticipated(error: BaseException) -> UndersignedError | None:
    """Return the anticipated error that ``error`` is shown as, or None.

    The first to meet a storage failure gets what everybody after them gets: intake is
    closed. What failed is the operator's to read, on standard error.
    """
    if isinstance(error, UndersignedError):
        return error
    return StoreStopped() if isinstance(error, StorageFailed) else None


def say(error: UndersignedError) -> Said:
    """Return what is said of ``error``: by its code, else by its family."""
    found = CODES.get(error.code)
    if found is not None:
        return found
    for family, status in FAMILIES.items():
        if isinstance(error, family):
            return STATUSES[status]
    return STATUSES[500]


def retry_after(error: UndersignedError) -> int | None:
    """Return the seconds after which asking again makes sense, or None."""
    if isinstance(error, Unavailable):
        return error.retry_after_seconds
    seconds = error.data.get("retry_after_seconds")
    return seconds if isinstance(seconds, int) else None


def encode_problem(
    said: Said, code: str, *, wait: dict[str, object] | None = None
) -> bytes:
    """Return the one JSON shape of the product: RFC 9457 with a stable ``code``.

    ``wait``: the members that ``please-wait`` has besides (describe_wait).
    """
    found = {
        "type": "about:blank",
        "title": said.title,
        "status": said.status,
        "code": code,
        "detail": said.detail,
        **(wait or {}),
    }
    return json.dumps(found, ensure_ascii=False).encode()


def describe_wait(wait: PleaseWait) -> dict[str, object]:
    """Return a place in line as JSON has it."""
    return {
        "before": wait.before,
        "seconds": wait.seconds,
        "reason": wait.reason,
        "retry_after": wait.retry_after_seconds,
        "turn": wait.turn,
    }


def problem(error: UndersignedError) -> tuple[int, bytes, list[tuple[bytes, bytes]]]:
    """Return status, body and headers for a raw ASGI answer to ``error``."""
    said = say(error)
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"cache-control", b"no-store"),
    ]
    seconds = retry_after(error)
    if seconds is not None:
        headers.append((b"retry-after", str(seconds).encode()))
    wait = describe_wait(error) if isinstance(error, PleaseWait) else None
    return said.status, encode_problem(said, error.code, wait=wait), headers
