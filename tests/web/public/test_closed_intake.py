"""Where the log cannot take a signature, nobody is sent a code or given a token."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from tests.factories.cast import ASHA
from tests.factories.instances import Asked, Instance
from tests.web.conftest import Reader, hidden_of, text_of
from undersigned.campaigns.data import Campaign
from undersigned.kernel.errors import StorageFailed
from undersigned.safety.switches import EVERYWHERE, Flip, Switch

SIGN = "/en/c/soil/sign/"


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil", classes=["email", "open"])


def lose_log_key(instance: Instance, campaign: Campaign) -> None:
    instance.entry(campaign).log.key = None


def stop_writer(instance: Instance, _campaign: Campaign) -> None:
    instance.engine.services.ledger.writer.stop()


def turn_off(instance: Instance, campaign: Campaign) -> None:
    at = instance.clock.now()
    flip = Flip(Switch.ISSUING, str(campaign.id), on=False, reason="attack", at=at)
    instance.engine.services.book.switches.flip(flip)


Trouble = Callable[[Instance, Campaign], None]
TROUBLES = [lose_log_key, stop_writer, turn_off]


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_mail_is_sent(
    instance: Instance, reader: Reader, campaign: Campaign, trouble: Trouble
) -> None:
    trouble(instance, campaign)
    page = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    assert page.status_code == 503
    assert instance.mailbox.is_empty()
    assert reader.opens("/en/c/soil/").status_code == 200


@pytest.mark.parametrize("trouble", TROUBLES)
def test_no_code_is_taken(
    instance: Instance, reader: Reader, campaign: Campaign, trouble: Trouble
) -> None:
    page = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    code = Asked("", instance.mailbox.next()).code
    data = {"ask": hidden_of(page, "ask"), "code": code}
    trouble(instance, campaign)
    assert reader.sends(f"{SIGN}confirm/", data).status_code == 503
    issuer = instance.engine.services.issuer
    file = issuer.get_version(campaign.origin).file
    assert file is not None
    assert file.tickets == 0


@pytest.mark.parametrize(
    "switch, klass", [(Switch.MAIL, "email"), (Switch.OPEN_CLASS, "open")]
)
def test_a_class_can_be_turned_off_alone(
    instance: Instance, reader: Reader, campaign: Campaign, switch: Switch, klass: str
) -> None:
    at = instance.clock.now()
    flip = Flip(switch, EVERYWHERE, on=False, reason="attack", at=at)
    instance.engine.services.book.switches.flip(flip)
    statuses = {}
    for one in ("email", "open"):
        page = reader.sends(f"{SIGN}ask/", {"klass": one, "address": ASHA})
        statuses[one] = page.status_code
        if one == klass:
            assert "This is paused" in text_of(page)
    assert statuses.pop(klass) == 503
    assert set(statuses.values()) == {200}


def test_the_first_to_meet_a_storage_failure_is_told_that_intake_is_closed(
    instance: Instance,
    reader: Reader,
    campaign: Campaign,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_arguments: object, **_named: object) -> str:
        raise StorageFailed("couldn't commit")

    puzzle = reader.sends(f"{SIGN}ask/", {"klass": "open"})
    data = {"klass": "open", "puzzle": hidden_of(puzzle, "puzzle"), "solution": ""}
    monkeypatch.setattr("undersigned.eligibility.operations.grant_ticket", fail)
    page = reader.sends(f"{SIGN}ask/", data)
    assert page.status_code == 503
    assert "couldn't commit" not in text_of(page)


def test_a_class_that_is_not_offered_is_refused(
    reader: Reader, campaign: Campaign
) -> None:
    for klass in ("vouched", "invitation", "paper", ""):
        page = reader.sends(f"{SIGN}ask/", {"klass": klass})
        assert page.status_code == 400
        assert "does not offer that way of signing" in text_of(page)


def test_a_fault_nobody_foresaw_is_told_without_the_request(
    instance: Instance,
    reader: Reader,
    campaign: Campaign,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(**_named: object) -> str:
        raise ArithmeticError(f"for {ASHA}")

    monkeypatch.setattr("undersigned.eligibility.operations.ask_by_email", fail)
    reader.client.raise_request_exception = False
    page = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    assert page.status_code == 500
    told = [r.getMessage() for r in caplog.records if r.name == "undersigned.pages"]
    assert len(told) == 1
    assert "ArithmeticError" in told[0]
    assert "test_closed_intake.py" in told[0]
    assert ASHA not in told[0]


def test_who_comes_too_late_is_led_back_to_the_beginning(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    page = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    code = Asked("", instance.mailbox.next()).code
    data = {"ask": hidden_of(page, "ask"), "code": code}
    instance.clock.advance(timedelta(days=2))
    late = reader.sends(f"{SIGN}confirm/", data)
    assert late.status_code == 410
    assert f'<a href="{SIGN}">' in late.content.decode()
