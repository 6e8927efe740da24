"""Build what is published and tag it: `make release`.

Refuses a checkout with changes and a changelog whose newest version has no date. Leaves
the archives and their SHA-256 sums in build/release; publishing is a person's act.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
OUT = ROOT / "build" / "release"
HEADING = re.compile(r"^## (?P<version>\S+) \((?P<date>\d{4}-\d\d-\d\d)\)$", re.M)


def run(*command: str, cwd: Path = ROOT) -> str:
    """Run ``command`` and return what it prints; its failure is ours."""
    return subprocess.run(
        command, cwd=cwd, check=True, stdout=subprocess.PIPE, text=True
    ).stdout


def main() -> int:
    """Build, sum, tag; 1 with a sentence when the checkout is not ready."""
    newest = next(
        line
        for line in (ROOT / "CHANGELOG.md").read_text("utf-8").splitlines()
        if line.startswith("## ")
    )
    match = HEADING.fullmatch(newest)
    if match is None:
        print(f"Date the newest heading of CHANGELOG.md first; it reads {newest!r}.")
        return 1
    if run("git", "status", "--porcelain"):
        print("Commit first: a release is built from what is committed.")
        return 1
    shutil.rmtree(OUT, ignore_errors=True)
    for folder in (ROOT, ROOT / "src" / "undersigned_verify"):
        run(sys.executable, "-m", "hatchling", "build", "-d", str(OUT), cwd=folder)
    sums = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(OUT.iterdir())
    ]
    (OUT / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")
    run(
        "git",
        "tag",
        "-a",
        f"v{match['version']}",
        "-m",
        f"Undersigned {match['version']}",
    )
    print(
        "".join(sums) + f"Tagged v{match['version']}; look at build/release, then push."
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
