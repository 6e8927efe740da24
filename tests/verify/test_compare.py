"""Two copies: the older is a beginning of the newer, or there is a fork to show."""

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from undersigned_verify import entry as leaf
from undersigned_verify import spine
from undersigned_verify.checkpoint import Checkpoint, open_checkpoint
from undersigned_verify.cli import main
from undersigned_verify.compare import compare, read_states
from undersigned_verify.errors import Evidence, Fault, Unreadable
from undersigned_verify.fork import check_prefix, prefix_root
from undersigned_verify.merkle import EMPTY_ROOT, leaf_hash

from tests.verify.building import (
    CASE,
    Issuer,
    LogBuilder,
    SpineBuilder,
    Tree,
    Witness,
    write,
)

Output = pytest.CaptureFixture[str]


@pytest.fixture
def river(issuers: list[Issuer]) -> LogBuilder:
    return LogBuilder().announce(0, issuers[0]).publish().sign("asha", "noor").publish()


@pytest.fixture
def made(river: LogBuilder) -> SpineBuilder:
    return SpineBuilder().take(river).publish()


@pytest.fixture
def old(tmp_path: Path, river: LogBuilder, made: SpineBuilder) -> Path:
    """A copy of last week."""
    return made.export(river.export(tmp_path / "old"))


@pytest.fixture
def new(tmp_path: Path, old: Path, river: LogBuilder, made: SpineBuilder) -> Path:
    """A copy of today."""
    river.sign("mei", "omar", "petra").publish()
    return made.take(river).publish().export(river.export(tmp_path / "new"))


@pytest.fixture
def forked(tmp_path: Path, river: LogBuilder) -> LogBuilder:
    """The log after the same beginning, without noor."""
    other = LogBuilder()
    other.issuers, other.pending = river.issuers, []
    other.leaves, other.kept = river.leaves[: river.kept[0]], river.kept[:1]
    return other.sign("asha", "x", "y", "z").publish()


def report(capsys: Output, *arguments: object) -> tuple[int, dict[str, object]]:
    status = main(["compare", *map(str, arguments), "--json"])
    return status, json.loads(capsys.readouterr().out)


