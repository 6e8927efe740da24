"""What the crash drill remembers is compared with the log without mercy."""

from __future__ import annotations

from pathlib import Path

import pytest

from undersigned_verify import entry

from undersigned.drills import crash
from undersigned.drills.load import Memory
from undersigned.drills.log_image import Author, LogImage, write_files
from undersigned.drills.public_log import list_nonces
from undersigned.drills.report import Report
from undersigned.drills.signer import KeyFacts, Promise, Signature

FAR = 4_000_000_000


class Scene:
    """A log of two publications, and a memory that agrees with it."""

    def __init__(self, folder: Path) -> None:
        self.author = Author(origin="drill.example/c/judge")
        self.image = self.author.image(
            [
                [entry.encode(self.author.header), self.author.announce(0, 1)],
                self.author.signs(5),
                self.author.signs(5),
            ]
        )
        self.folder = folder
        self.memory = Memory()
        self.write(self.image)
        for _index, nonce in list_nonces(folder, self.author.digest):
            self.promise(nonce)
        for size in self.image.kept:
            note = (folder / "checkpoints" / str(size)).read_bytes()
            self.memory.checkpoints[size] = {note}

    def write(self, image: LogImage) -> None:
        write_files(self.folder, image.files())

    def promise(self, nonce: bytes, publish_by: int = FAR) -> None:
        signature = Signature(nonce, bytes(32), bytes(32), b"", None)
        self.memory.promises[nonce] = signature, Promise(nonce, publish_by)

    def judge(self) -> list[str]:
        key = KeyFacts(
            "c/judge", self.image.origin, "email", 0, b"", self.author.digest
        )
        report = Report("crash")
        crash.judge(self.folder, key, self.memory, report)
        return [check.name for check in report.failed]


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path / "c" / "judge")


def test_nothing_is_found_where_nothing_is_wrong(scene: Scene) -> None:
    assert scene.judge() == []


def test_a_lost_signature_is_found(scene: Scene) -> None:
    scene.promise(b"n" * 32)
    assert any("are lost" in name for name in scene.judge())


def test_a_signature_that_nobody_was_promised_is_found(scene: Scene) -> None:
    scene.memory.promises.popitem()
    assert any("nobody was promised" in name for name in scene.judge())


def test_a_signature_that_stands_twice_is_found(scene: Scene) -> None:
    forged = scene.image.copy()
    forged.intervals.append([forged.intervals[1][0]])
    scene.write(forged)
    assert any("stand twice" in name for name in scene.judge())


def test_a_lost_withdrawal_is_found(scene: Scene) -> None:
    scene.memory.withdrawn.add(next(iter(scene.memory.promises)))
    assert any("withdrawals are lost" in name for name in scene.judge())


def test_a_log_that_is_not_the_one_that_was_seen_is_found(scene: Scene) -> None:
    moved = scene.image.copy()
    moved.intervals[1], moved.intervals[2] = moved.intervals[2], moved.intervals[1]
    scene.write(moved)
    assert any("inconsistent" in name for name in scene.judge())


def test_a_checkpoint_that_is_gone_is_found(scene: Scene) -> None:
    (scene.folder / "checkpoints" / str(scene.image.kept[1])).unlink()
    assert any("are gone" in name for name in scene.judge())


def test_a_broken_promise_is_found(scene: Scene) -> None:
    nonce = next(iter(scene.memory.promises))
    scene.promise(nonce, publish_by=1)
    assert any("promises were broken" in name for name in scene.judge())


def test_an_unexpected_answer_is_found(scene: Scene) -> None:
    scene.memory.surprises.append("sign: 500")
    assert any("other than expected" in name for name in scene.judge())


def test_files_that_contradict_each_other_are_found(scene: Scene) -> None:
    assert crash.find_fault(scene.folder) == ""
    (scene.folder / "checkpoint").write_bytes(b"no checkpoint\n")
    assert crash.find_fault(scene.folder) != ""
