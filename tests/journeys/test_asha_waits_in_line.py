"""More come than the machine can take: Asha waits, and loses neither form nor place."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta

import pytest

from tests.journeys.navigators import Visitor
from tests.journeys.world import World
from undersigned.safety.turns import STAGES

Visit = Callable[..., Visitor]
BUSY = "Many people are here just now"


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """An open campaign."""
    return world.open_campaign("crowded")


@pytest.fixture(autouse=True)
def _room_afterwards(world: World) -> Iterator[None]:
    yield
    for stage in STAGES:
        world.make_room(stage, 64)


def test_without_scripts_the_page_holds_everything_at_every_step(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit(scripts=False)
    asha.expects_errors = True
    asha.begins_to_sign(campaign)

    world.make_room("mail", 0)
    asha.asks_by_mail("asha.waits@example.org")
    assert BUSY in asha.text()
    assert "Nothing that you typed is lost" in asha.text()
    asha.presses("Go on")
    assert BUSY in asha.text()
    world.make_room("mail", 1)
    asha.presses("Go on")
    assert "Look into your mailbox" in asha.text()

    world.make_room("confirm", 0)
    code, _link = asha.reads_mail("asha.waits@example.org")
    asha.types_code(code)
    assert BUSY in asha.text()
    world.make_room("confirm", 1)
    asha.presses("Go on")

    world.make_room("finish", 0)
    asha.shows(name="Asha", comment="My children\nplay there.")
    asha.keeps_the_key()
    asha.signs()
    assert BUSY in asha.text()
    # Somebody who came later is behind her, and stays there.
    vic = visit(scripts=False)
    vic.expects_errors = True
    vic.gets_permission_by_mail(campaign, "vic.waits@example.org")
    vic.signs()
    assert "People before you\n1" in vic.text()
    before = world.count(campaign)["net"]
    world.make_room("finish", 1)
    vic.presses("Go on")
    assert BUSY in vic.text()
    asha.presses("Go on")
    assert "Your signature is accepted" in asha.text()
    assert "Key to withdraw" in asha.text()
    vic.presses("Go on")
    assert "Your signature is accepted" in vic.text()
    world.advance()
    assert world.count(campaign)["net"] == before + 2
    vic.opens(f"/en/c/{campaign}/names/")
    assert "Asha" in vic.text()


def test_with_scripts_it_goes_on_by_itself(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.expects_errors = True
    asha.begins_to_sign(campaign)
    world.make_room("mail", 0)
    asha.asks_by_mail("asha.watches@example.org")
    asha.sees("this page goes on by itself")
    world.make_room("mail", 64)
    asha.sees("Look into your mailbox")
    code, _link = asha.reads_mail("asha.watches@example.org")
    asha.types_code(code)

    before = world.count(campaign)["net"]
    world.make_room("issue", 0)
    world.make_room("sign", 0)
    asha.signs()
    asha.sees(BUSY)
    asha.sees("What your browser has made is kept")
    assert not asha.page.get_by_text("That did not work").is_visible()
    # The token is given now, and the signature waits in the next line.
    with asha.page.expect_response(f"**/c/{campaign}/sign") as answer:
        world.make_room("issue", 64)
    assert answer.value.status == 503
    asha.sees(BUSY)
    world.advance()
    assert world.count(campaign)["net"] == before
    world.make_room("sign", 64)
    asha.sees("Signed. It waits to be published")
    world.advance()
    assert world.count(campaign)["net"] == before + 1


def test_in_danger_mode_waiting_writes_nothing_to_the_device(
    world: World, visit: Visit
) -> None:
    campaign = world.open_campaign(
        "crowded-danger",
        mode="danger",
        classes=("invitation",),
        more=f"closes_on = {world.now() + timedelta(days=30):%Y-%m-%d}",
    )
    code = world.command("invitation", "make", campaign, "--count", "1")["codes"][0]
    asha = visit()
    asha.expects_errors = True
    asha.gets_permission_by_invitation(campaign, code)
    world.make_room("issue", 0)
    asha.signs()
    asha.sees(BUSY)
    assert asha.stored_keys() == []
    world.make_room("issue", 64)
    asha.sees("Signed. It waits to be published")
    assert asha.stored_keys() == []
