"""Running a function in a process and a data directory of its own.

Django takes its database from the environment once a process, and the product's
threads are not meant to be cut off inside a test runner: so whatever opens an engine or
dies on purpose runs in a child. ``python -m undersigned.drills.isolated MODULE:FUNCTION
VALUES RESULT`` calls ``FUNCTION(values)`` and writes what it returns as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from undersigned.drills.report import Values

HOST = "drill.example"
ROOM_BYTES = 1 << 30


class ChildFailed(Exception):
    """The child ended without a result. ``status``: as subprocess gives it."""

    def __init__(self, target: str, status: int) -> None:
        self.status = status
        super().__init__(f"{target} ended with status {status} and no result")

    @property
    def was_killed(self) -> bool:
        """Whether it died by SIGKILL, as drills do on purpose."""
        return self.status == -signal.SIGKILL


@contextmanager
def make_folder(*, durable: bool = True) -> Iterator[Path]:
    """Make a folder for one drill and remove it with everything in it.

    ``durable`` False: in memory where the system offers that. What is read from files
    is the same, and thousands of fsyncs of one drill do not hold up everybody's disk.
    """
    memory = Path("/dev/shm")  # noqa: S108 - a folder of random name is made in it
    where = None
    if not durable and memory.is_dir() and shutil.disk_usage(memory).free > ROOM_BYTES:
        where = str(memory)
    with tempfile.TemporaryDirectory(prefix="undersigned-drill-", dir=where) as name:
        yield Path(name)


def make_environment(folder: Path, **more: str) -> dict[str, str]:
    """Return the environment of an instance that lives in ``folder``.

    None of the operator's settings comes through. ``more``: settings by their names
    without the prefix, in lower case.
    """
    (folder / "tmp").mkdir(parents=True, exist_ok=True)
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("UNDERSIGNED_") or name == "UNDERSIGNED_CI"
    }
    settings = {"data": str(folder / "data"), "host": HOST, "mode": "development"}
    for name, value in {**settings, **more}.items():
        environment[f"UNDERSIGNED_{name.upper()}"] = value
    # Temporary files of this instance alone, so that a drill can read all of them.
    environment["TMPDIR"] = environment["SQLITE_TMPDIR"] = str(folder / "tmp")
    environment["DJANGO_SETTINGS_MODULE"] = "undersigned.config.settings"
    return environment


def run_isolated(
    target: str,
    values: Values,
    *,
    folder: Path,
    timeout_seconds: float = 3600,
    more_environment: dict[str, str] | None = None,
) -> Values:
    """Call ``MODULE:FUNCTION`` in a child over the instance in ``folder``.

    ``more_environment``: variables that are no settings of the product. Raises
    ChildFailed when the child dies.
    """
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".result") as result:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "undersigned.drills.isolated",
                target,
                json.dumps(values),
                result.name,
            ],
            env=make_environment(folder) | (more_environment or {}),
            stdin=subprocess.DEVNULL,
            timeout=timeout_seconds,
            check=False,
        )
        text = Path(result.name).read_bytes()
    if done.returncode != 0 or not text:
        raise ChildFailed(target, done.returncode)
    found: Values = json.loads(text)
    return found


def main() -> int:
    """Be the child."""
    from undersigned.config.context import set_up_django

    # A drill's event loop waits for nothing but the drill: it may block.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    # Before the drill is imported: it imports packages that have tables.
    set_up_django()
    target, values, result = sys.argv[1:4]
    module, _colon, name = target.partition(":")
    function = getattr(importlib.import_module(module), name)
    found = function(json.loads(values))
    Path(result).write_text(json.dumps(found), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
