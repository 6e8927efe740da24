"""The house's own hazards: none stands in the product, and every rule bites."""

from __future__ import annotations

import re

import pytest

from tests.architecture.hazards import LEFTOVER, find_hazards, leftovers
from tests.support import ROOT, SRC, tracked_files

# Written with brackets, so that this file is not its own first finding.
ADDRESSES = re.compile(
    "|".join(
        (
            r"pypi[.]org",
            r"pythonhoste[d][.]org",
            r"npmjs[.](?:org|com)",
            r"deb[.]debian[.]org",
            r"crates[.]io",
        )
    )
)
MACHINE_PATHS = re.compile(r"(?<![\w.\-/])/(?:wor[k]|roo[t]|far[m]|tm[p])/")

BITES = [
    ("clock", "campaigns", "rules", "opened_at = datetime.now(tz=UTC)"),
    ("clock", "web", "public", "at = timezone.now()"),
    ("clock", "ledger", "writer", "stamp = time.time()"),
    ("clock", "ledger", "writer", "from time import time_ns"),
    ("print", "signatures", "operations", "print(total)"),
    ("translation", "web", "public", "_(f'{count} signatures')"),
    ("translation", "web", "public", "gettext('signed by %s' % name)"),
    ("translation", "cli", "campaign", "gettext_lazy('{} left'.format(left))"),
    ("rows", "web", "public", "campaign.save()"),
    ("rows", "cli", "campaign", "Campaign.objects.first()"),
    ("rows", "campaigns", "rules", "Campaign.objects.count()"),
    ("personal", "eligibility", "operations", "logger.info('sent to %s', address)"),
    ("personal", "web", "hot", "log.warning('bad', extra={'x': request.remote_addr})"),
    ("leftover", "kernel", "ids", "# TO" + "DO later"),
    ("leftover", "kernel", "ids", "raise NotImplementedError"),
    ("suppression", "kernel", "ids", "import os  # no" + "qa: F401"),
    ("suppression", "kernel", "ids", "x = f()  # type: i" + "gnore[misc]"),
]

HARMLESS = [
    ("kernel", "clock", "stamp = time.time()"),
    ("cli", "campaign", "print(datetime.now(tz=UTC))"),
    ("ledger", "writer", "begun = time.monotonic()"),
    ("web", "public", "_('signed by %(name)s') % {'name': name}"),
    ("web", "public", "ngettext('one', '%(n)d of them', left + 1)"),
    ("campaigns", "operations", "campaign.save()"),
    ("campaigns", "queries", "Campaign.objects.count()"),
    ("eligibility", "operations", "logger.info('mail sent')"),
    ("kernel", "ids", "import os  # no" + "qa: F401 - part of the public names"),
    ("kernel", "ids", "# The stub says int.\nx = f()  # type: i" + "gnore[misc]"),
]


def test_the_product_has_none() -> None:
    found = []
    for path in sorted(SRC.glob("undersigned/*/**/*.py")):
        package, *below = path.relative_to(SRC / "undersigned").with_suffix("").parts
        folder = SRC / "undersigned" / package
        hazards = find_hazards(
            package=package,
            stem=below[0],
            has_tables=(folder / "models.py").exists() or (folder / "models").is_dir(),
            source=path.read_text(encoding="utf-8"),
        )
        found += [
            f"{path.relative_to(ROOT)}:{item.line}: {item.rule}: {item.text}"
            for item in hazards
        ]
    assert found == []


@pytest.mark.parametrize("rule,package,stem,source", BITES)
def test_a_rule_bites(rule: str, package: str, stem: str, source: str) -> None:
    found = find_hazards(package=package, stem=stem, has_tables=True, source=source)
    assert [item.rule for item in found] == [rule]


@pytest.mark.parametrize("package,stem,source", HARMLESS)
def test_the_rules_leave_good_code_alone(package: str, stem: str, source: str) -> None:
    assert (
        find_hazards(package=package, stem=stem, has_tables=True, source=source) == []
    )


def test_nothing_anywhere_is_left_for_later() -> None:
    found = []
    for path in tracked_files():
        if path.suffix == ".py":
            hazards = leftovers(path.read_text(encoding="utf-8"))
            found += [f"{path.relative_to(ROOT)}:{item.line}" for item in hazards]
        elif path.suffix in {".css", ".html", ".js", ".md", ".sh", ".toml", ".ts"}:
            text = path.read_text(encoding="utf-8")
            found += [str(path.relative_to(ROOT))] * bool(LEFTOVER.search(text))
    assert found == []


@pytest.mark.parametrize(
    "pattern", [ADDRESSES, MACHINE_PATHS], ids=["registry", "path"]
)
def test_no_file_names_a_registry_or_a_path_of_one_machine(
    pattern: re.Pattern[str],
) -> None:
    found = []
    for path in tracked_files():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # vectors and fonts: bytes, not words
        found += [
            f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}"
            for number, line in enumerate(text.splitlines(), start=1)
            if pattern.search(line)
        ]
    assert found == []