class TestConsistent:
    def test_copies_of_a_root(self, old: Path, new: Path, capsys: Output) -> None:
        for a, b in ((old, new), (new, old)):
            assert main(["compare", str(a), str(b)]) == 0
            shown = capsys.readouterr().out
            assert "example.org/c/river: consistent\n" in shown
            assert "example.org/spine: consistent\n" in shown
            assert f"older  4 leaves, {old}/c/river/checkpoint" in shown
            assert f"newer  7 leaves, {new}/c/river/checkpoint" in shown
            assert "run audit" in shown
        status, found = report(capsys, old, new)
        assert (status, found["verdict"]) == (0, "consistent")

    def test_one_log(self, old: Path, new: Path, capsys: Output) -> None:
        assert main(["compare", f"{old}/c/river", f"{new}/c/river"]) == 0
        # A log's folder brings its spine.
        assert "example.org/spine" in capsys.readouterr().out
        assert main(["compare", f"{old}/spine", str(new)]) == 0
        assert "c/river:" not in capsys.readouterr().out

    def test_the_same(self, old: Path, capsys: Output) -> None:
        assert main(["compare", str(old), str(old)]) == 0
        assert "example.org/c/river: the same state" in capsys.readouterr().out

    def test_a_checkpoint_with_a_log(
        self, old: Path, new: Path, river: LogBuilder, tmp_path: Path
    ) -> None:
        for file in ("c/river/checkpoint", "c/river/checkpoints/2", "spine/checkpoint"):
            assert main(["compare", str(old / file), str(new)]) == 0
        cosigned = Witness.called("wren.example").cosign(
            (old / "spine/checkpoint").read_bytes()
        )
        write(tmp_path / "cosigned", cosigned)
        assert main(["compare", str(new), str(tmp_path / "cosigned")]) == 0
        write(tmp_path / "empty", river.note(0, EMPTY_ROOT))
        assert main(["compare", str(tmp_path / "empty"), str(new)]) == 0

    def test_a_receipt(
        self,
        old: Path,
        new: Path,
        tmp_path: Path,
        river: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        file = tmp_path / "receipt"
        write(file, river.receipt("asha", size=river.kept[1]))
        assert main(["compare", str(file), str(new)]) == 0
        assert "example.org/spine" not in capsys.readouterr().out
        write(file, made.receipt(river, "asha", size=river.kept[1]))
        assert main(["compare", str(file), str(new)]) == 0
        assert "example.org/spine: the same state" in capsys.readouterr().out
        # Of two receipts there are no tiles.
        other = tmp_path / "other"
        write(other, river.receipt("noor", size=river.kept[1]))
        keys = ["--vkey", river.key.vkey, "--vkey", made.key.vkey]
        assert main(["compare", str(file), str(other), *keys]) == 0
        assert "the same state" in capsys.readouterr().out


class TestFork:
    def assert_fork(self, capsys: Output, a: object, b: object, *notes: bytes) -> None:
        for pair in ((a, b), (b, a)):
            assert main(["compare", *map(str, pair)]) == 1
            shown = capsys.readouterr().out
            assert ": FORK\n" in shown
            assert all(note.decode() in shown for note in notes)
            status, found = report(capsys, *pair)
            assert (status, found["verdict"]) == (1, "fork")

    def test_of_two_copies(
        self,
        tmp_path: Path,
        old: Path,
        river: LogBuilder,
        forked: LogBuilder,
        capsys: Output,
    ) -> None:
        other = forked.export(tmp_path / "fork")
        self.assert_fork(capsys, old, other, river.note(), forked.note())

    def test_of_one_size_needs_no_tiles(
        self,
        tmp_path: Path,
        new: Path,
        river: LogBuilder,
        forked: LogBuilder,
        capsys: Output,
    ) -> None:
        assert len(forked.leaves) == 6
        forked.sign("v").publish()
        write(tmp_path / "checkpoint", forked.note())
        self.assert_fork(
            capsys, new, tmp_path / "checkpoint", river.note(), forked.note()
        )
        write(tmp_path / "river", river.note())
        keys = ["--vkey", river.key.vkey]
        command = ["compare", str(tmp_path / "checkpoint"), str(tmp_path / "river")]
        assert main([*command, *keys]) == 1

    def test_of_a_receipt_and_a_log(
        self,
        tmp_path: Path,
        old: Path,
        river: LogBuilder,
        forked: LogBuilder,
        capsys: Output,
    ) -> None:
        write(tmp_path / "receipt", river.receipt("asha"))
        other = forked.export(tmp_path / "fork")
        self.assert_fork(
            capsys, tmp_path / "receipt", other, river.note(), forked.note()
        )

    def test_of_a_spine(
        self, tmp_path: Path, old: Path, river: LogBuilder, capsys: Output
    ) -> None:
        other = SpineBuilder(client=CASE).take(river).publish()
        other.export(river.export(tmp_path / "fork"))
        self.assert_fork(capsys, old, tmp_path / "fork", other.note())

    def test_of_two_spine_proofs(
        self,
        tmp_path: Path,
        old: Path,
        river: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        other = SpineBuilder().add(spine.ClientLeaf(CASE)).publish()
        other.take(river).publish()
        write(tmp_path / "receipt", other.receipt(river, "asha"))
        # Larger than the copy: no tiles, so nothing can be said.
        status, found = report(capsys, old, tmp_path / "receipt")
        assert (status, found["verdict"]) == (2, "not checked")
        whole = other.export(river.export(tmp_path / "whole"))
        self.assert_fork(capsys, old, whole, made.note(), other.note())


class TestNotChecked:
    def test_without_tiles(
        self, tmp_path: Path, old: Path, new: Path, river: LogBuilder, capsys: Output
    ) -> None:
        for a in (old, old / "c/river/checkpoint"):
            assert main(["compare", str(a), str(new / "c/river/checkpoint")]) == 2
            shown = capsys.readouterr()
            assert "--vkey" in shown.err or "There are no tiles" in shown.out
        status, found = report(capsys, old, new / "c/river/checkpoint")
        assert (status, found["verdict"]) == (2, "not checked")

    @pytest.mark.parametrize("how", ["missing", "damaged"])
    def test_with_bad_tiles(
        self, old: Path, new: Path, how: str, capsys: Output
    ) -> None:
        tile = new / "c/river/tile/0/000.p/7"
        if how == "missing":
            tile.unlink()
        else:
            data = bytearray(tile.read_bytes())
            data[40] ^= 1
            write(tile, bytes(data))
        assert main(["compare", str(old), str(new)]) == 2
        shown = capsys.readouterr().out
        assert "example.org/c/river: not checked" in shown
        assert "FORK" not in shown

    def test_different_logs(self, tmp_path: Path, old: Path, capsys: Output) -> None:
        LogBuilder(origin="example.org/c/lake").publish().export(tmp_path / "lake")
        assert main(["compare", str(old), str(tmp_path / "lake")]) == 2
        assert "nothing to compare" in capsys.readouterr().err

    def test_an_unknown_key(self, old: Path, capsys: Output) -> None:
        file = str(old / "c/river/checkpoint")
        assert main(["compare", file, file]) == 2
        assert "give it with --vkey" in capsys.readouterr().err


class TestBadInput:
    def test_two_keys(
        self, tmp_path: Path, old: Path, river: LogBuilder, capsys: Output
    ) -> None:
        other = LogBuilder()
        other.log_key = LogBuilder(origin="example.org/c/lake").log_key
        other.publish().export(tmp_path / "other")
        assert main(["compare", str(old), str(tmp_path / "other")]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("REFUSED  log-keys")
        assert river.key.vkey in shown
        assert other.key.vkey in shown
        command = ["compare", str(old), str(old), "--vkey", other.key.vkey]
        assert main(command) == 1

    def test_a_note_of_nobody(
        self, tmp_path: Path, old: Path, river: LogBuilder, capsys: Output
    ) -> None:
        data = (old / "c/river/checkpoint").read_bytes()
        write(tmp_path / "forged", data.replace(b"\n4\n", b"\n5\n"))
        assert main(["compare", str(old), str(tmp_path / "forged")]) == 1
        assert "note-signature" in capsys.readouterr().out

    @pytest.mark.parametrize("data", [b"", b"hello\n", b"c2sp.org/tlog-proof@v1\n"])
    def test_no_checkpoint(self, tmp_path: Path, old: Path, data: bytes) -> None:
        write(tmp_path / "file", data)
        assert main(["compare", str(old), str(tmp_path / "file")]) == 1
        assert main(["compare", str(old), str(tmp_path / "absent")]) == 2

    def test_a_log_that_cannot_be_opened(self, old: Path, capsys: Output) -> None:
        (old / "spine/log.vkey").unlink()
        assert main(["compare", str(old), str(old)]) == 1
        assert f"file-missing ({old}/spine/log.vkey)" in capsys.readouterr().out


def plain_tree(count: int) -> Tree:
    tree = Tree("example.org/c/river")
    tree.leaves = [leaf.encode(leaf.PublicRecord(f"{i}", CASE)) for i in range(count)]
    return tree


@given(st.integers(1, 70), st.integers(1, 70))
def test_every_prefix_has_its_root(one: int, other: int) -> None:
    low, high = sorted((one, other))
    tree = plain_tree(high)
    newer = Checkpoint(tree.origin, high, tree.root())
    assert prefix_root(low, newer, tree.read_node) == tree.root(low)


@settings(deadline=None)
@given(st.data())
def test_a_fork_is_never_missed_and_never_made_up(data: st.DataObject) -> None:
    high = data.draw(st.integers(2, 70))
    low = data.draw(st.integers(1, high))
    tree, other = plain_tree(high), plain_tree(high)
    at = data.draw(st.integers(0, high - 1))
    other.leaves[at] = b"another"
    older = Checkpoint(tree.origin, low, other.root(low))
    newer = Checkpoint(tree.origin, high, tree.root())
    evidence = Evidence("a", b"a"), Evidence("b", b"b")
    if at >= low:
        check_prefix(older, newer, tree.read_node, evidence=evidence)
    else:
        with pytest.raises(Fault, match="log-fork") as caught:
            check_prefix(older, newer, tree.read_node, evidence=evidence)
        assert caught.value.evidence == evidence
    # Tiles that lie prove nothing, against whomever.
    if low < high:

        def lying(level: int, n: int) -> bytes:
            return leaf_hash(b"lie") if (level, n) == lie else tree.read_node(level, n)

        lie = data.draw(st.sampled_from(_nodes(low, high)))
        with pytest.raises(Fault, match="tile-mismatch"):
            prefix_root(low, newer, lying)


def _nodes(low: int, high: int) -> list[tuple[int, int]]:
    """Return nodes that a comparison of these sizes reads: those below its prefix."""
    found, at = [], 0
    for level in reversed(range(low.bit_length())):
        if low >> level & 1:
            found.append((level, at >> level))
            at += 1 << level
    return found


def test_programs_may_compare(old: Path, new: Path, river: LogBuilder) -> None:
    (found, _) = compare(read_states(str(old)), read_states(str(new)))
    assert found.verdict == "consistent"
    assert open_checkpoint(found.newer.note, river.key) == found.newer.checkpoint
    with pytest.raises(Unreadable):
        read_states("ftp://example.org/c/river")


def test_a_copy_may_lack_its_log(tmp_path: Path, old: Path, new: Path) -> None:
    shutil.rmtree(new / "c")
    assert main(["compare", str(old), str(new)]) == 0
