"""The public's words for what the domain names in codes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext, gettext_lazy

from undersigned.ledger.data import RECORD_LOST
from undersigned.safety.text import BROWSER_PATTERNS
from undersigned.web.shared import problem

Words = str | Promise


@dataclass(frozen=True, slots=True)
class ClassWords:
    """An assurance class: its name, how one signs by it, and what was checked."""

    code: str
    name: Words
    way: Words
    checked: Words


CLASSES: Mapping[str, ClassWords] = {
    words.code: words
    for words in (
        ClassWords(
            "email",
            gettext_lazy("By e-mail"),
            gettext_lazy("By a code sent to your e-mail address"),
            gettext_lazy("an address answered; one token per address"),
        ),
        ClassWords(
            "invitation",
            gettext_lazy("By invitation"),
            gettext_lazy("By an invitation code you were handed"),
            gettext_lazy("a code handed out in person; one token per code"),
        ),
        ClassWords(
            "vouched",
            gettext_lazy("Vouched for"),
            gettext_lazy("By people who vouch for you"),
            gettext_lazy("others vouched; one token per voucher’s word"),
        ),
        ClassWords(
            "open",
            gettext_lazy("By computing work only"),
            gettext_lazy("By computing work, without address or code"),
            gettext_lazy(
                "nobody was checked; one person can sign many times; never added"
            ),
        ),
    )
}

STANCES: Mapping[str, Words] = {
    "for": gettext_lazy("For"),
    "reservation": gettext_lazy("For, with a reservation"),
    "against": gettext_lazy("Against"),
}
STANCE_NUMBERS: Mapping[str, int] = {"for": 0, "reservation": 1, "against": 2}
STANCE_NAMES: Mapping[int, str] = {0: "for", 1: "reservation", 2: "against"}

MODES: Mapping[str, Words] = {
    "standard": gettext_lazy("standard mode"),
    "careful": gettext_lazy("careful mode"),
    "danger": gettext_lazy("danger mode"),
}

STATES: Mapping[str, Words] = {
    "open": gettext_lazy("Open"),
    "closing": gettext_lazy("Closing"),
    "closed": gettext_lazy("Closed"),
}

SIGNATURE_STATES: Mapping[str, Words] = {
    "standing": gettext_lazy("It stands and is counted."),
    "held": gettext_lazy("It is held for review and not counted."),
    "withdrawn": gettext_lazy("It was withdrawn with its own key."),
    "removed": gettext_lazy("It was removed; the list of removals gives the reason."),
}

REASONS: Mapping[str, Words] = {
    "scripted-burst": gettext_lazy("made by a script"),
    "bought": gettext_lazy("bought or given for a reward"),
    "duplicates": gettext_lazy("one person, several addresses"),
    "stolen-codes": gettext_lazy("codes that were stolen or copied"),
    "series-fell": gettext_lazy("the published total fell here"),
    "court-order": gettext_lazy("ordered by a court"),
    "other": gettext_lazy("another reason, in the case file"),
}

RECORD_KINDS: Mapping[str, Words] = {
    "answer": gettext_lazy("an office’s answer"),
    "verdict": gettext_lazy("a verdict on a claim"),
    "outcome": gettext_lazy("an outcome"),
    RECORD_LOST: gettext_lazy(
        "the record of issued tokens was lost; issuing was reopened by the operator"
    ),
}


# Title and text of an operator's notice. They promise nothing that has no proof.
NOTICES: Mapping[str, tuple[Words, Words]] = {
    "issuer-key-leaked": (
        gettext_lazy("A key that makes tokens has leaked"),
        gettext_lazy(
            "Somebody else may have made tokens for this campaign, and signed with"
            " them. Do not rely on signatures published after the date of this notice."
            " Who signed is as hidden as before: the key tells nothing about that."
        ),
    ),
    "log-key-leaked": (
        gettext_lazy("The key that signs this campaign’s log has leaked"),
        gettext_lazy(
            "Somebody else could show you another history under this campaign’s name."
            " Trust only checkpoints that an older receipt, a copy made before the date"
            " of this notice, or a witness agrees with. Who signed is as hidden as"
            " before."
        ),
    ),
    "keys-lost": (
        gettext_lazy("This campaign’s keys are lost"),
        gettext_lazy(
            "Nothing can be added any more, not even a close. What is published stays,"
            " and can be checked. What was handed in and not yet published is not in"
            " the count: a promise that you kept proves it."
        ),
    ),
    "organiser-unreachable": (
        gettext_lazy("The organiser cannot be reached"),
        gettext_lazy(
            "Whoever runs this site has not been able to reach the organiser. Do not"
            " send them anything that must not fall into other hands. Signing and"
            " withdrawing work as before, and the organiser never learns who signed."
        ),
    ),
    "organiser-changed": (
        gettext_lazy("Somebody else organises this campaign now"),
        gettext_lazy(
            "As was agreed before it opened. The text, the log and every signature are"
            " the same; if you do not want yours to stand any more, withdraw it."
        ),
    ),
    "under-attack": (
        gettext_lazy("This campaign is being attacked"),
        gettext_lazy(
            "Signing may be slow or paused. What you have begun can be finished later,"
            " and nothing that was promised is lost."
        ),
    ),
}


def reason_words(code: str) -> str:
    """Return the words for a removal's reason; an unknown code speaks for itself."""
    words = REASONS.get(code)
    return str(words) if words is not None else code


