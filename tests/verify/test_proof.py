"""Receipts: tlog-proof files that carry a signature leaf."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify import entry as leaf
from undersigned_verify import spine
from undersigned_verify.canonical import encode_base64
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import MAX_SIZE, inclusion_proof
from undersigned_verify.proof import (
    MAGIC,
    MAX_RECEIPT,
    InclusionProof,
    parse_receipt,
    signature_nonce,
    verify_receipt,
)

from tests.verify.building import Issuer, LogBuilder, SpineBuilder, Witness

HASH = st.binary(min_size=32, max_size=32)
PROOFS = st.builds(
    InclusionProof,
    st.integers(0, MAX_SIZE),
    st.lists(HASH, max_size=63).map(tuple),
    st.binary(max_size=40),
    st.none() | st.binary(max_size=400),
)


@pytest.fixture
def signed(log: LogBuilder) -> LogBuilder:
    return log.sign("asha", stance=1).sign("noor", "mei").publish()


class TestForm:
    @given(PROOFS)
    def test_it_reads_back_what_it_writes(self, proof: InclusionProof) -> None:
        assert InclusionProof.parse(proof.encode()) == proof

    def test_it_is_c2sp_s(self) -> None:
        proof = InclusionProof(7, (bytes(32),), b"note", b"extra")
        encoded = encode_base64(bytes(32))
        expected = f"{MAGIC}\nextra ZXh0cmE=\nindex 7\n{encoded}\n\nnote"
        assert proof.encode() == expected.encode()

    @pytest.mark.parametrize(
        "data,code",
        [
            (b"", "proof-form"),
            (b"c2sp.org/tlog-proof@v2\nindex 0\n\nx", "proof-form"),
            (f"{MAGIC}\nindex 0\n".encode(), "proof-form"),
            (f"{MAGIC}\n\nx".encode(), "proof-form"),
            (f"{MAGIC}\nextra AA==\n\nx".encode(), "proof-form"),
            (f"{MAGIC}\nindex 0\nextra AA==\n\nx".encode(), "base64-not-canonical"),
            (f"{MAGIC}\nextra AA=\nindex 0\n\nx".encode(), "base64-not-canonical"),
            (f"{MAGIC}\nindex 00\n\nx".encode(), "proof-index"),
            (f"{MAGIC}\nindex -1\n\nx".encode(), "proof-index"),
            (f"{MAGIC}\nindex {2**63}\n\nx".encode(), "proof-index"),
            (f"{MAGIC}\nindex 0\nAAAA\n\nx".encode(), "proof-form"),
            (f"{MAGIC}\nindex 0\n\xff\n\nx".encode("latin-1"), "proof-form"),
            (f"{MAGIC}\r\nindex 0\n\nx".encode(), "proof-form"),
            (
                InclusionProof(0, (bytes(32),) * 64, b"x", None).encode(),
                "proof-form",
            ),
            (b"x" * (MAX_RECEIPT + 1), "proof-form"),
        ],
    )
    def test_it_refuses(self, data: bytes, code: str) -> None:
        with pytest.raises(Fault, match=code):
            InclusionProof.parse(data)


class TestReceipt:
    def test_it_shows_a_signature_in_a_log(self, signed: LogBuilder) -> None:
        verdict = verify_receipt(signed.receipt("asha"), signed.key)
        assert (verdict.origin, verdict.size) == (signed.origin, len(signed.leaves))
        assert verdict.index == signed.index_of("asha")
        assert verdict.root == signed.root()
        assert verdict.stance == 1
        assert verdict.has_w
        assert verdict.nonce is None

    def test_with_the_challenge_it_names_the_nonce(self, signed: LogBuilder) -> None:
        data = signed.receipt("asha")
        verdict = verify_receipt(data, signed.key, challenge=signed.challenge)
        signature = signed.make_signature("asha", stance=1)
        assert verdict.nonce == signature_nonce(signature, signed.challenge)

    def test_without_w_it_proves_no_author(self, signed: LogBuilder) -> None:
        verdict = verify_receipt(signed.receipt("asha", with_w=False), signed.key)
        assert not verdict.has_w

    def test_with_another_w_it_proves_nothing(self, signed: LogBuilder) -> None:
        proof = InclusionProof.parse(signed.receipt("asha"))
        assert proof.extra is not None
        other = proof.extra[:-32] + signed.secret_w("noor")
        data = InclusionProof(
            proof.index, proof.hashes, proof.checkpoint, other
        ).encode()
        with pytest.raises(Fault, match="receipt-secret"):
            verify_receipt(data, signed.key)

    @pytest.mark.parametrize(
        "extra",
        [
            lambda data: None,
            lambda data: b"",
            lambda data: data[:-1],
            lambda data: data + b"\0",
            lambda data: b"\1\3" + data[2:],
            lambda data: data[:4] + b"\3" + data[5:],
            lambda data: b"\1\7" + data[2:],
        ],
    )
    def test_it_carries_a_signature_leaf(
        self, signed: LogBuilder, extra: Callable[[bytes], bytes | None]
    ) -> None:
        proof = InclusionProof.parse(signed.receipt("asha"))
        assert proof.extra is not None
        data = InclusionProof(
            proof.index, proof.hashes, proof.checkpoint, extra(proof.extra)
        ).encode()
        with pytest.raises(Fault, match="receipt-leaf"):
            verify_receipt(data, signed.key)

    def test_a_control_leaf_of_the_right_length_is_none(self, log: LogBuilder) -> None:
        record = leaf.PublicRecord("a", "0" * 64)
        pad = 357 - len(leaf.encode(record))
        record = leaf.PublicRecord("a" * (pad + 1), "0" * 64)
        log.add(record).publish()
        index, size = len(log.leaves) - 1, len(log.leaves)
        hashes = tuple(inclusion_proof(index, size, log.read_node))
        data = InclusionProof(index, hashes, log.note(), log.leaves[index]).encode()
        with pytest.raises(Fault, match="receipt-leaf"):
            verify_receipt(data, log.key)

    def test_its_leaf_is_in_its_tree(self, signed: LogBuilder) -> None:
        proof = InclusionProof.parse(signed.receipt("asha"))
        for index, hashes, code in (
            (proof.index - 1, proof.hashes, "proof-"),
            (proof.index, proof.hashes[:-1], "proof-length"),
            (len(signed.leaves), proof.hashes, "proof-index"),
            (0, (), "proof-length"),
        ):
            data = InclusionProof(index, hashes, proof.checkpoint, proof.extra).encode()
            with pytest.raises(Fault, match=code):
                verify_receipt(data, signed.key)

    def test_its_checkpoint_is_signed_by_the_log(self, signed: LogBuilder) -> None:
        other = LogBuilder(origin="example.org/c/lake")
        with pytest.raises(Fault, match="note-signature"):
            verify_receipt(signed.receipt("asha"), other.key)

    @pytest.mark.parametrize("data", [b"", b"x\n", b"\n", b"x" * (MAX_RECEIPT + 1)])
    def test_it_is_no_other_file(self, signed: LogBuilder, data: bytes) -> None:
        with pytest.raises(Fault, match="proof-form"):
            verify_receipt(data, signed.key)

    def test_the_first_line_again_inside_a_proof_begins_no_other(
        self, signed: LogBuilder
    ) -> None:
        data = signed.receipt("asha").replace(b"\nindex", f"\n{MAGIC}\nindex".encode())
        with pytest.raises(Fault, match="proof-form"):
            parse_receipt(data)


class TestSpineProof:
    """The second proof: the receipt's checkpoint stands in the spine."""

    @pytest.fixture
    def made(self, signed: LogBuilder) -> SpineBuilder:
        return SpineBuilder().take(signed).publish().add(CLIENT).publish()

    def test_with_the_spine_s_key(self, signed: LogBuilder, made: SpineBuilder) -> None:
        data = made.receipt(signed, "asha", Witness.called("wren.example"))
        verdict = verify_receipt(data, signed.key, spine_key=made.key)
        assert verdict.spine is not None
        assert verdict.spine.is_signed
        assert verdict.spine.checkpoint.size == len(made.leaves)
        assert verdict.index == signed.index_of("asha")

    def test_without_it(self, signed: LogBuilder, made: SpineBuilder) -> None:
        data = made.receipt(signed, "asha", with_w=False)
        verdict = verify_receipt(data, signed.key)
        assert verdict.spine is not None
        assert not verdict.spine.is_signed
        one = verify_receipt(signed.receipt("asha"), signed.key, spine_key=made.key)
        assert one.spine is None

    def test_an_older_checkpoint_of_the_log(
        self, signed: LogBuilder, made: SpineBuilder
    ) -> None:
        signed.sign("late").publish()
        made.take(signed).publish()
        data = made.receipt(signed, "asha", size=signed.kept[-2])
        assert verify_receipt(data, signed.key, spine_key=made.key).spine is not None

    def change(self, data: bytes, **members: Any) -> bytes:
        first, second = parse_receipt(data)
        return first.encode() + replace(second, **members).encode()

    def test_it_is_of_this_checkpoint(
        self, signed: LogBuilder, made: SpineBuilder
    ) -> None:
        signed.sign("late").publish()
        made.take(signed).publish()
        older = made.receipt(signed, "asha", size=signed.kept[-2])
        newer = made.receipt(signed, "asha")
        mixed = parse_receipt(newer)[0].encode() + parse_receipt(older)[1].encode()
        for data in (
            mixed,
            self.change(newer, extra=None),
            self.change(newer, extra=b"{}"),
            self.change(newer, extra=spine.encode(CLIENT)),
        ):
            with pytest.raises(Fault, match="receipt-spine"):
                verify_receipt(data, signed.key)

    def test_its_leaf_is_in_the_spine(
        self, signed: LogBuilder, made: SpineBuilder
    ) -> None:
        data = made.receipt(signed, "asha")
        second = parse_receipt(data)[1]
        for members, code in (
            ({"index": second.index - 1}, "proof-root"),
            ({"hashes": second.hashes[:-1]}, "proof-length"),
            ({"index": len(made.leaves)}, "proof-index"),
            ({"checkpoint": made.note(root=bytes(32))}, "proof-root"),
            ({"checkpoint": b"nothing"}, "note-form"),
        ):
            for key in (None, made.key):
                with pytest.raises(Fault, match=code) as caught:
                    verify_receipt(
                        self.change(data, **members), signed.key, spine_key=key
                    )
                assert caught.value.path == "second proof"

    def test_its_checkpoint_is_signed_by_the_spine(
        self, signed: LogBuilder, made: SpineBuilder
    ) -> None:
        data = made.receipt(signed, "asha")
        with pytest.raises(Fault, match="note-signature"):
            verify_receipt(data, signed.key, spine_key=SpineBuilder("example.com").key)

    def test_it_is_the_log_s_own_spine(self, signed: LogBuilder) -> None:
        other = SpineBuilder("example.com")
        other.take(signed).publish()
        data = other.receipt(signed, "asha")
        for key in (None, other.key):
            with pytest.raises(Fault, match="receipt-spine"):
                verify_receipt(data, signed.key, spine_key=key)

    def test_there_is_no_third(self, signed: LogBuilder, made: SpineBuilder) -> None:
        data = made.receipt(signed, "asha")
        with pytest.raises(Fault, match="more than two"):
            verify_receipt(data + signed.receipt("asha"), signed.key)
        with pytest.raises(Fault, match="receipt-spine"):
            verify_receipt(signed.receipt("asha") * 2, signed.key)

    @settings(deadline=None)
    @given(data=st.data())
    def test_no_byte_of_it_can_change(self, data: st.DataObject) -> None:
        found = bytearray(_RECEIPT)
        at = data.draw(st.integers(0, len(found) - 1))
        found[at] ^= data.draw(st.integers(1, 255))
        with pytest.raises(Fault):
            verify_receipt(bytes(found), _LOG.key, spine_key=_SPINE.key)


CLIENT = spine.ClientLeaf("ab" * 32)
_LOG = LogBuilder().announce(0, Issuer()).publish().sign("asha", "noor").publish()
_SPINE = SpineBuilder().take(_LOG).publish()
_RECEIPT = _SPINE.receipt(_LOG, "asha")
