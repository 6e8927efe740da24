"""Each dump of an earlier version keeps its data and goes on.

A dump is ``python -m tests.upgrade.life make`` run by that version, packed with
``tar --sort=name -cJf dumps/VERSION.tar.xz -C DATA .`` when its work was done. What the
check says of it stands beside it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support import ROOT

DUMPS = sorted((Path(__file__).parent / "dumps").glob("*.tar.xz"))


def test_there_is_a_dump() -> None:
    assert DUMPS


@pytest.mark.parametrize("dump", DUMPS, ids=lambda path: path.name)
def test_it_opens_whole_and_goes_on(dump: Path, tmp_path: Path) -> None:
    with tarfile.open(dump) as archive:
        archive.extractall(tmp_path, filter="data")
    tmp_path.chmod(0o700)
    kept = {k: v for k, v in os.environ.items() if not k.startswith("UNDERSIGNED_")}
    done = subprocess.run(
        [sys.executable, "-m", "tests.upgrade.life", "check"],
        env={**kept, "UNDERSIGNED_DATA": str(tmp_path), "UNDERSIGNED_MODE": "demo"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    wanted = dump.with_name(dump.name.replace(".tar.xz", ".json"))
    assert json.loads(done.stdout) == json.loads(wanted.read_bytes())
