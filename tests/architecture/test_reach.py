"""What import-linter cannot say: by whom tables are read, and what signing reaches."""

from __future__ import annotations

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import grimp

from tests.support import SRC

# Within its own package, who may import the tables; everybody else asks queries.
MAY_READ_TABLES = {
    "adapter",
    "apps",
    "forms",
    "managers",
    "migrations",
    "operations",
    "queries",
}


@functools.cache
def graph() -> grimp.ImportGraph:
    return grimp.build_graph("undersigned", include_external_packages=True)


def file_of(module: str) -> Path:
    path = SRC.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def imported_names(path: Path) -> Iterator[str]:
    """Yield every dotted name that the module at ``path`` imports, wherever it does."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    return name == package or name.startswith(f"{package}.")


def test_only_a_package_itself_reads_its_tables() -> None:
    strangers = []
    for module in sorted(graph().modules):
        parts = module.split(".")
        if parts[0] != "undersigned" or parts[-1] != "models":
            continue
        package = ".".join(parts[:-1])
        for importer in graph().find_modules_that_directly_import(module):
            relative = importer.removeprefix(f"{package}.").split(".")[0]
            if not within(importer, package) or relative not in MAY_READ_TABLES:
                strangers.append(f"{importer} -> {module}")
    assert strangers == []


def test_the_signing_path_reaches_neither_people_nor_sessions() -> None:
    hot = graph().find_upstream_modules("undersigned.web.hot", as_package=True)
    ours = {name for name in hot if within(name, "undersigned")}
    ours |= graph().find_descendants("undersigned.web.hot")
    reached = {
        f"{module} -> {name}"
        for module in ours
        for name in imported_names(file_of(module))
        if within(name, "django.contrib") or within(name, "undersigned.accounts")
    }
    assert reached == set()


def test_the_verifier_needs_cryptography_and_nothing_else() -> None:
    allowed = sys.stdlib_module_names | {"cryptography", "undersigned_verify"}
    paths = sorted((SRC / "undersigned_verify").rglob("*.py"))
    assert paths
    foreign = {
        f"{path.name}: {name}"
        for path in paths
        for name in imported_names(path)
        if name.split(".")[0] not in allowed
    }
    assert foreign == set()
