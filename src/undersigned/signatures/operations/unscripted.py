"""Signing without scripts: blind, issue and redeem in one request (PROTOCOL §4.5).

For the length of one request this process could link the ticket to the signature, and
the page says so. Nothing of it is stored or marked: b and the PSS salt are local
variables here, and the leaf is like any other.
"""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from datetime import datetime

from undersigned_verify import token

from undersigned.credentials import client
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import get_class_key, issue, open_ticket
from undersigned.kernel.errors import UndersignedError
from undersigned.signatures.book import BookEntry, SigningBook
from undersigned.signatures.data import ShownInput, UnscriptedSignature
from undersigned.signatures.operations.redeem import (
    NamesNotShown,
    SignRequest,
    StanceNotOffered,
    clean_shown,
    redeem_and_wait,
    require_taking,
)


def sign_without_scripts(
    *,
    book: SigningBook,
    book_entry: BookEntry,
    issuer: Issuer,
    ticket: str,
    stance: int,
    shown: ShownInput,
    keep_w: bool,
    at: datetime,
) -> UnscriptedSignature:
    """Make, issue and redeem one token for a person whose browser runs no scripts.

    Everything that can be refused is refused before the ticket is spent. Raises the
    ticket errors, AlreadyIssued, StanceNotOffered, NamesNotShown, the text errors,
    LogNotAccepting, SigningKeyMissing, StoreStopped, IntakeClosed.
    """
    campaign = book_entry.campaign
    require_taking(book_entry=book_entry, book=book)
    facts = open_ticket(issuer=issuer, origin=campaign.origin, ticket=ticket, at=at)
    if stance not in book_entry.stances:
        raise StanceNotOffered(stance=stance)
    public = clean_shown(shown)
    if public is not None and not book_entry.takes_names:
        raise NamesNotShown()
    salt = secrets.token_bytes(32) if public is not None else None
    key = get_class_key(issuer=issuer, origin=campaign.origin, klass=facts.klass)
    prepared = client.prepare(
        key_index=key.key_index,
        spki=key.spki,
        challenge_digest=book_entry.challenge_digest,
        stance=stance,
        public_hash=(
            token.public_hash(salt, public)
            if salt is not None and public is not None
            else token.NO_PUBLIC
        ),
    )
    answered: Future[bytes] = Future()

    def done(result: bytes | UndersignedError) -> None:
        if answered.done():
            return
        if isinstance(result, UndersignedError):
            answered.set_exception(result)
        else:
            answered.set_result(result)

    issue(
        issuer=issuer,
        origin=campaign.origin,
        ticket=ticket,
        request=prepared.request,
        at=at,
        done=done,
    )
    authenticator = client.finalize(prepared, answered.result())
    pooled = redeem_and_wait(
        book=book,
        book_entry=book_entry,
        request=SignRequest(
            key_index=prepared.key_index,
            stance=prepared.stance,
            public_hash=prepared.public_hash,
            withdraw_hash=prepared.withdraw_hash,
            r=prepared.r,
            authenticator=authenticator,
            public=public,
            salt=salt,
        ),
        at=at,
    )
    return UnscriptedSignature(
        nonce=pooled.nonce,
        w=prepared.w if keep_w else None,
        promise=pooled.promise.decode(),
        publish_by=pooled.publish_by,
    )
