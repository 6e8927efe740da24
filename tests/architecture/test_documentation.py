"""Documents tell the truth: what can be typed, set, raised or linked is in them."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from pathlib import Path

import pytest

from tests.architecture.hazards import EDGE
from tests.support import ROOT, SRC
from tools.docs import TABLES, anchors_of, broken_links, list_documents
from tools.reference import (
    import_modules,
    list_commands,
    list_error_classes,
    list_errors,
    list_faults,
    list_operations,
    list_settings,
    set_up_django,
)
from undersigned.config.env import NAMES_OF_TESTS

KEBAB = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# "Raises A, B (fatal) and C": names up to the first word that is none.
RAISES = re.compile(
    r"\bRaises\s+(?P<names>(?:`*[A-Z]\w*`*(?:\s*\([^)]*\))?(?:,?\s+(?:and|or)\s+|,\s*)?)+)"
)
CLASS_NAME = re.compile(r"\b[A-Z]\w*[a-z]\w*\b")


def read(place: str) -> str:
    path = ROOT / place
    assert path.exists(), f"{place} is missing: make docs begins it"
    return path.read_text(encoding="utf-8")


class TestCommands:
    document = "docs/operate/commands.md"

    def test_each_can_be_found(self) -> None:
        text = read(self.document)
        missing = [row.words for row in list_commands() if row.usage not in text]
        assert missing == [], "make docs writes them"

    def test_each_option_can_be_found(self) -> None:
        text = read(self.document)
        missing = {
            f"{row.words} {name}"
            for row in list_commands()
            for name, _ in row.options
            if name not in text
        }
        assert missing == set(), "make docs writes them"

    def test_each_says_what_it_does(self) -> None:
        rows = list_commands()
        assert [row.words for row in rows if not row.meaning] == []
        silent = [
            (row.words, name) for row in rows for name, say in row.options if not say
        ]
        assert silent == []

    def test_none_is_described_that_is_gone(self) -> None:
        described = set(
            re.findall(r"^### (undersigned .+)$", read(self.document), re.M)
        )
        assert described - {row.words for row in list_commands()} == set()


class TestSettings:
    document = "docs/operate/settings.md"

    def rows(self) -> dict[str, list[str]]:
        """Return the cells of each row whose first cell is a setting's name."""
        lines = read(self.document).splitlines()
        split = [re.split(r"(?<!\\)\|", line.strip("| ")) for line in lines]
        cells = [
            [cell.strip(" `").replace("\\|", "|") for cell in row] for row in split
        ]
        return {row[0]: row for row in cells if row[0].startswith("UNDERSIGNED_")}

    def test_the_table_is_what_the_program_reads(self) -> None:
        written = self.rows()
        expected = {
            row.name: [
                row.name,
                row.type,
                row.unit or "–",
                row.default or "–",
                row.meaning,
            ]
            for row in list_settings()
        }
        assert written == expected, "make docs writes it"

    def test_each_name_belongs_to_us(self) -> None:
        names = [row.name for row in list_settings()]
        assert all(re.fullmatch(r"UNDERSIGNED_[A-Z_]+", name) for name in names)
        assert len(names) == len(set(names))

    def test_nothing_else_is_read_from_the_environment(self) -> None:
        known = {row.name for row in list_settings()} | NAMES_OF_TESTS
        read_elsewhere = {
            f"{path.relative_to(ROOT)}: {name}"
            for path in sorted((SRC / "undersigned").rglob("*.py"))
            for name in re.findall(r"\bUNDERSIGNED_[A-Z_]+\b", path.read_text("utf-8"))
            if name not in known and name.removesuffix("_FILE") not in known
        }
        assert read_elsewhere == set()


