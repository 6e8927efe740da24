"""Campaign logs against their instance's spine: who contradicts whom is named."""

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import override

from undersigned_verify import entry as leaf
from undersigned_verify import spine
from undersigned_verify.audit import (
    AuditReport,
    InstanceReport,
    audit_log,
    audit_logs,
)
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.cli import main
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.merkle import EMPTY_ROOT, leaf_hash, verify_inclusion
from undersigned_verify.proof import InclusionProof
from undersigned_verify.source import (
    DirectorySource,
    Source,
    find_instance,
    open_root_spine,
)

from tests.verify.building import (
    CASE,
    Issuer,
    LogBuilder,
    SpineBuilder,
    Witness,
    make_policy,
    write,
)

RIVER, LAKE = "example.org/c/river", "example.org/c/lake"
WREN, LARK = Witness.called("wren.example"), Witness.called("lark.example")
Output = pytest.CaptureFixture[str]


@dataclass
class Instance:
    """Two campaigns and their spine, not yet written."""

    river: LogBuilder
    lake: LogBuilder
    spine: SpineBuilder

    def export(self, root: Path, *witnesses: Witness) -> Path:
        self.river.export(root)
        self.lake.export(root)
        return self.spine.export(root, *witnesses)


@pytest.fixture
def instance(issuers: list[Issuer]) -> Instance:
    """A campaign that runs and one that is closed."""
    made = SpineBuilder(client=CASE)
    river = LogBuilder(origin=RIVER).announce(0, issuers[0]).publish()
    lake = LogBuilder(origin=LAKE).announce(0, issuers[1]).publish()
    made.take(river, lake).publish()
    river.sign("asha", "noor").publish()
    river.announce(7, issuers[2], klass=4).publish()
    lake.sign("mei", "omar").publish()
    made.take(river, lake, issued={0: 2}).publish()
    river.sign("petra", key_index=7).publish()
    lake.close().publish()
    return Instance(river, lake, made.take(lake).take(river).publish())


def audit(root: Path, *, live: bool = False, **options: object) -> InstanceReport:
    logs = [
        DirectorySource(root / path, path=path, live=live)
        for path in ("c/lake", "c/river")
        if (root / path).is_dir()
    ]
    found = open_root_spine(root, live=live)
    return audit_logs(logs, spine=found, workers=1, **options)  # type: ignore[arg-type]  # the options of audit_logs


def river_of(report: InstanceReport) -> AuditReport:
    return next(log for log in report.logs if log.path == "c/river")


def assert_fault(root: Path, code: str, *, live: bool = False) -> Fault:
    """The river is refused with this code, the spine and the lake are not."""
    report = audit(root, live=live, sleep=lambda seconds: None)
    fault = river_of(report).fault
    assert fault is not None
    assert fault.code == code, fault
    assert river_of(report).totals is None
    assert report.spine is not None
    assert report.spine.fault is None
    assert all(log.accepted for log in report.logs if log.path != "c/river")
    return fault


def assert_proven(fault: Fault, instance: Instance) -> None:
    """The evidence holds without anything else."""
    note, data, proof = (item.data for item in fault.evidence)
    open_checkpoint(note, instance.river.key)
    parsed = InclusionProof.parse(proof)
    newest = open_checkpoint(parsed.checkpoint, instance.spine.key)
    verify_inclusion(
        leaf_hash=leaf_hash(data),
        index=parsed.index,
        size=newest.size,
        proof=parsed.hashes,
        root=newest.root,
    )


