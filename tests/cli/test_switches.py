"""undersigned switch."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.cli.conftest import Run
from tests.factories.instances import Instance
from undersigned.audit.models import AuditEntry
from undersigned.audit.queries import find_broken_entry
from undersigned.campaigns.queries import get_any_campaign
from undersigned.kernel.ids import CampaignId
from undersigned.safety.switches import Switch, SwitchedOff
from undersigned.signatures.operations.redeem import require_taking


def test_it_says_what_is_off_and_enters_each_flip(run: Run, river: str) -> None:
    assert run("switch", "list").out == "Nothing is off.\n"
    done = run("switch", "off", "mail", "--reason", "attack")
    assert done.code == 0
    assert done.out.startswith("off: mail (everywhere), attack, since ")
    run("switch", "off", "signing", "--campaign", river)
    (mail, signing) = run("switch", "list", "--json").json()["off"]
    assert (mail["switch"], mail["campaign"]) == ("mail", "")
    assert (signing["switch"], signing["campaign"]) == ("signing", river)
    assert run("switch", "on", "mail", "--json").json()["off"] == [signing]
    entries = AuditEntry.objects.filter(kind="SwitchFlipped").order_by("number")
    assert [(one.data["switch"], one.data["on"]) for one in entries] == [
        ("mail", False),
        ("signing", False),
        ("mail", True),
    ]
    assert find_broken_entry() is None


@pytest.mark.parametrize(
    "words, code",
    [
        (("on", "mail"), "switch-stands"),
        (("off", "mail", "--campaign", "no-such-campaign"), "campaign-not-found"),
    ],
)
def test_it_refuses_what_makes_no_sense(
    run: Run, river: str, words: tuple[str, ...], code: str
) -> None:
    assert river
    assert run("switch", *words, "--json").error()[1] == code
    assert run("switch", "list").out == "Nothing is off.\n"


def test_the_running_server_obeys_at_once(
    run: Run, river: str, house: Instance
) -> None:
    run("switch", "off", "issuing", "--campaign", river)
    house.start()
    campaign = get_any_campaign(campaign_id=CampaignId(river))
    services = house.engine.services
    with pytest.raises(SwitchedOff):
        require_taking(book_entry=house.entry(campaign), book=services.book)
    assert services.book.switches.list_off()[0].switch is Switch.ISSUING
    house.advance(timedelta(minutes=1))
    house.stop()
