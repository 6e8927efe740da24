"""undersigned serve and demo."""

from __future__ import annotations

import http.client
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from tests.signatures.test_replay import InThisProcess
from tests.signatures.test_series import make_csv
from tests.support import SRC
from undersigned.campaigns.queries import get_any_campaign
from undersigned.cli import serving
from undersigned.kernel.ids import CampaignId
from undersigned.signatures import replay as signatures_replay


class TestDemo:
    @pytest.fixture(autouse=True)
    def _small_figures(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """The demonstration's own campaign, over a series that takes a moment."""
        folder = tmp_path / "examples"
        folder.mkdir()
        shutil.copy(serving.EXAMPLES / "uk-131215.toml", folder)
        (folder / "uk-131215-hourly-1to100.csv").write_text(make_csv(5, 12, 9))
        monkeypatch.setattr(serving, "EXAMPLES", folder)
        monkeypatch.setattr(signatures_replay, "ProcessPoolExecutor", InThisProcess)

    def test_it_replays_recounts_and_says_where_to_look(
        self, run: Run, house: Instance
    ) -> None:
        done = run("demo", "--no-serve", "--workers", 1)
        assert done.code == 0, done.err
        assert "9 signatures stand, 3 signatures removed in 1 removal" in done.out
        campaign = get_any_campaign(campaign_id=CampaignId("uk-131215"))
        assert f"/{campaign.path}/" in done.out
        assert "undersigned-verify" in done.out
        report = house.audit(campaign)
        assert report.accepted
        assert report.totals is not None
        assert report.totals["net"] == 9

    def test_it_does_what_is_left_when_it_is_run_again(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        run("demo", "--no-serve", "--workers", 1)

        def refuse(*_values: object, **_named: object) -> None:
            raise AssertionError("replayed again")

        monkeypatch.setattr(serving, "run_replay", refuse)
        assert run("demo", "--no-serve", "--workers", 1).code == 0

    def test_it_finds_a_free_port_for_a_newcomer(
        self, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("UNDERSIGNED_BIND")
        monkeypatch.delenv("UNDERSIGNED_BASE_URL")
        done = run("demo", "--no-serve", "--workers", 1)
        assert re.search(r"http://localhost:80[01][0-9]/c/uk-131215/", done.out)

    def test_it_refuses_a_log_that_does_not_recount(self, run: Run, data: Path) -> None:
        run("demo", "--no-serve", "--workers", 1)
        path = data / "public" / "c" / "uk-131215" / "count.json"
        path.write_bytes(path.read_bytes().replace(b'"net":9', b'"net":8'))
        done = run("demo", "--no-serve", "--workers", 1, "--json")
        assert done.error() == (5, "demo-failed")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], int, Path]]:
    """A server as Omar starts it: a process of its own, on a free port."""
    data = tmp_path / "served"
    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith("UNDERSIGNED_")},
        "PYTHONPATH": str(SRC),
        "UNDERSIGNED_DATA": str(data),
        "UNDERSIGNED_MODE": "development",
    }
    words = [sys.executable, "-m", "undersigned.config.main", "serve"]
    process = subprocess.Popen(
        [*words, "--bind", "127.0.0.1:0"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        lines: list[str] = []
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/", "".join(lines))):
            line = process.stdout.readline()
            assert line, process.communicate(timeout=10)
            lines.append(line)
        yield process, int(found[1]), data
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=20)


@pytest.mark.slow
def test_a_server_serves_is_alone_and_ends_on_a_signal(
    server: tuple[subprocess.Popen[str], int, Path],
) -> None:
    process, port, data = server
    answers = []
    for path in ("/en/", "/c/none/checkpoint"):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        connection.request("GET", path)
        answer = connection.getresponse()
        answers.append((answer.status, answer.getheader("set-cookie")))
        assert answer.getheader("server") is None
        connection.close()
    assert answers == [(200, None), (404, None)]
    second = subprocess.run(
        [sys.executable, "-m", "undersigned.config.main", "serve"],
        env={
            **os.environ,
            "PYTHONPATH": str(SRC),
            "UNDERSIGNED_DATA": str(data),
            "UNDERSIGNED_BIND": "127.0.0.1:0",
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert second.returncode == 5, second.stderr
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=30)
    assert process.returncode in (0, -signal.SIGTERM)
    # No line of what was asked for, by whom or when.
    assert "127.0.0.1:" not in err.replace(f"127.0.0.1:{port}", "")
    assert "GET" not in out + err
    assert not (data / "control.sock").exists()
