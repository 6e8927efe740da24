"""Many signers at once: chunks for worker processes, and their tickets in bulk."""

from __future__ import annotations

from concurrent.futures import Future
from datetime import datetime
from functools import partial

from undersigned.credentials import client
from undersigned.credentials.client import Prepared
from undersigned.credentials.issuer import Issuer
from undersigned.credentials.operations import get_version_key, issue
from undersigned.credentials.tickets import make_ticket
from undersigned.kernel.errors import UndersignedError


def prepare_chunk(
    key_index: int, spki: bytes, challenge_digest: bytes, count: int
) -> list[Prepared]:
    """Make ``count`` blinded requests: runs in a worker process."""
    return client.prepare_many(
        count, key_index=key_index, spki=spki, challenge_digest=challenge_digest
    )


def finalize_chunk(
    answers: list[tuple[Prepared, bytes]],
) -> list[tuple[Prepared, bytes]]:
    """Unblind and verify: runs in a worker process."""
    return [
        (prepared, client.finalize(prepared, signed)) for prepared, signed in answers
    ]


def issue_chunk(
    *,
    issuer: Issuer,
    origin: str,
    klass: int,
    addresses: list[str],
    prepared: list[Prepared],
    at: datetime,
) -> list[tuple[Prepared, bytes]]:
    """Grant tickets to synthetic addresses and issue a token for each request.

    The ordinary ``issue`` for each; only the tickets' hashes are registered together.
    Raises what ``issue`` raises.
    """
    key = get_version_key(issuer=issuer, origin=origin)
    tickets = [
        make_ticket(
            key,
            klass=klass,
            nullifier=key.make_nullifier(klass=klass, value=address),
            at=at,
        )
        for address in addresses
    ]
    issuer.add_tickets(issuer.get_version(origin), [facts for _text, facts in tickets])
    futures: list[Future[bytes]] = []
    for one, (text, _facts) in zip(prepared, tickets, strict=True):
        future: Future[bytes] = Future()
        futures.append(future)
        issue(
            issuer=issuer,
            origin=origin,
            ticket=text,
            request=one.request,
            at=at,
            done=partial(_settle, future),
        )
    return [
        (one, future.result()) for one, future in zip(prepared, futures, strict=True)
    ]


def _settle(future: Future[bytes], result: bytes | UndersignedError) -> None:
    if future.done():
        return
    if isinstance(result, UndersignedError):
        future.set_exception(result)
    else:
        future.set_result(result)
