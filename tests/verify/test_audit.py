"""Audits of files: every artifact flipped, dropped, swapped or added to is named."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typing_extensions import override

from undersigned_verify.audit import (
    AuditReport,
    audit_log,
    count_workers,
    find_shared_key,
)
from undersigned_verify.canonical import encode as encode_json
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.merkle import EMPTY_ROOT
from undersigned_verify.note import sign_note
from undersigned_verify.recount import Recount
from undersigned_verify.source import DirectorySource
from undersigned_verify.tile import encode_bundle, parse_bundle

from tests.verify.biglog import write_signed_log, write_unsigned_log
from tests.verify.building import Issuer, LogBuilder, write


@pytest.fixture(scope="session")
def middle(
    tmp_path_factory: pytest.TempPathFactory, issuers: list[Issuer]
) -> LogBuilder:
    """A log of three bundles and five intervals."""
    log = LogBuilder()
    log.announce(0, issuers[0]).announce(1, issuers[1], klass=4).publish()
    for interval in range(3):
        log.sign(*(f"{interval}.{i}" for i in range(200))).publish()
    return log.sign("last").publish()


@pytest.fixture(scope="session")
def middle_files(middle: LogBuilder) -> dict[str, bytes]:
    return middle.files()


@pytest.fixture
def folder(tmp_path: Path, middle: LogBuilder, middle_files: dict[str, bytes]) -> Path:
    """The files of the middle log, to be tampered with."""
    for path, data in middle_files.items():
        write(tmp_path / middle.path / path, data)
    return tmp_path / middle.path


def audit(folder: Path) -> AuditReport:
    return audit_log(DirectorySource(folder), workers=1)


def assert_fault(
    folder: Path, code: str, path: str | None, index: int | None = None
) -> Fault:
    report = audit(folder)
    assert report.fault is not None
    assert (report.fault.code, report.fault.path) == (code, path)
    if index is not None:
        assert report.fault.index == index
    assert report.totals is None
    assert not report.accepted
    return report.fault


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


SIZE = 604
NEWEST = "tile/entries/002.p/92"
TILE = "tile/0/002.p/92"


class TestAccepted:
    def test_it_reports_what_it_read(self, folder: Path, middle: LogBuilder) -> None:
        report = audit(folder)
        assert report.fault is None
        assert report.verdict == "accepted"
        assert (report.origin, report.tree_size) == ("example.org/c/river", SIZE)
        assert report.root_hash == middle.root().hex()
        assert (report.leaves, report.tokens, report.checkpoints) == (SIZE, 601, 5)
        assert report.totals is not None
        assert report.totals["net"] == 601
        assert len(report.key_ids) == 2

    def test_it_does_not_mind_what_is_not_the_log_s(self, folder: Path) -> None:
        for path in (
            "growth.csv",
            "README",
            "tile/entries/000.p/17",
            "tile/0/001.p/3",
            "tile/9/000",
            "checkpoints/.hidden",
            "checkpoints/index.html",
        ):
            write(folder / path, b"anything")
        assert audit(folder).accepted
        (folder / "growth.csv").unlink()
        assert audit(folder).accepted

    def test_a_policy_cannot_be_met_yet(self, folder: Path) -> None:
        report = audit_log(folder, workers=1, policy=b"quorum none\n")
        assert report.accepted
        assert report.verdict == "consistent, not witnessed"

    def test_a_root_with_one_log_will_do(self, folder: Path) -> None:
        assert audit_log(str(folder.parents[1]), workers=1).path == "c/river"

    def test_a_root_with_two_logs_will_not(self, folder: Path) -> None:
        shutil.copytree(folder, folder.parent / "lake")
        with pytest.raises(ValueError, match="2 logs"):
            audit_log(folder.parents[1])

    def test_a_checkpoint_of_no_leaves_may_be_kept(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        write(folder / "checkpoints/0", middle.note(0, EMPTY_ROOT))
        assert audit(folder).checkpoints == 6

    def test_progress_is_told(self, folder: Path) -> None:
        seen: list[tuple[int, int]] = []
        audit_log(
            folder, workers=1, progress=lambda done, all: seen.append((done, all))
        )
        assert seen == [(SIZE, SIZE)]

    def test_there_is_a_processor(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert count_workers() >= 1
        monkeypatch.delattr(os, "sched_getaffinity", raising=False)
        assert count_workers() == os.cpu_count()


class TestMissingFiles:
    @pytest.mark.parametrize(
        "path",
        [
            "checkpoint",
            "log.vkey",
            "statement",
            "count.json",
            "checkpoints/203",
            f"checkpoints/{SIZE}",
            "tile/entries/000",
            "tile/entries/001",
            NEWEST,
            "tile/0/000",
            "tile/0/001",
            TILE,
            "tile/1/000.p/2",
        ],
    )
    def test_it_is_named(self, folder: Path, path: str) -> None:
        (folder / path).unlink()
        if path == "checkpoints/203":
            # Nobody can know that it was there: the order of leaves tells.
            assert_fault(folder, "order-in-interval", "tile/entries/000", 203)
        else:
            assert_fault(folder, "file-missing", path)

    def test_no_checkpoint_at_all(self, folder: Path) -> None:
        shutil.rmtree(folder / "checkpoints")
        assert_fault(folder, "file-missing", f"checkpoints/{SIZE}")

    def test_a_checkpoint_that_vanishes_while_it_is_read(self, folder: Path) -> None:
        class Vanishing(DirectorySource):
            @override
            def read(self, path: str, limit: int) -> bytes | None:
                return None if path == "checkpoints/203" else super().read(path, limit)

        report = audit_log(Vanishing(folder), workers=1)
        assert report.fault is not None
        assert report.fault.path == "checkpoints/203"
        assert report.fault.code == "file-missing"


class TestFlippedBytes:
    @pytest.mark.parametrize(
        "path,at,code",
        [
            ("log.vkey", 2, "vkey-form"),
            ("log.vkey", -1, "vkey-form"),
            ("checkpoint", 2, "note-signature"),
            ("checkpoint", -1, "note-form"),
            ("statement", 5, "statement-mismatch"),
            ("count.json", 12, "count-mismatch"),
            ("count.json", -1, "count-mismatch"),
            ("checkpoints/203", 2, "note-signature"),
            (f"checkpoints/{SIZE}", 25, "note-signature"),
            ("tile/0/000", 40, "tile-mismatch"),
            ("tile/0/001", -1, "tile-mismatch"),
            (TILE, 0, "tile-mismatch"),
            ("tile/1/000.p/2", 33, "tile-mismatch"),
        ],
    )
    def test_they_are_named(self, folder: Path, path: str, at: int, code: str) -> None:
        flip(folder / path, at)
        assert_fault(folder, code, path)

    @pytest.mark.parametrize("index", [3, 255, 256, 603])
    @pytest.mark.parametrize("offset", [4, 90, 356])
    def test_a_flipped_entry_is_named(
        self, folder: Path, index: int, offset: int
    ) -> None:
        n, inside = divmod(index, 256)
        path = NEWEST if n == 2 else f"tile/entries/00{n}"
        leaves = parse_bundle((folder / path).read_bytes())
        at = sum(2 + len(data) for data in leaves[:inside])
        flip(folder / path, at + 2 + offset)
        assert_fault(folder, "entries-mismatch", path, index)

    @pytest.mark.parametrize("offset", [0, 1])
    def test_a_flipped_length_is_named(self, folder: Path, offset: int) -> None:
        flip(folder / "tile/entries/001", 359 * 9 + offset)
        assert_fault(folder, "entries-form", "tile/entries/001", 256)

    @pytest.mark.parametrize("at", [0, 1, 2, 30])
    def test_a_flipped_header_is_named(self, folder: Path, at: int) -> None:
        flip(folder / "tile/entries/000", at)
        fault = audit(folder).fault
        assert fault is not None
        # Another length may or may not leave a bundle that can be cut.
        assert fault.code in ("entries-mismatch", "entries-form")
        assert (fault.path, fault.index) == ("tile/entries/000", 0)

    def test_a_flipped_hash_of_the_header_is_named(self, folder: Path) -> None:
        flip(folder / "tile/0/000", 0)
        assert_fault(folder, "tile-mismatch", "tile/0/000", 0)

    def test_when_both_changed_neither_is_believed(self, folder: Path) -> None:
        leaves = parse_bundle((folder / "tile/entries/001").read_bytes())
        flip(folder / "tile/0/001", 32 * 7)
        flip(folder / "tile/entries/001", 359 * 7 + 100)
        fault = assert_fault(folder, "entries-mismatch", "tile/entries/001", 256 + 7)
        assert "tile/0/001" in fault.detail
        assert len(leaves) == 256

    def test_when_the_tiles_above_changed_too(self, folder: Path) -> None:
        flip(folder / "tile/0/001", 32 * 7)
        (folder / "tile/1/000.p/2").unlink()
        fault = assert_fault(folder, "entries-mismatch", "tile/entries/001", 256 + 7)
        assert "neither" in fault.detail


class TestChangedLengths:
    @pytest.mark.parametrize(
        "path,code",
        [
            ("log.vkey", "vkey-form"),
            ("checkpoint", "note-form"),
            ("checkpoints/203", "note-form"),
            ("statement", "statement-mismatch"),
            ("count.json", "count-mismatch"),
            ("tile/0/000", "tile-trailing"),
            (TILE, "tile-trailing"),
            ("tile/1/000.p/2", "tile-trailing"),
            ("tile/entries/000", "entries-form"),
            ("tile/entries/001", "entries-form"),
            (NEWEST, "entries-form"),
        ],
    )
    def test_they_are_named(self, folder: Path, path: str, code: str) -> None:
        data = (folder / path).read_bytes()
        for changed in (data + b"\n", data[:-1], b"", data + data):
            (folder / path).write_bytes(changed)
            fault = audit(folder).fault
            assert fault is not None
            assert fault.path == path
            # Twice the same note is one note with a longer text.
            twice = "note-signature" if code == "note-form" else code
            assert fault.code in (code, twice)

    def test_an_entry_too_many_or_too_few(self, folder: Path) -> None:
        leaves = parse_bundle((folder / "tile/entries/001").read_bytes())
        for changed in (leaves[:-1], [*leaves, leaves[0]]):
            write(folder / "tile/entries/001", encode_bundle(changed))
            assert_fault(folder, "entries-form", "tile/entries/001")

    def test_a_file_that_is_huge(self, folder: Path) -> None:
        for path, code in {
            "checkpoint": "file-too-large",
            "checkpoints/203": "file-too-large",
            "log.vkey": "file-too-large",
            "count.json": "file-too-large",
            "statement": "file-too-large",
            "tile/0/001": "file-too-large",
            NEWEST: "file-too-large",
        }.items():
            kept = (folder / path).read_bytes()
            os.truncate(folder / path, 20_000_000)
            assert_fault(folder, code, path)
            (folder / path).write_bytes(kept)
        assert audit(folder).accepted


class TestSwappedFiles:
    @pytest.mark.parametrize(
        "one,other,code",
        [
            ("tile/entries/000", "tile/entries/001", "entries-mismatch"),
            ("tile/0/000", "tile/0/001", "tile-mismatch"),
            ("checkpoints/3", "checkpoints/203", "checkpoint-size"),
        ],
    )
    def test_they_are_named(
        self, folder: Path, one: str, other: str, code: str
    ) -> None:
        first, second = (folder / one).read_bytes(), (folder / other).read_bytes()
        (folder / one).write_bytes(second)
        (folder / other).write_bytes(first)
        assert_fault(folder, code, one)

    def test_an_older_checkpoint_in_place_of_the_newest(self, folder: Path) -> None:
        shutil.copy(folder / "checkpoints/203", folder / "checkpoint")
        assert_fault(folder, "checkpoint-beyond", "checkpoints/403")

    def test_two_entries(self, folder: Path) -> None:
        path = folder / "tile/entries/001"
        leaves = parse_bundle(path.read_bytes())
        leaves[9], leaves[10] = leaves[10], leaves[9]
        path.write_bytes(encode_bundle(leaves))
        assert_fault(folder, "entries-mismatch", "tile/entries/001", 256 + 9)


class TestAddedFiles:
    @pytest.mark.parametrize("name", ["605", "9223372036854775807"])
    def test_a_checkpoint_beyond_the_newest(self, folder: Path, name: str) -> None:
        write(folder / "checkpoints" / name, b"")
        assert_fault(folder, "checkpoint-beyond", f"checkpoints/{name}")

    @pytest.mark.parametrize("name", ["0203", "9223372036854775808", "1" * 40])
    def test_a_checkpoint_of_no_size(self, folder: Path, name: str) -> None:
        write(folder / "checkpoints" / name, b"")
        assert_fault(folder, "checkpoint-size", f"checkpoints/{name}")

    def test_a_checkpoint_that_joins_other_leaves(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        write(folder / "checkpoints/100", middle.note(100))
        # Its root is right, and cutting a sorted interval leaves two sorted ones.
        assert audit(folder).checkpoints == 6
        write(folder / "checkpoints/100", middle.note(100, bytes(32)))
        assert_fault(folder, "checkpoint-root", "checkpoints/100")

    @pytest.mark.parametrize("size", [256, 512])
    def test_a_false_root_at_the_edge_of_a_bundle(
        self, folder: Path, middle: LogBuilder, size: int
    ) -> None:
        write(folder / f"checkpoints/{size}", middle.note(size))
        assert audit(folder).accepted
        write(folder / f"checkpoints/{size}", middle.note(size, bytes(32)))
        assert_fault(folder, "checkpoint-root", f"checkpoints/{size}")

    @pytest.mark.parametrize(
        "size,root,code",
        [(0, bytes(32), "checkpoint-root"), (7, EMPTY_ROOT, "checkpoint-size")],
    )
    def test_a_checkpoint_of_no_leaves_is_checked(
        self, folder: Path, middle: LogBuilder, size: int, root: bytes, code: str
    ) -> None:
        write(folder / "checkpoints/0", middle.note(size, root))
        assert_fault(folder, code, "checkpoints/0")


class TestCheckpoints:
    def sign(self, log: LogBuilder, origin: str, size: int, root: bytes) -> bytes:
        text = Checkpoint(origin, size, root).text()
        return sign_note(text, log.origin, log.log_key)

    def test_the_newest_has_the_kept_one_s_root(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        write(folder / "checkpoint", middle.note(SIZE, bytes(32)))
        assert_fault(folder, "checkpoint-root", "checkpoint")

    def test_it_may_carry_signatures_of_others(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        line = middle.note().partition(b"\n\n")[2].replace(b"river", b"other")
        write(folder / "checkpoint", middle.note() + line)
        assert audit(folder).accepted

    def test_its_origin_is_its_key_s_name(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        note = self.sign(middle, "example.org/c/lake", SIZE, middle.root())
        write(folder / "checkpoint", note)
        assert_fault(folder, "checkpoint-origin", "checkpoint")

    def test_a_log_of_no_leaves_has_no_header(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        write(folder / "checkpoint", middle.note(0, EMPTY_ROOT))
        assert_fault(folder, "header-missing", "checkpoint")


class TestKey:
    @pytest.mark.parametrize(
        "change",
        [
            lambda data: data + data,
            lambda data: data[:-1] + b"\r\n",
            lambda data: data + b"\n",
            lambda data: b"\xff" + data,
        ],
    )
    def test_it_is_one_line(
        self, folder: Path, change: Callable[[bytes], bytes]
    ) -> None:
        path = folder / "log.vkey"
        path.write_bytes(change(path.read_bytes()))
        assert audit(folder).fault is not None
        assert_fault(folder, audit(folder).fault.code, "log.vkey")  # type: ignore[union-attr]  # just checked

    def test_another_log_s_key_is_not_this_one_s(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        other = LogBuilder(origin="example.org/c/lake")
        write(folder / "log.vkey", f"{other.key.vkey}\n".encode())
        assert_fault(folder, "note-signature", "checkpoint")


class TestCount:
    def change(self, folder: Path, **members: object) -> None:
        path = folder / "count.json"
        count = json.loads(path.read_bytes())
        path.write_bytes(encode_json({**count, **members}))

    @pytest.mark.parametrize(
        "members",
        [
            {"net": 602},
            {"net": True},
            {"tree_size": 603},
            {"root_hash": "00" * 32},
            {"origin": "example.org/c/lake"},
            {"more": 1},
        ],
        ids=str,
    )
    def test_it_is_the_recount(self, folder: Path, members: dict[str, object]) -> None:
        self.change(folder)
        assert audit(folder).accepted
        self.change(folder, **members)
        assert_fault(folder, "count-mismatch", "count.json")

    def test_it_is_the_recount_byte_for_byte(self, folder: Path) -> None:
        path = folder / "count.json"
        path.write_text(json.dumps(json.loads(path.read_bytes()), sort_keys=True))
        assert_fault(folder, "count-mismatch", "count.json")

    def test_of_a_live_log_it_may_be_of_an_earlier_checkpoint(
        self, folder: Path, middle: LogBuilder
    ) -> None:
        def audit_live() -> Fault | None:
            return audit_log(DirectorySource(folder, live=True), workers=1).fault

        assert audit_live() is None
        earlier = LogBuilder()
        earlier.leaves, earlier.kept = middle.leaves[:403], [3, 203, 403]
        count = earlier.recount().count_json(earlier.root())
        write(folder / "count.json", count)
        assert audit_live() is None
        assert_fault(folder, "count-mismatch", "count.json")
        for size in (402, 605, True, "403", None):
            self.change(folder, tree_size=size)
            fault = audit_live()
            assert fault is not None
            assert (fault.code, fault.path) == ("count-mismatch", "count.json")
        write(folder / "count.json", b"[]")
        assert audit_live() is not None
        write(folder / "count.json", b"{")
        fault = audit_live()
        assert fault is not None
        assert (fault.code, fault.path) == ("json-not-canonical", "count.json")


class TestLookups:
    def test_withdrawals_may_aim_anywhere(
        self, tmp_path: Path, issuers: list[Issuer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("undersigned_verify.lookup._KEPT_BUNDLES", 1)
        log = LogBuilder().announce(0, issuers[0]).publish()
        log.sign(*(f"s{i}" for i in range(300))).publish()
        first = min(range(300), key=lambda i: log.index_of(f"s{i}"))
        last = max(range(300), key=lambda i: log.index_of(f"s{i}"))
        log.withdraw(f"s{first}").withdraw(f"s{last}").publish()
        report = audit_log(log.export(tmp_path), workers=1)
        assert report.totals is not None
        assert report.totals["withdrawals"] == 2

    def test_a_log_that_changes_while_it_is_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # A nonce seemed to be there twice, and on the second look it is not.
        monkeypatch.setattr(
            "undersigned_verify.crew.find_repeats", lambda nonces: {bytes(32)}
        )
        with pytest.raises(Unreadable, match="changed while it was read"):
            audit(folder)


class TestPlace:
    def test_a_log_lies_where_its_origin_says(self, folder: Path) -> None:
        root = folder.parents[1]
        shutil.move(folder, root / "c/lake")
        fault = audit_log(root, workers=1).fault
        assert fault is not None
        assert fault.code == "origin-path"
        # Its own folder may be called anything.
        assert audit_log(root / "c/lake", workers=1).accepted

    def test_two_logs_of_an_instance_share_no_key(
        self, tmp_path: Path, issuers: list[Issuer]
    ) -> None:
        reports = []
        for origin, key in (
            ("example.org/c/river", 0),
            ("example.org/c/lake", 1),
            ("elsewhere.org/c/river", 0),
        ):
            log = LogBuilder(origin=origin).announce(0, issuers[key]).publish()
            root = log.export(tmp_path / origin.replace("/", "-"))
            reports.append(audit_log(root, workers=1))
        assert find_shared_key(reports) is None
        log = LogBuilder(origin="example.org/c/river/2").announce(7, issuers[0])
        root = log.publish().export(tmp_path / "more")
        report = audit_log(root / "c/river/2", workers=1)
        assert report.accepted
        shared = find_shared_key([*reports, report])
        assert shared is not None
        assert shared.code == "spki-shared"


class TestOddFiles:
    @pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
    def test_only_regular_files_are_read(
        self, folder: Path, make: Callable[[Path], None]
    ) -> None:
        (folder / "checkpoint").unlink()
        make(folder / "checkpoint")
        assert_fault(folder, "file-missing", "checkpoint")

    def test_a_file_that_may_not_be_read(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(path: Path, flags: int) -> int:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(os, "open", refuse)
        with pytest.raises(Unreadable, match="Permission denied"):
            audit(folder)

    def test_a_file_in_place_of_a_folder(self, folder: Path) -> None:
        shutil.rmtree(folder / "checkpoints")
        write(folder / "checkpoints", b"")
        assert_fault(folder, "file-missing", f"checkpoints/{SIZE}")


@pytest.fixture(scope="session")
def tall(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log with a full tile of level 1 and a tile of level 2; its tokens are noise."""
    root = tmp_path_factory.mktemp("tall")
    log = write_unsigned_log(root, 65_536 + 300, interval=9_000)
    return root / log.path


