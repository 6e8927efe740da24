"""People with canaries: whatever they send or get can be recognised on a disk.

Texts carry a marker of letters that stands nowhere else, so that one search finds all
of a kind; what is random (tickets, codes, blinded requests) is searched one by one.
"""

from __future__ import annotations

import random
import secrets
import string
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from undersigned.drills import signer as signing
from undersigned.drills.raw import Needles
from undersigned.drills.signer import JourneyBroken, KeyFacts, Signature, Signer
from undersigned.drills.site import (
    JSON,
    Answer,
    NetSite,
    Site,
    SiteGone,
    get,
    post_form,
)
from undersigned.kernel.clock import SystemClock


def make_marker() -> str:
    """Return twelve letters that stand nowhere else."""
    return "".join(secrets.choice(string.ascii_lowercase) for _ in range(12))


@dataclass(frozen=True, slots=True)
class Markers:
    """One for each kind of text, by what may be done with it.

    ``secret``: addresses, browsers, referrers, wrong inputs: nowhere, ever.
    ``refused``: what was to be shown and was not accepted. ``erased``: what was shown
    and then erased. ``unshown``: what was withdrawn before it was published.
    ``shown``: what is public. ``comment``: what waits for a moderator, in the pages
    database alone.
    """

    secret: str = field(default_factory=make_marker)
    refused: str = field(default_factory=make_marker)
    erased: str = field(default_factory=make_marker)
    unshown: str = field(default_factory=make_marker)
    shown: str = field(default_factory=make_marker)
    comment: str = field(default_factory=make_marker)


