"""The README tells the truth, and every fault can happen and is tested."""

import re
import sys
from pathlib import Path

import undersigned_verify
from undersigned_verify.cli import _make_parser
from undersigned_verify.errors import FAULTS

PACKAGE = Path(undersigned_verify.__file__).parent
PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol"
README = (PACKAGE / "README.md").read_text()
MODULES = {path: path.read_text() for path in PACKAGE.glob("*.py")}
TESTS = "".join(path.read_text() for path in Path(__file__).parent.glob("test_*.py"))


def test_the_readme_lists_every_fault() -> None:
    rows = re.findall(r"^\| `([a-z0-9-]+)` \| (.*) \|$", README, re.MULTILINE)
    assert dict(rows) == FAULTS
    assert [code for code, _ in rows] == list(FAULTS)


def test_the_protocol_names_every_fault() -> None:
    pages = "".join(path.read_text() for path in PROTOCOL.glob("*.md"))
    assert [code for code in FAULTS if f"`{code}`" not in pages] == []


def test_every_fault_is_raised_somewhere() -> None:
    raised = set()
    for path, text in MODULES.items():
        if path.name != "errors.py":
            raised |= (
                set(re.findall(r'"([a-z0-9]+(?:-[a-z]+)+)"', text)) & FAULTS.keys()
            )
            for code in re.findall(r'Fault\(\s*"([^"]+)"', text):
                assert code in FAULTS, path
    assert raised == FAULTS.keys()


def test_every_fault_is_tested() -> None:
    assert {code for code in FAULTS if not re.search(rf'[" ]{code}\b', TESTS)} == set()


def test_the_readme_names_every_command_and_option() -> None:
    parser = _make_parser()
    (commands,) = (a for a in parser._actions if hasattr(a, "choices") and a.choices)
    assert isinstance(commands.choices, dict)
    assert set(commands.choices) == {
        "audit",
        "compare",
        "promise",
        "receipt",
        "statement",
    }
    for name, command in commands.choices.items():
        assert f"`{name} " in README
        for action in command._actions:
            for option in action.option_strings:
                assert option in README or option in ("-h", "--help")


def test_the_readme_names_every_exit_status() -> None:
    cli = MODULES[PACKAGE / "cli.py"]
    for status in re.findall(r"^EXIT_[A-Z]+: Final = (\d+)$", cli, re.MULTILINE):
        assert f"\n| {status} | " in README


def test_nothing_but_cryptography_is_needed() -> None:
    allowed = {"undersigned_verify", "cryptography", *sys.stdlib_module_names}
    for path, text in MODULES.items():
        for name in re.findall(r"^(?:from|import) (\w+)", text, re.MULTILINE):
            assert name in allowed, path
