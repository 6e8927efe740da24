"""``undersigned witness …``: Petra's instance cosigns Omar's, by one pasted key."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from undersigned_verify.policy import parse_policy

from tests.cli.conftest import Outcome
from tests.cli.test_control import serve
from tests.factories.instances import HOST, Instance
from undersigned.config.main import main
from undersigned.drills.small_log import SmallLog
from undersigned.kernel.keystore import Keystore
from undersigned.witness.operations import cosign_checkpoint, get_witness_key
from undersigned.witness.witness import Witness

NOW = datetime(2026, 11, 21, 9, 0, tzinfo=UTC)

Call = Callable[..., Outcome]


@pytest.fixture
def call(data: Path, capsys: pytest.CaptureFixture[str]) -> Call:
    """Run one command, without a database: none of these needs one."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return run


@pytest.fixture
def spine() -> SmallLog:
    """Omar's spine."""
    log = SmallLog("omar.example/spine")
    log.append(5)
    return log


def listed(call: Call) -> Any:
    found = call("witness", "list", "--json")
    return found.json()


def open_petras(data: Path) -> Witness:
    return Witness(data, host=HOST, keystore=Keystore(data / "secrets"))


class TestPetra:
    def test_she_trusts_a_log_and_is_told_what_its_operator_pastes(
        self, call: Call, data: Path, spine: SmallLog
    ) -> None:
        done = call("witness", "trust", spine.vkey)
        assert done.code == 0
        (command,) = [line.strip() for line in done.out.splitlines() if " add " in line]
        _program, noun, verb, vkey, url = shlex.split(command)
        assert (noun, verb) == ("witness", "add")
        assert url == f"https://{HOST}/witness"
        assert vkey.startswith(f"{HOST}/witness+")
        assert call("witness", "key").out.strip() == vkey
        (log,) = listed(call)["logs"]
        assert (log["origin"], log["trusted"], log["size"]) == (spine.origin, True, 0)
        # Nothing of an instance was made for it.
        assert not (data / "ledger.sqlite3").exists()
        assert not (data / "app.sqlite3").exists()

    def test_to_trust_again_changes_nothing(self, call: Call, spine: SmallLog) -> None:
        first = call("witness", "trust", spine.vkey, "--json").json()
        assert call("witness", "trust", spine.vkey, "--json").json() == first

    @pytest.mark.parametrize(
        "vkey,code",
        [("nonsense", "vkey-not-valid"), (SmallLog(f"{HOST}/spine").vkey, "own-log")],
        # The key is drawn: workers of a parallel run must name their tests alike.
        ids=["nonsense", "own"],
    )
    def test_what_she_cannot_trust_is_refused(
        self, call: Call, vkey: str, code: str
    ) -> None:
        assert call("witness", "trust", vkey, "--json").error() == (3, code)

    def test_she_forgets(self, call: Call, spine: SmallLog) -> None:
        call("witness", "trust", spine.vkey)
        assert call("witness", "forget", spine.origin).code == 0
        (log,) = listed(call)["logs"]
        assert log["trusted"] is False
        done = call("witness", "forget", spine.origin, "--json")
        assert done.error() == (4, "log-not-trusted")
        assert "no longer" in call("witness", "list").out

    def test_she_makes_a_new_key(self, call: Call, spine: SmallLog) -> None:
        call("witness", "trust", spine.vkey)
        old = call("witness", "key", "--json").json()["vkey"]
        done = call("witness", "key", "--new")
        assert f"undersigned witness remove {HOST}/witness" in done.out
        new = call("witness", "key", "--json").json()["vkey"]
        assert new != old

    def test_she_is_shown_a_fork_and_both_its_checkpoints(
        self, call: Call, data: Path, spine: SmallLog
    ) -> None:
        call("witness", "trust", spine.vkey)
        witness = open_petras(data)
        cosign_checkpoint(witness=witness, body=spine.ask(0), at=NOW)
        fork = spine.fork(3)
        fork.append(2, salt=b"fork")
        with pytest.raises(Exception, match="cosigned-otherwise"):
            cosign_checkpoint(witness=witness, body=fork.ask(5), at=NOW)
        witness.store.close()
        done = call("witness", "list")
        assert done.code == 1
        assert done.out.startswith("FORK: omar.example/spine")
        for log in (spine, fork):
            assert log.sign(5).decode() in done.out

    def test_she_is_told_of_a_state_from_a_copy(
        self, call: Call, data: Path, spine: SmallLog
    ) -> None:
        call("witness", "trust", spine.vkey)
        witness = open_petras(data)
        old = (data / "witness.sqlite3").read_bytes()
        cosign_checkpoint(witness=witness, body=spine.ask(0), at=NOW)
        witness.store.close()
        (data / "witness.sqlite3").write_bytes(old)
        done = call("witness", "list")
        assert done.code == 1
        assert done.out.startswith("NOTHING IS COSIGNED")
        assert call("witness", "trust", spine.vkey, "--json").error() == (
            6,
            "witness-state-lost",
        )
        assert call("witness", "key", "--new").code == 0
        assert call("witness", "list").code == 0


