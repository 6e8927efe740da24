"""Danger mode, plain HTTP on a local network, and a browser with a small screen."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.journeys.navigators import Visitor
from tests.journeys.world import World

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """A campaign in danger mode, with invitation codes only."""
    return world.open_campaign(
        "danger-here",
        mode="danger",
        classes=("invitation",),
        more="closes_on = 2099-12-31",
    )


def codes(world: World, campaign: str, count: int) -> list[str]:
    """Return fresh invitation codes."""
    found: list[str] = world.command(
        "invitation", "make", campaign, "--count", str(count)
    )["codes"]
    return found


def test_nothing_is_written_to_the_device_and_nobody_is_named(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit(width=360)
    asha.gets_permission_by_invitation(campaign, codes(world, campaign, 1)[0])
    assert asha.page.locator("[name=name]").count() == 0
    assert asha.page.get_by_text("At my next visit").count() == 0
    asha.gives_up_the_key()
    asha.page.clock.install()
    asha.signs()
    asha.sees("Signed. It waits to be published")
    # Promised for 2100: longer than one timer can wait.
    asha.page.clock.fast_forward(60_000)
    asha.sees("Signed. It waits to be published")
    asha.sees("2100-01-")
    assert asha.stored_keys() == []


def test_a_small_crowd_waits(world: World, campaign: str, visit: Visit) -> None:
    mallory = visit(scripts=False)
    for code in codes(world, campaign, 2):
        mallory.gets_permission_by_invitation(campaign, code)
        mallory.signs()
        assert "Your signature is accepted" in mallory.text()
    world.advance(3600)
    assert world.count(campaign)["signatures"] == 0
    mallory.opens(f"/en/c/{campaign}/sign/")
    assert "only when at least 20 of its signatures wait" in mallory.text()


def test_on_plain_http_the_form_falls_back_and_says_so(
    world: World, visit: Visit
) -> None:
    campaign = world.open_campaign("over-the-lan")
    asha = visit(base=f"http://lan.test:{world.port}")
    asha.expects_errors = True
    asha.gets_permission_by_mail(campaign, "asha@example.org")
    asha.sees("Signing without scripts")
    asha.signs()
    asha.sees("Your signature is accepted")
    world.advance()
    assert world.count(campaign)["net"] == 1


def test_the_open_class_works_with_the_browser_at_work(
    world: World, visit: Visit
) -> None:
    campaign = world.open_campaign("by-work")
    asha = visit()
    asha.begins_to_sign(campaign)
    asha.chooses("open")
    asha.page.locator("#way-open button").click()
    asha.page.set_default_timeout(90_000)
    asha.presses("Start the work")
    asha.presses("Sign these words")
    asha.sees("Signed. It waits to be published")
    world.advance()
    count = world.count(campaign)
    assert (count["open_net"], count["net"]) == (1, 0)
