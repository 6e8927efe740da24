"""Signers as the product meets them: from eligibility to the promise.

Everything goes over a ``Site``, as a browser would send it; what a signer needs to know
of a campaign is read from its public files.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import html
import json
import re
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from undersigned_verify import entry, tile, token
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note, verify_note

from undersigned.credentials import client
from undersigned.credentials.client import Prepared
from undersigned.drills.site import JSON, TOKEN_REQUEST, Answer, Site, get, post_form


class JourneyBroken(Exception):
    """A page on the way to signing was not the one that was expected."""


@dataclass(frozen=True, slots=True)
class KeyFacts:
    """What a signer of one class needs: from the log's first leaves."""

    path: str
    origin: str
    klass: str
    key_index: int
    spki: bytes
    challenge_digest: bytes


@dataclass(slots=True)
class Signer:
    """One synthetic person. ``shown``: what is shown beside the signature, or None."""

    address: str
    headers: dict[str, str] = field(default_factory=dict)
    shown: dict[str, str] | None = None
    stance: int = 0


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature ready to be sent, and what its signer keeps."""

    nonce: bytes
    r: bytes
    w: bytes
    body: bytes
    salt: bytes | None


def b64url(data: bytes) -> str:
    """Return unpadded base64url."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64url(text: str) -> bytes:
    """Return the bytes of unpadded base64url."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


async def read_keys(site: Site, path: str) -> dict[str, KeyFacts]:
    """Return the keys of a campaign by class, from its public log."""
    note = (await get(site, f"/{path}/checkpoint")).body
    checkpoint = Checkpoint.parse(parse_note(note).text)
    width = min(tile.WIDTH, checkpoint.size)
    found = await get(site, f"/{path}/{tile.tile_path('entries', 0, width)}")
    leaves = [entry.parse(leaf) for leaf in tile.parse_bundle(found.body)]
    header = leaves[0]
    if not isinstance(header, entry.Header):
        raise JourneyBroken("leaf 0 is no header")
    challenge = token.Challenge(
        issuer_name=header.issuer_name,
        origin=header.origin,
        statement_sha256=bytes.fromhex(header.statement_sha256),
    )
    return {
        entry.CLASS_NAMES[leaf.klass]: KeyFacts(
            path=path,
            origin=header.origin,
            klass=entry.CLASS_NAMES[leaf.klass],
            key_index=leaf.key_index,
            spki=leaf.spki,
            challenge_digest=challenge.digest,
        )
        for leaf in leaves
        if isinstance(leaf, entry.IssuerKey)
    }


# --- eligibility


def find_hidden(page: Answer, name: str) -> str:
    """Return the value a page carries in a hidden field. Raises JourneyBroken."""
    found = re.search(
        rf'<input type="hidden" name="{name}" value="([^"]*)">', page.text
    )
    if found is None:
        raise JourneyBroken(f"no {name} on a page of status {page.status}")
    return html.unescape(found[1])


async def ask_by_email(site: Site, campaign: str, signer: Signer) -> str:
    """Ask for a code; return the ask token of the code form."""
    page = await post_form(
        site,
        f"/en/c/{campaign}/sign/ask/",
        {"klass": "email", "address": signer.address},
        signer.headers,
    )
    return find_hidden(page, "ask")


@dataclass(frozen=True, slots=True)
class MailedCode:
    """What the mail to one address says."""

    code: str
    link_token: str


async def list_mails(site: Site, address: str) -> list[MailedCode]:
    """Return the mails to ``address`` on the mailbox page, newest first."""
    page = (await get(site, "/en/mailbox/")).text
    mails = []
    for item in page.split("<li>")[1:]:
        if f">{html.escape(address)}<" not in item:
            continue
        code = re.search(r"^ +([0-9]{4}) ?([0-9]{4})$", item, re.MULTILINE)
        link = re.search(r'href="([^"]*/confirm/\?t=[^"]*)"', item)
        if code is None or link is None:
            raise JourneyBroken("a mail without code or link")
        query = urlsplit(html.unescape(link[1])).query
        mails.append(MailedCode(code[1] + code[2], parse_qs(query)["t"][0]))
    return mails


async def wait_for_mail(site: Site, address: str, *, beyond: int = 0) -> MailedCode:
    """Return the newest mail to ``address`` once there are more than ``beyond``."""
    for _attempt in range(500):
        mails = await list_mails(site, address)
        if len(mails) > beyond:
            return mails[0]
        await asyncio.sleep(0.01)
    raise JourneyBroken("the mail did not arrive")


async def confirm_code(
    site: Site, campaign: str, ask: str, code: str, signer: Signer
) -> str:
    """Give the code from the mail; return the ticket."""
    page = await post_form(
        site,
        f"/en/c/{campaign}/sign/confirm/",
        {"ask": ask, "code": code},
        signer.headers,
    )
    return find_hidden(page, "ticket")


async def confirm_link(site: Site, link_token: str, signer: Signer) -> str:
    """Press the button behind the link in the mail; return the ticket."""
    page = await post_form(site, "/en/confirm/", {"t": link_token}, signer.headers)
    return find_hidden(page, "ticket")


async def get_ticket_by_email(site: Site, campaign: str, signer: Signer) -> str:
    """Return a ticket for an address: ask, mail, code."""
    before = len(await list_mails(site, signer.address))
    ask = await ask_by_email(site, campaign, signer)
    mail = await wait_for_mail(site, signer.address, beyond=before)
    return await confirm_code(site, campaign, ask, mail.code, signer)


async def use_invitation(site: Site, campaign: str, code: str, signer: Signer) -> str:
    """Return a ticket for an invitation code."""
    page = await post_form(
        site,
        f"/en/c/{campaign}/sign/ask/",
        {"klass": "invitation", "code": code},
        signer.headers,
    )
    return find_hidden(page, "ticket")


async def solve_puzzle(site: Site, campaign: str, signer: Signer) -> str:
    """Do the work of the open class; return the ticket."""
    path = f"/en/c/{campaign}/sign/ask/"
    page = await post_form(site, path, {"klass": "open"}, signer.headers)
    puzzle = find_hidden(page, "puzzle")
    found = re.search(r'data-bits="([0-9]+)"', page.text)
    bits = int(found[1]) if found else 0
    number = 0
    while True:
        digest = hashlib.sha256(f"{puzzle}:{number}".encode()).digest()
        if int.from_bytes(digest) >> (256 - bits) == 0:
            break
        number += 1
    page = await post_form(
        site,
        path,
        {"klass": "open", "puzzle": puzzle, "solution": str(number)},
        signer.headers,
    )
    return find_hidden(page, "ticket")


# --- token and signature


def prepare(
    key: KeyFacts, signer: Signer | None = None, *, salt: bytes | None = None
) -> Prepared:
    """Make the secrets of one signature and blind its token input."""
    shown = signer.shown if signer else None
    return client.prepare(
        key_index=key.key_index,
        spki=key.spki,
        challenge_digest=key.challenge_digest,
        stance=signer.stance if signer else 0,
        public_hash=(
            token.public_hash(salt, shown)
            if shown is not None and salt is not None
            else token.NO_PUBLIC
        ),
    )


async def request_token(
    site: Site,
    key: KeyFacts,
    ticket: str,
    request: bytes,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Send a TokenRequest with its ticket."""
    return await site.request(
        "POST",
        f"/{key.path}/issue",
        headers={
            "authorization": f"Ticket {ticket}",
            "content-type": TOKEN_REQUEST,
            **(headers or {}),
        },
        body=request,
    )


