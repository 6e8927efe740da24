"""Every public page: axe, no horizontal scrolling, no cookies, in every language."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe

from tests.journeys.navigators import Visitor
from tests.journeys.world import World

Visit = Callable[..., Visitor]

LANGUAGES = ("en", "zh-hans", "en-xr")
PAGES = (
    "",
    "c/readable/",
    "c/readable/growth/",
    "c/readable/removals/",
    "c/readable/names/",
    "c/readable/records/",
    "c/readable/sign/",
    "c/readable/withdraw/",
    "c/readable/receipt/",
    "check/",
    "promises/",
    "privacy/",
    "abuse/",
    "unasked/",
    "mailbox/",
    "no-such-page/",
)
# WCAG 2.2 AA, the project's bar.
OPTIONS = {
    "runOnly": {
        "type": "tag",
        "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"],
    }
}


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """A campaign with one signature."""
    return world.open_campaign("readable")


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("width", [360, 1280])
def test_no_page_shuts_anyone_out(
    campaign: str, visit: Visit, language: str, width: int
) -> None:
    reader = visit(width=width)
    reader.expects_errors = True
    faults = {}
    for name in PAGES:
        reader.opens(f"/{language}/{name}")
        found = Axe().run(reader.page, options=OPTIONS)
        wide = reader.page.evaluate(
            "(({scrollWidth, clientWidth}) => scrollWidth > clientWidth)"
            "(document.documentElement)"
        )
        if found.violations_count or wide:
            ids = [violation["id"] for violation in found.response["violations"]]
            faults[name] = [*ids, *(["scrolls sideways"] if wide else [])]
    assert faults == {}


def test_a_keyboard_is_enough_to_reach_the_button(campaign: str, visit: Visit) -> None:
    asha = visit()
    asha.opens_campaign(campaign)
    for _press in range(40):
        asha.page.keyboard.press("Tab")
        focused = asha.page.evaluate("document.activeElement.textContent.trim()")
        if focused == "Sign this demand":
            outline = asha.page.evaluate(
                "getComputedStyle(document.activeElement).outlineStyle"
            )
            assert outline != "none"
            return
    pytest.fail("the button was not reached in 40 presses")
