"""Read the product's own registries: errors, commands, settings, operations.

The generated tables of the documents (tools/docs.py) and the tests that hold documents
and code together (tests/architecture) both read here, so that they cannot disagree.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import os
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import django

ROOT = Path(__file__).resolve().parent.parent

# Modules that start something when imported, or that only Django imports.
NOT_IMPORTED = {"__main__", "asgi", "wsgi", "migrations"}


@dataclass(frozen=True, order=True)
class ErrorRow:
    """One anticipated error: its stable code, family, home, and what is the case."""

    code: str
    family: str
    package: str
    meaning: str
    name: str


@dataclass(frozen=True, order=True)
class CommandRow:
    """One command: its words, what follows them, its options and its one-line help."""

    words: str
    usage: str
    options: tuple[tuple[str, str], ...]
    meaning: str


@dataclass(frozen=True, order=True)
class SettingRow:
    """One setting from the environment, as config/env.py states it."""

    name: str
    type: str
    unit: str
    default: str
    meaning: str


def first_sentence(text: str | None) -> str:
    """Return the first sentence of a docstring on one line, without its full stop."""
    words = " ".join((text or "").split("\n\n")[0].split())
    return words.split(". ")[0].rstrip(".")


def set_up_django() -> None:
    """Fill Django's registry once; harmless where a test run has done it."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "undersigned.config.settings")
    django.setup()


def import_modules(name: str) -> Iterator[ModuleType]:
    """Import and yield every module of the package ``name`` but NOT_IMPORTED."""
    package = importlib.import_module(name)
    yield package
    for found in pkgutil.iter_modules(package.__path__, f"{name}."):
        if found.name.rpartition(".")[2] in NOT_IMPORTED:
            continue
        if found.ispkg:
            yield from import_modules(found.name)
        else:
            yield importlib.import_module(found.name)


def list_error_classes() -> list[type[Any]]:
    """Return every anticipated error, with its base and the families."""
    set_up_django()
    modules = list(import_modules("undersigned"))
    base = importlib.import_module("undersigned.kernel.errors").UndersignedError
    return [
        value
        for module in modules
        for value in vars(module).values()
        if inspect.isclass(value)
        and issubclass(value, base)
        and value.__module__ == module.__name__
    ]


def is_family(item: type[Any]) -> bool:
    """Say whether ``item`` is one of the families, which only kernel.errors defines."""
    home = "undersigned.kernel.errors"
    return item.__module__ == home and item.__name__ != "UndersignedError"


def list_errors() -> list[ErrorRow]:
    """Return a row for each error that is neither the base nor a family, by code."""
    classes = list_error_classes()
    base = importlib.import_module("undersigned.kernel.errors").UndersignedError
    families = {item for item in classes if is_family(item)} | {base}
    rows = []
    for item in classes:
        if item in families:
            continue
        family = next(parent for parent in item.__mro__ if parent in families)
        package = item.__module__.split(".")[1]
        meaning = first_sentence(item.__dict__.get("__doc__"))
        rows.append(
            ErrorRow(item.code, family.__name__, package, meaning, item.__qualname__)
        )
    return sorted(rows)


def list_families() -> list[ErrorRow]:
    """Return a row for each family of errors, in the order of the source."""
    rows = []
    for item in filter(is_family, list_error_classes()):
        meaning = " ".join((item.__doc__ or "").split())
        rows.append(ErrorRow(item.code, item.__name__, "kernel", meaning, ""))
    return rows


def list_commands() -> list[CommandRow]:
    """Return a row for each command that can be typed, by its words."""
    build: Callable[[], argparse.ArgumentParser]
    build = importlib.import_module("undersigned.cli.parser").build_parser
    return sorted(walk_parser(build(), "undersigned", ""))


def walk_parser(
    parser: argparse.ArgumentParser, words: str, meaning: str
) -> Iterator[CommandRow]:
    """Yield the commands at and below ``parser``; what needs a verb is none itself."""
    options = []
    operands = []
    nested: list[argparse._SubParsersAction[argparse.ArgumentParser]] = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            nested.append(action)
        elif action.help == argparse.SUPPRESS or "--help" in action.option_strings:
            continue
        elif action.option_strings:
            name = action.option_strings[-1]
            takes = "" if action.nargs == 0 else f" {metavar_of(action)}"
            options.append((name + takes, action.help or ""))
        else:
            operands.append(metavar_of(action))
    if not nested:
        usage = " ".join([words, *operands])
        yield CommandRow(
            words, usage, tuple(options), meaning or parser.description or ""
        )
    for group in nested:
        helps = {item.dest: item.help for item in group._choices_actions}
        seen: set[int] = set()
        for verb, child in group.choices.items():
            if id(child) not in seen:  # an alias is the same parser again
                seen.add(id(child))
                yield from walk_parser(child, f"{words} {verb}", helps.get(verb) or "")


def metavar_of(action: argparse.Action) -> str:
    """Return how an operand or an option's value is shown: FILE, or {a,b}."""
    if isinstance(action.metavar, tuple):
        return " ".join(action.metavar)
    if action.metavar:
        return action.metavar
    if action.choices is not None:
        return "{" + ",".join(str(choice) for choice in action.choices) + "}"
    return action.dest.upper()


def list_settings() -> list[SettingRow]:
    """Return the rows of config/env.py in their order."""
    rows = importlib.import_module("undersigned.config.env").SETTINGS
    return [
        SettingRow(
            name=row.name,
            type=row.type.__name__ if inspect.isclass(row.type) else str(row.type),
            unit=str(row.unit or ""),
            default="" if row.default is None else str(row.default),
            meaning=" ".join(str(row.meaning).split()),
        )
        for row in rows
    ]


def list_faults() -> list[tuple[str, str]]:
    """Return (code, module) for each fault that the verifier's source can name."""
    found = set()
    for path in sorted((ROOT / "src" / "undersigned_verify").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id == "Fault"
                and node.args
                and isinstance(node.args[0], ast.Constant)
            ):
                found.add((str(node.args[0].value), path.stem))
    return sorted(found)


def list_operations() -> list[tuple[str, Callable[..., Any]]]:
    """Return (package, function) for each public operation and query, by name."""
    set_up_django()
    found = []
    for module in import_modules("undersigned"):
        parts = module.__name__.split(".")
        if len(parts) < 3 or parts[2] not in {"operations", "queries"}:
            continue
        found += [
            (parts[1], value)
            for name, value in vars(module).items()
            if inspect.isfunction(value)
            and not name.startswith("_")
            and value.__module__ == module.__name__
        ]
    return sorted(found, key=lambda item: (item[0], item[1].__name__))
