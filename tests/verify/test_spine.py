"""A spine's leaves: one byte string for each, and where each may stand."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify import spine
from undersigned_verify.canonical import MAX_INTEGER
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.errors import Fault
from undersigned_verify.spine import (
    CampaignLeaf,
    CheckpointLeaf,
    ClientLeaf,
    IssuedLeaf,
    KeyLeaf,
    RetiredLeaf,
    SpineState,
)

RIVER, LAKE = "example.org/c/river", "example.org/c/lake"
HASH, OTHER = "ab" * 32, "cd" * 32
ORIGINS = st.builds(
    lambda host, name, later: f"{host}/c/{name}{later}",
    *[st.text([c for c in map(chr, range(33, 127)) if c not in "+/"], min_size=1)] * 2,
    st.just("") | st.integers(2, 400).map(lambda n: f"/{n}"),
)
HASHES = st.binary(min_size=32, max_size=32).map(bytes.hex)
NUMBERS = st.integers(0, MAX_INTEGER)
INDEXES = st.integers(0, 0xFFFF)
LEAVES: st.SearchStrategy[spine.Leaf] = st.one_of(
    st.builds(CampaignLeaf, ORIGINS, HASHES),
    st.builds(KeyLeaf, ORIGINS, INDEXES, HASHES),
    st.builds(CheckpointLeaf, ORIGINS, NUMBERS.filter(bool), HASHES),
    st.builds(ClientLeaf, HASHES),
    st.builds(IssuedLeaf, ORIGINS, INDEXES, NUMBERS),
    st.builds(RetiredLeaf, ORIGINS),
)


class TestForm:
    @given(LEAVES)
    def test_it_reads_back_what_it_writes(self, leaf: spine.Leaf) -> None:
        assert spine.parse(spine.encode(leaf)) == leaf

    def test_it_is_what_the_protocol_says(self) -> None:
        expected: dict[spine.Leaf, str] = {
            CampaignLeaf(RIVER, HASH): f'{{"header_sha256":"{HASH}","kind":"campaign",'
            f'"origin":"{RIVER}"}}',
            KeyLeaf(RIVER, 3, HASH): '{"key_index":3,"kind":"key",'
            f'"origin":"{RIVER}","spki_sha256":"{HASH}"}}',
            CheckpointLeaf(RIVER, 7, HASH): '{"kind":"checkpoint",'
            f'"origin":"{RIVER}","root":"{HASH}","size":7}}',
            ClientLeaf(HASH): f'{{"kind":"client","sha256":"{HASH}"}}',
            IssuedLeaf(RIVER, 3, 50): '{"key_index":3,"kind":"issued",'
            f'"origin":"{RIVER}","total":50}}',
            RetiredLeaf(RIVER): f'{{"kind":"retired","origin":"{RIVER}"}}',
        }
        for leaf, text in expected.items():
            assert spine.encode(leaf) == text.encode()
            assert spine.parse(text.encode()) == leaf

    @given(LEAVES, st.data())
    def test_any_other_spelling_is_refused(
        self, leaf: spine.Leaf, data: st.DataObject
    ) -> None:
        good = bytearray(spine.encode(leaf))
        at = data.draw(st.integers(0, len(good) - 1))
        match data.draw(st.sampled_from(["flip", "insert", "delete"])):
            case "flip":
                good[at] ^= data.draw(st.integers(1, 255))
            case "insert":
                good[at:at] = data.draw(st.binary(min_size=1, max_size=3))
            case _:
                del good[at]
        try:
            other = spine.parse(bytes(good))
        except Fault:
            return
        # Another leaf then, and these bytes are its only form.
        assert other != leaf
        assert spine.encode(other) == good

    @given(LEAVES, st.data())
    def test_members_are_exact(self, leaf: spine.Leaf, data: st.DataObject) -> None:
        value: dict[str, Any] = json.loads(spine.encode(leaf))
        name = data.draw(st.sampled_from(sorted(value)))
        left = {key: item for key, item in value.items() if key != name}
        code = "leaf-type" if name == "kind" else "leaf-members"
        with pytest.raises(Fault, match=code):
            spine.parse(encode_json(left))
        with pytest.raises(Fault, match="leaf-members"):
            spine.parse(encode_json({**value, f"{name}_": value[name]}))
        wrong: Any = data.draw(
            st.sampled_from([None, True, "", "x", -1, [], {}, 2**53])
        )
        if name == "kind":
            code = "leaf-type"
        elif wrong == 2**53 and name in ("size", "total"):
            return
        else:
            code = "leaf-value"
        with pytest.raises(Fault, match=code):
            spine.parse(encode_json({**value, name: wrong}))

    @pytest.mark.parametrize(
        "data,code",
        [
            (b"", "json-not-canonical"),
            (b"[]", "leaf-members"),
            (b"null", "leaf-members"),
            (b"{}", "leaf-type"),
            (b'{"kind":["key"]}', "leaf-type"),
            (b'{"kind":"header","origin":"a/c/b"}', "leaf-type"),
            (b'{"kind":"retired","origin":"a/c/b"} ', "json-not-canonical"),
            (b'{"origin":"a/c/b","kind":"retired"}', "json-not-canonical"),
            (b'{"kind":"retired","origin":"a/spine"}', "leaf-value"),
            (b'{"kind":"retired","origin":"a/c/b/1"}', "leaf-value"),
            (b'{"kind":"retired","origin":"a/c/b/02"}', "leaf-value"),
            (b'{"kind":"retired","origin":"a/c/b c"}', "leaf-value"),
            (b'{"kind":"retired","origin":"\xff/c/b"}', "json-not-canonical"),
            (f'{{"kind":"client","sha256":"{HASH.upper()}"}}'.encode(), "leaf-value"),
            (f'{{"kind":"client","sha256":"{HASH}00"}}'.encode(), "leaf-value"),
            (b"\1\1" + bytes(355), "json-not-canonical"),
            (b" " * 65_536, "leaf-length"),
        ],
    )
    def test_it_refuses(self, data: bytes, code: str) -> None:
        with pytest.raises(Fault, match=code):
            spine.parse(data)

    @pytest.mark.parametrize(
        "size", ["0", "-1", "01", "1.0", "1e3", "9007199254740993"]
    )
    def test_a_checkpoint_has_one_spelling_of_its_size(self, size: str) -> None:
        text = f'{{"kind":"checkpoint","origin":"{RIVER}","root":"{HASH}","size":%s}}'
        last = spine.parse((text % "9007199254740992").encode())
        assert last == CheckpointLeaf(RIVER, 2**53, HASH)
        with pytest.raises(Fault):
            spine.parse((text % size).encode())

    def test_a_leaf_has_an_end(self) -> None:
        long = CheckpointLeaf(f"example.org/c/{'x' * 65_535}", 1, HASH)
        with pytest.raises(Fault, match="leaf-length"):
            spine.encode(long)
        text = f'{{"kind":"checkpoint","origin":"{long.origin}","root":"{HASH}",'
        with pytest.raises(Fault, match="leaf-length"):
            spine.parse(f'{text}"size":1}}'.encode())

    @pytest.mark.parametrize(
        "make",
        [
            lambda: CampaignLeaf("river", HASH),
            lambda: CampaignLeaf(RIVER, "ab"),
            lambda: KeyLeaf(RIVER, 0x10000, HASH),
            lambda: KeyLeaf(RIVER, -1, HASH),
            lambda: CheckpointLeaf(RIVER, 0, HASH),
            lambda: CheckpointLeaf(RIVER, True, HASH),
            lambda: IssuedLeaf(RIVER, 0, -1),
            lambda: ClientLeaf(""),
            lambda: RetiredLeaf(""),
        ],
    )
    def test_no_wrong_leaf_can_be_made(self, make: Callable[[], object]) -> None:
        with pytest.raises(Fault, match="leaf-value"):
            make()


class TestOrigin:
    def test_a_log_has_one_spine(self) -> None:
        assert spine.spine_origin(RIVER) == "example.org/spine"
        assert spine.spine_origin(f"{RIVER}/2") == "example.org/spine"
        spine.check_spine_origin("example.org/spine")

    @pytest.mark.parametrize(
        "origin", ["spine", "/spine", RIVER, "example.org", "a/b/spine", "a/spine/"]
    )
    def test_a_spine_has_one_form(self, origin: str) -> None:
        with pytest.raises(Fault, match="origin-path"):
            SpineState(origin)


def apply(*leaves: spine.Leaf) -> SpineState:
    state = SpineState("example.org/spine")
    for leaf in leaves:
        state.apply(leaf)
    return state


class TestRules:
    BEGIN = CampaignLeaf(RIVER, HASH)
    KEY = KeyLeaf(RIVER, 0, HASH)

    def test_an_honest_history(self) -> None:
        state = apply(
            ClientLeaf(HASH),
            self.BEGIN,
            self.KEY,
            CheckpointLeaf(RIVER, 2, HASH),
            CampaignLeaf(LAKE, HASH),
            CheckpointLeaf(LAKE, 1, HASH),
            IssuedLeaf(RIVER, 0, 0),
            ClientLeaf(HASH),
            CheckpointLeaf(RIVER, 3, HASH),
            IssuedLeaf(RIVER, 0, 7),
            RetiredLeaf(RIVER),
            CheckpointLeaf(LAKE, 2, HASH),
        )
        assert (state.campaigns[RIVER].size, state.campaigns[LAKE].size) == (3, 2)
        assert state.campaigns[RIVER].totals == {0: 7}
        assert state.campaigns[RIVER].is_retired

    @pytest.mark.parametrize(
        "leaves,code",
        [
            ([KEY], "spine-campaign"),
            ([CheckpointLeaf(RIVER, 1, HASH)], "spine-campaign"),
            ([RetiredLeaf(RIVER)], "spine-campaign"),
            ([BEGIN, BEGIN], "spine-campaign"),
            ([BEGIN, CampaignLeaf(RIVER, OTHER)], "spine-campaign"),
            ([BEGIN, IssuedLeaf(LAKE, 0, 1)], "spine-campaign"),
            ([CampaignLeaf("example.com/c/river", HASH)], "spine-host"),
            ([BEGIN, KeyLeaf("sub.example.org/c/river", 0, HASH)], "spine-host"),
            ([BEGIN, KEY, KEY], "spine-key-again"),
            ([BEGIN, KEY, KeyLeaf(RIVER, 0, OTHER)], "spine-key-again"),
            ([BEGIN, KEY, KeyLeaf(RIVER, 1, HASH)], "spine-key-again"),
            (
                [BEGIN, KEY, CampaignLeaf(LAKE, HASH), KeyLeaf(LAKE, 0, HASH)],
                "spine-key-again",
            ),
            ([BEGIN, IssuedLeaf(RIVER, 0, 50)], "spine-key-unknown"),
            ([BEGIN, KEY, IssuedLeaf(RIVER, 1, 50)], "spine-key-unknown"),
            (
                [BEGIN, KEY, IssuedLeaf(RIVER, 0, 50), IssuedLeaf(RIVER, 0, 50)],
                "spine-issued",
            ),
            (
                [BEGIN, KEY, IssuedLeaf(RIVER, 0, 50), IssuedLeaf(RIVER, 0, 49)],
                "spine-issued",
            ),
            (
                [BEGIN, CheckpointLeaf(RIVER, 2, HASH), CheckpointLeaf(RIVER, 2, HASH)],
                "spine-size",
            ),
            (
                [
                    BEGIN,
                    CheckpointLeaf(RIVER, 2, HASH),
                    CheckpointLeaf(RIVER, 1, OTHER),
                ],
                "spine-size",
            ),
            ([BEGIN, RetiredLeaf(RIVER), RetiredLeaf(RIVER)], "spine-retired"),
            ([BEGIN, RetiredLeaf(RIVER), BEGIN], "spine-retired"),
            (
                [BEGIN, RetiredLeaf(RIVER), CheckpointLeaf(RIVER, 1, HASH)],
                "spine-retired",
            ),
        ],
    )
    def test_it_refuses(self, leaves: list[spine.Leaf], code: str) -> None:
        state = apply(*leaves[:-1])
        before = {origin: repr(found) for origin, found in state.campaigns.items()}
        with pytest.raises(Fault, match=code):
            state.apply(leaves[-1])
        after = {origin: repr(found) for origin, found in state.campaigns.items()}
        assert after == before

    @given(st.lists(LEAVES, max_size=30))
    def test_what_it_takes_obeys_the_rules(self, leaves: list[spine.Leaf]) -> None:
        """Leaves of few campaigns, so that they meet; refused ones are left out."""
        state = SpineState("example.org/spine")
        taken: list[spine.Leaf] = []
        for number, item in enumerate(leaves):
            leaf = _of_few(item, number)
            try:
                state.apply(leaf)
            except Fault:
                continue
            taken.append(leaf)
        for origin in (RIVER, LAKE):
            own = [leaf for leaf in taken if getattr(leaf, "origin", "") == origin]
            kinds = [leaf.kind for leaf in own]
            assert "campaign" not in kinds[1:]
            assert not own or kinds[0] == "campaign"
            assert "retired" not in kinds[:-1]
            sizes = [leaf.size for leaf in own if isinstance(leaf, CheckpointLeaf)]
            assert sizes == sorted(set(sizes))
        spkis = [leaf.spki_sha256 for leaf in taken if isinstance(leaf, KeyLeaf)]
        assert len(spkis) == len(set(spkis))


def _of_few(leaf: spine.Leaf, number: int) -> spine.Leaf:
    """Return the leaf with its origin and hash replaced by one of two."""
    origin, digest = (RIVER, LAKE)[number % 2], (HASH, OTHER)[number % 3 % 2]
    match leaf:
        case CampaignLeaf():
            return CampaignLeaf(origin, digest)
        case KeyLeaf():
            return KeyLeaf(origin, number % 3, digest)
        case CheckpointLeaf():
            return CheckpointLeaf(origin, leaf.size % 10 + 1, digest)
        case IssuedLeaf():
            return IssuedLeaf(origin, number % 3, leaf.total % 10)
        case RetiredLeaf():
            return RetiredLeaf(origin)
    return leaf
