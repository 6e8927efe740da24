"""The command line: what it prints and its exit status."""

import json
import os
import runpy
import shutil
import subprocess
import sys
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from undersigned_verify import cli, spine
from undersigned_verify import entry as leaf
from undersigned_verify.cli import main
from undersigned_verify.progress import ProgressBar, format_span
from undersigned_verify.proof import InclusionProof
from undersigned_verify.report import plain
from undersigned_verify.statement import digest

from tests.verify.building import (
    STATEMENT,
    Approver,
    Issuer,
    LogBuilder,
    SpineBuilder,
    Witness,
    make_policy,
    rank,
    write,
)


@pytest.fixture
def signed(log: LogBuilder) -> LogBuilder:
    return log.sign("asha", "noor", "mei").sign("petra", key_index=2).publish()


@pytest.fixture
def root(tmp_path: Path, signed: LogBuilder) -> Path:
    return signed.export(tmp_path / "export")


Output = pytest.CaptureFixture[str]


def report(capsys: Output) -> Any:
    return json.loads(capsys.readouterr().out)


class TestAudit:
    def test_an_accepted_log(self, root: Path, capsys: Output) -> None:
        assert main(["audit", str(root)]) == 0
        shown = capsys.readouterr()
        assert shown.out.startswith("c/river: accepted\n")
        assert "net         3: for 3, reservation 0, against 0" in shown.out
        assert "1 held" in shown.out
        assert shown.err == ""

    def test_a_refused_log(self, root: Path, capsys: Output) -> None:
        (root / "c/river/statement").write_bytes(b"Something else.\n")
        assert main(["audit", str(root), "--workers", "1"]) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("c/river: REFUSED\n  fault       statement-mismatch")

    def test_a_log_that_cannot_even_be_opened(self, root: Path, capsys: Output) -> None:
        (root / "c/river/log.vkey").unlink()
        assert main(["audit", str(root)]) == 1
        assert "origin" not in capsys.readouterr().out

    def test_as_json(self, root: Path, capsys: Output) -> None:
        assert main(["audit", str(root), "--json", "--no-progress"]) == 0
        found = report(capsys)
        assert (found["verdict"], found["fault"]) == ("accepted", None)
        (log,) = found["logs"]
        assert log["totals"]["net"] == 3
        assert log["fault"] is None
        write(root / "c/river/count.json", b"{}")
        assert main(["audit", str(root), "--json"]) == 1
        found = report(capsys)
        assert found["verdict"] == found["logs"][0]["verdict"] == "refused"
        assert found["logs"][0]["fault"]["code"] == "count-mismatch"
        assert found["logs"][0]["fault"]["path"] == "count.json"

    def test_several_logs(
        self, root: Path, signed: LogBuilder, issuers: list[Issuer], capsys: Output
    ) -> None:
        second = LogBuilder(origin="example.org/c/river/2").announce(0, Issuer())
        second.publish().export(root)
        assert main(["audit", str(root)]) == 0
        assert "c/river/2: accepted" in capsys.readouterr().out
        (root / "c/river/2/statement").unlink()
        assert main(["audit", str(root)]) == 1
        assert main(["audit", str(root), "--log", "c/river"]) == 0
        shutil.rmtree(root / "c/river/2")
        again = LogBuilder(origin="example.org/c/lake").announce(9, issuers[0])
        again.publish().export(root)
        capsys.readouterr()
        assert main(["audit", str(root)]) == 1
        assert "REFUSED  spki-shared" in capsys.readouterr().out
        assert main(["audit", str(root), "--json"]) == 1
        assert report(capsys)["fault"]["code"] == "spki-shared"

    def test_a_policy_that_cannot_be_met_yet(
        self, root: Path, tmp_path: Path, capsys: Output
    ) -> None:
        write(tmp_path / "policy.txt", b"quorum none\n")
        assert main(["audit", str(root), "--policy", str(tmp_path / "policy.txt")]) == 3
        assert "c/river: consistent, not witnessed" in capsys.readouterr().out
        assert main(["audit", str(root), "--policy", str(tmp_path / "absent")]) == 2

    def test_nothing_to_audit(self, tmp_path: Path, capsys: Output) -> None:
        assert main(["audit", str(tmp_path / "absent")]) == 2
        assert "not a folder" in capsys.readouterr().err
        assert main(["audit", str(tmp_path), "--json"]) == 2
        found = report(capsys)
        assert found["verdict"] == "unreadable"
        assert "holds no log" in found["error"]

    @pytest.mark.parametrize(
        "arguments", [[], ["audit"], ["audit", "x", "--workers", "0"], ["recount", "x"]]
    )
    def test_wrong_usage(self, arguments: list[str], capsys: Output) -> None:
        with pytest.raises(SystemExit) as stopped:
            main(arguments)
        assert stopped.value.code == 2
        assert "usage" in capsys.readouterr().err

    def test_ctrl_c(
        self, root: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def stop(*arguments: object, **options: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(cli, "audit_logs", stop)
        assert main(["audit", str(root)]) == 130
        assert "nothing was decided" in capsys.readouterr().err

    def test_a_terminal_is_not_steered(
        self, tmp_path: Path, log: LogBuilder, capsys: Output
    ) -> None:
        evil = Approver("\x1b[2J\u202e", Approver.called("x").private)
        log.sign("asha").publish()
        at = log.index_of("asha")
        entry = leaf.Removal(((at, at),), None, "x", "0" * 64)
        log.add(log.approve(entry, evil, Approver.called("y"))).publish()
        root = log.export(tmp_path, count=b"{}")
        assert main(["audit", str(root)]) == 1
        shown = capsys.readouterr().out
        assert "approval-unknown" in shown
        assert "\x1b" not in shown
        assert "\u202e" not in shown
        assert plain("a\x1b\u202eb") == r"a\x1b\u202eb"


class TestProgress:
    def test_it_says_how_far_how_fast_and_how_long(self) -> None:
        stream = StringIO()
        bar = ProgressBar(stream, "c/river")
        bar.clear()
        assert stream.getvalue() == ""
        bar(1_000, 4_000)
        assert (
            "c/river [######..................] 1,000/4,000 leaves" in stream.getvalue()
        )
        assert stream.getvalue().endswith(" left ")
        drawn = stream.getvalue()
        bar(1_001, 4_000)
        assert stream.getvalue() == drawn
        bar(4_000, 4_000)
        assert "[########################] 4,000/4,000" in stream.getvalue()
        bar.clear()
        assert stream.getvalue().endswith("\r\x1b[K")

    def test_nothing_done_has_no_rate(self) -> None:
        stream = StringIO()
        ProgressBar(stream, "x")(0, 10)
        assert "0:00 left" in stream.getvalue()

    def test_spans(self) -> None:
        assert [format_span(s) for s in (0, 7.4, 60, 3599, 7500)] == [
            "0:00",
            "0:07",
            "1:00",
            "59:59",
            "2:05:00",
        ]

    def test_it_is_for_terminals_only(
        self, root: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        assert main(["audit", str(root)]) == 0
        assert "10/10 leaves" in capsys.readouterr().err
        assert main(["audit", str(root), "--no-progress"]) == 0
        assert capsys.readouterr().err == ""


class TestReceipt:
    @pytest.fixture
    def file(self, tmp_path: Path, signed: LogBuilder) -> Path:
        path = tmp_path / "receipt"
        path.write_bytes(signed.receipt("asha"))
        return path

    def test_alone(self, file: Path, signed: LogBuilder, capsys: Output) -> None:
        assert main(["receipt", str(file), "--vkey", signed.key.vkey]) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("The receipt holds.")
        checked, _, unchecked = shown.partition("Not checked:")
        assert "the secret in the file opens the signature" in checked
        assert "whether it was withdrawn or removed since" in unchecked

    def test_without_w(self, file: Path, signed: LogBuilder, capsys: Output) -> None:
        file.write_bytes(signed.receipt("asha", with_w=False))
        assert main(["receipt", str(file), "--vkey", signed.key.vkey]) == 0
        _, _, unchecked = capsys.readouterr().out.partition("Not checked:")
        assert "who made the signature" in unchecked

    def test_with_its_log(
        self,
        file: Path,
        root: Path,
        capsys: Output,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        key = root / "c/river/log.vkey"
        monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
        for log in (root, root / "c/river"):
            command = ["receipt", str(file), "--vkey", str(key), "--log", str(log)]
            assert main(command) == 0
            shown, drawn = capsys.readouterr()
            assert "10/10 leaves" in drawn
            assert "state   standing" in shown
            assert "class   email" in shown
            assert "the token behind the signature verifies" in shown

    @pytest.mark.parametrize(
        "label,act,state",
        [
            ("asha", None, "standing"),
            ("asha", "withdraw", "withdrawn"),
            ("asha", "remove", "removed"),
            ("petra", None, "held"),
        ],
    )
    def test_today_s_state(
        self,
        tmp_path: Path,
        signed: LogBuilder,
        capsys: Output,
        label: str,
        act: str | None,
        state: str,
    ) -> None:
        file = tmp_path / "receipt"
        file.write_bytes(signed.receipt(label))
        if act is not None:
            getattr(signed, act)(label).publish()
        root = signed.export(tmp_path / "later")
        command = ["receipt", str(file), "--vkey", signed.key.vkey, "--json"]
        assert main(command) == 0
        found = report(capsys)
        assert (found["state"], found["nonce"], found["class"]) == (None, None, None)
        assert main([*command, "--log", str(root)]) == 0
        found = report(capsys)
        assert found["verdict"] == "holds"
        assert found["state"] == state
        assert found["authorship"] is True
        assert found["shows_something"] is False
        assert found["newest_size"] == len(signed.leaves)
        assert len(found["nonce"]) == 64

    def refuse(self, capsys: Output, code: str, *arguments: object) -> str:
        command = ["receipt", *map(str, arguments)]
        assert main(command) == 1
        shown = capsys.readouterr().out
        assert shown.startswith(f"REFUSED  {code}"), shown
        assert main([*command, "--json"]) == 1
        assert report(capsys)["fault"]["code"] == code
        return shown

    def test_a_forged_one(self, file: Path, signed: LogBuilder, capsys: Output) -> None:
        proof = InclusionProof.parse(file.read_bytes())
        forged = InclusionProof(
            proof.index - 1, proof.hashes, proof.checkpoint, proof.extra
        )
        file.write_bytes(forged.encode())
        assert main(["receipt", str(file), "--vkey", signed.key.vkey]) == 1
        assert "REFUSED  proof-" in capsys.readouterr().out

    def test_a_log_with_another_key(
        self, file: Path, root: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        other = LogBuilder(origin="example.org/c/lake").publish()
        write(root / "c/river/log.vkey", f"{other.key.vkey}\n".encode())
        self.refuse(
            capsys, "receipt-log", file, "--vkey", signed.key.vkey, "--log", root
        )

    def test_a_log_that_was_cut_back(
        self, tmp_path: Path, file: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        short = LogBuilder()
        short.leaves, short.kept = signed.leaves[: signed.kept[0]], signed.kept[:1]
        root = short.export(tmp_path / "short")
        shown = self.refuse(
            capsys, "receipt-log", file, "--vkey", signed.key.vkey, "--log", root
        )
        assert "cut back" in shown

    def test_a_log_that_dropped_its_checkpoint(
        self, tmp_path: Path, file: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        # Joined with a later interval that happens to follow in order, nothing in the
        # log itself tells.
        last = rank(signed.leaves[-1])
        several = (signed.make_signature(f"later {i}") for i in range(10_000))
        later = next(found for found in several if rank(leaf.encode(found)) > last)
        signed.add(later).publish()
        del signed.kept[-2]
        root = signed.export(tmp_path / "joined")
        assert main(["audit", str(root)]) == 0
        capsys.readouterr()
        shown = self.refuse(
            capsys, "receipt-log", file, "--vkey", signed.key.vkey, "--log", root
        )
        assert "no longer keeps" in shown

    def test_a_log_with_another_history(
        self, tmp_path: Path, file: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        # The server forked: after the same beginning, other signatures.
        fork = LogBuilder()
        fork.issuers = signed.issuers
        fork.leaves, fork.kept = signed.leaves[: signed.kept[0]], signed.kept[:1]
        fork.pending = []
        root = fork.sign("v", "w", "x", "y", "z").publish().export(tmp_path / "fork")
        shown = self.refuse(
            capsys, "receipt-log", file, "--vkey", signed.key.vkey, "--log", root
        )
        assert "another history" in shown

    def test_a_log_that_is_refused(
        self, file: Path, root: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        write(root / "c/river/count.json", b"{}")
        self.refuse(
            capsys, "count-mismatch", file, "--vkey", signed.key.vkey, "--log", root
        )

    def test_a_token_that_the_issuer_never_signed(
        self, tmp_path: Path, log: LogBuilder, issuers: list[Issuer], capsys: Output
    ) -> None:
        log.add(log.make_signature("mallory", issuer=issuers[1])).publish()
        file = tmp_path / "receipt"
        file.write_bytes(log.receipt("mallory"))
        root = log.export(tmp_path / "export")
        assert main(["receipt", str(file), "--vkey", log.key.vkey]) == 0
        capsys.readouterr()
        self.refuse(
            capsys, "token-invalid", file, "--vkey", log.key.vkey, "--log", root
        )

    @pytest.mark.parametrize("vkey", ["nonsense", "a+b+c", b"\xff", b"x" * 20_000])
    def test_a_key_that_is_none(
        self, tmp_path: Path, file: Path, vkey: str | bytes, capsys: Output
    ) -> None:
        if isinstance(vkey, bytes):
            write(tmp_path / "key", vkey)
            vkey = str(tmp_path / "key")
        assert main(["receipt", str(file), "--vkey", vkey]) in (1, 2)
        assert main(["receipt", str(tmp_path / "absent"), "--vkey", vkey]) in (1, 2)

    def test_a_file_that_is_absent(
        self, tmp_path: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        command = ["receipt", str(tmp_path / "absent"), "--vkey", signed.key.vkey]
        assert main(command) == 2
        assert "No such file" in capsys.readouterr().err


class TestReceiptWithSpine:
    """Receipts of two proofs: what is said depends on which keys are known."""

    WREN = Witness.called("wren.example")

    @pytest.fixture
    def made(self, signed: LogBuilder) -> SpineBuilder:
        return SpineBuilder().take(signed).publish()

    @pytest.fixture
    def file(self, tmp_path: Path, signed: LogBuilder, made: SpineBuilder) -> Path:
        path = tmp_path / "receipt"
        path.write_bytes(made.receipt(signed, "asha", self.WREN))
        return path

    def command(self, file: Path, log: LogBuilder, *more: object) -> list[str]:
        return ["receipt", str(file), "--vkey", log.key.vkey, *map(str, more)]

    def test_without_the_spine_s_key(
        self, file: Path, signed: LogBuilder, capsys: Output
    ) -> None:
        assert main(self.command(file, signed)) == 0
        shown = capsys.readouterr().out
        assert shown.startswith("The receipt holds.\n")
        _, _, unchecked = shown.partition("Not checked:")
        assert "give --spine-vkey" in unchecked
        file.write_bytes(signed.receipt("asha"))
        assert main(self.command(file, signed)) == 0
        _, _, unchecked = capsys.readouterr().out.partition("Not checked:")
        assert "the file has no second proof" in unchecked

    def test_with_it(
        self,
        tmp_path: Path,
        file: Path,
        signed: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        write(tmp_path / "vkey", f"{made.key.vkey}\n".encode())
        for key in (made.key.vkey, tmp_path / "vkey"):
            assert main(self.command(file, signed, "--spine-vkey", key)) == 0
            checked, _, unchecked = capsys.readouterr().out.partition("Not checked:")
            assert "signed by the spine's key" in checked
            assert "everyone else is shown the same log" in unchecked
        other = SpineBuilder("example.com").key.vkey
        assert main(self.command(file, signed, "--spine-vkey", other)) == 1
        assert "note-signature (second proof)" in capsys.readouterr().out
        assert main(self.command(file, signed, "--spine-vkey", "x")) == 2
        assert "--spine-vkey is neither" in capsys.readouterr().err

    def test_with_a_policy(
        self,
        tmp_path: Path,
        file: Path,
        signed: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        other = Witness.called("lark.example")
        policy = tmp_path / "policy"
        for data, more, status in (
            (make_policy(self.WREN, spine_key=made.key), [], 0),
            (make_policy(self.WREN), ["--spine-vkey", made.key.vkey], 0),
            (make_policy(self.WREN), [], 3),
            (make_policy(other, spine_key=made.key), [], 3),
            (make_policy(spine_key=made.key), [], 3),
            (
                make_policy(self.WREN, spine_key=signed.key),
                ["--spine-vkey", made.key.vkey],
                3,
            ),
            (b"quorum nobody\n", [], 2),
        ):
            write(policy, data)
            command = self.command(file, signed, "--policy", policy, *more)
            assert main(command) == status
            shown = capsys.readouterr().out
            if status == 0:
                assert shown.startswith("The receipt holds and is witnessed.")
                assert "seen by wren.example at 2027-01-15T08:00:00Z" in shown
                assert main([*command, "--json"]) == 0
                found = report(capsys)
                assert found["verdict"] == "holds and is witnessed"
                assert found["witnesses"][0]["name"] == "wren.example"
                assert found["spine"]["signature_checked"] is True
            elif status == 3:
                assert shown.startswith("The receipt holds, not witnessed.")
        file.write_bytes(signed.receipt("asha"))
        write(policy, make_policy(self.WREN, spine_key=made.key))
        assert main(self.command(file, signed, "--policy", policy)) == 3

    def test_with_the_log_and_its_spine(
        self,
        file: Path,
        root: Path,
        signed: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        signed.withdraw("noor").publish().export(root)
        made.take(signed).publish().export(root)
        for log in (root, root / "c/river"):
            assert main(self.command(file, signed, "--log", log)) == 0
            shown = capsys.readouterr().out
            assert "the log agrees with the spine beside it" in shown
            assert "that spine has grown from the one in the file" in shown
        other = SpineBuilder("example.com").key.vkey
        command = self.command(file, signed, "--log", root, "--spine-vkey")
        assert main([*command, other]) == 1
        assert main([*command, made.key.vkey]) == 0
        # The spine is checked for receipts of one proof too.
        file.write_bytes(signed.receipt("asha"))
        assert main(self.command(file, signed, "--log", root)) == 0
        assert "agrees with the spine" in capsys.readouterr().out
        signed.sign("late").publish().export(root)
        assert main(self.command(file, signed, "--log", root)) == 1
        assert "spine-absent" in capsys.readouterr().out

    def test_a_spine_that_forked(
        self,
        file: Path,
        root: Path,
        signed: LogBuilder,
        made: SpineBuilder,
        capsys: Output,
    ) -> None:
        fork = SpineBuilder(client="ab" * 32).take(signed).publish().export(root)
        assert main(self.command(file, signed, "--log", fork)) == 1
        shown = capsys.readouterr().out
        assert shown.startswith("REFUSED  log-fork")
        assert made.note().decode() in shown
        assert (root / "spine/checkpoint").read_text() in shown
        shutil.rmtree(root / "spine")
        SpineBuilder().take(signed).publish().export(root)
        made.add(spine.ClientLeaf("ab" * 32)).publish()
        file.write_bytes(made.receipt(signed, "asha"))
        assert main(self.command(file, signed, "--log", root)) == 1
        assert "cut back, or this copy is old" in capsys.readouterr().out
        (root / "spine/log.vkey").unlink()
        assert main(self.command(file, signed, "--log", root)) == 1
        assert "file-missing (spine/log.vkey)" in capsys.readouterr().out


class TestStatement:
    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        path = tmp_path / "statement"
        path.write_bytes(STATEMENT)
        return path

    def test_alone(self, file: Path, capsys: Output) -> None:
        assert main(["statement", str(file)]) == 0
        shown = capsys.readouterr().out
        assert digest(STATEMENT) in shown
        assert "Not compared with anything" in shown

    def test_with_a_digest(self, file: Path, capsys: Output) -> None:
        assert main(["statement", str(file), "--digest", digest(STATEMENT)]) == 0
        assert "Not compared" not in capsys.readouterr().out
        assert main(["statement", str(file), "--digest", "0" * 64]) == 1
        assert "REFUSED  statement-mismatch" in capsys.readouterr().out

    def test_with_a_log(self, file: Path, root: Path, capsys: Output) -> None:
        for log in (root, root / "c/river"):
            assert main(["statement", str(file), "--log", str(log)]) == 0
            assert "signed  in example.org/c/river" in capsys.readouterr().out
        assert main(["statement", str(file), "--log", str(root), "--json"]) == 0
        found = report(capsys)
        assert found["logs"] == ["example.org/c/river"]
        file.write_bytes(b"Another text.\n")
        assert main(["statement", str(file), "--log", str(root)]) == 1
        assert "REFUSED  statement-mismatch" in capsys.readouterr().out

    def test_its_form(self, file: Path, capsys: Output) -> None:
        file.write_bytes(STATEMENT.replace(b"\n", b"\r\n"))
        assert main(["statement", str(file)]) == 1
        assert "REFUSED  statement-form" in capsys.readouterr().out
        file.write_bytes("Stop \u202eeht\n".encode())
        assert main(["statement", str(file)]) == 1
        assert "REFUSED  statement-characters" in capsys.readouterr().out

    def test_its_size(self, file: Path, capsys: Output) -> None:
        os.truncate(file, 2_000_000)
        assert main(["statement", str(file)]) == 1
        assert "REFUSED  file-too-large" in capsys.readouterr().out


def test_it_runs_as_a_module(
    root: Path, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["undersigned-verify", "audit", str(root)])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("undersigned_verify", run_name="__main__")
    assert stopped.value.code == 0
    assert capsys.readouterr().out.startswith("c/river: accepted")


def test_a_reader_who_leaves_early_is_no_fault(root: Path) -> None:
    # As ``undersigned-verify audit DIR | head -1`` does.
    command = [sys.executable, "-m", "undersigned_verify", "audit", str(root)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert b"Traceback" not in said
    assert process.returncode == 130
