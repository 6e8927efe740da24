"""Vic leaves the page of a campaign open; its number follows the checkpoints."""

from __future__ import annotations

from collections.abc import Callable

from playwright.sync_api import expect

from tests.journeys.navigators import Visitor
from tests.journeys.world import World

Visit = Callable[..., Visitor]


def test_the_number_grows_while_the_page_stays_open(world: World, visit: Visit) -> None:
    campaign = world.open_campaign("watched")
    vic, silent = visit(), visit(scripts=False)
    vic.page.clock.install()
    for each in (vic, silent):
        each.opens_campaign(campaign)
        expect(each.page.locator("p.net strong")).to_have_text("0")
    asha = visit(scripts=False)
    asha.gets_permission_by_mail(campaign, "asha@example.org")
    asha.signs()
    world.advance()
    # Asked for every ten seconds, give or take two.
    vic.page.clock.fast_forward(13_000)
    expect(vic.page.locator("p.net strong")).to_have_text("1")
    size = world.count(campaign)["tree_size"]
    vic.sees(f"As of checkpoint {size}, published since you opened this page.")
    said = vic.page.get_by_role("status").inner_text()
    assert "1 signature stands under this text" in said
    # Without scripts the page stays what it was, and says as of when.
    expect(silent.page.locator("p.net strong")).to_have_text("0")
    # Opened again within seconds it may come from the browser's own copy.
    silent.page.reload()
    expect(silent.page.locator("p.net strong")).to_have_text("1")
