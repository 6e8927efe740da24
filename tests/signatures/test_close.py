"""Closing in the order of PROTOCOL §4.7, whatever interrupts it."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from undersigned_verify import entry

from tests.factories.cast import ASHA, OMAR
from tests.factories.instances import Instance
from tests.factories.ledgers import PowerCut, cut_at
from undersigned.audit.queries import find_broken_entry
from undersigned.campaigns.data import Campaign, CampaignState
from undersigned.campaigns.operations import (
    CampaignNotInState,
    begin_closing,
)
from undersigned.campaigns.queries import find_closing
from undersigned.credentials.issuer import IntakeClosed, IssuingStopped
from undersigned.credentials.operations import destroy_version
from undersigned.kernel import keystore
from undersigned.kernel.actor import OPERATOR
from undersigned.kernel.keystore import Keystore
from undersigned.ledger.operations import close_log
from undersigned.ledger.writer import LogNotAccepting

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
PASSPHRASE = "nine lives of the river path"


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign()


def begin(instance: Instance, campaign: Campaign) -> None:
    begin_closing(
        actor=OPERATOR,
        campaign_id=campaign.id,
        issuer=instance.engine.services.issuer,
        reason="closed-by-organiser",
        at=instance.clock.now(),
    )


def list_secrets(instance: Instance, campaign: Campaign) -> set[str]:
    folder = instance.data / "secrets" / campaign.path
    return {path.name for path in folder.iterdir()}


def list_records(instance: Instance) -> list[Path]:
    return sorted((instance.data / "issuance").iterdir())


def get_state(instance: Instance, campaign: Campaign) -> CampaignState:
    return instance.look_up(campaign).state


def check_closed(instance: Instance, campaign: Campaign, *, net: int) -> None:
    """The end of every road: closed, destroyed, recounted."""
    assert get_state(instance, campaign) is CampaignState.CLOSED
    assert list_secrets(instance, campaign) == {"log.key"}
    assert list_records(instance) == []
    report = instance.audit(campaign)
    assert report.accepted, report.fault
    assert report.totals is not None
    assert report.totals["net"] == net
    log = instance.entry(campaign).log
    assert isinstance(entry.parse(log.read_leaf(log.size - 1)), entry.Close)
    assert instance.engine.failures == []
    assert find_broken_entry() is None


class TestTheFirstHour:
    def test_nothing_new_is_issued(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        begin(instance, campaign)
        assert get_state(instance, campaign) is CampaignState.CLOSING
        with pytest.raises(IssuingStopped):
            instance.issue(campaign, ticket, instance.write(campaign).prepared.request)
        with pytest.raises(IssuingStopped):
            instance.get_ticket(campaign, OMAR)

    @pytest.mark.parametrize("restarts", [False, True])
    def test_what_was_answered_is_answered_again(
        self, instance: Instance, campaign: Campaign, restarts: bool
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        request = writing.prepared.request
        answer = instance.issue(campaign, ticket, request)
        begin(instance, campaign)
        if restarts:
            instance.restart()
        assert instance.issue(campaign, ticket, request) == answer
        instance.redeem(campaign, writing.finish(answer))
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_it_begins_once(self, instance: Instance, campaign: Campaign) -> None:
        begin(instance, campaign)
        with pytest.raises(CampaignNotInState):
            begin(instance, campaign)


class TestTheGrace:
    def test_keys_and_record_are_gone(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        instance.advance(HOUR - timedelta(seconds=1))
        assert "version.key" in list_secrets(instance, campaign)
        instance.advance(timedelta(seconds=1))
        assert list_secrets(instance, campaign) == {"log.key"}
        assert list_records(instance) == []
        with pytest.raises(IssuingStopped):
            instance.get_ticket(campaign, OMAR)

    def test_a_token_fetched_before_can_still_be_redeemed(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        _writing, request = instance.make_signature(campaign)
        begin(instance, campaign)
        instance.advance(HOUR * 12)
        instance.redeem(campaign, request)
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_a_signature_can_still_be_withdrawn(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign)
        begin(instance, campaign)
        instance.advance(HOUR * 12)
        instance.withdraw(campaign, signed)
        instance.publish(campaign)
        assert instance.net(campaign) == 0

    def test_it_stays_so_over_a_restart(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        _writing, request = instance.make_signature(campaign)
        begin(instance, campaign)
        instance.advance(HOUR * 2)
        instance.restart()
        with pytest.raises(IssuingStopped):
            instance.get_ticket(campaign, OMAR)
        instance.redeem(campaign, request)


class TestTheEnd:
    def test_everything_pooled_is_counted_before_the_close_leaf(
        self, instance: Instance
    ) -> None:
        # A careful campaign whose crowd is too small to be published before.
        careful = instance.open_campaign(mode="careful")
        instance.sign(careful, ASHA)
        begin(instance, careful)
        instance.advance(HOUR)
        instance.advance(DAY)
        check_closed(instance, careful, net=1)

    def test_nothing_is_taken_any_more(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        _writing, late = instance.make_signature(campaign)
        begin(instance, campaign)
        instance.advance(HOUR)
        instance.advance(DAY)
        with pytest.raises(LogNotAccepting):
            instance.redeem(campaign, late)
        check_closed(instance, campaign, net=0)

    def test_it_comes_once(self, instance: Instance, campaign: Campaign) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        for _span in range(4):
            instance.advance(DAY)
        size = instance.entry(campaign).log.size
        instance.advance(DAY)
        assert instance.entry(campaign).log.size == size
        check_closed(instance, campaign, net=1)

    def test_reads_and_receipts_stay(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        signed = instance.sign(campaign)
        begin(instance, campaign)
        instance.advance(DAY * 2)
        instance.restart()
        assert instance.find_receipt(campaign, signed) is not None
        assert instance.net(campaign) == 1

    def test_it_comes_after_a_long_sleep_at_once(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        instance.stop()
        instance.clock.advance(DAY * 30)
        instance.start()
        instance.advance(timedelta(minutes=1))
        check_closed(instance, campaign, net=1)


class TestRestarts:
    @pytest.mark.parametrize("often", [HOUR / 2 * 5, HOUR * 12, HOUR * 25])
    def test_any_number_of_them_changes_nothing(
        self, instance: Instance, campaign: Campaign, often: timedelta
    ) -> None:
        instance.sign(campaign)
        _writing, late = instance.make_signature(campaign, OMAR)
        begin(instance, campaign)
        instance.restart()
        instance.redeem(campaign, late)
        while get_state(instance, campaign) is not CampaignState.CLOSED:
            instance.advance(often)
            instance.restart()
        check_closed(instance, campaign, net=2)

    @pytest.mark.parametrize(
        "step",
        [
            "choose",
            "append",
            "before-commit",
            "after-commit",
            "after-mark",
            "after-export",
            "after-hand-on",
        ],
    )
    def test_a_crash_at_any_step_of_the_close_is_mended(
        self, instance: Instance, campaign: Campaign, step: str
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        instance.stop()
        instance.clock.advance(DAY * 2)
        with pytest.raises(PowerCut):
            instance.start(cut_at(step))
        instance.restart()
        check_closed(instance, campaign, net=1)

    def test_a_crash_after_destroying_is_mended(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        destroy_version(
            issuer=instance.engine.services.issuer,
            origin=campaign.origin,
            path=campaign.path,
        )
        instance.restart()
        instance.advance(HOUR)
        closing = find_closing(campaign_id=campaign.id)
        assert closing is not None
        assert closing.keys_destroyed
        instance.advance(DAY)
        check_closed(instance, campaign, net=1)

    def test_a_crash_after_half_the_destroying_is_mended(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        instance.stop()
        (instance.data / "secrets" / campaign.path / "issuer-0-1.der").unlink()
        instance.start()
        instance.advance(HOUR)
        instance.advance(DAY)
        check_closed(instance, campaign, net=1)

    def test_a_crash_after_the_close_leaf_is_mended(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        begin(instance, campaign)
        instance.advance(HOUR)
        close_log(
            ledger=instance.engine.services.ledger,
            origin=campaign.origin,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        instance.restart()
        instance.advance(DAY)
        check_closed(instance, campaign, net=1)


class TestTheAnnouncedDay:
    @pytest.fixture
    def campaign(self, instance: Instance) -> Campaign:
        return instance.open_campaign(closes_on=date(2026, 11, 22))

    def test_asking_goes_on_to_its_end(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.clock.set(datetime(2026, 11, 22, 23, 59, tzinfo=UTC))
        instance.advance(timedelta(seconds=59))
        instance.sign(instance.look_up(campaign))
        assert get_state(instance, campaign) is CampaignState.OPEN

    def test_closing_begins_at_midnight_by_itself(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        instance.clock.set(datetime(2026, 11, 22, 23, 59, tzinfo=UTC))
        instance.advance(timedelta(minutes=1))
        assert get_state(instance, campaign) is CampaignState.CLOSING
        instance.advance(HOUR)
        instance.advance(DAY)
        check_closed(instance, campaign, net=1)


@pytest.fixture
def sealed(instance: Instance, monkeypatch: pytest.MonkeyPatch) -> Campaign:
    """An open campaign with a signature, on an instance whose secrets are sealed."""
    monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
    campaign = instance.open_campaign()
    instance.sign(campaign)
    instance.stop()
    Keystore(instance.data / "secrets").seal(PASSPHRASE)
    instance.environ["UNDERSIGNED_PASSPHRASE"] = PASSPHRASE
    instance.start()
    return campaign


def lock(instance: Instance) -> None:
    """Start again without the passphrase, as after a power cut at night."""
    instance.stop()
    del instance.environ["UNDERSIGNED_PASSPHRASE"]
    instance.start()


class TestLockedSecrets:
    def test_reads_stay_up_and_intake_is_closed(
        self, instance: Instance, sealed: Campaign
    ) -> None:
        lock(instance)
        with pytest.raises(IntakeClosed):
            instance.get_ticket(sealed, OMAR)
        assert instance.net(sealed) == 0
        assert instance.publish(sealed) == []
        assert instance.audit(sealed).accepted
        instance.restart(UNDERSIGNED_PASSPHRASE=PASSPHRASE)
        instance.publish(sealed)
        assert instance.net(sealed) == 1

    def test_what_the_close_destroys_is_destroyed(
        self, instance: Instance, sealed: Campaign
    ) -> None:
        begin(instance, sealed)
        lock(instance)
        instance.advance(HOUR * 2)
        closing = find_closing(campaign_id=sealed.id)
        assert closing is not None
        # Whether at once or once unlocked: it is never said before it is done.
        gone = (
            list_secrets(instance, sealed) == {"log.key"}
            and list_records(instance) == []
        )
        assert closing.keys_destroyed == gone
        instance.restart(UNDERSIGNED_PASSPHRASE=PASSPHRASE)
        instance.advance(HOUR)
        assert list_secrets(instance, sealed) == {"log.key"}
        assert list_records(instance) == []

    def test_the_close_waits_for_the_log_key(
        self, instance: Instance, sealed: Campaign
    ) -> None:
        begin(instance, sealed)
        lock(instance)
        instance.advance(DAY * 2)
        assert instance.engine.failures == []
        assert get_state(instance, sealed) is CampaignState.CLOSING
        instance.restart(UNDERSIGNED_PASSPHRASE=PASSPHRASE)
        instance.advance(timedelta(minutes=1))
        check_closed(instance, sealed, net=1)
