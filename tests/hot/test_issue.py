"""POST c/ID/issue: a ticket and a blinded message for a blind signature."""

from __future__ import annotations

from datetime import timedelta

import pytest

from tests.factories.asgi import TOKEN_REQUEST, Answer, Browser, ask_for_token
from tests.factories.cast import OMAR
from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.campaigns.operations import begin_closing
from undersigned.kernel.actor import OPERATOR


def send(browser: Browser, campaign: Campaign, body: bytes, **headers: str) -> Answer:
    headers.setdefault("media", TOKEN_REQUEST)
    return browser.post(f"/{campaign.path}/issue", body, **headers)


class TestAToken:
    def test_it_is_answered_with_256_bytes_that_nobody_stores(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = ask_for_token(browser, campaign.path, ticket, writing)
        assert answer.status == 200
        assert answer.headers["content-type"] == "application/private-token-response"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["content-length"] == "256"
        assert "set-cookie" not in answer.headers
        assert writing.finish(answer.body).authenticator

    def test_the_same_request_gets_the_same_bytes(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answers = [
            ask_for_token(browser, campaign.path, ticket, writing) for _time in (1, 2)
        ]
        assert answers[0].body == answers[1].body

    def test_a_replayed_ticket_is_a_conflict(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        first, second = instance.write(campaign), instance.write(campaign)
        assert ask_for_token(browser, campaign.path, ticket, first).status == 200
        answer = ask_for_token(browser, campaign.path, ticket, second)
        assert answer.problem() == (409, "already-issued")

    @pytest.mark.parametrize("scheme", ["ticket", "TICKET", "Ticket "])
    def test_its_scheme_may_be_written_in_any_case(
        self, instance: Instance, browser: Browser, campaign: Campaign, scheme: str
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = send(
            browser,
            campaign,
            writing.prepared.request,
            authorization=f"{scheme} {ticket}",
        )
        assert answer.status == 200


class TestABadRequest:
    def check(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        answer: Answer,
        expected: tuple[int, str],
        ticket: str,
    ) -> None:
        """It is refused as said, and the ticket is not spent by it."""
        assert answer.problem() == expected
        good = ask_for_token(browser, campaign.path, ticket, instance.write(campaign))
        assert good.status == 200

    @pytest.mark.parametrize(
        "cut, expected",
        [
            (slice(0, 0), (400, "token-request-malformed")),
            (slice(0, 258), (400, "token-request-malformed")),
            (slice(1, 259), (400, "token-request-malformed")),
        ],
    )
    def test_of_a_wrong_length(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        cut: slice,
        expected: tuple[int, str],
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = send(
            browser,
            campaign,
            writing.prepared.request[cut],
            authorization=f"Ticket {ticket}",
        )
        self.check(instance, browser, campaign, answer, expected, ticket)

    def test_of_another_key(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        # The e-mail ticket with a request for the open class's key.
        ticket = instance.get_ticket(campaign)
        foreign = instance.write(campaign, klass="open")
        own = instance.write(campaign)
        assert foreign.prepared.request[2] != own.prepared.request[2]
        answer = ask_for_token(browser, campaign.path, ticket, foreign)
        expected = (400, "token-request-malformed")
        self.check(instance, browser, campaign, answer, expected, ticket)

    def test_not_below_the_modulus(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        body = writing.prepared.request[:3] + b"\xff" * 256
        answer = send(browser, campaign, body, authorization=f"Ticket {ticket}")
        expected = (400, "token-request-malformed")
        self.check(instance, browser, campaign, answer, expected, ticket)

    def test_too_large(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket = instance.get_ticket(campaign)
        answer = send(browser, campaign, bytes(2000), authorization=f"Ticket {ticket}")
        expected = (413, "body-too-large")
        self.check(instance, browser, campaign, answer, expected, ticket)

    @pytest.mark.parametrize(
        "media", ["application/json", "text/plain", "", "multipart/form-data"]
    )
    def test_of_another_media_type(
        self, instance: Instance, browser: Browser, campaign: Campaign, media: str
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = send(
            browser,
            campaign,
            writing.prepared.request,
            media=media,
            authorization=f"Ticket {ticket}",
        )
        expected = (415, "media-type-wrong")
        self.check(instance, browser, campaign, answer, expected, ticket)

    @pytest.mark.parametrize("value", [None, "", "Ticket", "Ticket ", "Bearer x", "x"])
    def test_without_a_ticket(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        value: str | None,
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        headers = {} if value is None else {"authorization": value}
        answer = send(browser, campaign, writing.prepared.request, **headers)
        expected = (400, "ticket-missing")
        self.check(instance, browser, campaign, answer, expected, ticket)

    @pytest.mark.parametrize("forged", ["x", "A" * 124, "ä" * 30, "A" * 5000, "!"])
    def test_with_a_forged_ticket(
        self, instance: Instance, browser: Browser, campaign: Campaign, forged: str
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = ask_for_token(browser, campaign.path, forged, writing)
        expected = (403, "ticket-not-valid")
        self.check(instance, browser, campaign, answer, expected, ticket)

    def test_with_another_campaigns_ticket(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        other = instance.open_campaign()
        answer = ask_for_token(
            browser,
            campaign.path,
            instance.get_ticket(other),
            instance.write(campaign),
        )
        ticket = instance.get_ticket(campaign)
        expected = (403, "ticket-not-valid")
        self.check(instance, browser, campaign, answer, expected, ticket)

    def test_with_an_expired_ticket(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        old = instance.get_ticket(campaign)
        instance.clock.advance(timedelta(days=2))
        answer = ask_for_token(browser, campaign.path, old, instance.write(campaign))
        ticket = instance.get_ticket(campaign, OMAR)
        expected = (403, "ticket-expired")
        self.check(instance, browser, campaign, answer, expected, ticket)

    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
    def test_by_another_method(
        self, browser: Browser, campaign: Campaign, method: str
    ) -> None:
        answer = browser.send(method, f"/{campaign.path}/issue")
        assert answer.headers["allow"] == "POST"
        if method == "HEAD":
            assert (answer.status, answer.body) == (405, b"")
        else:
            assert answer.problem() == (405, "method-not-taken")


class TestAClosedDoor:
    def test_an_unknown_campaign_is_not_there(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        for path in ("c/no-such-campaign", "c/..", "c/", f"{campaign.path}/2"):
            answer = ask_for_token(browser, path, ticket, writing)
            assert answer.problem() == (404, "nothing-here")

    def test_a_draft_is_not_there(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        draft = instance.create()
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        answer = ask_for_token(browser, f"c/{draft}", ticket, writing)
        assert answer.problem() == (404, "nothing-here")

    def test_closing_stops_it_for_good(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        begin_closing(
            actor=OPERATOR,
            campaign_id=campaign.id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        for span in (timedelta(), timedelta(hours=1), timedelta(days=1)):
            instance.advance(span)
            answer = ask_for_token(browser, campaign.path, ticket, writing)
            assert answer.problem() == (410, "campaign-closed")

    def test_a_missing_key_closes_it_until_it_is_back(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        issuer = instance.engine.services.issuer
        version = issuer.get_version(campaign.origin)
        version.signers.clear()
        version.keys.clear()
        version.key = None
        answer = ask_for_token(browser, campaign.path, ticket, writing)
        assert answer.problem() == (503, "intake-closed")
        assert int(answer.headers["retry-after"]) > 0

    def test_a_full_disk_closes_it_and_reads_stay_up(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        instance.engine.services.issuer.stop()
        answer = ask_for_token(browser, campaign.path, ticket, writing)
        assert answer.problem() == (503, "intake-closed")
        assert browser.get(f"/{campaign.path}/count.json").status == 200
