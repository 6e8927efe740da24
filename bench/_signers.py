"""Signers with tickets: the clients of a whole journey, issue and then redeem."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from undersigned_verify import token

from bench._flow import Client, Journey, make_request
from bench._instance import CAMPAIGN, ISSUER_HOST, PATH, Fixture
from bench._tokens import make_body
from undersigned.credentials.bulk import issue_chunk, prepare_chunk
from undersigned.credentials.client import Prepared
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import get_version_key, load_version
from undersigned.credentials.tickets import make_ticket
from undersigned.kernel.keystore import Keystore

EMAIL = 1
ORIGIN = f"{ISSUER_HOST}/c/{CAMPAIGN}"
CHUNK = 250


@dataclass(frozen=True, slots=True)
class Signer:
    """One person's secrets and ticket, and the modulus that unblinds the answer."""

    prepared: Prepared
    ticket: str
    n: int

    def make_issue_request(self) -> bytes:
        """Return the request for a blind signature."""
        return make_request(
            "POST",
            f"{PATH}/issue",
            self.prepared.request,
            media="application/private-token-request",
            extra=f"Authorization: Ticket {self.ticket}\r\n",
        )

    def make_sign_request(self, blind_signature: bytes) -> bytes:
        """Return the request that redeems it; the server checks what we do not."""
        one = self.prepared
        signed = int.from_bytes(blind_signature) * one.inverse % self.n
        leaf = (
            b"\x01\x01"
            + one.key_index.to_bytes(2)
            + bytes([one.stance])
            + one.public_hash
            + one.withdraw_hash
            + one.r
            + signed.to_bytes(256)
        )
        return make_request(
            "POST", f"{PATH}/sign", make_body(leaf), media="application/json"
        )


def prepare_many(fixture: Fixture, count: int) -> list[Prepared]:
    """Return blinded requests for the fixture's key, made by a process a core."""
    sizes = [min(CHUNK, count - at) for at in range(0, count, CHUNK)]
    key = fixture.key
    spki = token.encode_spki(key.n)
    make = partial(prepare_chunk, key.key_index, spki, key.challenge_digest)
    with ProcessPoolExecutor(
        len(os.sched_getaffinity(0)), mp_context=get_context("spawn")
    ) as processes:
        return [one for chunk in processes.map(make, sizes) for one in chunk]


@contextmanager
def _run_issuer(data: Path) -> Iterator[Issuer]:
    """Run the issuer of a copy whose server is not running."""
    failures: list[BaseException] = []
    issuer = Issuer(
        folder=data / "issuance",
        keystore=Keystore(data / "secrets"),
        on_failure=failures.append,
    )
    issuer.start()
    try:
        load_version(issuer=issuer, origin=ORIGIN, path=f"c/{CAMPAIGN}")
        yield issuer
    finally:
        issuer.stop()
    if failures:
        raise failures[0]


def _make_address() -> str:
    return f"{secrets.token_hex(8)}@signer.invalid"


def grant_tickets(data: Path, count: int) -> list[str]:
    """Register tickets of synthetic addresses."""
    with _run_issuer(data) as issuer:
        key = get_version_key(issuer=issuer, origin=ORIGIN)
        at = datetime.now(UTC)
        granted = [
            make_ticket(
                key,
                klass=EMAIL,
                nullifier=key.make_nullifier(klass=EMAIL, value=_make_address()),
                at=at,
            )
            for _number in range(count)
        ]
        version = issuer.get_version(ORIGIN)
        issuer.add_tickets(version, [facts for _text, facts in granted])
    return [text for text, _facts in granted]


def fill_issuance(fixture: Fixture, data: Path, rows: int) -> None:
    """Issue tokens that nobody will use, so that the issuance file has grown."""
    key = fixture.key
    # The same request for each: what is blinded is nothing to the issuer.
    one = prepare_chunk(
        key.key_index, token.encode_spki(key.n), key.challenge_digest, 1
    )
    with _run_issuer(data) as issuer:
        issue_chunk(
            issuer=issuer,
            origin=ORIGIN,
            klass=EMAIL,
            addresses=[_make_address() for _number in range(rows)],
            prepared=one * rows,
            at=datetime.now(UTC),
        )


def make_signers(
    fixture: Fixture, prepared: list[Prepared], tickets: list[str]
) -> list[Signer]:
    """Give each prepared request a ticket."""
    n = fixture.key.n
    return [Signer(one, text, n) for one, text in zip(prepared, tickets, strict=True)]


def list_issues(signers: list[Signer]) -> Iterator[Journey]:
    """Yield journeys that only ask for the blind signature."""
    for signer in signers:
        yield _ask(signer)


def list_whole(signers: list[Signer]) -> Iterator[Journey]:
    """Yield journeys of issue and redeem."""
    for signer in signers:
        yield _ask_and_sign(signer)


def _ask(signer: Signer) -> Journey:
    async def journey(client: Client) -> None:
        await client.send(signer.make_issue_request())

    return journey


def _ask_and_sign(signer: Signer) -> Journey:
    async def journey(client: Client) -> None:
        answer = await client.send(signer.make_issue_request())
        await client.send(signer.make_sign_request(answer))

    return journey
