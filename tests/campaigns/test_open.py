"""Opening: every step before the last can be repeated after a crash."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from undersigned_verify import entry

from tests.factories.campaigns import Value
from tests.factories.instances import Instance
from tests.factories.ledgers import PowerCut, cut_at
from undersigned.campaigns import operations
from undersigned.campaigns.data import CampaignState
from undersigned.campaigns.operations import KeysMustBeSealed
from undersigned.campaigns.queries import get_any_campaign, list_campaigns
from undersigned.kernel import keystore
from undersigned.kernel.ids import CampaignId
from undersigned.kernel.keystore import KeysLocked, Keystore

PASSPHRASE = "nine lives of the river path"


def die(**_values: object) -> None:
    raise PowerCut


class TestACrashWhileOpening:
    @pytest.mark.parametrize(
        "step",
        [
            "append",
            "before-commit",
            "after-commit",
            "after-mark",
            "after-export",
            "after-hand-on",
        ],
    )
    def test_it_is_taken_up_again_after_a_restart(
        self, instance: Instance, step: str
    ) -> None:
        campaign_id = instance.create(classes=["email", "open"])
        instance.stop()
        instance.start(cut_at(step))
        with pytest.raises(PowerCut):
            instance.open(campaign_id)
        instance.restart()
        self.check_opens(instance, campaign_id)

    @pytest.mark.parametrize("step", ["create_version", "create_log", "record_act"])
    @pytest.mark.parametrize("restarts", [True, False])
    def test_it_is_taken_up_again_between_two_steps(
        self,
        instance: Instance,
        step: str,
        restarts: bool,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        campaign_id = instance.create(classes=["email", "open"])
        real: Callable[..., object] = getattr(operations, step)

        def do_then_die(**values: object) -> None:
            real(**values)
            raise PowerCut

        with monkeypatch.context() as patch:
            patch.setattr(operations, step, do_then_die)
            with pytest.raises(PowerCut):
                instance.open(campaign_id)
        assert get_any_campaign(campaign_id=campaign_id).state is CampaignState.DRAFT
        assert list_campaigns() == []
        if restarts:
            instance.restart()
        self.check_opens(instance, campaign_id)

    def check_opens(self, instance: Instance, campaign_id: CampaignId) -> None:
        campaign = instance.open(campaign_id)
        assert campaign.state is CampaignState.OPEN
        instance.sign(campaign)
        instance.sign(campaign, klass="open")
        instance.publish(campaign)
        report = instance.audit(campaign)
        assert report.accepted, report.fault
        assert report.totals is not None
        assert (report.totals["net"], report.totals["open_net"]) == (1, 1)
        instance.restart()
        instance.sign(campaign, "someone@else.example")
        assert instance.engine.failures == []


class TestDangerMode:
    @pytest.fixture
    def settings(self, instance: Instance) -> dict[str, Value]:
        closes_on = (instance.clock.now() + timedelta(days=30)).date()
        return {"mode": "danger", "classes": ["invitation"], "closes_on": closes_on}

    def test_it_asks_for_sealed_keys(
        self, instance: Instance, settings: dict[str, Value]
    ) -> None:
        campaign_id = instance.create(**settings)
        with pytest.raises(KeysMustBeSealed):
            instance.open(campaign_id)
        assert get_any_campaign(campaign_id=campaign_id).state is CampaignState.DRAFT
        secrets = [path.name for path in (instance.data / "secrets").iterdir()]
        # The instance's own key is there from the first start; none of the campaign's.
        assert secrets == ["spine"]

    def test_it_opens_with_them(
        self,
        instance: Instance,
        settings: dict[str, Value],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        instance.stop()
        Keystore(instance.data / "secrets").seal(PASSPHRASE)
        instance.environ["UNDERSIGNED_PASSPHRASE"] = PASSPHRASE
        instance.start()
        campaign = instance.open_campaign(**settings)
        header = instance.entry(campaign).log.state.header
        assert header is not None
        assert (header.mode, header.classes) == ("danger", ("invitation",))
        assert instance.audit(campaign).accepted

    def test_it_opens_without_them_only_when_told_twice(
        self, instance: Instance, settings: dict[str, Value]
    ) -> None:
        campaign_id = instance.create(**settings)
        campaign = instance.open(campaign_id, accept_unsealed_keys=True)
        assert campaign.state is CampaignState.OPEN


def test_nothing_opens_while_secrets_are_locked(
    instance: Instance, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
    campaign_id = instance.create()
    instance.stop()
    Keystore(instance.data / "secrets").seal(PASSPHRASE)
    instance.start()
    with pytest.raises(KeysLocked):
        instance.open(campaign_id)
    instance.restart(UNDERSIGNED_PASSPHRASE=PASSPHRASE)
    assert instance.open(campaign_id).state is CampaignState.OPEN


def test_its_log_promises_what_the_draft_says(instance: Instance) -> None:
    campaign = instance.open_campaign(
        mode="careful", classes=["open", "email"], crowd=33, interval_minutes=45
    )
    log = instance.entry(campaign).log
    assert log.settings.k == 33
    assert log.settings.interval_seconds == 2700
    assert log.settings.uncounted_keys == (1,)
    leaves = [entry.parse(log.read_leaf(index)) for index in range(log.size)]
    header = leaves[0]
    assert isinstance(header, entry.Header)
    assert header.statement_sha256 == campaign.statement_sha256
    assert [
        (leaf.key_index, leaf.klass)
        for leaf in leaves
        if isinstance(leaf, entry.IssuerKey)
    ] in ([(0, 1), (1, 4)], [(1, 4), (0, 1)])


def test_two_campaigns_share_neither_key_nor_log(instance: Instance) -> None:
    first, second = instance.open_campaign(), instance.open_campaign()
    keys = [
        info.spki
        for campaign in (first, second)
        for info in instance.entry(campaign).log.state.keys.values()
    ]
    assert len(set(keys)) == 2
    vkeys = {
        (instance.folder(campaign) / "log.vkey").read_text()
        for campaign in (first, second)
    }
    assert len(vkeys) == 2
