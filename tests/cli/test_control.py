"""A job runs where the writer is: here, or in the server's process."""

from __future__ import annotations

import base64
import json
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from tests.signatures.test_replay import REPLAY, InThisProcess
from tests.signatures.test_series import make_csv
from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.queries import get_any_campaign, get_replay_progress
from undersigned.cli.control import ControlServer
from undersigned.kernel.ids import CampaignId
from undersigned.signatures import replay as signatures_replay

Write = Callable[..., Path]


def find(campaign_id: str) -> Campaign:
    return get_any_campaign(campaign_id=CampaignId(campaign_id))


class TestAServer:
    def test_it_opens_a_campaign_that_takes_signatures_at_once(
        self, run: Run, serving: Instance, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="river-path"))
        done = run("campaign", "open", "river-path")
        assert done.code == 0
        assert "making keys" in done.err
        campaign = find("river-path")
        serving.engine.tick(serving.clock.now())
        serving.sign(campaign)
        serving.publish(campaign)
        assert serving.net(campaign) == 1
        assert serving.audit(campaign).accepted

    def test_it_does_every_job(
        self, run: Run, serving: Instance, write_campaign: Write, tmp_path: Path
    ) -> None:
        path = write_campaign(id="river-path", classes=["email", "invitation"])
        run("campaign", "create", path)
        run("campaign", "open", "river-path")
        campaign = find("river-path")
        # The new log's publication clock starts with the first look at it.
        serving.engine.tick(serving.clock.now())
        codes = run("invitation", "make", "river-path", "--count", 2, "--json").json()
        assert len(codes["codes"]) == 2
        answer = tmp_path / "answer.txt"
        answer.write_text("The office answers.")
        words = ["record", "publish", "river-path", "--kind", "office-answer", answer]
        assert run(*words).code == 0
        keys = []
        for name in ("mina", "petra"):
            key = tmp_path / f"{name}.json"
            made = run("approver", "new", name, "--key-file", key, "--json").json()
            public = made["public_key"]
            assert run("approver", "announce", "river-path", name, public).code == 0
            keys.append(key)
        serving.publish(campaign)
        serving.sign(campaign)
        serving.publish(campaign)
        index = serving.entry(campaign).log.size - 1
        out = tmp_path / "removal.json"
        run(
            "removal",
            "propose",
            "river-path",
            f"--targets={index}",
            "--reason=scripted-burst",
            "--case",
            answer,
            "--out",
            out,
        )
        for key in keys:
            assert run("approver", "approve", out, "--key-file", key).code == 0
        assert run("removal", "submit", out).code == 0
        serving.publish(campaign)
        assert serving.net(campaign) == 0
        done = run("campaign", "close", "river-path", "--json")
        assert done.json()["state"] == "closing"
        assert find("river-path").state is CampaignState.CLOSING
        assert serving.audit(campaign).accepted

    def test_it_refuses_as_the_command_itself_does(
        self, run: Run, house: Instance, write_campaign: Write
    ) -> None:
        cases: list[list[object]] = [
            ["campaign", "open", "no-such-campaign"],
            ["campaign", "open", "river-path"],
            ["invitation", "make", "river-path"],
            ["approver", "announce", "river-path", "Mina Real Name", "AAAA"],
            ["issuance", "reopen", "river-path"],
        ]
        run("campaign", "create", write_campaign(id="river-path"))
        run("campaign", "open", "river-path")
        here = [run(*words, "--json") for words in cases]
        with serve(house):
            there = [run(*words, "--json") for words in cases]
        assert [one.error() for one in there] == [one.error() for one in here]

    def test_its_socket_is_its_owners_alone_and_goes_with_it(
        self, run: Run, house: Instance
    ) -> None:
        path = house.data / "control.sock"
        with serve(house):
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert not path.exists()

    def test_it_takes_the_place_of_a_socket_that_a_crash_left(
        self, run: Run, house: Instance, write_campaign: Write
    ) -> None:
        house.data.mkdir()
        left = socket.socket(socket.AF_UNIX)
        left.bind(str(house.data / "control.sock"))
        left.close()
        run("campaign", "create", write_campaign(id="river-path"))
        with serve(house):
            assert run("campaign", "open", "river-path").code == 0

    def test_a_long_data_path_does_no_harm(
        self,
        run: Run,
        house: Instance,
        tmp_path: Path,
        write_campaign: Write,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        house.data = tmp_path / ("long" * 20) / ("longer" * 20) / "data"
        monkeypatch.setenv("UNDERSIGNED_DATA", str(house.data))
        house.environ["UNDERSIGNED_DATA"] = str(house.data)
        run("campaign", "create", write_campaign(id="river-path"))
        with serve(house):
            assert (house.data / "control.sock").exists()
            assert run("campaign", "open", "river-path").code == 0
        assert not (house.data / "control.sock").exists()
        assert find("river-path").state is CampaignState.OPEN


class serve:  # noqa: N801 - reads as a verb
    """Run the house with its control socket for a ``with`` block."""

    def __init__(self, house: Instance) -> None:
        self._house = house

    def __enter__(self) -> ControlServer:
        engine = self._house.start()
        self._control = ControlServer(self._house.data / "control.sock", engine)
        self._control.start()
        return self._control

    def __exit__(self, *_error: object) -> None:
        self._control.stop()
        self._house.stop()


class TestNoServer:
    def test_a_held_lock_without_a_socket_is_said_plainly(
        self, run: Run, house: Instance, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="river-path"))
        house.start()
        done = run("campaign", "open", "river-path", "--json")
        assert done.error()[1] == "server-unreachable"
        assert find("river-path").state is CampaignState.DRAFT

    def test_reading_commands_need_no_writer(
        self, run: Run, serving: Instance, write_campaign: Write
    ) -> None:
        run("campaign", "create", write_campaign(id="river-path"))
        for words in (["list"], ["show", "river-path"]):
            assert run("campaign", *words).code == 0
        assert run("audit", "--workers", 1).code == 0
        assert run("doctor").code == 0


