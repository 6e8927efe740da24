"""What pages read: the published count, growth, crowds, keys."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from tests.factories.cast import OMAR
from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.ledger.ledger import LogNotFound
from undersigned.signatures.queries import (
    KeyNotAnnounced,
    get_count,
    get_crowd,
    get_key,
    list_growth,
)


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(mode="careful", classes=["email", "open"])


class TestTheCount:
    def test_it_is_of_the_newest_checkpoint_and_says_what_waits(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign(campaign)
        instance.sign(campaign, OMAR, klass="open")
        instance.publish(campaign)
        ledger = instance.engine.services.ledger
        count = get_count(ledger=ledger, origin=campaign.origin)
        # The open signature needs no crowd; Asha's waits for one.
        assert (count.net, count.open_net, count.waiting) == (0, 1, 1)
        assert count.tree_size == 4
        assert count.at == datetime.fromtimestamp(
            instance.clock.now().timestamp(), tz=instance.clock.now().tzinfo
        )

    def test_it_is_what_the_public_recounts(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign_many(campaign, 21)
        instance.publish(campaign)
        ledger = instance.engine.services.ledger
        count = get_count(ledger=ledger, origin=campaign.origin)
        report = instance.audit(campaign)
        assert report.root_hash == count.root_hash
        assert report.totals is not None
        assert report.totals["by_class"] == count.by_class
        assert report.totals["by_stance"] == count.by_stance

    def test_an_unknown_log_has_none(self, instance: Instance) -> None:
        with pytest.raises(LogNotFound):
            get_count(
                ledger=instance.engine.services.ledger,
                origin="undersigned.example/c/none",
            )


class TestTheCrowd:
    def test_it_says_who_waits_and_who_is_counted(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        instance.sign_many(campaign, 20)
        instance.publish(campaign)
        instance.sign_many(campaign, 3, who="later")
        crowd = get_crowd(
            book=instance.engine.services.book,
            book_entry=instance.entry(campaign),
            klass="email",
        )
        assert (crowd.k, crowd.waiting, crowd.counted) == (20, 3, 20)
        assert crowd.interval_seconds == campaign.interval_seconds

    @pytest.mark.parametrize(
        "mode, klass", [("standard", "email"), ("careful", "open")]
    )
    def test_it_is_one_where_none_is_waited_for(
        self, instance: Instance, mode: str, klass: str
    ) -> None:
        campaign = instance.open_campaign(mode=mode, classes=["email", "open"])
        crowd = get_crowd(
            book=instance.engine.services.book,
            book_entry=instance.entry(campaign),
            klass=klass,
        )
        assert crowd.k == 1

    def test_there_is_none_for_a_class_without_a_key(
        self, instance: Instance, campaign: Campaign
    ) -> None:
        with pytest.raises(KeyNotAnnounced):
            get_crowd(
                book=instance.engine.services.book,
                book_entry=instance.entry(campaign),
                klass="invitation",
            )


def test_a_key_is_found_where_it_stands_in_the_log(
    instance: Instance, campaign: Campaign
) -> None:
    from undersigned_verify import entry as leaves

    found = get_key(book_entry=instance.entry(campaign), klass="open")
    leaf = leaves.parse(instance.entry(campaign).log.read_leaf(found.leaf_index))
    assert isinstance(leaf, leaves.IssuerKey)
    assert (leaf.spki, leaf.klass) == (found.spki, 4)


def test_growth_has_a_point_for_each_checkpoint(
    instance: Instance, campaign: Campaign
) -> None:
    began = instance.clock.now()
    instance.sign_many(campaign, 20)
    instance.publish(campaign)
    ledger = instance.engine.services.ledger
    points = list_growth(ledger=ledger, origin=campaign.origin)
    assert [(point.size, point.net) for point in points] == [(3, 0), (23, 20)]
    assert [point.at for point in points] == [began, began + timedelta(minutes=30)]
