"""Refresh the generated tables of the documents, and check every link: `make docs`.

A table stands between two marks, ``<!-- NAME: written by make docs -->`` and
``<!-- end of NAME -->``; what is around them is written by hand. A document that should
hold a table and does not exist yet is begun with a heading.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from tools.reference import (
    ROOT,
    list_commands,
    list_errors,
    list_families,
    list_faults,
    list_settings,
)

LINK = re.compile(
    r"(?<!!)\[[^\]]*\]\((?P<target>[^)\s]+)(?:\s+\"[^\"]*\")?\)|\]\(<(?P<angled>[^>]+)>\)"
)
HEADING = re.compile(r"^#{1,6}\s+(?P<text>.+?)\s*#*$", re.M)
FENCE = re.compile(r"^(```|~~~).*?^\1", re.M | re.S)


def make_table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a Markdown table; a bar within a cell is escaped."""
    names = list(head)
    lines = [f"| {' | '.join(names)} |", f"|{'---|' * len(names)}"]
    for row in rows:
        cells = [cell.replace("|", "\\|") or "–" for cell in row]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def code(text: str) -> str:
    """Return ``text`` set as code, or nothing for nothing."""
    return f"`{text}`" if text else ""


def settings_table() -> str:
    """Return the settings in the order of config/env.py."""
    return make_table(
        ("Name", "Type", "Unit", "Default", "Meaning"),
        (
            (code(row.name), row.type, row.unit, code(row.default), row.meaning)
            for row in list_settings()
        ),
    )


def errors_table() -> str:
    """Return the anticipated errors by code, behind their families."""
    families = make_table(
        ("Family", "Code", "Meaning"),
        ((row.family, code(row.code), row.meaning) for row in list_families()),
    )
    errors = make_table(
        ("Code", "Family", "Package", "Meaning"),
        (
            (code(row.code), row.family, row.package, row.meaning)
            for row in list_errors()
        ),
    )
    return f"{families}\n\n{errors}"


def faults_table() -> str:
    """Return the verifier's fault codes and the module that names each."""
    return make_table(
        ("Code", "Named in"),
        ((code(name), f"`{module}.py`") for name, module in list_faults()),
    )


def commands_text() -> str:
    """Return a section for each command, with its options."""
    sections = []
    for row in list_commands():
        lines = [f"### {row.words}", "", code(row.usage), "", as_sentence(row.meaning)]
        if row.options:
            table = make_table(
                ("Option", "Meaning"),
                ((code(name), meaning) for name, meaning in row.options),
            )
            lines += ["", table]
        sections.append("\n".join(lines).strip())
    return "\n\n".join(sections)


def as_sentence(text: str) -> str:
    """Return ``text`` with a capital and a full stop."""
    text = " ".join(text.split())
    if not text:
        return ""
    return text[0].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


TABLES = {
    "settings": ("docs/operate/settings.md", "Settings", settings_table),
    "commands": ("docs/operate/commands.md", "Commands", commands_text),
    "errors": ("docs/develop/errors.md", "Errors", errors_table),
    "faults": ("docs/develop/errors.md", "Errors", faults_table),
}


def refresh(name: str) -> bool:
    """Write the table ``name`` anew; return whether the document changed."""
    place, title, make = TABLES[name]
    path = ROOT / place
    before = path.read_text(encoding="utf-8") if path.exists() else ""
    begin, end = f"<!-- {name}: written by make docs -->", f"<!-- end of {name} -->"
    text = before or f"# {title}\n"
    if begin not in text:
        text += f"\n{begin}\n{end}\n"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    after = f"{head}{begin}\n\n{make()}\n\n{end}{tail}"
    if after != before:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(after, encoding="utf-8")
    return after != before


def anchors_of(text: str) -> set[str]:
    """Return the fragments that the headings of a document can be reached by."""
    found = set()
    for match in HEADING.finditer(FENCE.sub("", text)):
        words = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", match["text"]).lower()
        found.add(re.sub(r"[^\w\- ]", "", words).strip().replace(" ", "-"))
    return found


def broken_links(path: Path) -> Iterator[str]:
    """Yield each relative link of the document at ``path`` that leads nowhere."""
    text = path.read_text(encoding="utf-8")
    for match in LINK.finditer(FENCE.sub("", text)):
        target = match["target"] or match["angled"]
        if re.match(r"[a-z][a-z+.-]*:", target):
            continue
        place, _, fragment = target.partition("#")
        there = path if not place else (path.parent / place).resolve()
        if not there.exists():
            yield f"{path.relative_to(ROOT)}: {target}"
        elif (
            fragment
            and there.suffix == ".md"
            and fragment not in anchors_of(there.read_text(encoding="utf-8"))
        ):
            yield f"{path.relative_to(ROOT)}: {target} (no such heading)"


def list_documents() -> list[Path]:
    """Return the documents of the checkout."""
    folders = ("docs", "src", "tests", "bench", "examples", "tools")
    found = list(ROOT.glob("*.md"))
    for folder in folders:
        found += (ROOT / folder).rglob("*.md")
    return sorted(path for path in found if "node_modules" not in path.parts)


def main() -> int:
    """Refresh every table, then follow every link; 1 when one is broken."""
    for name, (place, _, _) in TABLES.items():
        if refresh(name):
            print(f"{place}: {name} written")
    broken = [line for path in list_documents() for line in broken_links(path)]
    for line in broken:
        print(f"broken link: {line}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