def replay(folder: Path, *, workers: int = 1) -> Fault | None:
    recount = Recount(DirectorySource(folder), workers=workers, tokens=False)
    try:
        recount.run()
    except Fault as fault:
        return fault
    assert recount.tokens == 0
    return None


class TestTallLogs:
    @pytest.mark.parametrize("workers", [1, 2])
    def test_one_is_accepted(self, tall: Path, workers: int) -> None:
        assert replay(tall, workers=workers) is None

    @pytest.mark.parametrize(
        "path,code",
        [
            ("tile/1/000", "tile-mismatch"),
            ("tile/1/001.p/1", "tile-mismatch"),
            ("tile/2/000.p/1", "tile-mismatch"),
            ("tile/0/200", "tile-mismatch"),
        ],
    )
    def test_tiles_of_every_level_are_compared(
        self, tall: Path, path: str, code: str
    ) -> None:
        kept = (tall / path).read_bytes()
        try:
            flip(tall / path, 5)
            fault = replay(tall)
            assert fault is not None
            assert (fault.code, fault.path) == (code, path)
            (tall / path).unlink()
            fault = replay(tall)
            assert fault is not None
            assert (fault.code, fault.path) == ("file-missing", path)
            write(tall / path, kept + b"\0")
            fault = replay(tall)
            assert fault is not None
            assert (fault.code, fault.path) == ("tile-trailing", path)
        finally:
            write(tall / path, kept)

    def test_order_is_checked_across_chunks(self, tall: Path) -> None:
        # A chunk ends at leaf 2,048, within the second interval. Without its hashes
        # the two leaves beside that edge are told apart by order alone.
        kept = {}
        try:
            for path in (
                "tile/entries/007",
                "tile/entries/008",
                "tile/0/007",
                "tile/0/008",
            ):
                kept[path] = (tall / path).read_bytes()
            before = parse_bundle(kept["tile/entries/007"])
            after = parse_bundle(kept["tile/entries/008"])
            before[-1], after[0] = after[0], before[-1]
            write(tall / "tile/entries/007", encode_bundle(before))
            write(tall / "tile/entries/008", encode_bundle(after))
            for n, leaves in ((7, before), (8, after)):
                hashes = b"".join(leaf_digest(data) for data in leaves)
                write(tall / f"tile/0/00{n}", hashes)
            fault = replay(tall)
            assert fault is not None
            assert (fault.code, fault.index) == ("order-in-interval", 2048)
        finally:
            for path, data in kept.items():
                write(tall / path, data)

    def test_one_that_fills_its_tiles(self, tmp_path: Path) -> None:
        log = write_unsigned_log(tmp_path, 65_536, interval=60_000)
        folder = tmp_path / log.path
        assert replay(folder, workers=2) is None
        (folder / "tile/entries/100").unlink()
        fault = replay(folder, workers=2)
        assert fault is not None
        assert (fault.code, fault.path) == ("file-missing", "tile/entries/100")

    def test_tokens_of_noise_are_refused(self, tall: Path) -> None:
        for workers in (1, 2):
            report = audit_log(tall, workers=workers)
            assert report.fault is not None
            assert (report.fault.code, report.fault.index) == ("token-invalid", 2)


def leaf_digest(data: bytes) -> bytes:
    from undersigned_verify.merkle import leaf_hash

    return leaf_hash(data)


def test_several_processes_find_what_one_finds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("undersigned_verify.recount.MIN_PARALLEL", 1000)
    log = write_signed_log(tmp_path, 2_500, interval=700, workers=1)
    folder = tmp_path / log.path
    reports = [audit_log(folder, workers=workers) for workers in (1, 2)]
    assert reports[0] == reports[1]
    assert reports[0].accepted
    assert reports[0].tokens == 2_500 - 2
    flip(folder / "tile/entries/008", 359 * 11 + 150)
    for workers in (1, 2):
        fault = audit_log(folder, workers=workers).fault
        assert fault is not None
        assert (fault.code, fault.index) == ("entries-mismatch", 8 * 256 + 11)
