"""Redeeming a token: what is taken, what is promised, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from undersigned_verify.note import VerifierKey, key_id, parse_note

from tests.factories.cast import ASHA, OMAR
from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.ledger.operations import SigningKeyMissing, stop_accepting
from undersigned.ledger.queries import count_pooled
from undersigned.ledger.writer import LogNotAccepting
from undersigned.signatures.data import Pooled
from undersigned.signatures.operations.redeem import (
    KeyIndexUnknown,
    SignatureMalformed,
    SignRequest,
    StanceNotOffered,
    TokenNotValid,
)

Change = Callable[[SignRequest], SignRequest]


@pytest.fixture
def campaign(instance: Instance) -> Campaign:
    return instance.open_campaign(
        classes=["email", "open"], stances=["for", "reservation"]
    )


@pytest.fixture
def request_(instance: Instance, campaign: Campaign) -> SignRequest:
    """Asha's signature, ready to be sent."""
    _writing, request = instance.make_signature(campaign)
    return request


def count_waiting(instance: Instance, campaign: Campaign) -> int:
    ledger = instance.engine.services.ledger
    return sum(count_pooled(ledger=ledger, origin=campaign.origin).values())


class TestAGoodSignature:
    def test_it_is_counted_after_the_next_publication(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        instance.redeem(campaign, request_)
        assert instance.net(campaign) == 0
        instance.publish(campaign)
        assert instance.net(campaign) == 1
        assert instance.audit(campaign).accepted

    def test_it_may_be_sent_again_and_stands_once(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        first = instance.redeem(campaign, request_)
        assert instance.redeem(campaign, request_) == first
        instance.publish(campaign)
        again = instance.redeem(campaign, request_)
        assert again.nonce == first.nonce
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_it_is_kept_over_a_restart(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        instance.redeem(campaign, request_)
        instance.restart()
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    @pytest.mark.parametrize("stance", ["for", "reservation"])
    def test_it_is_counted_under_its_stance(
        self, instance: Instance, campaign: Campaign, stance: str
    ) -> None:
        instance.sign(campaign, stance=stance)
        instance.publish(campaign)
        totals = instance.audit(campaign).totals
        assert totals is not None
        expected = {"for": 0, "reservation": 0, "against": 0, stance: 1}
        assert totals["by_stance"] == expected


class TestItsPromise:
    def open(self, instance: Instance, campaign: Campaign, pooled: Pooled) -> list[str]:
        """Return the promise's lines once its signature is checked."""
        folder = instance.folder(campaign)
        log_key = VerifierKey.parse((folder / "log.vkey").read_text().strip())
        note = parse_note(pooled.promise)
        ((name, identity, signature),) = note.signatures
        assert name == f"{campaign.origin}/promise"
        assert identity == key_id(name, 1, log_key.public)
        assert log_key.verify(note.text.encode(), signature)
        return note.text.splitlines()

    def test_it_is_a_note_signed_by_the_log(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        pooled = instance.redeem(campaign, request_)
        title, origin, nonce, by = self.open(instance, campaign, pooled)
        assert title == "undersigned promise v1"
        assert origin == campaign.origin
        assert nonce == pooled.nonce.hex()
        assert datetime.fromtimestamp(int(by), tz=UTC) == pooled.publish_by

    def test_it_names_the_next_interval_and_ten_minutes(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        instance.clock.advance(timedelta(seconds=17))
        pooled = instance.redeem(campaign, request_)
        assert pooled.publish_by == datetime(2026, 11, 21, 9, 12, tzinfo=UTC)

    def test_it_names_about_a_day_in_careful_mode(self, instance: Instance) -> None:
        careful = instance.open_campaign(mode="careful")
        pooled = instance.sign(careful).pooled
        span = pooled.publish_by - instance.clock.now()
        assert timedelta(days=1) <= span <= timedelta(days=1, hours=2)

    def test_it_names_the_closing_day_in_danger_mode(self, instance: Instance) -> None:
        closes_on = (instance.clock.now() + timedelta(days=9)).date()
        danger = instance.open(
            instance.create(mode="danger", classes=["email"], closes_on=closes_on),
            accept_unsealed_keys=True,
        )
        pooled = instance.sign(danger).pooled
        assert pooled.publish_by.date() > closes_on


def change_bytes(member: str, change: Callable[[bytes], bytes]) -> Change:
    """Return what changes one member of a request."""

    def apply(request: SignRequest) -> SignRequest:
        changed: dict[str, Any] = {member: change(getattr(request, member))}
        return replace(request, **changed)

    return apply


def without(member: str) -> Change:
    return change_bytes(member, lambda _data: b"")


def longer(member: str) -> Change:
    return change_bytes(member, lambda data: data + b"\0")


def flipped(member: str) -> Change:
    return change_bytes(member, lambda data: bytes([data[0] ^ 1]) + data[1:])


MEMBERS = ("public_hash", "withdraw_hash", "r", "authenticator")


class TestABadSignature:
    def check(
        self,
        instance: Instance,
        campaign: Campaign,
        good: SignRequest,
        bad: SignRequest,
        error: type[Exception],
    ) -> None:
        """The bad one is refused and leaves nothing; the good one is taken after."""
        with pytest.raises(error):
            instance.redeem(campaign, bad)
        assert count_waiting(instance, campaign) == 0
        instance.redeem(campaign, good)
        assert count_waiting(instance, campaign) == 1

    @pytest.mark.parametrize("member", MEMBERS)
    @pytest.mark.parametrize("change", [without, longer])
    def test_it_is_refused_for_a_wrong_length(
        self,
        instance: Instance,
        campaign: Campaign,
        request_: SignRequest,
        member: str,
        change: Callable[[str], Change],
    ) -> None:
        bad = change(member)(request_)
        self.check(instance, campaign, request_, bad, SignatureMalformed)

    @pytest.mark.parametrize("member", MEMBERS)
    def test_it_is_refused_for_another_bit(
        self,
        instance: Instance,
        campaign: Campaign,
        request_: SignRequest,
        member: str,
    ) -> None:
        bad = flipped(member)(request_)
        self.check(instance, campaign, request_, bad, TokenNotValid)

    @pytest.mark.parametrize("authenticator", [bytes(256), b"\xff" * 256])
    def test_it_is_refused_with_no_token_at_all(
        self,
        instance: Instance,
        campaign: Campaign,
        request_: SignRequest,
        authenticator: bytes,
    ) -> None:
        bad = replace(request_, authenticator=authenticator)
        self.check(instance, campaign, request_, bad, TokenNotValid)

    @pytest.mark.parametrize("key_index", [2, 7, 65535])
    def test_it_is_refused_for_an_unknown_key(
        self,
        instance: Instance,
        campaign: Campaign,
        request_: SignRequest,
        key_index: int,
    ) -> None:
        bad = replace(request_, key_index=key_index)
        self.check(instance, campaign, request_, bad, KeyIndexUnknown)

    def test_it_is_refused_under_another_classs_key(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        # A token got by work alone must not count as a confirmed address.
        bad = replace(request_, key_index=1)
        self.check(instance, campaign, request_, bad, TokenNotValid)

    @pytest.mark.parametrize("stance", [2, 3, 255, 256, -1])
    def test_it_is_refused_for_a_stance_not_offered(
        self,
        instance: Instance,
        campaign: Campaign,
        request_: SignRequest,
        stance: int,
    ) -> None:
        bad = replace(request_, stance=stance)
        self.check(instance, campaign, request_, bad, StanceNotOffered)

    def test_its_stance_cannot_be_changed_afterwards(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        bad = replace(request_, stance=1)
        self.check(instance, campaign, request_, bad, TokenNotValid)

    def test_another_campaigns_token_is_refused(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        other = instance.open_campaign(text="Another demand.")
        _writing, foreign = instance.make_signature(other, OMAR)
        self.check(instance, campaign, request_, foreign, TokenNotValid)
        instance.redeem(other, foreign)

    def test_the_same_text_in_another_campaign_is_refused(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        twin = instance.open_campaign(
            classes=["email", "open"], stances=["for", "reservation"]
        )
        assert twin.statement_sha256 == campaign.statement_sha256
        _writing, foreign = instance.make_signature(twin, OMAR)
        self.check(instance, campaign, request_, foreign, TokenNotValid)


class TestAClosedDoor:
    def test_nothing_is_taken_after_the_log_stops(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        ledger = instance.engine.services.ledger
        stop_accepting(ledger=ledger, origin=campaign.origin)
        with pytest.raises(LogNotAccepting):
            instance.redeem(campaign, request_)
        assert count_waiting(instance, campaign) == 0

    def test_nothing_is_taken_without_the_log_key(
        self, instance: Instance, campaign: Campaign, request_: SignRequest
    ) -> None:
        (instance.data / "secrets" / campaign.path / "log.key").unlink()
        instance.restart()
        with pytest.raises(SigningKeyMissing):
            instance.redeem(campaign, request_)
        assert count_waiting(instance, campaign) == 0
        assert instance.publish(campaign) == []
        assert instance.audit(campaign).accepted
        assert instance.engine.failures == []


def test_one_person_stands_in_two_classes_and_counts_apart(
    instance: Instance, campaign: Campaign
) -> None:
    instance.sign(campaign, ASHA)
    instance.sign(campaign, ASHA, klass="open")
    instance.publish(campaign)
    totals = instance.audit(campaign).totals
    assert totals is not None
    assert (totals["net"], totals["open_net"]) == (1, 1)
