"""A receipt proves, without us, that a signature is in the log."""

from __future__ import annotations

import pytest

from undersigned_verify import token
from undersigned_verify.errors import Fault
from undersigned_verify.proof import InclusionProof, verify_receipt

from tests.factories.ledgers import HOST, STATEMENT, River, require_accepted


@pytest.fixture
def challenge(river: River) -> token.Challenge:
    from hashlib import sha256

    return token.Challenge(
        issuer_name=HOST,
        origin=river.origin,
        statement_sha256=sha256(STATEMENT).digest(),
    )


class TestAReceipt:
    def test_it_is_there_once_the_signature_is_published(self, river: River) -> None:
        (asha,) = river.pool(1)
        assert river.find_receipt(asha) is None
        river.publish()
        assert river.find_receipt(asha) is not None

    def test_it_is_never_there_for_a_signature_nobody_sent(self, river: River) -> None:
        river.pool(1)
        river.publish()
        assert river.find_receipt(river.make_signature()) is None

    def test_it_verifies_for_each_signature_of_a_long_log(
        self, river: River, challenge: token.Challenge
    ) -> None:
        pooled = river.pool(200)
        river.publish()
        pooled += river.pool(110)
        river.publish()
        require_accepted(river.audit())
        for one in pooled:
            receipt = river.find_receipt(one)
            assert receipt is not None
            verdict = verify_receipt(receipt, river.key, challenge=challenge)
            assert verdict.nonce == one.nonce
            assert verdict.origin == river.origin
            assert verdict.size == 316
            assert not verdict.has_w

    def test_it_stays_valid_while_the_log_grows_and_restarts(
        self, river: River
    ) -> None:
        (asha,) = river.pool(1)
        river.publish()
        old = river.find_receipt(asha)
        assert old is not None
        river.pool(5)
        river.publish()
        river.restart()
        new = river.find_receipt(asha)
        assert new is not None
        assert new != old
        indexes = {verify_receipt(r, river.key).index for r in (old, new)}
        assert indexes == {6}

    def test_it_proves_authorship_with_the_signers_secret(self, river: River) -> None:
        (asha,) = river.pool(1)
        river.publish()
        receipt = river.find_receipt(asha)
        assert receipt is not None
        proof = InclusionProof.parse(receipt)
        assert proof.extra is not None

        def keep(w: bytes) -> bytes:
            assert proof.extra is not None
            return InclusionProof(
                proof.index, proof.hashes, proof.checkpoint, proof.extra + w
            ).encode()

        assert verify_receipt(keep(asha.w), river.key).has_w
        with pytest.raises(Fault):
            verify_receipt(keep(bytes(32)), river.key)
