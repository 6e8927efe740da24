"""Many signers at once get what one gets."""

from __future__ import annotations

import pytest

from undersigned_verify import token

from tests.factories.issuers import EMAIL, Office
from undersigned.credentials import client
from undersigned.credentials.bulk import finalize_chunk, issue_chunk, prepare_chunk
from undersigned.credentials.issuer import AlreadyIssued
from undersigned.credentials.operations import count_issued, get_class_key


def test_a_chunk_is_prepared_issued_and_finalised(office: Office) -> None:
    key = get_class_key(issuer=office.issuer, origin=office.origin, klass=EMAIL)
    prepared = prepare_chunk(key.key_index, key.spki, bytes(32), 5)
    addresses = [f"{number}@signer.invalid" for number in range(5)]
    answers = issue_chunk(
        issuer=office.issuer,
        origin=office.origin,
        klass=EMAIL,
        addresses=addresses,
        prepared=prepared,
        at=office.clock.now(),
    )
    done = finalize_chunk(answers)
    assert [one for one, _token in done] == prepared
    assert all(len(authenticator) == 256 for _one, authenticator in done)
    assert count_issued(issuer=office.issuer, origin=office.origin) == {0: 5}


def test_an_address_gets_one_token_in_a_chunk_too(office: Office) -> None:
    key = get_class_key(issuer=office.issuer, origin=office.origin, klass=EMAIL)
    prepared = prepare_chunk(key.key_index, key.spki, bytes(32), 2)
    with pytest.raises(AlreadyIssued):
        issue_chunk(
            issuer=office.issuer,
            origin=office.origin,
            klass=EMAIL,
            addresses=["asha@example.org"] * 2,
            prepared=prepared,
            at=office.clock.now(),
        )


def test_each_of_many_has_its_own_secrets_and_blinding(office: Office) -> None:
    key = get_class_key(issuer=office.issuer, origin=office.origin, klass=EMAIL)
    n = token.parse_spki(key.spki)
    many = client.prepare_many(
        20, key_index=0, spki=key.spki, challenge_digest=bytes(32)
    )
    for member in ("r", "w", "nonce", "inverse", "request"):
        assert len({getattr(one, member) for one in many}) == 20
    for one in many:
        # The factor is the inverse's inverse, and what it hides is a PSS encoding.
        factor = pow(one.inverse, -1, n)
        hidden = int.from_bytes(one.request[3:]) * pow(factor, -65537, n) % n
        assert hidden.to_bytes(256)[-1] == 0xBC
