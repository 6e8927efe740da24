"""Programs watched by the library of ``journal``; what a power cut leaves of them."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support import ROOT, skip_or_fail
from undersigned.drills.journal import (
    Fuse,
    Kind,
    NoCompiler,
    Record,
    Watch,
    compile_library,
    read_journal,
)
from undersigned.drills.platter import MODELS, Model, Platter

SEEDS = 12

HEAD = """
import os, pathlib, sqlite3
from undersigned.kernel import durable
data = pathlib.Path(os.environ["DRILL_ROOT"])
"""


@dataclass(frozen=True, slots=True)
class Watched:
    """A folder in which programs run watched."""

    folder: Path
    watch: Watch

    @property
    def data(self) -> Path:
        """The watched folder."""
        return self.watch.root

    def run(self, code: str) -> subprocess.CompletedProcess[str]:
        """Run Python code that finds the watched folder as ``data``."""
        return subprocess.run(
            [sys.executable, "-c", HEAD + code],
            env={**os.environ, **self.watch.environment, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=False,
            text=True,
        )

    def run_well(self, code: str) -> list[Record]:
        """Run code that must succeed; return the journal."""
        done = self.run(code)
        assert done.returncode == 0, done.stderr
        return self.records

    @property
    def records(self) -> list[Record]:
        """The journal."""
        return list(read_journal(self.watch.journal))

    @property
    def kinds(self) -> list[str]:
        """The journal's kinds and paths, for reading."""
        return [f"{one.kind.name} {one.path}".strip() for one in self.records]

    def follow(self, *, until: str | None = None) -> Platter:
        """Return the platter after the whole journal, or up to a mark by mkdir."""
        platter = Platter()
        for record in self.records:
            if record.kind is Kind.MKDIR and record.path == until:
                break
            platter.follow(record)
        return platter

    def read_states(
        self, *, until: str | None = None, models: tuple[Model, ...] = MODELS
    ) -> list[dict[str, bytes]]:
        """Return the files of every kind of state, several times by chance."""
        platter = self.follow(until=until)
        states = []
        for model in models:
            for seed in range(SEEDS):
                target = self.folder / f"state-{model}-{seed}"
                platter.write_state(target, model=model, rng=random.Random(seed))
                states.append(
                    {
                        str(path.relative_to(target)): path.read_bytes()
                        for path in target.rglob("*")
                        if path.is_file()
                    }
                )
        return states


def make_watched(folder: Path, library: Path, *, fuse: bool = False) -> Watched:
    """Return a folder for watched programs."""
    (folder / "data").mkdir()
    path = Fuse(folder / "fuse").path if fuse else None
    return Watched(folder, Watch(library, folder / "data", folder / "journal", path))


def compile_or_skip(folder: Path) -> Path:
    """Return the library; skip, or in CI fail, where it cannot be made."""
    try:
        return compile_library(folder)
    except NoCompiler as error:
        skip_or_fail(str(error))
