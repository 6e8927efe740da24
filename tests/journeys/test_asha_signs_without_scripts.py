"""Every journey with scripts off, over Tor Browser's strictest setting."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.journeys.navigators import Visitor
from tests.journeys.world import World

Visit = Callable[..., Visitor]


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """An open campaign with three stances."""
    return world.open_campaign("no-scripts", stances=("for", "reservation", "against"))


def test_she_signs_fetches_a_receipt_and_withdraws(
    world: World, campaign: str, visit: Visit
) -> None:
    # What other journeys left waiting is no part of this one.
    world.advance()
    before = world.count(campaign)
    asha = visit(scripts=False)
    asha.gets_permission_by_mail(campaign, "asha@example.org")
    asha.page.get_by_label("For, with a reservation").check()
    asha.keeps_the_key()
    asha.signs()
    assert "Your signature is accepted" in asha.text()
    assert "could have linked them" in asha.text()
    world.advance()
    count = world.count(campaign)
    assert count["by_stance"]["reservation"] == before["by_stance"]["reservation"] + 1
    receipt = asha.saves("Fetch the receipt", "receipt.tlog-proof")

    asha.opens(f"/en/c/{campaign}/withdraw/")
    asha.hands_in(receipt)
    asha.presses("Withdraw this signature")
    world.advance()
    count = world.count(campaign)
    assert count["withdrawals"] == before["withdrawals"] + 1
    assert count["net"] == before["net"]


def test_an_invitation_code_signs_once(
    world: World, campaign: str, visit: Visit
) -> None:
    code = world.command("invitation", "make", campaign, "--count", "1")["codes"][0]
    asha = visit(scripts=False)
    asha.gets_permission_by_invitation(campaign, code.lower().replace("-", " "))
    asha.page.get_by_label("Against").check()
    asha.signs()
    assert "Your signature is accepted" in asha.text()
    mallory = visit(scripts=False)
    mallory.expects_errors = True
    mallory.gets_permission_by_invitation(campaign, code)
    mallory.page.get_by_label("Against").check()
    mallory.signs()
    assert "One address or code gets one token" in mallory.text()
    world.advance()
    count = world.count(campaign)
    assert count["by_class"]["invitation"] == 1
    asha.opens_campaign(campaign)
    # Where stances differ the page never shows a sum as support.
    assert "Against" in asha.text()


def test_a_wrong_code_keeps_what_was_typed(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit(scripts=False)
    asha.expects_errors = True
    asha.begins_to_sign(campaign)
    asha.asks_by_mail("asha.typo@example.org")
    asha.types_code("0000 0000")
    assert "That is not the code in the mail" in asha.text()
    code, _link = asha.reads_mail("asha.typo@example.org")
    asha.types_code(code)
    assert "You sign exactly these words" in asha.text()


def test_personal_data_in_a_comment_is_refused_and_nothing_is_lost(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit(scripts=False)
    asha.expects_errors = True
    asha.gets_permission_by_mail(campaign, "asha.comment@example.org")
    asha.page.get_by_label("For", exact=True).check()
    asha.shows(name="Asha", comment="Call me on 0171 555 01 23")
    asha.signs()
    assert asha.page.locator("[name=comment]").input_value().startswith("Call me")
    assert asha.page.locator("[name=name]").input_value() == "Asha"
    asha.page.locator("[name=comment]").fill("My children play there.")
    asha.signs()
    assert "Your signature is accepted" in asha.text()


def test_the_open_class_waits_in_place_of_work(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit(scripts=False)
    asha.begins_to_sign(campaign)
    asha.chooses("open")
    asha.page.locator("#way-open button").click()
    asha.presses("Wait instead of working")
    assert "becomes valid at" in asha.text()
    world.advance(360)
    asha.presses("Go on")
    asha.page.get_by_label("For", exact=True).check()
    asha.signs()
    assert "Your signature is accepted" in asha.text()
    before = world.count(campaign)
    world.advance()
    after = world.count(campaign)
    assert after["open_net"] == before["open_net"] + 1
    assert after["net"] == before["net"]


def test_closing_ends_signing_kindly(world: World, visit: Visit) -> None:
    campaign = world.open_campaign("closing-soon")
    asha = visit(scripts=False)
    asha.expects_errors = True
    asha.gets_permission_by_mail(campaign, "asha@example.org")
    world.command("campaign", "close", campaign)
    asha.signs()
    assert "This campaign is closed" in asha.text()
    world.advance(26 * 3600)
    assert world.command("campaign", "show", campaign)["state"] == "closed"
    # Another browser: hers may keep the page she saw for a minute.
    vic = visit(scripts=False)
    vic.opens_campaign(campaign)
    assert vic.page.get_by_role("link", name="Sign this demand").count() == 0
