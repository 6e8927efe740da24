"""Every translatable string of the product, found without gettext's tools."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from django.template import Engine, Node, Template
from django.template.base import FilterExpression, NodeList, Variable
from django.templatetags.i18n import BlockTranslateNode, TranslateNode

from tests.support import SRC

PACKAGE = SRC / "undersigned"
SINGLE = {"gettext", "gettext_lazy", "noop", "_"}
PLURAL = {"ngettext", "ngettext_lazy"}

# A message, and its plural form where it has one.
Message = tuple[str, str | None]


def _find_calls(path: Path) -> Iterator[Message]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else None
        if isinstance(node.func, ast.Name):
            name = node.func.id
        texts = [arg.value for arg in node.args if isinstance(arg, ast.Constant)]
        if name in SINGLE and texts and isinstance(texts[0], str):
            yield texts[0], None
        elif name in PLURAL:
            yield str(texts[0]), str(texts[1])


def _walk(nodes: NodeList) -> Iterator[Node]:
    for node in nodes:
        yield node
        for attribute in node.child_nodelists:
            yield from _walk(getattr(node, attribute, None) or NodeList())


def _find_blocks(template: Template) -> Iterator[Message]:
    for node in _walk(template.nodelist):
        if isinstance(node, TranslateNode):
            expression = node.filter_expression
            if isinstance(expression, FilterExpression) and isinstance(
                expression.var, Variable
            ):
                yield str(expression.var.literal), None
        elif isinstance(node, BlockTranslateNode):
            single, _names = node.render_token_list(node.singular)
            plural = node.render_token_list(node.plural)[0] if node.plural else None
            yield single, plural


def find_messages() -> dict[Message, set[str]]:
    """Return each message with the files that say it."""
    found: dict[Message, set[str]] = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        for message in _find_calls(path):
            found.setdefault(message, set()).add(str(path.relative_to(PACKAGE)))
    engine = Engine.get_default()
    folder = PACKAGE / "web" / "templates"
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        template = engine.from_string(path.read_text(encoding="utf-8"))
        for message in _find_blocks(template):
            found.setdefault(message, set()).add(str(path.relative_to(PACKAGE)))
    return found
