"""Programs that a bench starts, waits for and ends; all on the loopback."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench._machine import ROOT

HOST = "127.0.0.1"
START_SECONDS = 60.0
# What a program inherits; nothing that configures this product or another server.
_KEPT = ("PATH", "LANG", "LC_ALL", "HOME", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")


class NotStarted(Exception):
    """A program ended, or did not answer in time; the text ends with what it said."""


def python(*words: str) -> list[str]:
    """Return a command line for this interpreter."""
    return [sys.executable, *words]


def make_environment(more: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a small environment in which the product is that of this checkout."""
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    paths = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    return kept | {"PYTHONPATH": paths} | dict(more or {})


def run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Run a command to its end and return its output. Raises NotStarted."""
    done = subprocess.run(
        command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise NotStarted(f"{command[1:4]} failed: {done.stderr[-2000:]}")
    return done.stdout


def run_for_cpu(
    command: Sequence[str], environment: Mapping[str, str], *, said: Path
) -> float:
    """Run a command to its end; return its tree's processor seconds.

    Raises NotStarted.
    """
    before = os.times()
    with said.open("wb") as output:
        done = subprocess.run(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        )
    after = os.times()
    if done.returncode != 0:
        text = said.read_text("utf-8", "replace")[-2000:]
        raise NotStarted(f"{command[1:4]} failed:\n{text}")
    spent = after.children_user + after.children_system
    return spent - before.children_user - before.children_system


@contextmanager
def start(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    port: int,
    said: Path,
) -> Iterator[int]:
    """Run a server for the length of a ``with`` block; yield its process id.

    ``said``: where its output goes.
    """
    with said.open("wb") as output:
        process = subprocess.Popen(
            command,
            env=environment,
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            _wait_for(process, port, said)
            yield process.pid
        finally:
            _end(process)


def _wait_for(process: subprocess.Popen[bytes], port: int, said: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with suppress(OSError), socket.create_connection((HOST, port), timeout=1):
            return
        time.sleep(0.05)
    text = said.read_text("utf-8", "replace")[-2000:]
    raise NotStarted(f"{process.args!r} does not listen:\n{text}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask the program to end; then end its whole session, which is its own."""
    if process.poll() is None:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=30)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