class TestErrors:
    document = "docs/develop/errors.md"

    def test_each_has_a_code_in_kebab_case(self) -> None:
        classes = list_error_classes()
        without = [item.__qualname__ for item in classes if "code" not in vars(item)]
        assert without == []
        assert [item.code for item in classes if not KEBAB.fullmatch(item.code)] == []

    def test_a_code_means_one_thing(self) -> None:
        """Packages that may not import each other may share a code, within a family."""
        families: dict[str, set[str]] = {}
        for row in list_errors():
            families.setdefault(row.code, set()).add(row.family)
        assert {code: found for code, found in families.items() if len(found) > 1} == {}

    def test_each_says_in_a_sentence_what_is_the_case(self) -> None:
        assert [row.name for row in list_errors() if not row.meaning] == []

    def test_each_belongs_to_a_family(self) -> None:
        rows = list_errors()
        assert [row.name for row in rows if row.family == "UndersignedError"] == []

    def test_each_can_be_found(self) -> None:
        text = read(self.document)
        missing = [row.code for row in list_errors() if f"`{row.code}`" not in text]
        assert missing == [], "make docs writes them"

    def test_each_fault_of_the_verifier_can_be_found(self) -> None:
        text = read(self.document)
        faults = list_faults()
        assert [code for code, _ in faults if not KEBAB.fullmatch(code)] == []
        assert [code for code, _ in faults if f"`{code}`" not in text] == []

    def test_a_name_that_a_docstring_says_it_raises_exists(self) -> None:
        set_up_django()
        modules = [
            *import_modules("undersigned"),
            *import_modules("undersigned_verify"),
        ]
        known = set(dir(builtins))
        known |= {
            name
            for module in modules
            for name, value in vars(module).items()
            if inspect.isclass(value) and issubclass(value, BaseException)
        }
        unknown = set()
        for module in modules:
            for where, text in docstrings(module):
                for match in RAISES.finditer(text):
                    listed = re.sub(r"\([^)]*\)", "", match["names"])
                    names = set(CLASS_NAME.findall(listed))
                    unknown |= {f"{where}: {name}" for name in names - known}
        assert unknown == set()


def docstrings(module: object) -> list[tuple[str, str]]:
    """Return (where, text) of the docstrings of a module, its classes and functions."""
    found = []
    todo = [(module, getattr(module, "__name__", ""))]
    for thing, where in todo:
        found.append((where, inspect.getdoc(thing) or ""))
        for name, value in vars(thing).items():
            ours = getattr(value, "__module__", None) == getattr(module, "__name__", "")
            if (
                inspect.isclass(value)
                and ours
                and value not in [item[0] for item in todo]
            ):
                todo.append((value, f"{where}.{name}"))
            elif inspect.isfunction(value) and ours:
                found.append((f"{where}.{name}", inspect.getdoc(value) or ""))
    return found


class TestOperations:
    def test_each_takes_its_arguments_by_name(self) -> None:
        """Only what takes a single value, as parse_ and encode_ do, may do without."""
        positional = {
            f"{package}.{function.__name__}({name})"
            for package, function in list_operations()
            if len(inspect.signature(function).parameters) > 1
            for name, item in inspect.signature(function).parameters.items()
            if item.kind not in (item.KEYWORD_ONLY, item.VAR_KEYWORD)
        }
        assert positional == set()

    def test_each_says_what_it_does(self) -> None:
        silent = [
            f"{package}.{function.__name__}"
            for package, function in list_operations()
            if not inspect.getdoc(function)
        ]
        assert silent == []

    def test_a_name_is_found_once_in_the_whole_product(self) -> None:
        names = [function.__name__ for _, function in list_operations()]
        assert sorted({name for name in names if names.count(name) > 1}) == []


def test_each_package_says_what_it_is_and_the_domain_what_it_owns() -> None:
    silent = []
    for path in sorted(SRC.glob("undersigned/*/__init__.py")):
        readme = path.with_name("README.md")
        text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
        text += readme.read_text("utf-8") if readme.exists() else ""
        owns = re.search(r"\bowns?\b", text, re.I)
        if not text or (path.parent.name not in EDGE and not owns):
            silent.append(path.parent.name)
    assert silent == []


@pytest.mark.parametrize("path", list_documents(), ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    assert list(broken_links(path)) == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    assert anchors_of("# One *two* `three`\n```\n# not this\n```\n## A: b") == {
        "one-two-three",
        "a-b",
    }


def test_each_word_of_make_is_explained() -> None:
    text = read("Makefile")
    (phony,) = re.findall(r"^\.PHONY: (.+)$", text, re.M)
    explained = set(re.findall(r"^([a-z]+):.*## .+$", text, re.M))
    assert explained == set(phony.split())


def test_no_document_names_a_word_that_make_does_not_know() -> None:
    words = set(re.findall(r"^([a-z]+):.*## ", read("Makefile"), re.M))
    unknown = {
        f"{path.relative_to(ROOT)}: make {word}"
        for path in list_documents()
        for word in re.findall(r"`make ([a-z]+)", path.read_text("utf-8"))
        if word not in words
    }
    assert unknown == set()


def test_the_tables_have_their_marks() -> None:
    for name, (place, _, _) in TABLES.items():
        assert f"<!-- {name}: written by make docs -->" in read(place)
