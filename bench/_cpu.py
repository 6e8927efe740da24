"""Processor time of process trees, and of everybody else meanwhile, from /proc.

``/proc/PID/stat`` sums all threads of a process, those that have ended too. The
kernel reports it in ticks of 10 ms, so a measurement should last seconds.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
# Positions in /proc/PID/stat after the name, counted from the state at 0.
_PARENT, _UTIME, _STIME, _CUTIME, _CSTIME = 1, 11, 12, 13, 14
_IDLE, _IOWAIT, _GUEST = 3, 4, 8


def _read_stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    # A process's name may hold blanks and brackets; nothing after it does.
    return text.rpartition(")")[2].split()


def list_tree(root: int) -> list[int]:
    """Return ``root`` and every living process below it."""
    children: dict[int, list[int]] = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := _read_stat(int(name))):
            children.setdefault(int(stat[_PARENT]), []).append(int(name))
    tree = [root]
    for pid in tree:
        tree += children.get(pid, [])
    return tree


def tree_seconds(root: int) -> float:
    """Return user and system seconds of a process, its threads and descendants.

    Children that have ended are in their parent's figures once it has waited for them.
    """
    total = 0
    for pid in list_tree(root):
        if stat := _read_stat(pid):
            total += sum(int(stat[i]) for i in (_UTIME, _STIME, _CUTIME, _CSTIME))
    return total / _TICKS


def _busy_seconds() -> float:
    line = Path("/proc/stat").read_text("utf-8").splitlines()[0].split()[1:]
    busy = sum(int(n) for i, n in enumerate(line[:8]) if i not in (_IDLE, _IOWAIT))
    return busy / _TICKS


@dataclass(slots=True)
class Meter:
    """Counts the seconds of trees, and what others take of the machine.

    ``others`` is in cores: near 0 on a quiet machine. What this process starts is
    its own: the load generator is none of the others.
    """

    roots: tuple[int, ...]
    seconds: float = 0.0
    others: float = 0.0
    _begun: tuple[float, float, float] = (0.0, 0.0, 0.0)

    def _own(self) -> float:
        # This process and all that it started, the product's tree included.
        return tree_seconds(os.getpid())

    def _counted(self) -> float:
        return sum(tree_seconds(root) for root in self.roots)

    def start(self, now: float) -> None:
        """Begin; ``now`` is a monotonic clock's reading."""
        self._begun = self._counted(), _busy_seconds() - self._own(), now

    def stop(self, now: float) -> None:
        """End, and fill ``seconds`` and ``others``."""
        seconds, others, begun = self._begun
        self.seconds = self._counted() - seconds
        passed = max(now - begun, 1e-9)
        self.others = max(0.0, _busy_seconds() - self._own() - others) / passed
