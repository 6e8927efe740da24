"""The command line, called as a program calls it: arguments in, code and text out."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.factories.campaigns import Value, make_campaign_file
from tests.factories.instances import HOST, Instance
from tests.factories.keys import KeyBox
from tests.factories.stores import ServerHome, is_on_server
from undersigned.cli.control import ControlServer
from undersigned.config.main import main
from undersigned.kernel.clock import FixedClock, SystemClock


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        """Return the one JSON object on standard output."""
        (line,) = self.out.splitlines()
        return json.loads(line)

    def error(self) -> tuple[int, str]:
        """Return exit code and error code of a refusal; it is one line for people."""
        assert self.code != 0
        assert self.err.count("undersigned: ") == 1
        assert "Traceback" not in self.err
        return self.code, self.json()["error"]["code"]


Run = Callable[..., Outcome]


@pytest.fixture
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's data directory, named in the environment."""
    folder = tmp_path / "data"
    monkeypatch.setenv("UNDERSIGNED_DATA", str(folder))
    monkeypatch.setenv("UNDERSIGNED_MODE", "development")
    monkeypatch.setenv("UNDERSIGNED_HOST", HOST)
    monkeypatch.setenv("UNDERSIGNED_BASE_URL", f"https://{HOST}")
    # Set, so that what a command puts there is gone after the test.
    monkeypatch.setenv("UNDERSIGNED_BIND", "127.0.0.1:0")
    if is_on_server():
        monkeypatch.setenv("UNDERSIGNED_LEDGER_URL", ServerHome().url)
    return folder


@pytest.fixture
def run(
    data: Path,
    keys: KeyBox,
    transactional_db: None,
    capsys: pytest.CaptureFixture[str],
) -> Run:
    """Run one command of Omar's."""

    def call(*arguments: object) -> Outcome:
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return Outcome(code, said.out, said.err)

    return call


@pytest.fixture
def house(data: Path, keys: KeyBox, transactional_db: None) -> Iterator[Instance]:
    """The instance over the same folder; the test starts it where a server would."""
    instance = Instance(data, FixedClock(SystemClock().now()))
    yield instance
    instance.stop()


@pytest.fixture
def serving(house: Instance) -> Iterator[Instance]:
    """The same, started, with the control socket that a server listens on."""
    engine = house.start()
    control = ControlServer(house.data / "control.sock", engine)
    control.start()
    yield house
    control.stop()


@pytest.fixture
def write_campaign(tmp_path: Path) -> Callable[..., Path]:
    """Write a campaign file as Omar does."""

    def write(**changes: Value) -> Path:
        path = tmp_path / "river.toml"
        path.write_bytes(make_campaign_file(**changes))  # type: ignore[arg-type]  # settings by name
        return path

    return write


@pytest.fixture
def river(run: Run, write_campaign: Callable[..., Path]) -> str:
    """An open campaign, by its id."""
    path = write_campaign(id="river-path", classes=["email", "invitation"])
    assert run("campaign", "create", path).code == 0
    assert run("campaign", "open", "river-path").code == 0
    return "river-path"
