"""Asha signs without scripts; Mallory tries to."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest

from tests.factories.cast import ASHA
from tests.factories.instances import Instance
from tests.web.conftest import Reader, hidden_of, text_of
from undersigned.campaigns.data import Campaign

SIGN = "/en/c/soil/sign/"


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(
        id="soil", classes=["email", "invitation", "open"], show_names=True
    )


def ask(reader: Reader, **data: str) -> str:
    """Ask by e-mail; return the token of the page that waits for the code."""
    page = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA, **data})
    assert page.status_code == 200
    return hidden_of(page, "ask")


def get_code(instance: Instance) -> str:
    body = instance.mailbox.next().body
    found = re.search(r"\b\d{4} \d{4}\b", body)
    assert found is not None
    return found[0]


def get_ticket(instance: Instance, reader: Reader) -> str:
    token = ask(reader)
    data = {"ask": token, "code": get_code(instance)}
    return hidden_of(reader.sends(f"{SIGN}confirm/", data), "ticket")


def finish(reader: Reader, ticket: str, **data: str) -> str:
    answer = reader.sends(f"{SIGN}finish/", {"ticket": ticket, "stance": "0", **data})
    return text_of(answer)


def test_the_briefing_says_what_each_act_reveals(
    reader: Reader, campaign: Campaign
) -> None:
    page = text_of(reader.opens(SIGN))
    for words in (
        "If discovery could cost you your liberty, do not sign by name here.",
        "the mail itself is evidence",
        "perhaps yours alone",
        "only until the campaign closes",
        "that token is lost",
        "could have linked the two during it",
    ):
        assert words in page


def test_asha_signs_by_mail_and_keeps_number_and_key(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    ticket = get_ticket(instance, reader)
    page = finish(reader, ticket, keep_w="on", name="Asha")
    assert "Your signature is accepted" in page
    assert "undersigned promise v1" in page
    assert "could have linked" in page
    number, key = re.findall(r" ([0-9a-f]{64}) ", page)[:2]
    assert page.count(number) == 2, "as the promise has it"
    assert key != number
    instance.publish(campaign)
    assert instance.net(campaign) == 1
    assert instance.audit(campaign).verdict == "accepted"


def test_without_the_box_no_key_is_shown(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    page = finish(reader, get_ticket(instance, reader))
    assert "You kept no key" in page
    assert "Key to withdraw" not in page


def test_the_answer_is_the_same_whoever_asks(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    first = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    instance.mailbox.next()
    finish(reader, get_ticket(instance, reader))
    again = reader.sends(f"{SIGN}ask/", {"klass": "email", "address": ASHA})
    assert text_of(first) == text_of(again)


def test_a_link_from_a_mail_changes_nothing_until_the_button(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    ask(reader)
    link = re.findall(r"https://\S+(/en/confirm/\?t=\S+)", instance.mailbox.next().body)
    page = reader.opens(link[0])
    for _scanner in range(2):
        page = reader.opens(link[0])
        assert "Opening this page has changed nothing." in text_of(page)
    written = reader.sends("/en/confirm/", {"t": hidden_of(page, "t")})
    assert "You sign exactly these words" in text_of(written)
    assert hidden_of(written, "ticket")


def test_a_false_link_is_answered_kindly(reader: Reader, campaign: Campaign) -> None:
    page = reader.opens("/en/confirm/?t=nonsense")
    assert page.status_code == 410
    assert "no longer valid" in text_of(page)


def test_a_wrong_code_keeps_the_form(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    token = ask(reader)
    page = reader.sends(f"{SIGN}confirm/", {"ask": token, "code": "0000 0001"})
    assert page.status_code == 400
    assert "That is not the code in the mail" in text_of(page)
    assert 'value="0000 0001"' in page.content.decode()
    assert hidden_of(page, "ask") == token


def test_a_bad_address_comes_back_as_it_was_typed(
    reader: Reader, campaign: Campaign
) -> None:
    data = {"klass": "email", "address": "asha at home"}
    page = reader.sends(f"{SIGN}ask/", data)
    assert page.status_code == 400
    body = page.content.decode()
    assert 'value="asha at home"' in body
    assert 'aria-invalid="true"' in body
    assert 'href="#f-address"' in body
    assert "This does not look like an e-mail address" in text_of(page)


def test_an_invitation_leads_straight_to_the_words(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    from undersigned.eligibility.operations import make_invitation_codes

    desk = instance.engine.services.desk
    (code,) = make_invitation_codes(desk=desk, campaign=campaign, count=1)
    page = reader.sends(f"{SIGN}ask/", {"klass": "invitation", "code": code.lower()})
    assert "Your signature is accepted" in finish(reader, hidden_of(page, "ticket"))
    wrong = reader.sends(f"{SIGN}ask/", {"klass": "invitation", "code": "ABCD"})
    assert wrong.status_code == 400
    assert "This invitation code is not valid here" in text_of(wrong)


def test_the_open_class_waits_where_scripts_are_off(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    puzzle = reader.sends(f"{SIGN}ask/", {"klass": "open"})
    data = {"klass": "open", "puzzle": hidden_of(puzzle, "puzzle"), "solution": ""}
    waiting = reader.sends(f"{SIGN}ask/", data)
    ticket = {"ticket": hidden_of(waiting, "ticket")}
    early = reader.sends(f"{SIGN}write/", ticket)
    assert early.status_code == 403
    assert "It is too early" in text_of(early)
    instance.advance(timedelta(minutes=6))
    page = reader.sends(f"{SIGN}write/", ticket)
    assert "Your signature is accepted" in finish(reader, hidden_of(page, "ticket"))
    instance.publish(campaign)
    assert instance.net(campaign) == 0


def test_a_false_solution_is_refused(reader: Reader, campaign: Campaign) -> None:
    puzzle = reader.sends(f"{SIGN}ask/", {"klass": "open"})
    data = {"klass": "open", "puzzle": hidden_of(puzzle, "puzzle"), "solution": "1"}
    page = reader.sends(f"{SIGN}ask/", data)
    assert page.status_code == 400
    assert "The work was not accepted" in text_of(page)


@pytest.mark.parametrize(
    "shown,words",
    [
        ({"comment": "see https://example.net"}, "looks like personal data or a link"),
        ({"name": "x" * 81}, "A name has at most 80 characters."),
        ({"when": "6"}, "Without scripts you can sign only now."),
    ],
)
def test_what_cannot_be_shown_spends_no_token(
    instance: Instance,
    reader: Reader,
    campaign: Campaign,
    shown: dict[str, str],
    words: str,
) -> None:
    ticket = get_ticket(instance, reader)
    data = {"ticket": ticket, "stance": "0", "place": "Riverside", **shown}
    page = reader.sends(f"{SIGN}finish/", data)
    assert page.status_code == 400
    assert words in text_of(page)
    assert 'value="Riverside"' in page.content.decode()
    assert "Your signature is accepted" in finish(reader, hidden_of(page, "ticket"))


def test_a_refusal_leads_to_the_field_it_is_about(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    ticket = get_ticket(instance, reader)
    data = {"ticket": ticket, "stance": "0", "comment": "Call 0171 555 01 23"}
    body = reader.sends(f"{SIGN}finish/", data).content.decode()
    assert 'href="#f-comment"' in body
    assert '<p class="fault" id="f-comment_error">' in body
    assert re.search(r'<details class="way" open><summary>Show something', body)


def test_a_permission_that_ran_out_leads_to_a_new_one(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    data = {"ticket": get_ticket(instance, reader)}
    body = reader.sends(f"{SIGN}write/", data).content.decode()
    error = body.split('data-show="error"')[1].split("</div>")[0]
    (link,) = re.findall(r'<p data-show="ticket-expired ticket[^>]*>.*?</p>', error)
    assert f'href="{SIGN}#ways"' in link
    (lost,) = re.findall(r'<p data-show="undefined"[^>]*>.*?</p>', error)
    assert "The connection failed" in lost
    assert error.count("The connection failed") == 1


def test_nobody_signs_for_by_forgetting_to_choose(
    instance: Instance, reader: Reader
) -> None:
    campaign = instance.open_campaign(id="split", stances=["for", "against"])
    ticket = instance.get_ticket(campaign)
    page = reader.sends("/en/c/split/sign/finish/", {"ticket": ticket})
    assert page.status_code == 400
    assert "Choose one of the answers." in text_of(page)
    form = page.content.decode().split('<form id="sign"')[1]
    assert form.count("required") >= 2
    assert "novalidate" not in form.split(">")[0]


def test_a_spent_ticket_says_so(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    ticket = get_ticket(instance, reader)
    finish(reader, ticket)
    page = reader.sends(f"{SIGN}finish/", {"ticket": ticket, "stance": "0"})
    assert page.status_code in (403, 409)


def test_mallory_cannot_make_up_a_ticket(reader: Reader, campaign: Campaign) -> None:
    page = reader.sends(f"{SIGN}finish/", {"ticket": "A" * 60, "stance": "0"})
    assert page.status_code == 403
    assert "This permission to sign is not valid" in text_of(page)


@pytest.mark.parametrize("step", ["ask/", "confirm/", "write/"])
def test_a_typed_address_leads_to_the_beginning(
    reader: Reader, campaign: Campaign, step: str
) -> None:
    assert reader.opens(SIGN + step)["Location"] == SIGN


def test_a_journey_that_lost_its_way_starts_again(
    reader: Reader, campaign: Campaign
) -> None:
    assert reader.sends(f"{SIGN}finish/", {"stance": "0"})["Location"] == SIGN
    assert reader.sends(f"{SIGN}write/", {"ticket": "<b>"})["Location"] == SIGN


def test_the_signing_form_tells_the_client_what_it_needs(
    instance: Instance, reader: Reader, campaign: Campaign
) -> None:
    token = ask(reader)
    data = {"ask": token, "code": get_code(instance)}
    page = reader.sends(f"{SIGN}confirm/", data)
    body = page.content.decode()
    assert 'data-path="/c/soil"' in body
    assert 'data-origin="undersigned.example/c/soil"' in body
    assert f'data-digest="{campaign.statement_sha256}"' in body
    key = re.findall(r'data-key="([^"]+)"', body)
    assert len(key[0]) == 464  # 348 bytes in base64
    tile = re.findall(r'data-key-tile="([^"]+)"', body)
    folder = instance.folder(campaign) / "tile" / "entries"
    import base64

    assert base64.b64decode(key[0]) in (folder / tile[0]).read_bytes()
    assert page["Cache-Control"] == "no-store"


def test_danger_mode_warns_and_shows_no_fields(
    instance: Instance, reader: Reader
) -> None:
    from datetime import date

    draft = instance.create(
        id="grave",
        mode="danger",
        classes=["invitation"],
        closes_on=date(2027, 1, 31),
    )
    campaign = instance.open(draft, accept_unsealed_keys=True)
    page = text_of(reader.opens("/en/c/grave/sign/"))
    assert "danger mode, because signing it may bring harm" in page
    assert "Your mail provider" not in page
    ticket = instance.get_ticket(campaign, "code", klass="invitation")
    form = reader.sends("/en/c/grave/sign/write/", {"ticket": ticket})
    body = form.content.decode()
    assert 'name="comment"' not in body
    assert 'name="when"' not in body
    assert 'data-mode="danger"' in body


def test_too_many_requests_are_slowed_down(
    instance: Instance,
    reader: Reader,
    campaign: Campaign,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The bucket fills again with time, and this machine may be slow.
    intake = instance.engine.services.intake
    monkeypatch.setattr(intake, "_monotonic", lambda: 0.0)
    reader.client.defaults["REMOTE_ADDR"] = "203.0.113.9"
    answers = [
        reader.sends(f"{SIGN}ask/", {"klass": "email", "address": "x"})
        for _request in range(130)
    ]
    slowed = answers[-1]
    assert slowed.status_code == 429
    assert int(slowed["Retry-After"]) > 0
    assert "Too many requests" in text_of(slowed)
