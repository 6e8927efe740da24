"""What tests of every kind share: where things are, what may be missing, no network."""

from __future__ import annotations

import ipaddress
import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any, NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"


def in_ci() -> bool:
    """Say whether a missing input is a failure: CI has everything, a clone may not."""
    return os.environ.get("UNDERSIGNED_CI") == "1"


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test with ``reason``; in CI, fail it, so that no gap stays unseen."""
    if in_ci():
        pytest.fail(f"{reason} (UNDERSIGNED_CI=1, so this is a failure)")
    pytest.skip(reason, allow_module_level=True)


def shared_dir(*parts: str) -> Path:
    """Return the folder or file ``parts`` of the shared material beside the checkout.

    It holds other people's vectors and data, which are not committed. Skips, or in CI
    fails, where it is absent.
    """
    path = ROOT.parent.joinpath("shared", *parts)
    if not path.exists():
        skip_or_fail(f"../{'/'.join(('shared', *parts))} is not beside this checkout")
    return path


def program(name: str) -> str:
    """Return the path of the program ``name``; skip, or in CI fail, without it."""
    found = shutil.which(name)
    if found is None:
        skip_or_fail(f"the program {name} is not installed")
    return found


class Synced:
    """Which files and folders were synced while it watches."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._inodes: set[int] = set()
        fsync = os.fsync

        def noted(handle: int) -> None:
            fsync(handle)
            self._inodes.add(os.fstat(handle).st_ino)

        monkeypatch.setattr(os, "fsync", noted)

    def has(self, path: Path) -> bool:
        """Say whether what stands under ``path`` now was synced."""
        return path.stat().st_ino in self._inodes

    def reaches(self, path: Path, *, below: Path) -> bool:
        """Say whether a power cut leaves a way from ``below`` to ``path``."""
        folders = list(path.parents)
        return all(map(self.has, folders[: folders.index(below) + 1]))


def tracked_files() -> list[Path]:
    """Return every file of the checkout that git tracks or would track, sorted.

    Skips outside a git checkout (an unpacked source archive has no list).
    """
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT,
            capture_output=True,
            check=True,
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        skip_or_fail("this is not a git checkout")
    names = sorted({name for name in listed.decode().split("\0") if name})
    return [ROOT / name for name in names if (ROOT / name).is_file()]


def is_local(address: Any) -> bool:
    """Say whether a socket address stays on this machine (loopback or a file)."""
    if isinstance(address, (str, bytes)):
        return True
    host = address[0]
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every connection beyond this machine an error (SAFETY P14).

    To be called from an autouse fixture. Covers sockets made by Python; a browser under
    test has flags of its own.
    """
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if not is_local(address):
            raise AssertionError(f"a test tried to reach {address!r}")
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        if not is_local(address):
            raise AssertionError(f"a test tried to reach {address!r}")
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
