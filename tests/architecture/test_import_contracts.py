"""The import contracts hold, and each of them bites when it should."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.architecture.layers import read_contracts, read_layers
from tests.support import ROOT, SRC

LINTER = Path(sys.executable).parent / "lint-imports"


def lint(folder: Path, config: Path) -> tuple[bool, str]:
    """Run the linter over the packages in ``folder``: kept or not, and what it says."""
    done = subprocess.run(
        [LINTER, "--config", config, "--no-cache", "--no-logo"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def test_the_product_keeps_every_contract() -> None:
    kept, said = lint(SRC, ROOT / "pyproject.toml")
    assert kept, said


def test_every_folder_has_its_place_in_the_order() -> None:
    placed = {name for line in read_layers() for name in line}
    folders = {path.parent.name for path in SRC.glob("undersigned/*/__init__.py")}
    assert folders == placed


# The imports that the life of a signature needs, as "importer: imported".
ALLOWED = """
drills.crash: config.asgi
config.asgi: web.hot.sign, cli.parser, accounts.models_facts
cli.campaign: campaigns.operations, signatures.operations
web.public.sign: signatures.operations, eligibility.operations, web.shared.services
web.public.login: accounts.queries
web.hot.sign: signatures.operations, credentials.operations, web.shared.services
web.shared.services: ledger.operations, eligibility.operations
signatures.operations: campaigns.queries, credentials.operations, ledger.operations
signatures.queries: signatures.models
eligibility.operations: campaigns.queries, credentials.data, safety.limits
campaigns.operations: campaigns.data, campaigns.models, ledger.operations
campaigns.operations: authorities.queries
campaigns.queries: campaigns.models, campaigns.data
accounts.queries: accounts.models
authorities.queries: authorities.models
credentials.operations: ledger.data
credentials.data: kernel.ids
ledger.operations: kernel.errors, undersigned_verify.entry
web.node.app: web.hot.sign
witness.operations: kernel.errors, undersigned_verify.entry
audit.operations: kernel.clock
safety.limits: kernel.clock
"""

# Each violation and the contract that is there to catch it.
VIOLATIONS = [
    ("ledger.operations: campaigns.queries", "Layers"),
    ("witness.operations: ledger.operations", "Layers"),
    ("signatures.operations: eligibility.operations", "Layers"),
    ("credentials.operations: accounts.queries", "Layers"),
    ("signatures.operations: accounts.queries", "Counting never reaches identity"),
    ("campaigns.queries: accounts.queries", "Identity stays at the edge"),
    ("campaigns.queries: accounts.queries", "Counting never reaches identity"),
    ("web.hot.sign: accounts.queries", "The signing path knows no accounts"),
    ("web.shared.services: accounts.queries", "The signing path knows no accounts"),
    ("web.public.sign: campaigns.models", "Tables belong to their package"),
    ("cli.campaign: campaigns.models", "Tables belong to their package"),
    ("web.public.sign: web.hot.sign", "Audiences are independent"),
    ("web.shared.services: web.public.login", "What audiences share"),
    ("campaigns.operations: web.public.sign", "Layers"),
    ("campaigns.data: campaigns.operations", "No cycles"),
    ("undersigned_verify.entry: django", "The verifier stands alone"),
    ("undersigned_verify.entry: kernel.ids", "The verifier stands alone"),
    ("novelty.operations: kernel.ids", "Layers"),
]


def qualify(name: str) -> str:
    if name.startswith(("undersigned_verify", "django")):
        return name
    return f"undersigned.{name}"


def build(folder: Path, edges: str) -> None:
    """Write packages under ``folder`` in which each importer imports the imported."""
    modules: dict[str, list[str]] = {}
    for line in filter(None, edges.splitlines()):
        importer, _, imported = line.partition(": ")
        targets = [qualify(name) for name in imported.split(", ")]
        modules.setdefault(qualify(importer), []).extend(targets)
        for target in targets:
            modules.setdefault(target, [])
    for name, targets in modules.items():
        if name == "django":
            continue
        path = folder.joinpath(*name.split(".")).with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"import {target}\n" for target in targets))
    for path in folder.rglob("*.py"):
        for parent in path.relative_to(folder).parents:
            if parent.name:
                (folder / parent / "__init__.py").touch()


def test_the_imports_that_signing_needs_are_allowed(tmp_path: Path) -> None:
    build(tmp_path, ALLOWED)
    kept, said = lint(tmp_path, ROOT / "pyproject.toml")
    assert kept, said


@pytest.mark.parametrize("edge,contract", VIOLATIONS)
def test_a_contract_bites(tmp_path: Path, edge: str, contract: str) -> None:
    build(tmp_path, f"{ALLOWED}{edge}\n")
    kept, said = lint(tmp_path, ROOT / "pyproject.toml")
    assert not kept
    broken = [line for line in said.splitlines() if line.endswith("BROKEN")]
    assert any(line.startswith(contract) for line in broken), said


def test_every_contract_is_shown_to_bite() -> None:
    shown = {contract for _, contract in VIOLATIONS}
    names = {item["name"] for item in read_contracts()}
    assert {name for name in names if not name.startswith(tuple(shown))} == set()