@dataclass(slots=True)
class Traces:
    """What signers sent and got, and when: what a thief would like to find.

    ``secrets``: random values by a name. ``seconds``: whole seconds, of the machine's
    clock, in which a signer's request ran. ``first`` and ``last``: the span of all.
    """

    secrets: list[tuple[str, bytes]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    seconds: set[int] = field(default_factory=set)
    first: float = 0.0
    last: float = 0.0

    def touch(self) -> None:
        """Note that a request runs now."""
        now = SystemClock().now().timestamp()
        self.first = self.first or now
        self.last = now
        self.seconds.add(int(now))

    def make_needles(self, markers: Markers) -> Needles:
        """Return what must not stand in any file at any time."""
        needles = Needles()
        needles.add_text("a secret text", markers.secret)
        needles.add_text("a refused name", markers.refused)
        for name, value in self.secrets:
            needles.add(name, value)
        for name, text in self.texts:
            needles.add_text(name, text)
        return needles


@dataclass(slots=True)
class Signed:
    """A signature that was sent, in the order of sending."""

    address: str
    signature: Signature
    shown: dict[str, str] | None


async def _come_at_once() -> None:
    pass


class Visitors:
    """Signers of one campaign over a live server, leaving traces on purpose.

    ``wait``: awaited before each of them sends anything.
    """

    def __init__(
        self,
        port: int,
        keys: dict[str, KeyFacts],
        rng: random.Random,
        *,
        wait: Callable[[], Awaitable[None]] = _come_at_once,
    ) -> None:
        self.port = port
        self.keys = keys
        self.wait = wait
        self.markers = Markers()
        self.traces = Traces()
        # In the order in which tokens were issued, and signatures sent.
        self.issued: list[str] = []
        self.signed: list[Signed] = []
        self._rng = rng
        self._count = 0

    @property
    def campaign(self) -> str:
        """The campaign's id."""
        return self.keys["email"].path.removeprefix("c/")

    def come(self) -> tuple[NetSite, Signer]:
        """Return a new visitor with an address, a network and a browser."""
        self._count += 1
        secret, number = self.markers.secret, self._count
        headers = {
            "user-agent": f"Mozilla/5.0 ({secret} {number})",
            "referer": f"https://search.example/?q={secret}{number}",
            "accept-language": f"en, {secret[:8]};q=0.3",
            "x-canary": f"{secret}{number}",
        }
        local = None
        if number % 2:
            # From behind the proxy, whose word on addresses is taken.
            high, low = divmod(number, 250)
            ip = f"2001:db8:{self._rng.randrange(1 << 16):x}:{high:x}::{low:x}"
            four = f"203.0.{high + 113}.{low + 1}"
            headers["x-forwarded-for"] = ip if number % 4 == 1 else four
            self.traces.texts.append(
                ("a forwarded address", headers["x-forwarded-for"])
            )
        else:
            high, low = divmod(number, 250)
            local = f"127.83.{high + 1}.{low + 1}"
            self.traces.texts.append(("a network address", local))
        return NetSite(self.port, local=local), Signer(
            f"{secret}{number}@{secret[:6]}.example.org", headers=headers
        )

    async def sign(
        self, *, shown: dict[str, str] | None = None, link: bool = False
    ) -> Signed:
        """Ask by mail, get a token, sign: as with scripts."""
        site, signer = self.come()
        signer.shown = shown
        ticket = await self._confirm(site, signer, link=link)
        salt = secrets.token_bytes(32) if shown is not None else None
        signature = await self._redeem(site, signer, self.keys["email"], ticket, salt)
        await site.close()
        return Signed(signer.address, signature, shown)

    async def _confirm(self, site: Site, signer: Signer, *, link: bool) -> str:
        await self.wait()
        self.traces.touch()
        ask = await signing.ask_by_email(site, self.campaign, signer)
        mail = await signing.wait_for_mail(site, signer.address)
        self.traces.touch()
        if link:
            await get(site, f"/en/confirm/?t={mail.link_token}")
            ticket = await signing.confirm_link(site, mail.link_token, signer)
        else:
            ticket = await signing.confirm_code(
                site, self.campaign, ask, mail.code, signer
            )
        self.traces.texts += [
            ("a code", mail.code),
            ("a code", f"{mail.code[:4]} {mail.code[4:]}"),
        ]
        self._keep("a link token", mail.link_token)
        self._keep("an ask token", ask)
        self._keep("a ticket", ticket)
        return ticket

    def _keep(self, name: str, token: str) -> None:
        # The middle of it: what stands at both ends depends on the phase of base64.
        self.traces.texts.append((name, token[4:60]))

    async def _redeem(
        self,
        site: Site,
        signer: Signer,
        key: KeyFacts,
        ticket: str,
        salt: bytes | None,
    ) -> Signature:
        prepared, signature = await signing.make_signature(
            site, key, ticket, signer=signer, salt=salt
        )
        self.traces.touch()
        if key.klass == "email":
            self.issued.append(signer.address)
        answer = await signing.send_signature(site, key, signature, signer.headers)
        self.traces.touch()
        if answer.status != 200:
            raise JourneyBroken(f"not signed: {answer.said}")
        self.signed.append(Signed(signer.address, signature, signer.shown))
        self.traces.secrets += [
            ("a blinded request", prepared.request[3:67]),
            ("a blinding inverse", prepared.inverse.to_bytes(256)[:48]),
            ("a withdrawal secret", signature.w),
        ]
        return signature

    async def sign_otherwise(self, invitation: str) -> None:
        """By invitation, and in the open class by work."""
        await self.wait()
        site, signer = self.come()
        ticket = await signing.use_invitation(site, self.campaign, invitation, signer)
        self._keep("an invitation's ticket", ticket)
        self.traces.texts.append(("an invitation code", invitation))
        self.traces.texts.append(("an invitation code", invitation.replace("-", "")))
        await self._redeem(site, signer, self.keys["invitation"], ticket, None)
        await site.close()
        site, signer = self.come()
        ticket = await signing.solve_puzzle(site, self.campaign, signer)
        self._keep("a ticket of the open class", ticket)
        await self._redeem(site, signer, self.keys["open"], ticket, None)
        await site.close()

    async def sign_without_scripts(self, name: str, *, keep_w: bool) -> None:
        """Let the server make the signature in one request."""
        site, signer = self.come()
        ticket = await self._confirm(site, signer, link=False)
        page = await post_form(
            site,
            f"/en/c/{self.campaign}/sign/finish/",
            {
                "ticket": ticket,
                "stance": "0",
                "name": name,
                "place": "",
                "comment": "",
                "when": "0",
                **({"keep_w": "on"} if keep_w else {}),
            },
            signer.headers,
        )
        self.traces.touch()
        if page.status != 200 or "undersigned promise v1" not in page.text:
            raise JourneyBroken(f"not signed without scripts: {page.status}")
        if keep_w:
            w = signing.find_hidden(page, "w")
            self.traces.texts.append(("a withdrawal secret shown once", w))
        await site.close()

    async def go_wrong(self) -> list[Answer]:
        """Send everything that should be refused, each with canaries in it."""
        site, signer = self.come()
        secret, refused = self.markers.secret, self.markers.refused
        path = f"/en/c/{self.campaign}/sign"
        headers = signer.headers
        ticket = await self._confirm(site, signer, link=False)
        finish = {
            "ticket": ticket,
            "stance": "0",
            "place": "",
            "comment": "",
            "when": "0",
        }
        forms: list[tuple[str, dict[str, str]]] = [
            (f"{path}/ask/", {"klass": "email", "address": f"{secret} at example"}),
            (f"{path}/ask/", {"klass": "email", "address": f"{secret}@@example.org"}),
            (f"{path}/ask/", {"klass": "invitation", "code": secret.upper()}),
            (f"{path}/ask/", {"klass": secret}),
            (f"{path}/confirm/", {"ask": secret * 4, "code": "12345678"}),
            (f"{path}/write/", {"ticket": secret * 4}),
            (f"{path}/finish/", {**finish, "name": f"{refused} +86 138 0013 8000"}),
            (f"{path}/finish/", {**finish, "name": f"{refused} www.example.org"}),
            (f"{path}/finish/", {**finish, "name": f"{refused}\u202e"}),
            (f"{path}/finish/", {**finish, "name": refused * 9}),
            ("/en/check/", {"text": f"{secret}\n" * 200}),
            (f"/en/c/{self.campaign}/withdraw/", {"nonce": secret, "w": secret}),
        ]
        answers = [await post_form(site, at, form, headers) for at, form in forms]
        addresses = [
            f"/en/c/{self.campaign}/?mail={secret}@example.org",
            f"/en/c/{secret}/",
            f"/c/{self.campaign}/{secret}",
            f"/en/confirm/?t={secret * 4}",
            f"/{secret}/",
        ]
        answers += [await site.request("GET", at, headers=headers) for at in addresses]
        raw: list[tuple[str, str, bytes]] = [
            ("sign", JSON, f'{{"{secret}": 1'.encode()),
            ("sign", JSON, f'{{"key_index":0,"{secret}":"x"}}'.encode()),
            ("sign", JSON, secret.encode() * 3000),
            ("sign", f"text/{secret}", b"{}"),
            ("receipt", JSON, f'{{"nonce":"{secret}"}}'.encode()),
            ("withdraw", JSON, f'{{"nonce":"{secret}","w":"{secret}"}}'.encode()),
            ("issue", "application/private-token-request", secret.encode()),
        ]
        for action, media, body in raw:
            sent = {
                **headers,
                "content-type": media,
                "authorization": f"Ticket {secret}",
            }
            with_body = site.request(
                "POST", f"/c/{self.campaign}/{action}", headers=sent, body=body
            )
            try:
                answers.append(await with_body)
            except SiteGone:
                # A body that is far too large may be cut off before it is answered.
                continue
        answers.append(await self._upload(site, headers))
        self.traces.touch()
        await site.close()
        return answers

    async def _upload(self, site: Site, headers: dict[str, str]) -> Answer:
        """Upload a file far larger than any receipt, to a page that checks receipts."""
        secret = self.markers.secret
        boundary = f"b{secret}"
        body = (
            f'--{boundary}\r\ncontent-disposition: form-data; name="receipt"; '
            f'filename="{secret}.txt"\r\ncontent-type: text/plain\r\n\r\n'
            + f"{secret} " * 9_000
            + f"\r\n--{boundary}--\r\n"
        ).encode()
        return await site.request(
            "POST",
            "/en/check/",
            headers={
                **headers,
                "content-type": f"multipart/form-data; boundary={boundary}",
            },
            body=body,
        )

    async def withdraw(self, signed: Signed) -> None:
        """Withdraw; what was shown goes with it. The secret is public from then on."""
        await self.wait()
        site, _signer = self.come()
        found = signed.signature
        answer = await signing.send_withdrawal(
            site, self.keys["email"].path, found.nonce, found.w
        )
        self.traces.touch()
        if answer.status != 200:
            raise JourneyBroken(f"not withdrawn: {answer.said}")
        self.traces.secrets = [
            (name, value) for name, value in self.traces.secrets if value != found.w
        ]
        await site.close()

    async def erase(self, signed: Signed) -> None:
        """Erase what is shown beside a signature that stays."""
        await self.wait()
        site, signer = self.come()
        found = signed.signature
        page = await post_form(
            site,
            f"/en/c/{self.campaign}/withdraw/",
            {
                "act": "erase",
                "nonce": signing.b64url(found.nonce),
                "w": signing.b64url(found.w),
            },
            signer.headers,
        )
        self.traces.touch()
        if page.status != 200:
            raise JourneyBroken(f"not erased: {page.status}")
        await site.close()
