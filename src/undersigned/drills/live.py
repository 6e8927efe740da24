"""The real server as a process: started, killed, stopped, started again."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from undersigned.drills.isolated import make_environment
from undersigned.drills.report import Values

PRODUCT = "undersigned.config.main"
_ADDRESS = re.compile(rb"listens on http://127\.0\.0\.1:([0-9]+)/")
START_SECONDS = 60.0


def last_line(said: str) -> str:
    """Return the last of some lines, shortened: it says why a program ended."""
    lines = said.strip().splitlines()
    return lines[-1][:200] if lines else ""


class ServerDied(Exception):
    """The server ended before it listened. ``said``: all that it printed."""

    def __init__(self, status: int, said: str) -> None:
        self.status = status
        self.said = said
        super().__init__(f"ended with status {status}: {last_line(said)}")

    @property
    def last_line(self) -> str:
        """Its last words."""
        return f"status {self.status}: {last_line(self.said)}"


def _accepts(port: int) -> bool:
    # It says where it will listen a moment before it does.
    try:
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    except OSError:
        return False
    return True


class JobFailed(Exception):
    """A job in the server's process failed."""


class LiveServer:
    """One instance below ``folder``; what it prints goes to ``server.log`` there."""

    def __init__(
        self,
        folder: Path,
        *,
        module: str = PRODUCT,
        arguments: Sequence[str] = (),
        settings: dict[str, str] | None = None,
        more_environment: dict[str, str] | None = None,
        port: int = 0,
    ) -> None:
        """``arguments``: besides ``serve --bind``, for drills' own entry modules.

        ``more_environment``: variables that are no settings of the product. ``port``:
        where it listens at each start; 0: where there is room.
        """
        self.folder = folder
        self.data = folder / "data"
        self.log = folder / "server.log"
        self.port = 0
        self.settings = settings or {}
        self.more_environment = more_environment or {}
        self._command = [sys.executable, "-m", module, "serve"]
        self._command += ["--bind", f"127.0.0.1:{port}", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process id."""
        return self._running().pid

    def start(self) -> int:
        """Start and wait until it listens; return the port. Raises ServerDied."""
        self.spawn()
        return self.wait_until_up()

    def wait_until_up(self) -> int:
        """Wait until it listens; return the port. Raises ServerDied."""
        process = self._running()
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            found = _ADDRESS.search(self._said())
            if found is not None and _accepts(int(found[1])):
                self.port = int(found[1])
                return self.port
            status = process.poll()
            if status is not None:
                self._process = None
                raise ServerDied(status, self._said().decode(errors="replace"))
            time.sleep(0.02)
        self.kill()
        raise ServerDied(-1, "it did not listen in time")

    def spawn(self) -> subprocess.Popen[bytes]:
        """Start without waiting."""
        with self.log.open("ab") as out:
            self._from = out.tell()
            self._process = subprocess.Popen(
                self._command,
                env=self._make_environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
            )
        return self._process

    def _make_environment(self) -> dict[str, str]:
        environment = make_environment(self.folder, **self.settings)
        return environment | self.more_environment

    def _said(self) -> bytes:
        with self.log.open("rb") as file:
            file.seek(self._from)
            return file.read()

    @property
    def said(self) -> str:
        """What it has printed since it was last started."""
        return self._said().decode(errors="replace")

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            raise ServerDied(-1, "it is not running")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether the process lives."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        process = self._running()
        process.kill()
        process.wait()
        self._process = None

    def wait_for_death(self, seconds: float) -> int | None:
        """Return its exit status, or None if it lives on."""
        try:
            status = self._running().wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        self._process = None
        return status

    def stop(self) -> int:
        """Ask it to end; return its exit status."""
        process = self._running()
        process.send_signal(signal.SIGTERM)
        status = process.wait(60)
        self._process = None
        return status

    def run_job(self, name: str, values: Values) -> Values:
        """Run a job in the server's process. Raises JobFailed, OSError."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(self.data / "control.sock"))
            line = json.dumps({"job": name, "values": values})
            client.sendall(line.encode() + b"\n")
            with client.makefile("rb") as lines:
                for raw in lines:
                    found: Values = json.loads(raw)
                    if "result" in found:
                        result: Values = found["result"]
                        return result
                    if "error" in found:
                        raise JobFailed(found["error"])
        raise JobFailed("the server hung up")

    def run_cli(self, *words: str, allow: Sequence[int] = (0,)) -> Values:
        """Run an ``undersigned`` command with ``--json``; return what it prints."""
        done = subprocess.run(
            [sys.executable, "-m", PRODUCT, *words, "--json"],
            env=self._make_environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
        )
        if done.returncode not in allow:
            raise ServerDied(done.returncode, done.stderr.decode(errors="replace"))
        found: Values = json.loads(done.stdout.splitlines()[-1])
        return found


@contextmanager
def running(server: LiveServer) -> Iterator[LiveServer]:
    """Start a server and see to it that it is gone afterwards."""
    server.start()
    try:
        yield server
    finally:
        if server.is_running:
            os.kill(server.pid, signal.SIGKILL)
            server.wait_for_death(30)