def finish(
    prepared: Prepared,
    blind_signature: bytes,
    *,
    shown: dict[str, str] | None = None,
    salt: bytes | None = None,
) -> Signature:
    """Unblind the answer and write the body of the signature."""
    authenticator = client.finalize(prepared, blind_signature)
    body = {
        "key_index": prepared.key_index,
        "stance": prepared.stance,
        "public_hash": b64url(prepared.public_hash),
        "withdraw_hash": b64url(prepared.withdraw_hash),
        "r": b64url(prepared.r),
        "authenticator": b64url(authenticator),
        "public": shown,
        "salt": b64url(salt) if salt is not None else None,
    }
    return Signature(
        nonce=prepared.nonce,
        r=prepared.r,
        w=prepared.w,
        body=json.dumps(body).encode(),
        salt=salt,
    )


async def post_json(
    site: Site, path: str, body: bytes, headers: dict[str, str] | None = None
) -> Answer:
    """Send a JSON body."""
    return await site.request(
        "POST", path, headers={"content-type": JSON, **(headers or {})}, body=body
    )


async def send_signature(
    site: Site,
    key: KeyFacts,
    signature: Signature,
    headers: dict[str, str] | None = None,
) -> Answer:
    """Redeem: send the signature itself."""
    return await post_json(site, f"/{key.path}/sign", signature.body, headers)


async def send_withdrawal(site: Site, path: str, nonce: bytes, w: bytes) -> Answer:
    """Withdraw a signature."""
    body = json.dumps({"nonce": b64url(nonce), "w": b64url(w)}).encode()
    return await post_json(site, f"/{path}/withdraw", body)


async def fetch_receipt(site: Site, path: str, nonce: bytes) -> Answer:
    """Ask for the receipt of a nonce."""
    body = json.dumps({"nonce": b64url(nonce)}).encode()
    return await post_json(site, f"/{path}/receipt", body)


async def make_signature(
    site: Site,
    key: KeyFacts,
    ticket: str,
    *,
    signer: Signer | None = None,
    salt: bytes | None = None,
) -> tuple[Prepared, Signature]:
    """Get a token for a ticket and return the signature, not yet sent.

    Raises JourneyBroken when the issuer refuses.
    """
    prepared = prepare(key, signer, salt=salt)
    headers = signer.headers if signer else None
    answer = await request_token(site, key, ticket, prepared.request, headers)
    if answer.status != 200:
        raise JourneyBroken(f"no token: {answer.said}")
    shown = signer.shown if signer else None
    return prepared, finish(prepared, answer.body, shown=shown, salt=salt)


@dataclass(frozen=True, slots=True)
class Promise:
    """What a promise says (PROTOCOL §4.4), its signature checked."""

    nonce: bytes
    publish_by: int


def read_promise(answer: Answer, *, origin: str, vkey: str) -> Promise:
    """Return the promise in an answer to ``sign``. Raises JourneyBroken.

    ``vkey``: the log's; promises are signed by the same key under another name.
    """
    found = parse_note(json.loads(answer.body)["promise"].encode())
    log_key = VerifierKey.parse(vkey.strip())
    try:
        verify_note(found, VerifierKey.of(f"{origin}/promise", log_key.public))
    except Fault as fault:
        raise JourneyBroken(f"the promise is not the log's: {fault}") from fault
    lines = found.text.split("\n")
    if lines[:2] != ["undersigned promise v1", origin]:
        raise JourneyBroken("the promise names another log")
    return Promise(bytes.fromhex(lines[2]), int(lines[3]))
