"""The style sheet and the templates: contrast, no inline style, nothing foreign."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support import SRC

WEB = SRC / "undersigned" / "web"
CSS = (WEB / "static" / "look.css").read_text(encoding="utf-8")
TEMPLATES = sorted((WEB / "templates").rglob("*.html"))


def read_colours(block: str) -> dict[str, str]:
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6});", block))


LIGHT = read_colours(CSS.split("@media")[0])
DARK = read_colours(CSS.split("prefers-color-scheme: dark")[1].split("}")[0])


def luminance(colour: str) -> float:
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    linear = [
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    ]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
@pytest.mark.parametrize("ground", ["paper", "leaf", "tint"])
@pytest.mark.parametrize("ink", ["ink", "soft", "seal", "good", "warn"])
def test_text_can_be_read(colours: dict[str, str], ground: str, ink: str) -> None:
    assert contrast(colours[ink], colours[ground]) >= 4.5


@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_controls_can_be_seen(colours: dict[str, str]) -> None:
    assert contrast(colours["on-seal"], colours["seal"]) >= 4.5
    for ground in ("paper", "leaf", "tint"):
        assert contrast(colours["edge"], colours[ground]) >= 3


def test_the_style_sheet_is_small_and_loads_nothing() -> None:
    assert len(CSS.encode()) < 24_000
    assert "url(" not in CSS
    assert "@import" not in CSS


def test_the_style_sheet_knows_no_left_and_right() -> None:
    # The command lines and the chart run from left to right in every language.
    rest = CSS.replace("text-align: left", "")
    assert not re.search(
        r"(margin|padding|border)-(left|right)|[^-]\b(left|right):", rest
    )


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_no_template_needs_what_the_policy_forbids(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:", text)
    assert "<script>" not in text
    for source in re.findall(r'\s(?:src|href)="(https?:[^"]*)"', text):
        pytest.fail(f"{source} is elsewhere")
