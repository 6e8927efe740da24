"""Tiles: paths, bundles, and nodes read out of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from undersigned_verify.errors import Fault
from undersigned_verify.merkle import (
    inclusion_proof,
    leaf_hash,
    root_of,
    verify_inclusion,
)
from undersigned_verify.tile import (
    MAX_INDEX,
    WIDTH,
    Level,
    bundles_of,
    encode_bundle,
    node_reader,
    parse_bundle,
    parse_tile_path,
    split_hashes,
    tile_path,
    tile_root,
    tiles_of,
)

LEVELS: st.SearchStrategy[Level] = st.integers(0, 63) | st.just("entries")


class TestPath:
    @given(LEVELS, st.integers(0, MAX_INDEX - 1), st.integers(1, WIDTH))
    def test_it_reads_back_what_it_writes(
        self, level: Level, n: int, width: int
    ) -> None:
        assert parse_tile_path(tile_path(level, n, width)) == (level, n, width)

    def test_it_groups_digits_by_three(self) -> None:
        assert tile_path(0, 0) == "tile/0/000"
        assert tile_path(1, 999, 5) == "tile/1/999.p/5"
        assert tile_path("entries", 1234067) == "tile/entries/x001/x234/067"
        assert tile_path(0, 1000) == "tile/0/x001/000"

    @pytest.mark.parametrize(
        "path",
        [
            "tile/0/0",
            "tile/0/x000/001",
            "tile/00/001",
            "tile/0/001.p/256",
            "tile/0/001.p/0",
            "tile/0/001.p/07",
            "tile/0/001/",
            "tile/0/x001/x002",
            "tile/data/001",
            "tile/64000/001",
            "tile/0/001\n",
            "tile/0/٠٠١",
            "/tile/0/001",
            "tile/0/x999/x999/x999/x999/x999/x999/999",
        ],
    )
    def test_it_refuses(self, path: str) -> None:
        with pytest.raises(Fault, match="tile-path"):
            parse_tile_path(path)

    @pytest.mark.parametrize("n,width", [(0, 0), (0, 257), (-1, 1), (MAX_INDEX, 1)])
    def test_there_is_none_beyond(self, n: int, width: int) -> None:
        with pytest.raises(Fault, match="tile-path"):
            tile_path(0, n, width)


class TestBundle:
    @given(st.lists(st.binary(max_size=40), max_size=8))
    def test_it_reads_back_what_it_writes(self, leaves: list[bytes]) -> None:
        assert parse_bundle(encode_bundle(leaves)) == leaves

    @given(st.lists(st.binary(min_size=1, max_size=40), min_size=1, max_size=4))
    def test_it_refuses_what_is_cut_off(self, leaves: list[bytes]) -> None:
        data = encode_bundle(leaves)
        for cut in (data[:-1], data + b"\0", data + b"\0\1"):
            with pytest.raises(Fault, match="entries-form"):
                parse_bundle(cut)

    def test_it_refuses_a_leaf_that_is_too_long(self) -> None:
        assert len(encode_bundle([bytes(65_535)])) == 65_537
        with pytest.raises(Fault, match="leaf-length"):
            encode_bundle([bytes(65_536)])


class TestLayout:
    def test_it_lists_every_tile_of_a_tree(self) -> None:
        assert list(tiles_of(0)) == []
        assert list(tiles_of(255)) == [(0, 0, 255)]
        assert list(tiles_of(256)) == [(0, 0, 256), (1, 0, 1)]
        assert list(tiles_of(600)) == [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)]
        assert list(bundles_of(600)) == [(0, 256), (1, 256), (2, 88)]

    def test_three_levels(self) -> None:
        widths = {(level, n): width for level, n, width in tiles_of(65_536 * 2 + 256)}
        assert widths[2, 0] == 2
        assert widths[1, 2] == 1
        assert (3, 0) not in widths


LEAVES = [leaf_hash(i.to_bytes(2)) for i in range(600)]


class TestNodes:
    def read_tile(self, level: int, n: int, width: int) -> bytes:
        span = 256**level
        rows = [LEAVES[i * span : (i + 1) * span] for i in range(600 // span)]
        nodes = [tile_root(row) for row in rows][n * WIDTH :][:width]
        assert len(nodes) == width
        return b"".join(nodes)

    @given(st.integers(1, 600), st.data())
    def test_they_prove_any_leaf(self, size: int, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, size - 1))
        verify_inclusion(
            leaf_hash=LEAVES[index],
            index=index,
            size=size,
            proof=inclusion_proof(index, size, node_reader(size, self.read_tile)),
            root=root_of(LEAVES[:size]),
        )

    def test_an_incomplete_node_is_not_there(self) -> None:
        with pytest.raises(Fault, match="proof-index"):
            node_reader(600, self.read_tile)(8, 2)

    def test_a_tile_of_another_length_is_named(self) -> None:
        read = node_reader(600, lambda level, n, width: bytes(32 * width + 1))
        with pytest.raises(Fault, match="tile-trailing") as caught:
            read(0, 599)
        assert caught.value.path == "tile/0/002.p/88"

    @given(st.integers(1, 256))
    def test_a_tile_s_root_is_its_tree_s(self, width: int) -> None:
        row = LEAVES[:width]
        assert tile_root(row) == root_of(row)
        assert split_hashes(b"".join(row)) == row
