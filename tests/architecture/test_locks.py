"""The locks name packages and hashes, never the place they came from."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path

import pytest

from tests.support import ROOT, tracked_files

LOCKS = sorted((ROOT / "requirements").glob("*.txt"))
REFUSED = re.compile(
    r"https?:|file:|git\+|--(?:extra-)?index|--find-links|--trusted|^-[ief] "
)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_has_no_address(lock: Path) -> None:
    lines = lock.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if REFUSED.search(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_package_is_pinned_and_hashed(lock: Path) -> None:
    text = re.sub(r"^\s*#.*\n", "", lock.read_text(encoding="utf-8"), flags=re.M)
    entries = [item for item in re.split(r"\n(?=\S)", text.strip()) if item]
    assert len(entries) > 15
    for entry in entries:
        assert re.match(r"[a-z0-9][a-z0-9._-]*(\[[a-z,]+\])?==\S+", entry), entry
        assert "--hash=sha256:" in entry, entry


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    base, extras = project["dependencies"], project["optional-dependencies"]
    wanted = {
        "base.txt": base,
        "scale.txt": base + extras["scale"],
        "dev.txt": base + extras["scale"] + extras["dev"],
    }
    for name, requirements in wanted.items():
        text = (ROOT / "requirements" / name).read_text(encoding="utf-8")
        pinned = {line.split("==")[0].split("[")[0] for line in text.splitlines()}
        names = {re.split(r"[\[<>=!~; ]", item)[0] for item in requirements}
        assert names | {"hatchling", "editables"} <= pinned


def test_no_lock_of_npm_names_an_address() -> None:
    for path in tracked_files():
        if path.name != "package-lock.json":
            continue
        packages = json.loads(path.read_text(encoding="utf-8"))["packages"]
        placed = [name for name, item in packages.items() if "resolved" in item]
        assert placed == [], path


def test_the_tools_of_other_package_managers_are_not_used() -> None:
    names = {path.name for path in tracked_files()}
    assert names.isdisjoint({"uv.lock", "poetry.lock", "Pipfile.lock", "yarn.lock"})
