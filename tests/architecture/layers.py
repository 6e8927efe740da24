"""The order of packages, read from the one place that states it: pyproject.toml."""

from __future__ import annotations

import tomllib
from typing import Any

from tests.support import ROOT


def read_contracts() -> list[dict[str, Any]]:
    """Return the import contracts as pyproject.toml has them."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        linter = tomllib.load(file)["tool"]["importlinter"]
    contracts: list[dict[str, Any]] = linter["contracts"]
    return contracts


def read_layers() -> list[list[str]]:
    """Return the layers from edge to base, each a list of package names."""
    (contract,) = [item for item in read_contracts() if item["id"] == "layers"]
    return [
        [name.strip(" ()") for name in line.split("|")] for line in contract["layers"]
    ]


def height_of(package: str) -> int:
    """Return how far ``package`` stands above the base; kernel is 0."""
    layers = read_layers()
    for number, names in enumerate(reversed(layers)):
        if package in names:
            return number
    raise LookupError(f"{package} has no place in the layers of pyproject.toml")