def speak(path: Path, line: bytes) -> list[dict[str, Any]]:
    """Send one line to the control socket; return the lines that come back."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(10)
        client.connect(str(path))
        client.sendall(line)
        client.shutdown(socket.SHUT_WR)
        with client.makefile("rb") as answers:
            return [json.loads(raw) for raw in answers]


class TestTheSocket:
    @pytest.mark.parametrize(
        "line",
        [
            b"\n",
            b"{\n",
            b"[]\n",
            b"null\n",
            b'"open"\n',
            b'{"job": "open"}\n',
            b'{"job": "nonsense", "values": {}}\n',
            b'{"job": ["open"], "values": {}}\n',
            b'{"job": "open", "values": {}}\n',
            b'{"job": "open", "values": []}\n',
            b'{"job": "approver", "values": {"campaign": "river-path", '
            b'"approver": "mina", "public_key": 7}}\n',
            b"\xff\xfe\n",
        ],
    )
    def test_it_answers_nonsense_with_an_error(
        self, run: Run, river: str, house: Instance, line: bytes
    ) -> None:
        with serve(house):
            (answer,) = speak(house.data / "control.sock", line)[-1:]
            assert set(answer) == {"error"}
            # And it goes on answering.
            assert run("invitation", "make", river, "--count", 1).code == 0

    def test_it_outlives_a_caller_who_says_nothing(
        self, run: Run, river: str, house: Instance
    ) -> None:
        with serve(house):
            speak(house.data / "control.sock", b"")
            assert run("invitation", "make", river, "--count", 1).code == 0


@pytest.fixture
def _slow_replay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signatures_replay, "ProcessPoolExecutor", InThisProcess)
    monkeypatch.setattr(signatures_replay, "STEP", 2)
    monkeypatch.setattr(signatures_replay, "CHUNK", 2)


@pytest.mark.usefixtures("_slow_replay")
class TestAReplayThere:
    @pytest.fixture
    def demo(self, run: Run, write_campaign: Write) -> str:
        run("campaign", "create", write_campaign(id="figures", tail=REPLAY))
        run("campaign", "open", "figures")
        return "figures"

    def test_it_runs_in_the_server_and_is_audited_here(
        self, run: Run, demo: str, house: Instance, tmp_path: Path
    ) -> None:
        path = tmp_path / "series.csv"
        path.write_text(make_csv(4, 9, 6))
        with serve(house):
            done = run("replay", path, "--campaign", demo, "--workers", 1, "--json")
        assert done.code == 0
        assert done.json()["net"] == 6

    def test_a_caller_who_hangs_up_cancels_it_and_it_can_be_taken_up(
        self, run: Run, demo: str, house: Instance, tmp_path: Path
    ) -> None:
        path = tmp_path / "series.csv"
        path.write_text(make_csv(*range(10, 200, 10)))
        words = ["replay", path, "--campaign", demo, "--workers", 1, "--json"]
        with serve(house):
            start_replay_and_hang_up(house, demo, path)
            # Where it has not noticed yet, the second is told so, and no more.
            while (done := run(*words)).code == 5:
                continue
        assert done.code == 0, done.err
        assert done.json()["net"] == 190
        assert get_replay_progress(campaign_id=CampaignId(demo))[0] == 19
        assert done.json()["audit"]["totals"]["signatures"] == 190


def start_replay_and_hang_up(house: Instance, campaign: str, series: Path) -> None:
    """Ask for a replay, read one line of progress, and go."""
    values = {
        "campaign": campaign,
        "series": base64.b64encode(series.read_bytes()).decode(),
        "workers": 1,
        "limit": None,
        "approver_keys": str(series.with_name("keys")),
        "data": str(house.data),
    }
    line = json.dumps({"job": "replay", "values": values}).encode() + b"\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(house.data / "control.sock"))
        client.sendall(line)
        with client.makefile("rb") as answers:
            assert "progress" in json.loads(answers.readline())


def test_no_other_user_can_reach_the_socket(run: Run, house: Instance) -> None:
    with serve(house):
        assert stat.S_IMODE(house.data.stat().st_mode) == 0o700
        assert house.data.stat().st_uid == os.getuid()
