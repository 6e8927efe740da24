"""Asking by e-mail: the same answer for everyone, and few mails."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.factories.campaigns import TITLE
from tests.factories.cast import ASHA, MALLORY, OMAR
from tests.factories.instances import HOST, Instance
from undersigned.campaigns.data import Campaign
from undersigned.credentials.issuer import IntakeClosed, IssuingStopped
from undersigned.credentials.operations import ClassNotOffered
from undersigned.eligibility import desk as eligibility_desk
from undersigned.eligibility.data import ConfirmationMail, Mail
from undersigned.eligibility.desk import (
    EligibilityDesk,
    Mailbox,
    MailNotSent,
    MailQueueFull,
)
from undersigned.eligibility.operations import AddressNotValid, ask_by_email
from undersigned.eligibility.queries import list_mailbox


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign()


def ask(instance: Instance, campaign: Campaign, address: str = ASHA) -> str:
    """Ask without waiting for a mail."""
    return ask_by_email(
        desk=instance.engine.services.desk,
        campaign=campaign,
        address=address,
        language="en",
        at=instance.clock.now(),
    )


class TestTheMail:
    def test_it_goes_to_the_address_with_a_code_and_a_link(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        asked = instance.ask(campaign)
        assert asked.mail.to == ASHA
        assert len(asked.code.replace(" ", "")) == 8
        assert f"https://{HOST}/en/confirm/?t={asked.link_token}" in asked.mail.body

    def test_it_says_what_to_do_for_who_never_asked(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        assert f"https://{HOST}/en/unasked/" in instance.ask(campaign).mail.body

    def test_it_names_neither_demand_nor_campaign(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        asked = instance.ask(campaign)
        text = f"{asked.mail.subject}\n{asked.mail.body}".lower()
        words = [campaign.id, campaign.path, campaign.origin, TITLE, "Omar"]
        words += [office.name for office in campaign.offices]
        words += ["sign", "campaign", "petition", "soil", "survey"]
        found = [word for word in words if word.lower() in text.replace(HOST, "")]
        assert found == []

    def test_it_is_in_the_askers_language(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ask_by_email(
            desk=instance.engine.services.desk,
            campaign=campaign,
            address=ASHA,
            language="zh-hans",
            at=instance.clock.now(),
        )
        mail = instance.mailbox.next()
        assert mail.language == "zh-hans"
        assert "/zh-hans/confirm/" in mail.body

    def test_it_has_another_code_and_link_each_time(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        first, second = instance.ask(campaign), instance.ask(campaign)
        assert first.code != second.code
        assert first.link_token != second.link_token

    def test_it_is_shown_on_the_mailbox_page_of_a_demonstration(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        asked = instance.ask(campaign)
        assert list_mailbox(desk=instance.engine.services.desk) == [asked.mail]


class TestTheAnswer:
    def test_it_is_alike_whether_or_not_the_address_has_signed(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign, ASHA)
        signed, stranger = ask(instance, campaign, ASHA), ask(instance, campaign, OMAR)
        assert type(signed) is type(stranger)
        assert len(signed) == len(stranger)
        assert {instance.mailbox.next().to for _mail in range(2)} == {ASHA, OMAR}

    def test_it_is_alike_after_the_fifth_mail(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        answers = [ask(instance, campaign) for _time in range(8)]
        assert len({len(answer) for answer in answers}) == 1
        assert len(set(answers)) == 8

    def test_it_tells_nothing_of_the_address(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        lengths = {
            len(ask(instance, campaign, address))
            for address in ("a@b.example", f"{'long' * 12}@{'long' * 12}.example")
        }
        assert len(lengths) == 1


class TestTheNumberOfMails:
    def test_an_address_gets_five(self, instance: Instance, campaign: Campaign) -> None:
        for _time in range(5):
            instance.ask(campaign)
        # Typed another way it is still the same address.
        for address in (ASHA, ASHA.upper(), f" {ASHA}."):
            ask(instance, campaign, address)
        # Somebody else's mail comes behind all of them.
        assert instance.ask(campaign, OMAR).mail.to == OMAR
        assert instance.mailbox.is_empty()

    def test_mallory_cannot_use_up_the_mails_of_another_campaign(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        other = instance.open_campaign()
        for _time in range(5):
            instance.ask(campaign)
        assert instance.ask(other).mail.to == ASHA

    def test_the_counters_memory_has_an_end(
        self, instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(eligibility_desk, "MAX_COUNTED", 3)
        for _time in range(5):
            instance.ask(campaign)
        for number in range(3):
            instance.ask(campaign, f"{number}@x.example")
        # Forgotten: a flood from many addresses must not fill the memory.
        assert instance.ask(campaign).mail.to == ASHA


class TestAsking:
    @pytest.mark.parametrize("address", ["", "asha", "asha@example.org\r\nBcc: x@y.z"])
    def test_it_is_refused_for_what_is_no_address(
        self, instance: Instance, campaign: Campaign, address: str
    ) -> None:
        with pytest.raises(AddressNotValid):
            ask(instance, campaign, address)
        assert instance.ask(campaign).mail.to == ASHA
        assert instance.mailbox.is_empty()

    def test_it_is_refused_where_the_class_is_not_offered(
        self, instance: Instance
    ) -> None:
        campaign = instance.open_campaign(classes=["invitation"])
        with pytest.raises(ClassNotOffered):
            ask(instance, campaign)

    def test_it_is_refused_once_closing_has_begun(
        self, instance: Instance, campaign: Campaign
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
            ask(instance, instance.look_up(campaign))

    def test_it_is_refused_while_keys_are_missing(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        (instance.data / "secrets" / campaign.path / "version.key").unlink()
        instance.restart()
        with pytest.raises(IntakeClosed):
            ask(instance, campaign)


class Deaf:
    """A mail server that answers nobody until it is told to."""

    def __init__(self) -> None:
        from threading import Event

        self.taken = Event()
        self.heard = Event()

    def send(self, mail: Mail) -> None:
        """Wait."""
        self.taken.set()
        assert self.heard.wait(20)


class TestAFullQueue:
    def test_it_refuses_until_there_is_room(
        self, instance: Instance, campaign: Campaign, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(eligibility_desk, "MAX_QUEUED", 2)
        instance.restart()
        desk, deaf = instance.engine.services.desk, Deaf()
        desk.sender = deaf
        ask(instance, campaign, ASHA)
        assert deaf.taken.wait(20)
        ask(instance, campaign, OMAR)
        ask(instance, campaign, "petra@example.org")
        with pytest.raises(MailQueueFull):
            ask(instance, campaign, MALLORY)
        # A mail that was never queued is none of Mallory's five.
        for _time in range(5):
            with pytest.raises(MailQueueFull):
                ask(instance, campaign, MALLORY)
        desk.sender = instance.mailbox
        deaf.heard.set()
        instance.mailbox.next()
        instance.mailbox.next()
        assert instance.ask(campaign, MALLORY).mail.to == MALLORY
        assert instance.ask(campaign, "vic@example.org").mail.to == "vic@example.org"


class Broken:
    """A mail server that fails at first."""

    def __init__(self, error: Exception, after: Mailbox) -> None:
        self.error: Exception | None = error
        self.after = after

    def send(self, mail: Mail) -> None:
        """Fail once, then deliver."""
        error, self.error = self.error, None
        if error is not None:
            raise error
        self.after.send(mail)


class TestAMailThatFails:
    @pytest.mark.parametrize(
        "error",
        [
            MailNotSent("the mail server answered 451", permanent=False),
            RuntimeError("nobody foresaw this"),
        ],
    )
    def test_it_stops_nobody_elses(
        self, instance: Instance, campaign: Campaign, error: Exception
    ) -> None:
        desk = instance.engine.services.desk
        desk.sender = Broken(error, instance.mailbox)
        ask(instance, campaign, ASHA)
        assert instance.ask(campaign, OMAR).mail.to == OMAR

    def test_it_is_reported_without_the_address(
        self,
        instance: Instance,
        campaign: Campaign,
        capsys: pytest.CaptureFixture[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        desk = instance.engine.services.desk
        failed = MailNotSent("the mail server answered 550", permanent=True)
        desk.sender = Broken(failed, instance.mailbox)
        ask(instance, campaign, ASHA)
        instance.ask(campaign, OMAR)
        said = capsys.readouterr()
        text = said.out + said.err + caplog.text
        assert "asha" not in text.lower()


def test_stopping_the_desk_drops_what_is_queued(instance: Instance) -> None:
    # PROTOCOL §4.1: the queue is lost, and the person asks again.
    sent: list[Mail] = []

    class Slow:
        def send(self, mail: Mail) -> None:
            sent.append(mail)

    desk = EligibilityDesk(
        issuer=instance.engine.services.issuer,
        sender=Slow(),
        render=lambda mail: Mail(mail.address, "s", "b", mail.language),
        on_mail_failure=lambda error: None,
    )
    mail = ConfirmationMail(ASHA, "en", "12345678", "token")
    desk.enqueue(mail)
    desk.enqueue(replace(mail, address=OMAR))
    desk.stop()
    assert sent == []


def test_the_counter_of_mails_holds_no_address(
    instance: Instance, campaign: Campaign
) -> None:
    instance.ask(campaign)
    instance.advance(timedelta(minutes=1))
    held = repr(vars(instance.engine.services.desk)).lower()
    held += repr(instance.engine.services.desk._mails_sent).lower()
    assert "asha" not in held.replace(repr(instance.mailbox), "")
