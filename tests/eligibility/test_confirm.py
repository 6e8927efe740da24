"""Confirming: by code or by button, never by opening a link."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.factories.campaigns import Value
from tests.factories.cast import ASHA, OMAR
from tests.factories.instances import Asked, Instance
from undersigned.campaigns.data import Campaign
from undersigned.credentials.issuer import AlreadyIssued, IssuingStopped
from undersigned.credentials.operations import open_ticket
from undersigned.eligibility.operations import (
    AskExpired,
    CodeWrong,
    ask_by_email,
    confirm_code,
    confirm_link,
    read_confirmation,
)
from undersigned.eligibility.queries import read_ticket

A_DAY = timedelta(days=1)


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign()


@pytest.fixture
def asked(instance: Instance, campaign: Campaign) -> Asked:
    return instance.ask(campaign)


def type_code(
    instance: Instance, campaign: Campaign, asked: Asked, code: str | None = None
) -> str:
    return confirm_code(
        desk=instance.engine.services.desk,
        campaign=campaign,
        token=asked.token,
        code=asked.code if code is None else code,
        at=instance.clock.now(),
    )


def make_wrong(asked: Asked) -> str:
    last = "1" if asked.code[-1] != "1" else "2"
    return asked.code[:-1] + last


class TestTheCode:
    def test_it_gives_a_ticket_that_buys_a_token(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        ticket = type_code(instance, campaign, asked)
        writing = instance.write(campaign)
        answer = instance.issue(campaign, ticket, writing.prepared.request)
        instance.redeem(campaign, writing.finish(answer))
        instance.publish(campaign)
        assert instance.net(campaign) == 1
        assert instance.audit(campaign).accepted

    @pytest.mark.parametrize(
        "change",
        [
            lambda code: code.replace(" ", ""),
            lambda code: f"  {code}\n",
            lambda code: code.replace(" ", "-"),
            lambda code: code.translate(
                str.maketrans("0123456789", "０１２３４５６７８９")
            ),
            lambda code: code.translate(str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")),
        ],
    )
    def test_it_may_be_typed_as_people_type(
        self, instance: Instance, campaign: Campaign, asked: Asked, change: object
    ) -> None:
        assert callable(change)
        assert type_code(instance, campaign, asked, change(asked.code))

    @pytest.mark.parametrize("code", ["", "0000 000", "abcd efgh", "½" * 8, "1" * 99])
    def test_another_is_wrong(
        self, instance: Instance, campaign: Campaign, asked: Asked, code: str
    ) -> None:
        with pytest.raises(CodeWrong):
            type_code(instance, campaign, asked, code)
        assert type_code(instance, campaign, asked)

    def test_it_can_be_tried_five_times(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        for _time in range(5):
            with pytest.raises(CodeWrong):
                type_code(instance, campaign, asked, make_wrong(asked))
        with pytest.raises(AskExpired):
            type_code(instance, campaign, asked)
        assert type_code(instance, campaign, instance.ask(campaign))

    def test_asking_on_gives_no_more_tries_once_the_mails_are_used_up(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        for _time in range(4):
            instance.ask(campaign)
        token = ask_by_email(
            desk=instance.engine.services.desk,
            campaign=campaign,
            address=ASHA,
            language="en",
            at=instance.clock.now(),
        )
        sixth = Asked(token, asked.mail)
        for code in (asked.code, "0" * 8, "\xff" * 8, ""):
            with pytest.raises(CodeWrong):
                type_code(instance, campaign, sixth, code)
        assert type_code(instance, campaign, asked)

    def test_the_fifth_try_may_be_right(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        for _time in range(4):
            with pytest.raises(CodeWrong):
                type_code(instance, campaign, asked, make_wrong(asked))
        assert type_code(instance, campaign, asked)

    def test_it_is_good_for_a_day(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        instance.clock.advance(A_DAY - timedelta(seconds=1))
        assert type_code(instance, campaign, asked)
        instance.clock.advance(timedelta(seconds=1))
        with pytest.raises(AskExpired):
            type_code(instance, campaign, asked)

    def test_it_is_good_for_its_own_question_only(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        mallorys = instance.ask(campaign, "mallory@example.net")
        with pytest.raises(CodeWrong):
            type_code(instance, campaign, asked, mallorys.code)

    def test_it_is_good_for_its_own_campaign_only(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        other = instance.open_campaign()
        with pytest.raises(AskExpired):
            type_code(instance, other, asked)

    @pytest.mark.parametrize("token", ["", "x", "A" * 200, "A" * 4000])
    def test_it_is_worth_nothing_with_another_question(
        self, instance: Instance, campaign: Campaign, asked: Asked, token: str
    ) -> None:
        forged = Asked(token, asked.mail)
        with pytest.raises(AskExpired):
            type_code(instance, campaign, forged)

    def test_it_still_works_after_a_restart(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        instance.restart()
        assert type_code(instance, campaign, asked)

    def test_it_is_over_once_closing_has_begun(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        from undersigned.campaigns.operations import begin_closing
        from undersigned.kernel.actor import OPERATOR

        begin_closing(
            actor=OPERATOR,
            campaign_id=campaign.id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        with pytest.raises(IssuingStopped):
            type_code(instance, instance.look_up(campaign), asked)
        with pytest.raises(AskExpired):
            press(instance, asked)


def press(instance: Instance, asked: Asked) -> tuple[Campaign, str]:
    return confirm_link(
        desk=instance.engine.services.desk,
        token=asked.link_token,
        at=instance.clock.now(),
    )


def open_link(instance: Instance, token: str) -> str:
    return read_confirmation(
        desk=instance.engine.services.desk, token=token, at=instance.clock.now()
    ).campaign_id


def read_record(instance: Instance) -> dict[str, bytes]:
    return {
        path.name: path.read_bytes() for path in (instance.data / "issuance").iterdir()
    }


class TestTheLink:
    def test_its_button_gives_a_ticket(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        found, ticket = press(instance, asked)
        assert found.id == campaign.id
        request = instance.write(campaign).prepared.request
        assert instance.issue(campaign, ticket, request)

    def test_opening_it_changes_nothing(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        before = read_record(instance)
        for _scanner in range(3):
            assert open_link(instance, asked.link_token) == campaign.id
        assert read_record(instance) == before
        press(instance, asked)
        assert read_record(instance) != before

    def test_it_names_no_campaign(self, instance: Instance) -> None:
        names: list[Value] = ["river-path", "a-much-longer-name-for-a-campaign"]
        asked = [instance.ask(instance.open_campaign(id=name)) for name in names]
        assert len({len(one.link_token) for one in asked}) == 1
        found = [open_link(instance, one.link_token) for one in asked]
        assert found == names

    def test_it_is_good_for_a_day(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        instance.clock.advance(A_DAY - timedelta(seconds=1))
        press(instance, asked)
        instance.clock.advance(timedelta(seconds=1))
        for act in (press, lambda i, a: open_link(i, a.link_token)):
            with pytest.raises(AskExpired):
                act(instance, asked)

    @pytest.mark.parametrize("token", ["", "x", "A" * 120, "ä" * 20, "A" * 4000])
    def test_another_leads_nowhere(
        self, instance: Instance, campaign: Campaign, asked: Asked, token: str
    ) -> None:
        assert open_link(instance, asked.link_token) == campaign.id
        with pytest.raises(AskExpired):
            open_link(instance, token)

    def test_the_code_forms_token_is_no_link(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        # Who sees the page, and not the mail, confirms nothing.
        with pytest.raises(AskExpired):
            open_link(instance, asked.token)


class TestTwoConfirmations:
    def test_they_buy_one_token(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        tickets = [type_code(instance, campaign, asked), press(instance, asked)[1]]
        instance.issue(campaign, tickets[0], instance.write(campaign).prepared.request)
        with pytest.raises(AlreadyIssued):
            instance.issue(
                campaign, tickets[1], instance.write(campaign).prepared.request
            )

    def test_they_stand_for_the_same_person_only(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        nullifiers = [
            open_ticket(
                issuer=instance.engine.services.issuer,
                origin=campaign.origin,
                ticket=instance.confirm(campaign, instance.ask(campaign, address)),
                at=instance.clock.now(),
            ).nullifier
            for address in (ASHA, ASHA.upper(), OMAR)
        ]
        assert nullifiers[0] == nullifiers[1] != nullifiers[2]


def test_a_ticket_can_be_read_for_its_page(
    instance: Instance, campaign: Campaign, asked: Asked
) -> None:
    ticket = type_code(instance, campaign, asked)
    view = read_ticket(
        desk=instance.engine.services.desk,
        campaign=campaign,
        ticket=ticket,
        at=instance.clock.now(),
    )
    assert (view.campaign_id, view.klass) == (campaign.id, "email")
    assert view.expires_at.hour == 0


class TestPressingAgainAndAgain:
    """One link, one code: one ticket a day, however often it is used."""

    def count_rows(self, instance: Instance, campaign: Campaign) -> int:
        file = instance.engine.services.issuer.get_version(campaign.origin).file
        assert file is not None
        return file.tickets

    def test_a_link_fills_no_file(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        for _time in range(5):
            confirm_link(
                desk=instance.engine.services.desk,
                token=asked.link_token,
                at=instance.clock.now(),
            )
        assert self.count_rows(instance, campaign) == 1

    def test_a_link_that_was_changed_is_none(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        # A lenient decoder would read each of these as the same link.
        for extra in ("!", "\n", "="):
            with pytest.raises(AskExpired):
                confirm_link(
                    desk=instance.engine.services.desk,
                    token=asked.link_token + extra,
                    at=instance.clock.now(),
                )

    def test_a_code_fills_no_file(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        for _time in range(3):
            type_code(instance, campaign, asked)
        assert self.count_rows(instance, campaign) == 1

    def test_every_ticket_of_one_link_buys_the_one_token(
        self, instance: Instance, campaign: Campaign, asked: Asked
    ) -> None:
        tickets = [type_code(instance, campaign, asked) for _time in range(2)]
        writing = instance.write(campaign)
        first = instance.issue(campaign, tickets[0], writing.prepared.request)
        again = instance.issue(campaign, tickets[1], writing.prepared.request)
        assert again == first
        other = instance.write(campaign)
        for ticket in tickets:
            with pytest.raises(AlreadyIssued):
                instance.issue(campaign, ticket, other.prepared.request)
