"""POST c/ID/receipt and POST c/ID/withdraw."""

from __future__ import annotations

from typing import Any

import pytest

from undersigned_verify.note import VerifierKey
from undersigned_verify.proof import verify_receipt

from tests.factories.asgi import Browser, encode64
from tests.factories.instances import Instance, Signed
from tests.factories.signers import show
from undersigned.campaigns.data import Campaign
from undersigned.ledger.operations import close_log
from undersigned.signatures.queries import list_shown

UNKNOWN = encode64(bytes(32))


@pytest.fixture
def signed(instance: Instance, campaign: Campaign) -> Signed:
    """Asha's published signature."""
    signed = instance.sign(campaign, shown=show(name="Asha"))
    instance.publish(campaign)
    return signed


BAD_BODIES: list[tuple[bytes | dict[str, Any], str]] = [
    (b"", "body-not-valid"),
    (b"[]", "body-not-valid"),
    (b"\xff\xfe", "body-not-valid"),
    ({}, "body-not-valid"),
    ({"nonce": 7, "w": UNKNOWN}, "body-not-valid"),
    ({"nonce": None, "w": UNKNOWN}, "body-not-valid"),
    ({"nonce": "", "w": UNKNOWN}, "signature-malformed"),
    ({"nonce": "A" * 42, "w": UNKNOWN}, "signature-malformed"),
    ({"nonce": "ä" * 43, "w": UNKNOWN}, "signature-malformed"),
]


class TestAReceipt:
    def test_it_is_a_proof_that_verifies(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        number = {"nonce": encode64(signed.nonce)}
        answer = browser.post(f"/{campaign.path}/receipt", number)
        assert answer.status == 200
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        vkey = (instance.folder(campaign) / "log.vkey").read_text().strip()
        verdict = verify_receipt(answer.body, VerifierKey.parse(vkey))
        assert verdict.origin == campaign.origin

    def test_it_comes_once_the_signature_is_published(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        number = {"nonce": encode64(instance.sign(campaign).nonce)}
        answer = browser.post(f"/{campaign.path}/receipt", number)
        assert answer.problem() == (404, "receipt-not-ready")
        assert int(answer.headers["retry-after"]) == campaign.interval_seconds
        instance.publish(campaign)
        assert browser.post(f"/{campaign.path}/receipt", number).status == 200

    def test_nobody_learns_whether_a_number_waits_or_never_was(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        pooled = instance.sign(campaign)
        answers = [
            browser.post(f"/{campaign.path}/receipt", {"nonce": number})
            for number in (encode64(pooled.nonce), UNKNOWN)
        ]
        assert answers[0] == answers[1]

    @pytest.mark.parametrize("body, code", BAD_BODIES)
    def test_a_bad_number_is_refused(
        self,
        browser: Browser,
        campaign: Campaign,
        body: bytes | dict[str, Any],
        code: str,
    ) -> None:
        if isinstance(body, dict):
            body = {name: value for name, value in body.items() if name != "w"}
        answer = browser.post(f"/{campaign.path}/receipt", body)
        assert answer.problem() == (400, code)

    def test_it_stays_after_the_close(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        close(instance, campaign)
        number = {"nonce": encode64(signed.nonce)}
        assert browser.post(f"/{campaign.path}/receipt", number).status == 200

    def test_it_is_not_given_by_another_campaign(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        other = instance.open_campaign()
        number = {"nonce": encode64(signed.nonce)}
        answer = browser.post(f"/{other.path}/receipt", number)
        assert answer.problem() == (404, "receipt-not-ready")


def close(instance: Instance, campaign: Campaign) -> None:
    close_log(
        ledger=instance.engine.services.ledger,
        origin=campaign.origin,
        reason="closing-day",
        at=instance.clock.now(),
    )


class TestAWithdrawal:
    def test_it_takes_signature_and_name_away(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        secret = {"nonce": encode64(signed.nonce), "w": encode64(signed.w)}
        answer = browser.post(f"/{campaign.path}/withdraw", secret)
        assert (answer.status, answer.json()) == (200, {})
        assert list_shown(origin=campaign.origin).rows == ()
        instance.publish(campaign)
        assert instance.net(campaign) == 0
        assert instance.audit(campaign).accepted

    def test_it_may_be_sent_again_before_it_is_public(
        self, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        secret = {"nonce": encode64(signed.nonce), "w": encode64(signed.w)}
        answers = [
            browser.post(f"/{campaign.path}/withdraw", secret) for _time in (1, 2)
        ]
        assert [answer.status for answer in answers] == [200, 200]

    def test_it_needs_the_signers_secret(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        for number, w in (
            (encode64(signed.nonce), UNKNOWN),
            (UNKNOWN, encode64(signed.w)),
        ):
            answer = browser.post(
                f"/{campaign.path}/withdraw", {"nonce": number, "w": w}
            )
            assert answer.problem() == (400, "withdrawal-not-allowed")
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    @pytest.mark.parametrize(
        "body, code",
        [
            *BAD_BODIES,
            ({"nonce": UNKNOWN}, "body-not-valid"),
            ({"nonce": UNKNOWN, "w": "A"}, "signature-malformed"),
            ({"nonce": UNKNOWN, "w": UNKNOWN, "x": 1}, "body-not-valid"),
        ],
    )
    def test_a_bad_body_is_refused(
        self,
        browser: Browser,
        campaign: Campaign,
        body: bytes | dict[str, Any],
        code: str,
    ) -> None:
        answer = browser.post(f"/{campaign.path}/withdraw", body)
        assert answer.problem() == (400, code)

    def test_it_ends_at_the_close(
        self, instance: Instance, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        close(instance, campaign)
        secret = {"nonce": encode64(signed.nonce), "w": encode64(signed.w)}
        answer = browser.post(f"/{campaign.path}/withdraw", secret)
        assert answer.problem() == (410, "campaign-closed")
        # The name can still be erased with the same secret; the count stays.
        assert instance.net(campaign) == 1

    def test_a_large_body_is_refused(
        self, browser: Browser, campaign: Campaign
    ) -> None:
        for action in ("receipt", "withdraw"):
            answer = browser.post(f"/{campaign.path}/{action}", b" " * 1025)
            assert answer.problem() == (413, "body-too-large")

    def test_another_media_type_is_refused(
        self, browser: Browser, campaign: Campaign, signed: Signed
    ) -> None:
        secret = {"nonce": encode64(signed.nonce), "w": encode64(signed.w)}
        for action in ("receipt", "withdraw"):
            answer = browser.post(
                f"/{campaign.path}/{action}", secret, media="text/plain"
            )
            assert answer.problem() == (415, "media-type-wrong")
