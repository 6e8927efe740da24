"""Signing without scripts: the server does the arithmetic, then forgets."""

from __future__ import annotations

from datetime import timedelta

import pytest

from undersigned_verify import entry, token

from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.credentials.issuer import AlreadyIssued
from undersigned.credentials.operations import count_issued
from undersigned.credentials.tickets import TicketExpired, TicketNotValid
from undersigned.ledger.operations import SigningKeyMissing, stop_accepting
from undersigned.ledger.queries import find_receipt
from undersigned.ledger.writer import LogNotAccepting
from undersigned.safety.text import PersonalDataFound
from undersigned.signatures.data import ShownInput, UnscriptedSignature
from undersigned.signatures.operations.redeem import NamesNotShown, StanceNotOffered
from undersigned.signatures.operations.unscripted import sign_without_scripts
from undersigned.signatures.operations.withdraw import withdraw_signature
from undersigned.signatures.queries import list_shown


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(classes=["email", "open"])


def sign(
    instance: Instance,
    campaign: Campaign,
    ticket: str,
    *,
    stance: int = 0,
    shown: ShownInput | None = None,
    keep_w: bool = False,
) -> UnscriptedSignature:
    services = instance.engine.services
    return sign_without_scripts(
        book=services.book,
        book_entry=instance.entry(campaign),
        issuer=services.issuer,
        ticket=ticket,
        stance=stance,
        shown=shown or ShownInput(),
        keep_w=keep_w,
        at=instance.clock.now(),
    )


class TestASignature:
    def test_its_leaf_is_like_any_other(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign, "someone@else.example")
        sign(instance, campaign, instance.get_ticket(campaign))
        instance.publish(campaign)
        assert instance.net(campaign) == 2
        assert instance.audit(campaign).accepted
        log = instance.entry(campaign).log
        leaves = [log.read_leaf(index) for index in range(3, 5)]
        parsed = [entry.parse(leaf) for leaf in leaves]
        assert {len(leaf) for leaf in leaves} == {357}
        assert all(
            isinstance(leaf, entry.Signature)
            and (leaf.key_index, leaf.stance, leaf.public_hash)
            == (0, 0, token.NO_PUBLIC)
            for leaf in parsed
        )

    def test_it_shows_a_name_as_any_other(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        shown = ShownInput(name="  Asha ", place="Riverside", comment="One\r\ntwo")
        done = sign(instance, campaign, ticket, shown=shown)
        instance.publish(campaign)
        (row,) = list_shown(origin=campaign.origin).rows
        assert (row.name, row.place, row.nonce) == (
            "Asha",
            "Riverside",
            done.nonce.hex(),
        )
        assert instance.audit(campaign).accepted

    def test_it_has_a_receipt_by_its_number(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        done = sign(instance, campaign, instance.get_ticket(campaign))
        instance.publish(campaign)
        log = instance.entry(campaign).log
        ledger = instance.engine.services.ledger
        assert find_receipt(ledger=ledger, log=log, nonce=done.nonce)

    def test_its_secret_is_given_once_and_only_if_wanted(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        plain = sign(instance, campaign, instance.get_ticket(campaign))
        assert plain.w is None
        ticket = instance.get_ticket(campaign, "someone@else.example")
        kept = sign(instance, campaign, ticket, keep_w=True)
        assert kept.w is not None
        instance.publish(campaign)
        withdraw_signature(
            book=instance.engine.services.book,
            book_entry=instance.entry(campaign),
            nonce=kept.nonce,
            w=kept.w,
        )
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_it_is_promised(self, instance: Instance, campaign: Campaign) -> None:
        done = sign(instance, campaign, instance.get_ticket(campaign))
        assert done.promise.startswith("undersigned promise v1\n")
        assert done.nonce.hex() in done.promise
        assert done.publish_by > instance.clock.now()

    def test_it_may_be_of_the_open_class(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        sign(instance, campaign, instance.get_ticket(campaign, klass="open"))
        instance.publish(campaign)
        totals = instance.audit(campaign).totals
        assert totals is not None
        assert (totals["net"], totals["open_net"]) == (0, 1)


class TestARefusal:
    @pytest.mark.parametrize(
        "stance, shown, error",
        [
            (2, ShownInput(), StanceNotOffered),
            (-1, ShownInput(), StanceNotOffered),
            (0, ShownInput(comment="call 555 123 4567"), PersonalDataFound),
        ],
    )
    def test_it_spends_no_ticket(
        self,
        instance: Instance,
        campaign: Campaign,
        stance: int,
        shown: ShownInput,
        error: type[Exception],
    ) -> None:
        ticket = instance.get_ticket(campaign)
        with pytest.raises(error):
            sign(instance, campaign, ticket, stance=stance, shown=shown)
        assert sign(instance, campaign, ticket).promise

    def test_names_are_refused_where_none_are_shown(self, instance: Instance) -> None:
        nameless = instance.open_campaign(show_names=False)
        ticket = instance.get_ticket(nameless)
        with pytest.raises(NamesNotShown):
            sign(instance, nameless, ticket, shown=ShownInput(name="Asha"))
        assert sign(instance, nameless, ticket).promise

    def test_a_log_that_takes_nothing_spends_no_ticket(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        log = instance.entry(campaign).log
        ledger = instance.engine.services.ledger
        stop_accepting(ledger=ledger, origin=campaign.origin)
        with pytest.raises(LogNotAccepting):
            sign(instance, campaign, ticket)
        ledger.writer.run(lambda: ledger.store.change("UPDATE log SET accepting=TRUE"))
        log.accepting = True
        key, log.key = log.key, None
        with pytest.raises(SigningKeyMissing):
            sign(instance, campaign, ticket)
        log.key = key
        issued = count_issued(
            issuer=instance.engine.services.issuer, origin=campaign.origin
        )
        assert issued == {}
        # The same ticket buys the signature once the log takes it.
        assert sign(instance, campaign, ticket).promise

    def test_a_ticket_is_spent_once(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        sign(instance, campaign, ticket)
        with pytest.raises(AlreadyIssued):
            sign(instance, campaign, ticket)
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_an_expired_ticket_is_not_taken(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        instance.clock.advance(timedelta(days=3))
        with pytest.raises(TicketExpired):
            sign(instance, campaign, ticket)

    def test_another_campaigns_ticket_is_not_taken(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        other = instance.open_campaign()
        ticket = instance.get_ticket(other)
        with pytest.raises(TicketNotValid):
            sign(instance, campaign, ticket)
        assert sign(instance, other, ticket).promise
