"""A receipt proves, without us, that a signature is in the log."""

from __future__ import annotations

from pathlib import Path

import pytest

from undersigned_verify import token
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.proof import InclusionProof, parse_receipt, verify_receipt

from tests.factories.ledgers import HOST, STATEMENT, River, require_accepted
from undersigned.ledger.operations import show_spine
from undersigned.ledger.queries import list_spine_checkpoints


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
        proof, second = parse_receipt(receipt)

        def keep(w: bytes) -> bytes:
            assert proof.extra is not None
            first = InclusionProof(
                proof.index, proof.hashes, proof.checkpoint, proof.extra + w
            )
            return first.encode() + second.encode()

        assert verify_receipt(keep(asha.w), river.key).has_w
        with pytest.raises(Fault):
            verify_receipt(keep(bytes(32)), river.key)


class TestItsSecondPart:
    """It leads from the log's checkpoint to one of the spine."""

    @pytest.fixture
    def spine_key(self, river: River) -> VerifierKey:
        path = river.folder / "public/spine/log.vkey"
        return VerifierKey.parse(path.read_text().strip())

    def test_it_holds_under_the_spines_key(
        self, river: River, spine_key: VerifierKey
    ) -> None:
        pooled = []
        for _round in range(3):
            pooled += river.pool(2)
            river.publish()
        for one in pooled:
            receipt = river.find_receipt(one)
            assert receipt is not None
            verdict = verify_receipt(receipt, river.key, spine_key=spine_key)
            assert verdict.size == 12
            assert verdict.spine is not None
            assert verdict.spine.is_signed

    def test_it_is_of_what_the_spine_shows_only(
        self, river: River, spine_key: VerifierKey
    ) -> None:
        asked: list[bytes] = []

        def take_up(note: bytes) -> bool:
            asked.append(note)
            return True

        (asha,) = river.pool(1)
        river.publish()
        before = river.find_receipt(asha)
        assert before is not None
        river.ledger.spine.on_checkpoint = take_up
        (omar,) = river.pool(1)
        river.publish()
        # The log shows it; witnesses are asked about the spine.
        assert river.find_receipt(omar) is None
        assert river.find_receipt(asha) == before
        assert list_notes(river, 8) == []
        size = Checkpoint.parse(parse_note(asked[0]).text).size
        show_spine(ledger=river.ledger, size=size, cosignatures=[])
        receipt = river.find_receipt(omar)
        assert receipt is not None
        verdict = verify_receipt(receipt, river.key, spine_key=spine_key)
        assert verdict.spine is not None
        assert verdict.spine.checkpoint.size == size

    def test_the_spines_checkpoints_that_hold_a_count_are_listed(
        self, river: River
    ) -> None:
        for _round in range(3):
            river.pool(1)
            river.publish()
        kept = river.folder / "public/spine/checkpoints"
        every = [path.read_bytes() for path in sorted(kept.iterdir(), key=as_number)]
        assert list_notes(river, 6) == every
        assert list_notes(river, 7) == every[1:]
        assert list_notes(river, 9) == every[3:]
        assert list_notes(river, 10) == []
        assert list_notes(river, 6, most=2) == every[:2]


def as_number(path: Path) -> int:
    return int(path.name)


def list_notes(river: River, size: int, most: int = 9) -> list[bytes]:
    return list_spine_checkpoints(
        ledger=river.ledger, origin=river.origin, size=size, most=most
    )
