"""Trees and proofs, against a tree written from the definition and another library."""

from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from undersigned_verify.errors import Fault
from undersigned_verify.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)

LEAVES = [leaf_hash(bytes([i])) for i in range(70)]
SIZES = st.integers(1, len(LEAVES))


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """RFC 6962 section 2.1, word for word."""
    if not leaves:
        return sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    left, right = naive_root(leaves[:k]), naive_root(leaves[k:])
    return sha256(b"\x01" + left + right).digest()


def read_node(level: int, n: int) -> bytes:
    row = LEAVES[n << level : (n + 1) << level]
    assert len(row) == 1 << level
    return naive_root(row)


class TestFrontier:
    @given(st.integers(0, len(LEAVES)))
    def test_its_root_is_the_definition_s(self, size: int) -> None:
        assert root_of(LEAVES[:size]) == naive_root(LEAVES[:size])

    def test_its_root_is_another_library_s(self) -> None:
        tree = InmemoryTree(algorithm="sha256")
        for size in range(1, 40):
            tree.append_entry(bytes([size - 1]))
            assert root_of(LEAVES[:size]) == tree.get_root(size)

    @given(st.integers(0, 40), st.integers(0, 20))
    def test_it_goes_on_after_being_restored(self, size: int, more: int) -> None:
        first = Frontier().extend(LEAVES[:size])
        again = Frontier.restore(first.size, first.hashes)
        again.extend(LEAVES[size : size + more])
        assert again.size == size + more
        assert again.root() == naive_root(LEAVES[: size + more])

    @pytest.mark.parametrize("size", [0, 2, 3, -1, MAX_SIZE + 1])
    def test_it_refuses_a_state_it_cannot_have_had(self, size: int) -> None:
        with pytest.raises(Fault, match="proof-"):
            Frontier.restore(size, [b"", b"", b""])

    def test_an_empty_tree_has_the_hash_of_nothing(self) -> None:
        assert Frontier().root() == EMPTY_ROOT == sha256().digest()


class TestInclusion:
    @given(SIZES, st.data())
    def test_it_proves_every_leaf(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        proof = inclusion_proof(index, size, read_node)
        root = naive_root(LEAVES[:size])

        def check(
            *,
            leaf: bytes = LEAVES[index],
            index: int = index,
            size: int = size,
            proof: Sequence[bytes] = proof,
            root: bytes = root,
        ) -> None:
            verify_inclusion(
                leaf_hash=leaf, index=index, size=size, proof=proof, root=root
            )

        check()
        for code, wrong in {
            "proof-root": {"leaf": LEAVES[index - 1] if size > 1 else bytes(32)},
            "proof-length": {"proof": [*proof, bytes(32)]},
            "proof-form": {"proof": [*proof, b"short"]},
            "proof-index": {"index": size},
        }.items():
            with pytest.raises(Fault, match=code):
                check(**wrong)  # type: ignore[arg-type]  # one of several types
        with pytest.raises(Fault, match="proof-root"):
            check(root=bytes(32))
        if proof:
            with pytest.raises(Fault, match="proof-length"):
                check(proof=proof[:-1])

    def test_another_library_makes_the_same_proofs(self) -> None:
        tree = InmemoryTree(algorithm="sha256")
        for size in range(1, 24):
            tree.append_entry(bytes([size - 1]))
            for index in range(size):
                path = tree.prove_inclusion(index + 1, size).serialize()["path"]
                ours = [item.hex() for item in inclusion_proof(index, size, read_node)]
                # That library writes the leaf's own hash first.
                assert path == [LEAVES[index].hex(), *ours]

    @pytest.mark.parametrize(
        "index,size", [(0, 0), (-1, 5), (5, 5), (2**63, 2**63 + 1), (1, -1)]
    )
    def test_it_refuses_indexes_that_no_tree_has(self, index: int, size: int) -> None:
        with pytest.raises(Fault, match="proof-index"):
            inclusion_proof(index, size, read_node)
        with pytest.raises(Fault, match="proof-index"):
            verify_inclusion(
                leaf_hash=LEAVES[0], index=index, size=size, proof=[], root=LEAVES[0]
            )


class TestConsistency:
    @given(SIZES, st.data())
    def test_it_proves_every_prefix(self, new: int, data: st.DataObject) -> None:
        old = data.draw(st.integers(1, new))
        proof = consistency_proof(old, new, read_node)
        roots = naive_root(LEAVES[:old]), naive_root(LEAVES[:new])

        def check(proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
            verify_consistency(
                old_size=old,
                new_size=new,
                old_root=old_root,
                new_root=new_root,
                proof=proof,
            )

        check(proof, *roots)
        with pytest.raises(Fault, match="proof-root"):
            check(proof, bytes(32), roots[1])
        with pytest.raises(Fault, match="proof-root"):
            check(proof, roots[0], bytes(32))
        with pytest.raises(Fault, match="proof-length"):
            check([*proof, bytes(32)], *roots)
        with pytest.raises(Fault, match="proof-form"):
            check([*proof, b""], *roots)
        if proof:
            with pytest.raises(Fault, match="proof-length"):
                check(proof[:-1], *roots)
            with pytest.raises(Fault, match="proof-root"):
                check([bytes(32), *proof[1:]], *roots)

    def test_from_nothing_it_shows_nothing(self) -> None:
        def check(
            old_root: bytes, proof: list[bytes], new: int = 3, *, allow: bool = True
        ) -> None:
            verify_consistency(
                old_size=0,
                new_size=new,
                old_root=old_root,
                new_root=naive_root(LEAVES[:new]),
                proof=proof,
                allow_empty=allow,
            )

        # A witness's first call sends one, so it can be allowed.
        check(EMPTY_ROOT, [])
        check(EMPTY_ROOT, [], 0)
        with pytest.raises(Fault, match="proof-index"):
            check(EMPTY_ROOT, [], allow=False)
        with pytest.raises(Fault, match="proof-root"):
            check(LEAVES[0], [])
        with pytest.raises(Fault, match="proof-length"):
            check(EMPTY_ROOT, [LEAVES[0]])

    @pytest.mark.parametrize("old,new", [(2, 1), (-1, 1), (0, 1), (2**63, 2**63)])
    def test_it_refuses_sizes_that_no_tree_has(self, old: int, new: int) -> None:
        with pytest.raises(Fault, match="proof-index"):
            consistency_proof(old, new, read_node)
        with pytest.raises(Fault, match="proof-index"):
            verify_consistency(
                old_size=old, new_size=new, old_root=b"", new_root=b"", proof=[]
            )

    def test_it_refuses_a_proof_that_ends_early(self) -> None:
        with pytest.raises(Fault, match="proof-length"):
            verify_consistency(
                old_size=3, new_size=7, old_root=b"", new_root=b"", proof=[]
            )