class TestAccepted:
    def test_a_root(self, tmp_path: Path, instance: Instance) -> None:
        report = audit(instance.export(tmp_path))
        assert [log.verdict for log in report.logs] == ["accepted"] * 2
        found = report.spine
        assert found is not None
        assert (found.verdict, found.fault, found.origin) == (
            "accepted",
            None,
            "example.org/spine",
        )
        assert found.tree_size == found.leaves == len(instance.spine.leaves)
        assert found.root_hash == instance.spine.root().hex()
        assert (found.campaigns, found.not_compared) == (2, ())
        assert found.checkpoints == 3
        assert river_of(report).spine == found

    def test_one_log_of_it(self, tmp_path: Path, instance: Instance) -> None:
        root = instance.export(tmp_path)
        for target in (root / "c/river", DirectorySource(root / "c/river")):
            report = audit_log(target, workers=1)
            assert report.accepted
            assert report.spine is not None
            assert report.spine.not_compared == (LAKE,)
            assert audit_log(target, workers=1, with_spine=False).spine is None

    def test_a_root_without_a_spine(self, tmp_path: Path, instance: Instance) -> None:
        instance.river.export(tmp_path)
        report = audit_log(tmp_path, workers=1)
        assert report.accepted
        assert report.spine is None

    def test_a_log_outside_of_any_root(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path / "root")
        shutil.copytree(root / "c/river", tmp_path / "river")
        assert audit_log(tmp_path / "river", workers=1).spine is None

    def test_another_kind_of_source_has_no_spine(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)

        class Other:
            def __init__(self) -> None:
                inner = DirectorySource(root / "c/river")
                self.name, self.path, self.live = inner.name, inner.path, inner.live
                self.read, self.read_many = inner.read, inner.read_many
                self.list_kept = inner.list_kept

        assert audit_log(Other(), workers=1).spine is None

    def test_a_kept_checkpoint_of_no_leaves_is_not_in_a_spine(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        write(root / "c/river/checkpoints/0", instance.river.note(0, EMPTY_ROOT))
        assert river_of(audit(root)).accepted

    def test_a_key_on_its_way_into_the_log(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        key = spine.KeyLeaf(RIVER, 9, CASE)
        instance.spine.add(key).publish()
        assert river_of(audit(instance.export(tmp_path))).accepted

    def test_a_campaign_that_is_not_here(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        shutil.rmtree(root / "c/lake")
        found = audit(root).spine
        assert found is not None
        assert found.not_compared == (LAKE,)

    def test_a_retired_campaign(self, tmp_path: Path, instance: Instance) -> None:
        instance.spine.retire(instance.river).publish()
        root = instance.export(tmp_path)
        assert river_of(audit(root)).accepted
        instance.river.sign("late").publish().export(root)
        assert_fault(root, "spine-absent")


class TestContradictions:
    def respin(
        self, instance: Instance, change: Callable[[list[spine.Leaf]], object]
    ) -> None:
        """Replace the spine by one that says something else, as one interval."""
        leaves = [spine.parse(data) for data in instance.spine.leaves]
        change(leaves)
        instance.spine.leaves, instance.spine.kept = [], []
        instance.spine.add(*leaves).publish()

    def find(self, leaves: list[spine.Leaf], kind: str, number: int = 0) -> int:
        """Return where the river's leaf of this kind stands."""
        found = [
            index
            for index, item in enumerate(leaves)
            if item.kind == kind and getattr(item, "origin", "") == RIVER
        ]
        return found[number]

    def test_it_is_not_named(self, tmp_path: Path, instance: Instance) -> None:
        self.respin(
            instance,
            lambda leaves: leaves.__setitem__(
                slice(None),
                [item for item in leaves if getattr(item, "origin", "") != RIVER],
            ),
        )
        assert_fault(instance.export(tmp_path), "spine-absent")

    def test_another_header(self, tmp_path: Path, instance: Instance) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "campaign")
            leaves[at] = spine.CampaignLeaf(RIVER, CASE)

        self.respin(instance, change)
        fault = assert_fault(instance.export(tmp_path), "spine-header")
        assert_proven(fault, instance)

    @pytest.mark.parametrize("number", [0, 1, -1])
    def test_a_checkpoint_left_out(
        self, tmp_path: Path, instance: Instance, number: int
    ) -> None:
        self.respin(
            instance, lambda leaves: leaves.pop(self.find(leaves, "checkpoint", number))
        )
        assert_fault(instance.export(tmp_path), "spine-absent")

    @pytest.mark.parametrize("number", [0, 1, -1])
    def test_another_root_hash(
        self, tmp_path: Path, instance: Instance, number: int
    ) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "checkpoint", number)
            before = leaves[at]
            assert isinstance(before, spine.CheckpointLeaf)
            leaves[at] = spine.CheckpointLeaf(RIVER, before.size, CASE)

        self.respin(instance, change)
        fault = assert_fault(instance.export(tmp_path), "spine-fork")
        assert CASE.encode() in fault.evidence[1].data
        assert_proven(fault, instance)

    def test_a_checkpoint_that_the_log_does_not_keep(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "checkpoint", 0)
            root = instance.river.root(1).hex()
            leaves.insert(at, spine.CheckpointLeaf(RIVER, 1, root))

        self.respin(instance, change)
        root = instance.export(tmp_path)
        fault = assert_fault(root, "spine-unkept")
        assert_proven(fault, instance)

    def test_one_that_it_cannot_keep(self, tmp_path: Path, instance: Instance) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "checkpoint", 0)
            leaves.insert(at, spine.CheckpointLeaf(RIVER, 1, CASE))

        self.respin(instance, change)
        fault = assert_fault(instance.export(tmp_path), "spine-fork")
        assert_proven(fault, instance)

    def test_a_key_left_out(self, tmp_path: Path, instance: Instance) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            leaves.pop(self.find(leaves, "key", 1))

        self.respin(instance, change)
        assert_proven(assert_fault(instance.export(tmp_path), "spine-keys"), instance)

    def test_another_key(self, tmp_path: Path, instance: Instance) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "key", 1)
            leaves[at] = spine.KeyLeaf(RIVER, 7, CASE)

        self.respin(instance, change)
        assert_proven(assert_fault(instance.export(tmp_path), "spine-keys"), instance)

    def test_a_key_that_the_log_does_not_announce(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            at = self.find(leaves, "checkpoint", -1)
            leaves.insert(at, spine.KeyLeaf(RIVER, 9, CASE))

        self.respin(instance, change)
        assert_fault(instance.export(tmp_path), "spine-keys")

    def test_a_key_that_stands_too_late(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        def change(leaves: list[spine.Leaf]) -> None:
            key = leaves.pop(self.find(leaves, "key", 1))
            leaves.insert(self.find(leaves, "checkpoint", -1), key)

        self.respin(instance, change)
        assert_fault(instance.export(tmp_path), "spine-keys")

    def test_a_log_that_is_shown_shorter(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        river = instance.river
        river.leaves, river.kept = river.leaves[: river.kept[-2]], river.kept[:-1]
        shutil.rmtree(root / "c/river")
        river.export(root)
        assert_proven(assert_fault(root, "spine-beyond"), instance)
        # A live log cannot have it either.
        assert_proven(assert_fault(root, "spine-beyond", live=True), instance)

    def test_more_signatures_than_were_issued(
        self, tmp_path: Path, issuers: list[Issuer]
    ) -> None:
        for issued, code in ((2, "spine-total"), (3, None), (7, None)):
            river = LogBuilder(origin=RIVER).announce(0, issuers[0]).publish()
            river.sign("asha", "noor", "mei").publish().withdraw("asha").publish()
            made = SpineBuilder().take(river, issued={0: 1}).publish()
            river.close().publish()
            made.take(river, issued={0: issued}).publish()
            root = made.export(river.export(tmp_path / str(issued)))
            if code is None:
                assert river_of(audit(root)).accepted
            else:
                assert_fault(root, code)

    def test_without_an_issued_leaf_none_were(
        self, tmp_path: Path, issuers: list[Issuer]
    ) -> None:
        river = LogBuilder(origin=RIVER).announce(0, issuers[0]).publish()
        river.sign("asha").publish().close().publish()
        made = SpineBuilder().take(river, issued={}).publish()
        assert_fault(made.export(river.export(tmp_path / "one")), "spine-total")
        none = LogBuilder(origin=RIVER).announce(0, issuers[0]).publish()
        none.close().publish()
        made = SpineBuilder().take(none, issued={}).publish()
        assert river_of(audit(made.export(none.export(tmp_path / "none")))).accepted

    def test_a_spine_of_another_host(self, tmp_path: Path, instance: Instance) -> None:
        other = SpineBuilder("example.com").add(spine.ClientLeaf(CASE)).publish()
        root = other.export(instance.river.export(tmp_path))
        assert_fault(root, "spine-host")

    def test_a_faulty_spine_is_everybody_s_fault(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        (root / "spine/checkpoint").unlink()
        report = audit(root)
        assert report.spine is not None
        assert report.spine.verdict == "refused"
        assert report.spine.origin is None
        for fault in (report.spine.fault, *(log.fault for log in report.logs)):
            assert fault is not None
            assert (fault.code, fault.path) == ("file-missing", "spine/checkpoint")

    def test_a_refused_log_is_not_compared(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        (root / "c/river/statement").unlink()
        report = audit(root)
        fault = river_of(report).fault
        assert fault is not None
        assert fault.code == "file-missing"
        assert report.spine is not None
        assert report.spine.not_compared == (RIVER,)

    def test_two_states_of_one_log_are_both_shown(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        size = instance.river.kept[1]
        forged = instance.river.note(size, bytes(32))
        write(root / f"c/river/checkpoints/{size}", forged)
        fault = assert_fault(root, "checkpoint-root")
        newest = (root / "c/river/checkpoint").read_bytes()
        assert [item.data for item in fault.evidence] == [forged, newest]
        write(root / "c/river/checkpoint", instance.river.note(size))
        fault = assert_fault(root, "checkpoint-beyond")
        assert len(fault.evidence) == 2


class TestLive:
    def test_a_checkpoint_on_its_way_into_the_spine(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        instance.river.sign("late").publish().export(root)
        waited: list[float] = []

        def sleep(seconds: float) -> None:
            waited.append(seconds)
            if len(waited) == 2:
                instance.spine.take(instance.river).publish().export(root)

        assert river_of(audit(root, live=True, sleep=sleep)).accepted
        assert waited == [1.0, 1.0]

    def test_one_that_never_comes(self, tmp_path: Path, instance: Instance) -> None:
        root = instance.export(tmp_path)
        instance.river.sign("late").publish().export(root)
        waited: list[float] = []
        report = audit(root, live=True, sleep=waited.append)
        fault = river_of(report).fault
        assert fault is not None
        assert fault.code == "spine-absent"
        assert waited == [1.0] * 3
        waited.clear()
        # Nobody waits for an export to grow.
        assert not river_of(audit(root, sleep=waited.append)).accepted
        assert waited == []

    def grow(self, root: Path, instance: Instance) -> "Growing":
        """Return the river as it was, growing as soon as the spine is read."""
        return Growing(root, instance)

    def test_a_log_that_grows_before_the_spine_is_read(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        growing = self.grow(instance.export(tmp_path), instance)
        report = growing.audit()
        assert report.accepted
        assert report.tree_size == growing.size

    @pytest.mark.parametrize("dropped", ["first", "second"])
    def test_it_must_keep_what_the_spine_has(
        self, tmp_path: Path, instance: Instance, dropped: str
    ) -> None:
        growing = self.grow(instance.export(tmp_path), instance)
        number = -2 if dropped == "first" else -1
        growing.after = lambda river: (
            growing.root / f"c/river/checkpoints/{river.kept[number]}"
        ).unlink()
        fault = growing.audit().fault
        assert fault is not None
        assert fault.code == "spine-unkept"

    @pytest.mark.parametrize(
        "note,code",
        [
            (lambda river: river.note(river.kept[-2]), "checkpoint-size"),
            (lambda river: river.note(root=bytes(32)), "checkpoint-root"),
            (lambda river: b"nothing\n", "note-form"),
        ],
    )
    def test_it_must_keep_it_signed(
        self,
        tmp_path: Path,
        instance: Instance,
        note: Callable[[LogBuilder], bytes],
        code: str,
    ) -> None:
        growing = self.grow(instance.export(tmp_path), instance)
        growing.after = lambda river: write(
            growing.root / f"c/river/checkpoints/{river.kept[-1]}", note(river)
        )
        fault = growing.audit().fault
        assert fault is not None
        assert fault.code == code

    def test_it_must_grow_from_what_was_read(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        growing = self.grow(instance.export(tmp_path), instance)

        def fork(river: LogBuilder) -> None:
            other = LogBuilder(origin=RIVER)
            other.issuers, other.pending = river.issuers, []
            other.leaves, other.kept = river.leaves[:5], [2, 4, 5]
            other.sign(*"abcdefgh").publish()
            other.kept = [size for size in river.kept if size < len(other.leaves)]
            other.kept.append(len(other.leaves))
            other.export(growing.root, count=b"{}")
            write(
                growing.root / f"c/river/checkpoints/{growing.size}",
                river.note(growing.size),
            )

        growing.after = fork
        fault = growing.audit().fault
        assert fault is not None
        assert fault.code == "log-fork"
        before, now = (item.data for item in fault.evidence)
        assert open_checkpoint(before, instance.river.key).size == growing.size
        assert open_checkpoint(now, instance.river.key).size > growing.size

    def test_it_must_be_what_the_spine_says(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        growing = self.grow(instance.export(tmp_path), instance)
        growing.said = CASE
        fault = growing.audit().fault
        assert fault is not None
        assert fault.code == "spine-fork"
        assert_proven(fault, instance)


class Growing:
    """A live river that is published twice, and spined, between log and spine."""

    def __init__(self, root: Path, instance: Instance) -> None:
        self.root = root
        self.size = instance.river.kept[-1]
        self.said: str | None = None  # what the spine says of the next checkpoint
        self.after: Callable[[LogBuilder], object] = lambda river: None
        self._instance = instance

    def audit(self) -> AuditReport:
        growing = self

        class Source(DirectorySource):
            @override
            def read(self, path: str, limit: int) -> bytes | None:
                growing.grow()
                return super().read(path, limit)

        river = DirectorySource(self.root / "c/river", path="c/river", live=True)
        source = Source(self.root / "spine", path="spine", live=True)
        (report,) = audit_logs([river], spine=source, workers=1).logs
        return report

    def grow(self) -> None:
        river, made = self._instance.river, self._instance.spine
        if river.kept[-1] == self.size:
            river.sign("one").publish()
            if self.said is not None:
                made.add(spine.CheckpointLeaf(RIVER, river.kept[-1], self.said))
                made.publish()
            else:
                river.sign("two").publish()
                made.take(river).publish()
            river.export(self.root)
            made.export(self.root)
            self.after(river)


class TestPolicy:
    def verdicts(self, root: Path, policy: bytes, *, live: bool = False) -> set[str]:
        report = audit(root, policy=policy, live=live, sleep=lambda seconds: None)
        assert report.spine is not None
        return {report.spine.verdict, *(log.verdict for log in report.logs)}

    def test_it_is_met(self, tmp_path: Path, instance: Instance) -> None:
        root = instance.export(tmp_path, WREN, LARK)
        for policy in (
            make_policy(WREN),
            make_policy(WREN, LARK, spine_key=instance.spine.key),
        ):
            assert self.verdicts(root, policy) == {"accepted and witnessed"}
        report = audit(root, policy=make_policy(WREN))
        assert report.spine is not None
        (only,) = report.spine.witnesses
        assert (only.name, only.time) == (WREN.name, 1_800_000_000)

    def test_it_is_not_met(self, tmp_path: Path, instance: Instance) -> None:
        root = instance.export(tmp_path, WREN)
        unwitnessed = {"consistent, not witnessed"}
        for policy in (
            make_policy(LARK),
            make_policy(WREN, LARK),
            make_policy(WREN, spine_key=instance.river.key),
            # It asks for nobody, so nobody has witnessed.
            make_policy(),
        ):
            assert self.verdicts(root, policy) == unwitnessed

    def test_a_line_in_either_file_counts(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        for path in ("checkpoint", f"checkpoints/{instance.spine.kept[-1]}"):
            file = root / "spine" / path
            before = file.read_bytes()
            write(file, WREN.cosign(before))
            assert self.verdicts(root, make_policy(WREN)) == {"accepted and witnessed"}
            write(file, before)
        assert self.verdicts(root, make_policy(WREN)) == {"consistent, not witnessed"}

    def test_a_witness_of_an_older_checkpoint_does_not_count(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        older = instance.spine.kept[-2]
        note = WREN.cosign(instance.spine.note(older))
        write(root / f"spine/checkpoints/{older}", note)
        assert self.verdicts(root, make_policy(WREN)) == {"consistent, not witnessed"}

    def test_a_line_of_another_text_does_not_count(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        other = WREN.cosign(instance.spine.note(instance.spine.kept[-2]))
        line = other.splitlines(keepends=True)[-1]
        file = root / "spine/checkpoint"
        write(file, file.read_bytes() + line)
        assert self.verdicts(root, make_policy(WREN)) == {"consistent, not witnessed"}

    def test_a_live_one_may_be_cosigned_a_moment_later(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        report = audit(
            root,
            live=True,
            policy=make_policy(WREN),
            sleep=lambda seconds: _ignore(instance.spine.export(root, WREN)),
        )
        assert {log.verdict for log in report.logs} == {"accepted and witnessed"}
        none = self.verdicts(instance.export(root), make_policy(WREN), live=True)
        assert none == {"consistent, not witnessed"}

    def test_without_a_spine_nobody_witnessed(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        instance.river.export(tmp_path)
        report = audit_log(tmp_path, workers=1, policy=make_policy(WREN))
        assert report.verdict == "consistent, not witnessed"

    def test_what_is_no_policy_is_not_read(
        self, tmp_path: Path, instance: Instance
    ) -> None:
        root = instance.export(tmp_path)
        with pytest.raises(Unreadable, match="policy"):
            audit_log(root / "c/river", policy=b"quorum nobody\n")


def _ignore(value: object) -> None:
    """Make a statement of an expression."""


class TestCommand:
    def test_a_root(self, tmp_path: Path, instance: Instance, capsys: Output) -> None:
        root = instance.export(tmp_path)
        assert main(["audit", str(root)]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("c/lake: accepted\n")
        assert "\nspine: accepted\n  origin      example.org/spine\n" in shown
        assert "names       2 logs, 0 of them not compared here" in shown
        assert main(["audit", str(root), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["spine"]["campaigns"] == 2
        assert found["logs"][0]["spine"] == found["spine"]

    def test_a_log_without_a_spine(
        self, tmp_path: Path, instance: Instance, capsys: Output
    ) -> None:
        root = instance.river.export(tmp_path)
        assert main(["audit", str(root), "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["spine"] is found["logs"][0]["spine"] is None
        assert main(["audit", str(root)]) == 0
        assert "none here to compare with" in capsys.readouterr().out

    def test_with_a_policy(
        self, tmp_path: Path, instance: Instance, capsys: Output
    ) -> None:
        root = instance.export(tmp_path / "root", WREN)
        policy = tmp_path / "policy"
        for asked, status, verdict in (
            (WREN, 0, "accepted and witnessed"),
            (LARK, 3, "consistent, not witnessed"),
        ):
            write(policy, make_policy(asked))
            assert main(["audit", str(root), "--policy", str(policy)]) == status
            shown = capsys.readouterr().out
            assert f"c/river: {verdict}\n" in shown
            assert f"spine: {verdict}\n" in shown
            met = "witness     wren.example, 2027-01-15T08:00:00Z" in shown
            assert met is (status == 0)
            command = ["audit", str(root), "--policy", str(policy), "--json"]
            assert main(command) == status
            assert json.loads(capsys.readouterr().out)["verdict"] == verdict
        write(policy, b"quorum nobody\n")
        assert main(["audit", str(root), "--policy", str(policy)]) == 2

    def test_a_fork_shows_both_sides_whole(
        self, tmp_path: Path, instance: Instance, capsys: Output
    ) -> None:
        size = instance.river.kept[-1] + 3
        instance.spine.add(spine.CheckpointLeaf(RIVER, size, CASE)).publish()
        root = instance.export(tmp_path)
        assert main(["audit", str(root)]) == 1
        shown = capsys.readouterr().out
        assert "c/river: REFUSED\n  fault       spine-beyond" in shown
        assert instance.river.note().decode() in shown
        assert instance.spine.leaves[-1].decode() in shown
        assert instance.spine.note().decode() in shown
        assert main(["audit", str(root), "--json"]) == 1
        fault = json.loads(capsys.readouterr().out)["logs"][1]["fault"]
        assert fault["evidence"][0]["text"] == instance.river.note().decode()

    def test_a_spine_alone(
        self, tmp_path: Path, instance: Instance, capsys: Output
    ) -> None:
        root = instance.spine.export(tmp_path / "alone", WREN)
        whole = instance.export(tmp_path / "whole")
        write(tmp_path / "policy", make_policy(WREN))
        for arguments in (
            [str(root)],
            [str(root / "spine")],
            [str(whole / "spine")],
            [str(whole), "--log", "spine"],
        ):
            assert main(["audit", *arguments]) == 0
            shown = capsys.readouterr().out
            assert shown.startswith("spine: accepted\n")
            assert "2 logs, 2 of them not compared here" in shown
        policy = ["--policy", str(tmp_path / "policy")]
        assert main(["audit", str(root), *policy]) == 0
        assert main(["audit", str(whole / "spine"), *policy]) == 3
        (root / "spine/checkpoint").unlink()
        assert main(["audit", str(root)]) == 1
        assert "spine: REFUSED" in capsys.readouterr().out


class _Quiet(SimpleHTTPRequestHandler):
    @override
    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


def test_over_http(tmp_path: Path, instance: Instance, capsys: Output) -> None:
    root = instance.export(tmp_path)
    handler = partial(_Quiet, directory=str(root))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        assert main(["audit", f"{address}/c/river"]) == 0
        assert "spine: accepted" in capsys.readouterr().out
        assert main(["audit", address, "--log", "spine"]) == 0
        assert main(["compare", f"{address}/c/river", str(root)]) == 0
        # One file that is left makes it a spine, so that nobody hides it by half.
        (root / "spine/checkpoint").unlink()
        assert main(["audit", f"{address}/c/river"]) == 1
        assert "file-missing (spine/checkpoint)" in capsys.readouterr().out
        shutil.rmtree(root / "spine")
        assert main(["audit", f"{address}/c/river"]) == 0
        assert "none here to compare with" in capsys.readouterr().out
        server.shutdown()


def test_the_spine_of_an_address_is_beside_its_log() -> None:
    for target, log in (
        ("https://example.org/spine/", None),
        ("https://example.org", "spine"),
    ):
        logs, found = find_instance(target, log)
        assert logs == []
        assert found is not None
        assert (found.name, found.path) == ("https://example.org/spine", "spine")
        assert list(found.list_kept(7)) == [7]


# --- any honest history, and any change of it ---------------------------------------


def histories() -> st.SearchStrategy[list[tuple[int, str]]]:
    step = st.sampled_from(["record", "sign", "key", "close", "spine", "retire"])
    return st.lists(st.tuples(st.integers(0, 2), step), max_size=25)


def play(steps: list[tuple[int, str]], issuers: list[Issuer]) -> Iterator[object]:
    """Yield the logs and their spine after these steps, all published and spined."""
    logs = [LogBuilder(origin=f"example.org/c/{name}") for name in ("a", "b", "c")]
    for log in logs:
        log.publish()
    made = SpineBuilder(client=CASE).take(*logs).publish()
    closed: set[int] = set()
    retired: set[int] = set()
    for number, (which, step) in enumerate(steps):
        log = logs[which]
        match step:
            case "spine":
                open_logs = [x for i, x in enumerate(logs) if i not in retired]
                if open_logs:
                    made.take(*open_logs).publish()
            case "retire":
                if which not in retired:
                    made.take(log).retire(log).publish()
                    retired.add(which)
            case _ if which in retired:
                pass
            case "close":
                if which not in closed:
                    log.close().publish()
                    closed.add(which)
            case "record":
                log.add(leaf.PublicRecord(f"step-{number}", CASE)).publish()
            case "key":
                if which not in closed and not log.issuers:
                    log.announce(which, issuers[which]).publish()
            case "sign":
                if which not in closed and log.issuers:
                    log.sign(f"signer {number}", key_index=which).publish()
    for i, log in enumerate(logs):
        if i not in retired:
            made.take(log)
    yield from (*logs, made.add(spine.ClientLeaf(CASE)).publish())


def audit_all(root: Path, names: str = "abc") -> InstanceReport:
    sources: list[Source] = [
        DirectorySource(root / "c" / name, path=f"c/{name}") for name in names
    ]
    return audit_logs(sources, spine=open_root_spine(root), workers=1)


@settings(deadline=None, max_examples=25)
@given(data=st.data())
def test_an_honest_history_is_accepted_and_a_changed_one_is_not(
    tmp_path_factory: pytest.TempPathFactory,
    issuers: list[Issuer],
    data: st.DataObject,
) -> None:
    root = tmp_path_factory.mktemp("history")
    *logs, made = play(data.draw(histories()), issuers)
    assert isinstance(made, SpineBuilder)
    for log in logs:
        assert isinstance(log, LogBuilder)
        log.export(root)
    made.export(root)
    report = audit_all(root)
    assert report.spine is not None
    assert report.spine.fault is None, report.spine.fault
    assert all(log.accepted for log in report.logs), report.logs

    # Whoever holds the spine's key signs another spine: one leaf of a campaign is
    # changed, left out, said twice, or moved behind all others.
    about = [
        index
        for index, item in enumerate(made.leaves)
        if b'"kind":"client"' not in item and b'"kind":"retired"' not in item
    ]
    at = data.draw(st.sampled_from(about))
    original = made.leaves[at]
    leaves = list(made.leaves)
    how = data.draw(st.sampled_from(["change", "drop", "twice"]))
    match how:
        case "change":
            leaves[at] = _changed(original)
        case "drop":
            del leaves[at]
        case _:
            leaves.append(original)
    made.leaves, made.kept = leaves, [len(leaves)]
    shutil.rmtree(root / "spine")
    made.export(root)
    report = audit_all(root)
    assert report.spine is not None
    refused = report.spine.fault or any(not log.accepted for log in report.logs)
    # To say that none were issued is to say nothing.
    nothing = b'"kind":"issued"' in original and b'"total":0}' in original
    assert bool(refused) is not (nothing and how != "twice")


def _changed(data: bytes) -> bytes:
    """Return the leaf with its hash or number changed."""
    item = spine.parse(data)
    other = sha256(data).hexdigest()
    match item:
        case spine.CampaignLeaf():
            return spine.encode(spine.CampaignLeaf(item.origin, other))
        case spine.KeyLeaf():
            return spine.encode(spine.KeyLeaf(item.origin, item.key_index, other))
        case spine.CheckpointLeaf():
            return spine.encode(spine.CheckpointLeaf(item.origin, item.size, other))
        case spine.IssuedLeaf():
            total = max(item.total - 1, 0)
            return spine.encode(spine.IssuedLeaf(item.origin, item.key_index, total))
    raise AssertionError(item)
