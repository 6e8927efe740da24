"""Where and when a bench ran: what the reader of a figure must know."""

from __future__ import annotations

import os
import platform
import re
import sqlite3
import ssl
import subprocess
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Machine:
    """The host and the code, as they stand at the head of every result."""

    cpu: str
    cores: int
    memory_gb: int
    kernel: str
    python: str
    openssl: str
    sqlite: str
    date: str
    commit: str

    def as_json(self) -> dict[str, object]:
        """Return the members by name."""
        return asdict(self)

    def as_line(self) -> str:
        """Return the sentence under a result's heading."""
        return (
            f"{self.cpu}, {self.cores} cores, {self.memory_gb} GB; "
            f"Linux {self.kernel}; Python {self.python}, {self.openssl}, "
            f"SQLite {self.sqlite}. "
            f"{self.date}, commit {self.commit}."
        )


def describe() -> Machine:
    """Return this machine and this checkout."""
    page_bytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return Machine(
        cpu=_find_cpu(),
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(page_bytes / 1e9),
        kernel=platform.release(),
        python=platform.python_version(),
        openssl=" ".join(ssl.OPENSSL_VERSION.split()[:2]),
        sqlite=sqlite3.sqlite_version,
        date=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        commit=find_commit(),
    )


def _find_cpu() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text("utf-8")
    except OSError:
        return platform.processor() or "unknown processor"
    names = re.findall(r"^model name\s*:\s*(.+)$", text, re.M)
    return names[0] if names else "unknown processor"


def _git(*words: str) -> str:
    try:
        done = subprocess.run(
            ["git", *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
    except OSError:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def find_commit() -> str:
    """Return the short commit, with ``+changes`` where what is measured differs."""
    commit = _git("rev-parse", "--short", "HEAD") or "unknown"
    changed = _git("status", "--porcelain", "--", "src", "bench/*.py")
    return f"{commit}+changes" if changed else commit