def record_words(kind: str) -> str:
    """Return the words for a record's kind; an unknown kind speaks for itself."""
    words = RECORD_KINDS.get(kind)
    return str(words) if words is not None else kind


_CLIENT_MESSAGES: Mapping[str, Words] = {
    "text-changed": gettext_lazy(
        "The text on this page is not the one that is published: an extension or a"
        " translation may have changed it. Switch that off and reload."
    ),
    "key-not-published": gettext_lazy(
        "The key offered to you is not in the public log. Reload once; if it happens"
        " again, do not sign here: it could be a key shown only to you."
    ),
    "token-wrong": gettext_lazy(
        "The server’s answer is not a valid token. Do not sign here, and tell others."
    ),
    "promise-wrong": gettext_lazy("The server’s promise does not fit your signature."),
    "receipt-wrong": gettext_lazy(
        "The proof that came back is not for your signature."
    ),
    "not-a-receipt": gettext_lazy("This is not a receipt, or the file is damaged."),
    "other-site": gettext_lazy(
        "This receipt belongs to another site. Check it there, or with the verifier."
    ),
    "vkey-malformed": gettext_lazy("The log’s published key is damaged."),
    "not-a-signature": gettext_lazy(
        "This file is about something else than a signature."
    ),
    "no-file": gettext_lazy("Choose a file first."),
    "tile-malformed": gettext_lazy("The published log is damaged where it was read."),
    "note-malformed": gettext_lazy("A signed note in it is damaged."),
    "checkpoint-malformed": gettext_lazy("The checkpoint in it is damaged."),
    "base64-malformed": gettext_lazy("This is not a receipt, or the file is damaged."),
}
"""By the scripts' own codes (client/README.md)."""

_SERVER_CODES = (
    "already-issued",
    "campaign-closed",
    "campaign-not-open",
    "intake-closed",
    "key-index-unknown",
    "names-not-shown",
    "personal-data-found",
    "please-wait",
    "receipt-not-ready",
    "signature-malformed",
    "text-not-clean",
    "text-too-long",
    "ticket-expired",
    "ticket-not-valid",
    "ticket-not-yet-valid",
    "token-not-valid",
    "too-many-requests",
)


def make_client_messages() -> dict[str, str]:
    """Return what the scripts may have to say, in the reader's language, by code."""
    told = {code: str(text) for code, text in _CLIENT_MESSAGES.items()}
    for code in _SERVER_CODES:
        said = problem.CODES[code]
        parts = {"title": gettext(said.title), "detail": gettext(said.detail)}
        told[code] = gettext("%(title)s. %(detail)s") % parts
    return told


def list_refusals() -> str:
    """Return what may not be shown, for ``fields.js``: JSON [[pattern, message], …]."""
    personal = gettext(problem.CODES["personal-data-found"].detail)
    hidden = gettext(problem.CODES["text-not-clean"].detail)
    return json.dumps(
        [
            [pattern, hidden if kind == "hidden" else personal]
            for kind, pattern in BROWSER_PATTERNS.items()
        ],
        ensure_ascii=False,
    )
