"""Asha signs by e-mail in her browser, keeps a receipt, and Vic recounts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.journeys.navigators import Visitor
from tests.journeys.world import World

Visit = Callable[..., Visitor]


def verify(*words: str) -> subprocess.CompletedProcess[str]:
    """Run the verifier as Vic would."""
    return subprocess.run(
        [sys.executable, "-m", "undersigned_verify", *words],
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def campaign(world: World) -> str:
    """An open campaign of all classes in standard mode."""
    return world.open_campaign("soil-survey")


def test_from_the_list_to_a_receipt_that_holds_without_us(
    world: World, campaign: str, visit: Visit, tmp_path: Path
) -> None:
    before = world.count(campaign)["net"]
    asha = visit()
    asha.opens("/en/")
    asha.page.locator(f'a[href="/en/c/{campaign}/"]').first.click()
    asha.page.get_by_role("link", name="Sign this demand").first.click()
    asha.asks_by_mail("asha@example.org")
    code, _link = asha.reads_mail("asha@example.org")
    asha.types_code(code)
    asha.shows(name="Asha", place="Riverside")
    asha.keeps_the_key()
    asha.page.clock.install()
    asha.signs()
    asha.sees("Signed. It waits to be published")
    # Not counted before it is published, and the page has not said so.
    assert world.count(campaign)["net"] == before
    world.advance()
    asha.page.clock.fast_forward(180_000)
    asha.sees("Published. Your receipt is ready")
    receipt = asha.saves("Save the receipt", "receipt.tlog-proof")
    assert asha.stored_keys() == []
    assert asha.page.locator("h1:visible").all_inner_texts() == ["Your signature"]
    asha.sees("Back to the campaign")

    assert world.count(campaign)["net"] == before + 1
    asha.opens(f"/en/c/{campaign}/names/")
    assert "Asha" in asha.text()

    vkey = tmp_path / "log.vkey"
    vkey.write_bytes(world.get(f"/c/{campaign}/log.vkey"))
    checked = verify("receipt", str(receipt), "--vkey", str(vkey))
    assert checked.returncode == 0, checked.stdout + checked.stderr
    audited = verify("audit", f"{world.base}/c/{campaign}", "--workers", "1")
    assert audited.returncode == 0, audited.stdout + audited.stderr


def test_the_check_page_checks_in_the_browser_and_says_so(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.checks@example.org")
    asha.gives_up_the_key()
    asha.page.clock.install()
    asha.signs()
    asha.sees("Signed. It waits to be published")
    world.advance()
    asha.page.clock.fast_forward(180_000)
    asha.sees("Published. Your receipt is ready")
    receipt = asha.saves("Save the receipt", "receipt.tlog-proof")

    vic = visit()
    # A site that names no witnesses may have no policy.txt.
    vic.expects_errors = True
    vic.opens("/en/check/")
    vic.hands_in(receipt)
    vic.presses("Check")
    vic.sees("This receipt is good")
    vic.sees("Checked in this browser")
    vic.sees("Its checkpoint is entered in the spine")
    # No witness has looked, and the page says what that means.
    vic.sees("this site names none")
    vic.sees("nobody would notice who does not compare")
    link = vic.page.get_by_role("link", name="Publish the soil survey")
    assert link.get_attribute("href") == f"/c/{campaign}/"
    vic.page.get_by_role("link", name="log.vkey").click()
    assert f"/c/{campaign}+" in vic.page.content()

    forged = receipt.with_name("forged.tlog-proof")
    lines = receipt.read_text(encoding="utf-8").splitlines(keepends=True)
    extra = lines[1]
    flipped = extra[:40] + ("A" if extra[40] != "A" else "B") + extra[41:]
    forged.write_text("".join([lines[0], flipped, *lines[2:]]), encoding="utf-8")
    mallory = visit()
    mallory.expects_errors = True
    mallory.opens("/en/check/")
    mallory.hands_in(forged)
    mallory.presses("Check")
    mallory.sees("This receipt does not hold")

    # Another place in the spine than the entry's.
    head, found, place = receipt.read_text(encoding="utf-8").rpartition("index ")
    forged.write_text(f"{head}{found}1{place}", encoding="utf-8")
    mallory.opens("/en/check/")
    mallory.hands_in(forged)
    mallory.presses("Check")
    mallory.sees("This receipt does not hold")


def test_a_kept_promise_becomes_a_receipt_without_asking_the_server(
    world: World, campaign: str, visit: Visit, tmp_path: Path
) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.builds@example.org")
    asha.signs()
    asha.sees("Signed. It waits to be published")
    promise = asha.saves("Save the promise", "promise.txt")
    world.advance()
    other = visit()
    other.opens("/en/check/")
    other.hands_in(promise)
    other.presses("Check")
    other.presses("Build the receipt here")
    receipt = other.saves("Save the receipt", "receipt.tlog-proof")
    keys = []
    for option, log in (("--vkey", f"c/{campaign}"), ("--spine-vkey", "spine")):
        path = tmp_path / option
        path.write_bytes(world.get(f"/{log}/log.vkey"))
        keys += [option, str(path)]
    checked = verify("receipt", str(receipt), *keys)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "\n  spine   leaf " in checked.stdout


def test_without_scripts_the_server_checks_and_says_so(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.again@example.org")
    asha.page.clock.install()
    asha.signs()
    asha.sees("Signed. It waits to be published")
    world.advance()
    asha.page.clock.fast_forward(180_000)
    asha.sees("Published. Your receipt is ready")
    receipt = asha.saves("Save the receipt", "receipt.tlog-proof")
    vic = visit(scripts=False)
    vic.opens("/en/check/")
    vic.hands_in(receipt)
    vic.presses("Check")
    assert "This receipt is good" in vic.text()
    assert "you have only its word for it" in vic.text()
    assert "Its checkpoint is entered in the spine" in vic.text()


def test_one_address_signs_once(world: World, campaign: str, visit: Visit) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.once@example.org")
    asha.signs()
    asha.sees("Signed. It waits to be published")
    world.advance()
    before = world.count(campaign)["net"]
    again = visit()
    again.expects_errors = True
    again.gets_permission_by_mail(campaign, "Asha.Once@EXAMPLE.org")
    again.signs()
    again.sees("One address or code gets one token")
    world.advance()
    assert world.count(campaign)["net"] == before


def test_opening_the_link_changes_nothing_and_the_button_does(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.begins_to_sign(campaign)
    asha.asks_by_mail("asha.link@example.org")
    _code, link = asha.reads_mail("asha.link@example.org")
    scanner = visit(scripts=False)
    scanner.page.goto(link)
    assert "Opening this page has changed nothing" in scanner.text()
    other = visit(scripts=False)
    other.page.goto(link)
    other.presses("Yes, go on to sign")
    assert "You sign exactly these words" in other.text()


def test_a_lost_answer_is_taken_up_with_the_same_bytes(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.expects_errors = True
    bodies: list[str | None] = []

    def lose(route: object, request: object) -> None:
        bodies.append(request.post_data)  # type: ignore[attr-defined]  # Playwright's Request
        if len(bodies) == 1:
            # The server has it, the browser never hears: the worst moment. Not by
            # route.fetch(), whose connections are kept across tests: one that the
            # server has meanwhile closed fails there, and the page waits for ever.
            world.post(f"/c/{campaign}/sign", bodies[0] or "")
            route.abort()  # type: ignore[attr-defined]  # Playwright's Route
        else:
            route.continue_()  # type: ignore[attr-defined]  # Playwright's Route

    # Before any page is opened: on a crowded host Chromium may overlook a later one.
    asha.page.route(f"**/c/{campaign}/sign", lose)
    asha.gets_permission_by_mail(campaign, "asha.lost@example.org")
    before = world.count(campaign)["net"]
    asha.signs()
    asha.sees("Not finished yet")
    asha.page.reload()
    asha.sees("Signed. It waits to be published")
    assert len(bodies) == 2
    assert bodies[0] == bodies[1]
    world.advance()
    assert world.count(campaign)["net"] == before + 1


def test_some_hours_later_the_next_visit_sends_it(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.later@example.org")
    asha.page.get_by_text("At my next visit").click()
    before = world.count(campaign)["net"]
    asha.signs()
    asha.sees("Ready, and waiting in this browser")
    # Seven hours later, here and there.
    world.advance(7 * 3600)
    assert world.count(campaign)["net"] == before
    asha.page.clock.set_fixed_time(world.now())
    asha.opens(f"/en/c/{campaign}/sign/")
    asha.sees("Signed. It waits to be published")
    world.advance()
    assert world.count(campaign)["net"] == before + 1


def test_an_expired_permission_leads_to_a_new_one(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.expects_errors = True
    expired = {"status": 403, "json": {"code": "ticket-expired"}}
    asha.page.route(
        f"**/c/{campaign}/issue",
        lambda route: route.fulfill(**expired),
    )
    asha.gets_permission_by_mail(campaign, "asha.slow@example.org")
    asha.signs()
    asha.sees("This permission to sign has run out")
    shown = asha.text()
    assert "if you go on" not in shown
    assert "The connection failed" not in shown
    asha.page.unroute(f"**/c/{campaign}/issue")
    asha.page.get_by_role("link", name="To the ways of signing").click()
    asha.asks_by_mail("asha.slow@example.org")
    code, _link = asha.reads_mail("asha.slow@example.org")
    asha.types_code(code)
    asha.presses("Go on")
    asha.sees("Signed. It waits to be published")
    world.advance()


def test_what_may_not_be_shown_is_pointed_at_even_when_folded_away(
    world: World, campaign: str, visit: Visit
) -> None:
    asha = visit()
    asha.gets_permission_by_mail(campaign, "asha.folds@example.org")
    asha.shows(comment="Call 0171 555 01 23")
    asha.page.get_by_text("Show something of yourself").click()
    comment = asha.page.locator("[name=comment]")
    comment.wait_for(state="hidden")
    asha.signs()
    comment.wait_for(state="visible")
    assert asha.page.evaluate("document.activeElement.name") == "comment"
