"""Many signers at once get what one gets."""

from __future__ import annotations

import pytest

from tests.factories.issuers import EMAIL, Office
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
