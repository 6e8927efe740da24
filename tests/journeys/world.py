"""The instance a journey takes place in: a server, its campaigns, its command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import urllib.request
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from tests.support import ROOT
from undersigned.drills.ports import find_port
from undersigned.safety.turns import Stage

CAMPAIGN = """
id = "{id}"
title = "Publish the soil survey before the school moves to Riverside"
mode = "{mode}"
classes = {classes}
stances = {stances}
{more}
[[offices]]
name = "District Education Office"
jurisdiction = "Riverside"
[organiser]
name = "Omar"
contact = "omar@example.org"
[statement]
text = "The office shall publish the full soil survey of the Riverside site."
[[statement.translations]]
language = "zh-Hans"
title = "公布河滨地块的土壤调查"
text = "主管部门应公布河滨地块的完整土壤调查。"
"""


@dataclass
class World:
    """A running instance. ``base``: where browsers find it."""

    data: Path
    process: subprocess.Popen[str]
    port: int
    moved: timedelta = timedelta(0)

    @property
    def base(self) -> str:
        """Scheme and host, a secure context for the browser."""
        return f"http://localhost:{self.port}"

    def command(self, *words: str) -> dict[str, Any]:
        """Run ``undersigned …`` with --json and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "undersigned.config.main", *words, "--json"],
            env=make_environment(self.data),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
        return found

    def open_campaign(
        self,
        campaign_id: str,
        *,
        mode: str = "standard",
        classes: tuple[str, ...] = ("email", "invitation", "open"),
        stances: tuple[str, ...] = ("for",),
        more: str = "",
    ) -> str:
        """Create and open a campaign; return its id."""
        path = self.data.with_name(f"{campaign_id}.toml")
        path.write_text(
            CAMPAIGN.format(
                id=campaign_id,
                mode=mode,
                classes=json.dumps(classes),
                stances=json.dumps(stances),
                more=more,
            ),
            encoding="utf-8",
        )
        self.command("campaign", "create", str(path))
        self.command("campaign", "open", campaign_id, "--accept-unsealed-keys")
        # The clock notes a new log's interval; publications begin with the next one.
        self.advance(0)
        return campaign_id

    def advance(self, seconds: int = 60) -> None:
        """Let time pass; publications that fall due are made before this returns."""
        self.moved += timedelta(seconds=seconds)
        self._tell(f"advance {seconds}")

    def make_room(self, stage: Stage, people: int) -> None:
        """Let so many into a stage of signing at once; 0: everybody waits in line."""
        self._tell(f"room {stage} {people}")

    def _tell(self, line: str) -> None:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{line}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"

    def now(self) -> datetime:
        """Return the present as the server has it."""
        return datetime.now(tz=UTC) + self.moved

    def count(self, campaign_id: str) -> dict[str, Any]:
        """Return count.json."""
        found: dict[str, Any] = json.loads(self.get(f"/c/{campaign_id}/count.json"))
        return found

    def get(self, path: str) -> bytes:
        """Return the body of an address."""
        with urllib.request.urlopen(self.base + path) as answer:  # noqa: S310 - our own server
            body: bytes = answer.read()
            return body

    def post(self, path: str, body: str) -> bytes:
        """Send JSON; return the body of the answer."""
        request = urllib.request.Request(  # noqa: S310 - our own server
            self.base + path, body.encode(), {"content-type": "application/json"}
        )
        with urllib.request.urlopen(request) as answer:  # noqa: S310 - our own server
            answered: bytes = answer.read()
            return answered

    def stop(self) -> None:
        """End the server."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.close()
        self.process.wait(timeout=20)
        self.process.stdout.close()


def make_environment(data: Path, port: int = 0) -> dict[str, str]:
    """Return the environment of the server and of commands."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UNDERSIGNED_")}
    return {
        **kept,
        "UNDERSIGNED_DATA": str(data),
        "UNDERSIGNED_MODE": "demo",
        "UNDERSIGNED_BIND": f"127.0.0.1:{port}",
        "UNDERSIGNED_ABUSE_CONTACT": "abuse@example.org",
    }


def start_world(folder: Path) -> World:
    """Start a server over an empty data directory."""
    data = folder / "var"
    # Known before the start: links in mails name it.
    port = find_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.journeys.server"],
        env=make_environment(data, port),
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == f"{port}\n", "the server did not start"
    return World(data=data, process=process, port=port)
