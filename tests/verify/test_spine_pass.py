"""Whole spines in folders: what was changed in any file of one is named."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify import spine
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.chunk import tile_rows
from undersigned_verify.errors import Fault
from undersigned_verify.merkle import EMPTY_ROOT, Frontier, leaf_hash
from undersigned_verify.note import sign_note
from undersigned_verify.source import DirectorySource
from undersigned_verify.spine_pass import SpinePass
from undersigned_verify.tile import WIDTH, encode_bundle, parse_bundle, tile_path

from tests.verify.building import CASE, SpineBuilder, Witness, secret, write

RIVER = "example.org/c/river"
LEAVES = 603


def many(origin: str, sizes: range) -> list[spine.CheckpointLeaf]:
    return [
        spine.CheckpointLeaf(origin, size, secret(f"root {size}").hex())
        for size in sizes
    ]


@pytest.fixture(scope="session")
def builder() -> SpineBuilder:
    """A spine of three bundles and three intervals."""
    made = SpineBuilder(client=CASE)
    made.add(spine.CampaignLeaf(RIVER, CASE), *many(RIVER, range(1, 101))).publish()
    made.add(*many(RIVER, range(101, 500))).publish()
    return made.add(*many(RIVER, range(500, 601)), spine.RetiredLeaf(RIVER)).publish()


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, builder: SpineBuilder) -> Path:
    return builder.export(tmp_path_factory.mktemp("spine")) / "spine"


@pytest.fixture
def folder(tmp_path: Path, whole: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "spine"))


def read(folder: Path, *, live: bool = False) -> SpinePass:
    done = SpinePass(DirectorySource(folder, path="spine", live=live))
    done.run()
    return done


def assert_fault(folder: Path, code: str, path: str, index: int | None = None) -> None:
    with pytest.raises(Fault) as caught:
        read(folder)
    fault = caught.value
    assert (fault.code, fault.path) == (code, path), fault
    assert index is None or fault.index == index


class TestAccepted:
    def test_it_reports_what_it_read(self, whole: Path, builder: SpineBuilder) -> None:
        seen: list[int] = []
        done = SpinePass(
            DirectorySource(whole), on_leaf=lambda index, leaf: seen.append(index)
        )
        done.run()
        assert done.newest is not None
        assert done.state is not None
        assert (done.newest.size, done.newest.root) == (LEAVES, builder.root())
        assert (done.leaves, done.checkpoints) == (LEAVES, 3)
        assert done.note == builder.note()
        assert seen == list(range(LEAVES))
        assert done.state.campaigns[RIVER].size == 600

    def test_cosignatures_and_other_files_do_not_disturb(self, folder: Path) -> None:
        for name in ("checkpoint", "checkpoints/102", f"checkpoints/{LEAVES}"):
            data = (folder / name).read_bytes()
            write(folder / name, Witness.called("ash.example").cosign(data))
        write(folder / "growth.csv", b"anything")
        assert read(folder).checkpoints == 3

    def test_an_empty_one(self, tmp_path: Path) -> None:
        made = SpineBuilder()
        note = made.note(0, EMPTY_ROOT)
        for name in ("checkpoint", "checkpoints/0"):
            write(tmp_path / name, note)
        write(tmp_path / "log.vkey", f"{made.key.vkey}\n".encode())
        done = read(tmp_path)
        assert (done.leaves, done.checkpoints) == (0, 1)
        write(tmp_path / "checkpoints/0", made.note(1, bytes(32)))
        assert_fault(tmp_path, "checkpoint-size", "checkpoints/0")

    def test_a_live_one_that_grows(self, folder: Path) -> None:
        path = folder / tile_path("entries", 2, LEAVES - 2 * WIDTH)
        longer = [*parse_bundle(path.read_bytes()), *[b"x"] * (3 * WIDTH - LEAVES)]
        hashes = [leaf_hash(data) for data in longer]
        write(folder / "tile/entries/002", encode_bundle(longer))
        write(folder / "tile/0/002", b"".join(hashes))
        shutil.rmtree(path.parent)
        write(folder / "checkpoints/700", b"not read")
        assert read(folder, live=True).leaves == LEAVES
        assert_fault(folder, "checkpoint-beyond", "checkpoints/700")


class TestMissingFiles:
    @pytest.mark.parametrize(
        "path",
        [
            "checkpoint",
            "log.vkey",
            f"checkpoints/{LEAVES}",
            "tile/entries/000",
            "tile/entries/002.p/91",
            "tile/0/001",
            "tile/0/002.p/91",
            "tile/1/000.p/2",
        ],
    )
    def test_it_is_named(self, folder: Path, path: str) -> None:
        (folder / path).unlink()
        assert_fault(folder, "file-missing", path)


class TestChanged:
    @pytest.mark.parametrize(
        "path,code",
        [
            ("log.vkey", "vkey-form"),
            ("checkpoint", "note-signature"),
            ("checkpoints/102", "note-signature"),
            ("tile/0/000", "tile-mismatch"),
            ("tile/0/002.p/91", "tile-mismatch"),
            ("tile/1/000.p/2", "tile-mismatch"),
        ],
    )
    def test_flipped(self, folder: Path, path: str, code: str) -> None:
        data = bytearray((folder / path).read_bytes())
        data[3] ^= 1
        write(folder / path, bytes(data))
        assert_fault(folder, code, path)

    @pytest.mark.parametrize("path", ["tile/0/001", "tile/1/000.p/2"])
    def test_a_tile_with_more_or_less(self, folder: Path, path: str) -> None:
        data = (folder / path).read_bytes()
        for other in (data + b"\0", data[:-1]):
            write(folder / path, other)
            assert_fault(folder, "tile-trailing", path)

    def change_entries(
        self, folder: Path, change: Callable[[list[bytes]], None]
    ) -> None:
        path = folder / "tile/entries/001"
        leaves = parse_bundle(path.read_bytes())
        change(leaves)
        write(path, encode_bundle(leaves))

    def test_another_leaf(self, folder: Path) -> None:
        def forge(leaves: list[bytes]) -> None:
            leaf = spine.parse(leaves[10])
            assert isinstance(leaf, spine.CheckpointLeaf)
            leaves[9] = spine.encode(spine.CheckpointLeaf(RIVER, leaf.size - 1, CASE))

        self.change_entries(folder, forge)
        assert_fault(folder, "entries-mismatch", "tile/entries/001", WIDTH + 9)

    def test_a_leaf_missing_or_too_many(self, folder: Path) -> None:
        self.change_entries(folder, lambda leaves: leaves.__delitem__(9))
        assert_fault(folder, "entries-form", "tile/entries/001")
        self.change_entries(folder, lambda leaves: leaves.extend([b"x", b"y"]))
        assert_fault(folder, "entries-form", "tile/entries/001")

    def test_two_leaves_swapped(self, folder: Path) -> None:
        def swap(leaves: list[bytes]) -> None:
            leaves[4], leaves[5] = leaves[5], leaves[4]

        self.change_entries(folder, swap)
        assert_fault(folder, "entries-mismatch", "tile/entries/001", WIDTH + 4)

    def test_rolled_back(self, folder: Path, builder: SpineBuilder) -> None:
        write(folder / "checkpoint", builder.note(102))
        assert_fault(folder, "checkpoint-beyond", "checkpoints/501")

    def test_another_root(self, folder: Path, builder: SpineBuilder) -> None:
        write(folder / "checkpoints/102", builder.note(102, bytes(32)))
        assert_fault(folder, "checkpoint-root", "checkpoints/102")

    def test_another_key(self, folder: Path) -> None:
        other = SpineBuilder("example.com")
        write(folder / "log.vkey", f"{other.key.vkey}\n".encode())
        assert_fault(folder, "note-signature", "checkpoint")

    def test_no_spine_s_name(self, folder: Path, builder: SpineBuilder) -> None:
        made = SpineBuilder()
        made.origin = "example.org/c/spine"
        made.leaves, made.kept = builder.leaves, builder.kept
        for path, data in made.tree_files().items():
            write(folder / path, data)
        assert_fault(folder, "origin-path", "checkpoint")

    def test_a_leaf_that_may_not_stand(self, tmp_path: Path) -> None:
        made = SpineBuilder().add(spine.ClientLeaf(CASE)).publish()
        made.add(spine.RetiredLeaf(RIVER)).publish()
        folder = made.export(tmp_path) / "spine"
        assert_fault(folder, "spine-campaign", "tile/entries/000.p/2", 1)

    def test_a_signature_is_no_leaf_of_a_spine(self, tmp_path: Path) -> None:
        made = SpineBuilder().add(b"\1\1" + bytes(355)).publish()
        folder = made.export(tmp_path) / "spine"
        assert_fault(folder, "json-not-canonical", "tile/entries/000.p/1", 0)

    @settings(deadline=None, max_examples=60)
    @given(st.data())
    def test_no_byte_of_any_file_can_change(
        self, whole: Path, data: st.DataObject
    ) -> None:
        files = sorted(path for path in whole.rglob("*") if path.is_file())
        path = data.draw(st.sampled_from(files))
        kept = path.read_bytes()
        changed = bytearray(kept)
        at = data.draw(st.integers(0, len(kept) - 1))
        match data.draw(st.sampled_from(["flip", "insert", "delete", "cut"])):
            case "flip":
                changed[at] ^= data.draw(st.integers(1, 255))
            case "insert":
                changed[at:at] = data.draw(st.binary(min_size=1, max_size=40))
            case "delete":
                del changed[at : at + data.draw(st.integers(1, 40))]
            case _:
                del changed[at:]
        try:
            write(path, bytes(changed))
            with pytest.raises(Fault):
                read(whole)
        finally:
            write(path, kept)


def test_a_hundred_thousand_leaves_take_seconds(tmp_path: Path) -> None:
    made = SpineBuilder()
    leaves = [spine.encode(spine.CampaignLeaf(RIVER, CASE))]
    leaves += map(spine.encode, many(RIVER, range(1, 100_000)))
    frontier, roots = Frontier(), []
    for n, at in enumerate(range(0, len(leaves), WIDTH)):
        part = leaves[at : at + WIDTH]
        hashes = [leaf_hash(data) for data in part]
        frontier.extend(hashes)
        if len(part) == WIDTH:
            roots.append(tile_rows(hashes)[-1][0])
        write(tmp_path / tile_path("entries", n, len(part)), encode_bundle(part))
        write(tmp_path / tile_path(0, n, len(part)), b"".join(hashes))
    for n, at in enumerate(range(0, len(roots), WIDTH)):
        part = roots[at : at + WIDTH]
        write(tmp_path / tile_path(1, n, len(part)), b"".join(part))
    top = tile_rows(roots[:WIDTH])[-1][0]
    write(tmp_path / "tile/2/000.p/1", top)
    text = Checkpoint(made.origin, len(leaves), frontier.root()).text()
    note = sign_note(text, made.origin, made.log_key)
    for name in ("checkpoint", f"checkpoints/{len(leaves)}"):
        write(tmp_path / name, note)
    write(tmp_path / "log.vkey", f"{made.key.vkey}\n".encode())
    began = time.process_time()
    assert read(tmp_path).leaves == 100_000
    assert time.process_time() - began < 10
