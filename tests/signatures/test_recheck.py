"""What a web node that was taken over adds to the pool is seen before it counts."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from tests.factories.instances import Instance
from tests.factories.signers import show
from undersigned.campaigns.data import Campaign
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.open_log import OpenLog
from undersigned.signatures.operations.recheck import is_as_redeemed

Change = Callable[[PooledSignature], PooledSignature]


def list_pool(instance: Instance) -> list[PooledSignature]:
    rows = instance.engine.services.ledger.store.read(
        "SELECT nonce, leaf, shown FROM inbox ORDER BY nonce"
    )
    return [PooledSignature(*row) for row in rows]


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(id="soil", show_names=True)


@pytest.fixture
def log(instance: Instance, campaign: Campaign) -> OpenLog:
    return instance.engine.services.ledger.get_log(campaign.origin)


@pytest.fixture
def good(instance: Instance, campaign: Campaign, log: OpenLog) -> PooledSignature:
    """A signature that shows a name, as it waits."""
    instance.sign(campaign, shown=show(name="Asha", comment="For the soil"))
    (found,) = list_pool(instance)
    return found


def flip(at: int) -> Change:
    def change(one: PooledSignature) -> PooledSignature:
        leaf = bytearray(one.leaf)
        leaf[at] ^= 1
        return PooledSignature(one.nonce, bytes(leaf), one.shown)

    return change


def reword(**changed: object) -> Change:
    def change(one: PooledSignature) -> PooledSignature:
        assert one.shown is not None
        values = {**json.loads(one.shown), **changed}
        kept = {name: value for name, value in values.items() if value is not None}
        text = json.dumps(kept, sort_keys=True, separators=(",", ":"))
        return PooledSignature(one.nonce, one.leaf, text.encode())

    return change


def put(shown: bytes) -> Change:
    return lambda one: PooledSignature(one.nonce, one.leaf, shown)


CHANGES: dict[str, Change] = {
    "another type": flip(1),
    "a key that is not there": flip(3),
    "another stance": flip(4),
    "another public hash": flip(10),
    "another r": flip(80),
    "another token": flip(200),
    "a byte less": lambda one: PooledSignature(one.nonce, one.leaf[:-1], one.shown),
    "nothing": lambda one: PooledSignature(one.nonce, b"", one.shown),
    "another nonce": lambda one: PooledSignature(bytes(32), one.leaf, one.shown),
    "another name": reword(name="Vic"),
    "another salt": reword(salt="00" * 32),
    "a salt that is none": reword(salt="x"),
    "no salt": reword(salt=None),
    "a member more": reword(more="x"),
    "a number for a name": reword(name=7),
    "words that are no JSON": put(b"Asha"),
    "a list of words": put(b"[]"),
    "no UTF-8": put(b"\xff"),
}


def test_what_was_redeemed_passes(good: PooledSignature, log: OpenLog) -> None:
    assert is_as_redeemed(log=log, pooled=good)
    assert is_as_redeemed(log=log, pooled=PooledSignature(good.nonce, good.leaf, None))


@pytest.mark.parametrize("what", CHANGES)
def test_anything_else_does_not(what: str, good: PooledSignature, log: OpenLog) -> None:
    assert not is_as_redeemed(log=log, pooled=CHANGES[what](good))


@pytest.mark.postgresql
class TestOnAServer:
    """Where others add to the pool."""

    @pytest.fixture
    def add(self, instance: Instance) -> Callable[[OpenLog, PooledSignature], None]:
        """Put a row into the pool past everybody, as the role ``intake`` can."""
        store = instance.engine.services.ledger.store

        def add(log: OpenLog, one: PooledSignature) -> None:
            def insert() -> None:
                with store.transaction():
                    store.change(
                        "INSERT INTO inbox (log, nonce, leaf, shown) "
                        "VALUES (?, ?, ?, ?)",
                        (log.log_id, one.nonce, one.leaf, one.shown),
                    )

            instance.engine.services.ledger.writer.run(insert)

        return add

    def test_it_is_removed_and_the_rest_is_published(
        self,
        instance: Instance,
        campaign: Campaign,
        log: OpenLog,
        good: PooledSignature,
        add: Callable[[OpenLog, PooledSignature], None],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        add(log, PooledSignature(b"\x01" * 32, good.leaf, None))
        add(log, PooledSignature(b"\x02" * 32, b"no leaf at all", None))
        (published,) = instance.publish(campaign)
        assert published.signatures == 1
        assert list_pool(instance) == []
        assert "2 rows in the pool are no signatures" in caplog.text
        assert instance.audit(campaign).accepted

    def test_it_makes_no_crowd(
        self, instance: Instance, add: Callable[[OpenLog, PooledSignature], None]
    ) -> None:
        campaign = instance.open_campaign(
            id="quiet", mode="careful", interval_minutes=15
        )
        log = instance.engine.services.ledger.get_log(campaign.origin)
        instance.sign(campaign)
        (alone,) = list_pool(instance)
        for number in range(1, log.settings.k + 5):
            add(log, PooledSignature(bytes([number]) * 32, alone.leaf, None))
        assert instance.publish(campaign) == []
        assert list_pool(instance) == [alone]
