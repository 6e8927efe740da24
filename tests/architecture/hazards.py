"""Small syntax rules for hazards of this house; test_hazards shows that each bites."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass

# Edge folders: text for people, the real clock and wiring are at home there.
EDGE = {"config", "cli", "drills", "mirror", "web"}

CLOCKS = {
    "date.today",
    "datetime.now",
    "datetime.today",
    "datetime.utcnow",
    "time.time",
    "time.time_ns",
    "timezone.now",
}
TRANSLATORS = {
    "_",
    "gettext",
    "gettext_lazy",
    "gettext_noop",
    "ngettext",
    "ngettext_lazy",
    "npgettext",
    "npgettext_lazy",
    "pgettext",
    "pgettext_lazy",
}
LOG_METHODS = {"critical", "debug", "error", "exception", "info", "log", "warning"}
# Names of values that say who somebody is, or that join a person to an act.
PERSONAL = {
    "address",
    "blinded",
    "client_ip",
    "comment",
    "email",
    "nullifier",
    "passphrase",
    "peer",
    "place",
    "recipient",
    "referrer",
    "remote_addr",
    "scope",
    "ticket",
    "user_agent",
}
# Files that may touch rows: the owning package's own (see test_reach for whose).
ROW_FILES = {
    "adapter",
    "apps",
    "forms",
    "managers",
    "migrations",
    "models",
    "operations",
    "queries",
}
# Put together so that this file does not find itself.
LEFTOVER = re.compile(
    r"\b(?:" + "|".join(("TO" + "DO", "FIX" + "ME", "XX" + "X")) + r")\b"
)
SUPPRESSION = re.compile(
    r"#\s*(?:noqa(?::\s*[A-Z]+\d+(?:[,\s]+[A-Z]+\d+)*)?"
    r"|type:\s*ignore(?:\[[\w\-, ]+\])?"
    r"|pragma:\s*no (?:cover|branch)"
    r"|fmt:\s*(?:off|skip)"
    r"|nosec(?:\s+B\d+)?)(?P<reason>.*)"
)


@dataclass(frozen=True, order=True)
class Hazard:
    """A place to look at: which rule, on which line, and what stands there."""

    line: int
    rule: str
    text: str


def dotted(node: ast.expr) -> str:
    """Return ``a.b.c`` for a chain of names, or an empty string."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return ""


def calls(tree: ast.AST) -> Iterator[tuple[ast.Call, str]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield node, dotted(node.func)


def clock_reads(tree: ast.AST) -> Iterator[Hazard]:
    """Time is an argument; only kernel.clock looks it up."""
    for call, name in calls(tree):
        if ".".join(name.split(".")[-2:]) in CLOCKS:
            yield Hazard(call.lineno, "clock", name)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "time":
            for alias in node.names:
                if f"time.{alias.name}" in CLOCKS:
                    yield Hazard(node.lineno, "clock", f"from time import {alias.name}")


def prints(tree: ast.AST) -> Iterator[Hazard]:
    """The domain returns values; only the command line prints."""
    for node, name in calls(tree):
        if name == "print":
            yield Hazard(node.lineno, "print", name)


def formatted_translations(tree: ast.AST) -> Iterator[Hazard]:
    """A text that is put together before it is looked up is never translated."""
    for node, name in calls(tree):
        if name.split(".")[-1] not in TRANSLATORS:
            continue
        for argument in node.args:
            built = isinstance(argument, (ast.JoinedStr, ast.BinOp)) or (
                isinstance(argument, ast.Call)
                and isinstance(argument.func, ast.Attribute)
                and argument.func.attr == "format"
            )
            # The number of ngettext may be computed; a text may not.
            if built and any(
                isinstance(part, (ast.JoinedStr, ast.Constant))
                and (isinstance(part, ast.JoinedStr) or isinstance(part.value, str))
                for part in ast.walk(argument)
            ):
                yield Hazard(node.lineno, "translation", name)


def row_writes(tree: ast.AST) -> Iterator[Hazard]:
    """Rows change in the operations of the package that owns them."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr == "objects":
            yield Hazard(node.lineno, "rows", f"{dotted(node.value)}.objects")
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in {"save", "bulk_create", "bulk_update"}
        ):
            yield Hazard(node.lineno, "rows", f".{node.func.attr}()")


def personal_logs(tree: ast.AST) -> Iterator[Hazard]:
    """What says who somebody is does not go into a log (SAFETY P2)."""
    for node, name in calls(tree):
        parts = name.split(".")
        if len(parts) < 2 or parts[-1] not in LOG_METHODS:
            continue
        if not any(
            part.strip("_").lower() in {"log", "logger", "logging"} for part in parts
        ):
            continue
        for argument in [*node.args, *(item.value for item in node.keywords)]:
            for part in ast.walk(argument):
                said = part.id if isinstance(part, ast.Name) else ""
                said = part.attr if isinstance(part, ast.Attribute) else said
                if said.lower() in PERSONAL:
                    yield Hazard(node.lineno, "personal", said)


def leftovers(source: str) -> Iterator[Hazard]:
    """Nothing is left for later, and nothing is switched off without a reason.

    The reason stands behind the mark, or in a comment of its own on the line above.
    """
    lines = source.splitlines()
    for number, line in enumerate(lines, start=1):
        if LEFTOVER.search(line):
            yield Hazard(number, "leftover", line.strip())
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.NAME and token.string == "NotImplementedError":
            yield Hazard(token.start[0], "leftover", token.string)
        if token.type != tokenize.COMMENT:
            continue
        match = SUPPRESSION.search(token.string)
        if match is None:
            continue
        number = token.start[0]
        above = lines[number - 2].strip() if number > 1 else ""
        explained = above.startswith("#") and not SUPPRESSION.search(above)
        if not explained and len(match["reason"].strip(" :#-.")) < 8:
            yield Hazard(number, "suppression", token.string)


def find_hazards(
    *, package: str, stem: str, has_tables: bool, source: str
) -> list[Hazard]:
    """Return the hazards in one module of the product, by line.

    ``package`` is the folder below ``undersigned``; ``stem`` the name below that, of
    the file or folder; ``has_tables`` says whether the package has Django models.
    """
    tree = ast.parse(source)
    found = [*formatted_translations(tree), *personal_logs(tree), *leftovers(source)]
    if package not in EDGE:
        found += prints(tree)
    if package not in {"config", "cli"} and (package, stem) != ("kernel", "clock"):
        found += clock_reads(tree)
    if (package in EDGE or has_tables) and stem not in ROW_FILES:
        found += row_writes(tree)
    return sorted(found)