class TestOmar:
    @pytest.fixture
    def petra(self, tmp_path: Path) -> str:
        """Petra's key as a witness."""
        folder = tmp_path / "petra"
        witness = Witness(
            folder, host="petra.example", keystore=Keystore(folder / "secrets")
        )
        vkey = get_witness_key(witness=witness)
        witness.store.close()
        return vkey

    def test_he_pastes_it(self, call: Call, data: Path, petra: str) -> None:
        done = call("witness", "add", petra, "https://petra.example/witness")
        assert done.code == 0
        assert "1 of them must have cosigned" in done.out
        (found,) = listed(call)["witnesses"]
        assert found["name"] == "petra.example/witness"
        assert found["standing"] == "unknown"

    def test_his_policy_is_published_where_there_is_a_spine(
        self, call: Call, data: Path, petra: str
    ) -> None:
        folder = data / "public" / "spine"
        folder.mkdir(parents=True)
        (folder / "log.vkey").write_text(f"{SmallLog(f'{HOST}/spine').vkey}\n")
        words = ["witness", "add", petra, "https://petra.example/witness", "--json"]
        assert call(*words).json()["policy_published"] is True
        policy = parse_policy((data / "public" / "policy.txt").read_bytes())
        assert policy.asks_for_witnesses
        assert policy.logs[0].url == f"https://{HOST}/spine"
        assert call("witness", "quorum", "none").code == 0
        policy = parse_policy((data / "public" / "policy.txt").read_bytes())
        assert not policy.asks_for_witnesses
        assert call("witness", "remove", "petra.example/witness").code == 0
        assert b"petra" not in (data / "public" / "policy.txt").read_bytes()

    @pytest.mark.parametrize("needed", ["0", "2", "-1", "many", "1.5", "", "९"])
    def test_a_quorum_that_cannot_be_met_is_refused(
        self, call: Call, petra: str, needed: str
    ) -> None:
        call("witness", "add", petra, "https://petra.example/witness")
        done = call("witness", "quorum", "--json", "--", needed)
        assert done.error() == (3, "quorum-not-possible")
        assert call("witness", "quorum", "1").code == 0

    def test_what_he_cannot_add_is_refused(self, call: Call, petra: str) -> None:
        url = "https://petra.example/witness"
        cases = [
            (["add", "nonsense", url], (3, "vkey-not-valid")),
            (["add", petra, "petra.example"], (3, "witness-url-not-valid")),
            (["remove", "nobody"], (4, "witness-not-listed")),
        ]
        for words, error in cases:
            assert call("witness", *words, "--json").error() == error
        call("witness", "add", petra, url)
        done = call("witness", "add", petra, url, "--json")
        assert done.error() == (5, "witness-listed")


class TestInTheServer:
    @pytest.fixture(autouse=True)
    def _instance(self, house: Instance) -> None:
        """A running house: the commands find its control socket."""

    def test_a_command_takes_effect_at_once(
        self, call: Call, house: Instance, spine: SmallLog
    ) -> None:
        with serve(house):
            witness = house.engine.witnessing.witness
            assert call("witness", "trust", spine.vkey).code == 0
            line = cosign_checkpoint(witness=witness, body=spine.ask(0), at=NOW)
            assert line.startswith(f"\u2014 {HOST}/witness ")
            assert listed(call)["logs"][0]["size"] == 5
            call("witness", "forget", spine.origin)
            with pytest.raises(Exception, match="log-not-trusted"):
                cosign_checkpoint(witness=witness, body=spine.ask(5), at=NOW)

    def test_it_refuses_as_the_command_itself_does(
        self, call: Call, house: Instance
    ) -> None:
        cases = [
            ["trust", "nonsense"],
            ["forget", "nobody"],
            ["add", "nonsense", "https://x.example"],
            ["remove", "nobody"],
            ["quorum", "3"],
        ]
        here = [call("witness", *words, "--json").error() for words in cases]
        with serve(house):
            there = [call("witness", *words, "--json").error() for words in cases]
        assert there == here

    def test_a_socket_that_a_crash_left_does_no_harm(
        self, call: Call, data: Path, spine: SmallLog
    ) -> None:
        data.mkdir(exist_ok=True)
        (data / "control.sock").touch()
        assert call("witness", "trust", spine.vkey).code == 0


def test_a_witness_alone_needs_no_django(data: Path) -> None:
    """It may run on a small machine, and has less in it that could fail."""
    script = (
        "import json, sys\n"
        "import undersigned.config.main, undersigned.config.witnessing\n"
        "import undersigned.cli.witness, undersigned.cli.run\n"
        "print(json.dumps([name for name in sys.modules if 'django' in name]))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert json.loads(done.stdout) == []
