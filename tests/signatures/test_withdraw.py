"""Withdrawing: by whoever holds the secret, until the close."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.factories.instances import Instance, Signed
from undersigned.campaigns.data import Campaign
from undersigned.ledger.operations import WithdrawalNotAllowed, close_log
from undersigned.ledger.writer import LogNotAccepting
from undersigned.signatures.queries import get_count


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign()


@pytest.fixture
def signed(instance: Instance, campaign: Campaign) -> Signed:
    signed = instance.sign(campaign)
    instance.publish(campaign)
    return signed


class TestWithdrawing:
    def test_it_takes_effect_at_the_next_publication(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        instance.withdraw(campaign, signed)
        assert instance.net(campaign) == 1
        instance.publish(campaign)
        count = get_count(
            ledger=instance.engine.services.ledger, origin=campaign.origin
        )
        assert (count.net, count.withdrawals, count.signatures) == (0, 1, 1)
        assert instance.audit(campaign).accepted

    def test_it_needs_the_secret(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        for forged in (replace(signed, w=bytes(32)), replace(signed, nonce=bytes(32))):
            with pytest.raises(WithdrawalNotAllowed):
                instance.withdraw(campaign, forged)
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_it_is_final(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        instance.withdraw(campaign, signed)
        instance.publish(campaign)
        with pytest.raises(WithdrawalNotAllowed):
            instance.withdraw(campaign, signed)
        # The same signature sent again does not bring it back.
        instance.redeem(campaign, signed.request)
        instance.publish(campaign)
        assert instance.net(campaign) == 0
        assert instance.audit(campaign).accepted

    def test_it_ends_at_the_close(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        close_log(
            ledger=instance.engine.services.ledger,
            origin=campaign.origin,
            reason="closing-day",
            at=instance.clock.now(),
        )
        with pytest.raises(LogNotAccepting):
            instance.withdraw(campaign, signed)
        assert instance.net(campaign) == 1

    def test_it_goes_by_the_log_of_its_own_campaign(
        self, instance: Instance, campaign: Campaign, signed: Signed
    ) -> None:
        other = instance.open_campaign()
        with pytest.raises(WithdrawalNotAllowed):
            instance.withdraw(other, signed)
        instance.withdraw(campaign, signed)
