"""POST c/ID/sign: a signature for a promise; every bad input has its own answer."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from tests.factories.asgi import (
    JSON,
    Answer,
    Browser,
    ask_for_token,
    encode64,
    make_sign_body,
)
from tests.factories.cast import OMAR
from tests.factories.instances import Instance
from tests.factories.signers import show
from undersigned.campaigns.data import Campaign
from undersigned.ledger.embedded import EmbeddedStore
from undersigned.ledger.queries import count_pooled
from undersigned.safety.switches import EVERYWHERE, Flip, Switch
from undersigned.signatures.queries import list_shown

Body = dict[str, Any]


def count_waiting(instance: Instance, campaign: Campaign) -> int:
    ledger = instance.engine.services.ledger
    return sum(count_pooled(ledger=ledger, origin=campaign.origin).values())


@pytest.fixture
def body(instance: Instance, campaign: Campaign) -> Body:
    """Asha's signature, ready to be sent."""
    _writing, request = instance.make_signature(campaign)
    return make_sign_body(request)


class TestASignature:
    def test_it_is_promised_and_counted(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        answer = browser.post(f"/{campaign.path}/sign", body)
        assert answer.status == 200
        assert answer.headers["content-type"] == JSON
        assert answer.headers["cache-control"] == "no-store"
        assert "set-cookie" not in answer.headers
        promise = answer.json()["promise"]
        assert promise.startswith(f"undersigned promise v1\n{campaign.origin}\n")
        instance.publish(campaign)
        assert instance.net(campaign) == 1
        assert instance.audit(campaign).accepted

    def test_the_same_body_again_gets_an_equivalent_answer(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        first = browser.post(f"/{campaign.path}/sign", body)
        again = browser.post(f"/{campaign.path}/sign", body)
        assert again.json() == first.json()
        instance.publish(campaign)
        later = browser.post(f"/{campaign.path}/sign", body)
        assert later.status == 200
        # The same number, and a promise of its own time.
        numbers = {a.json()["promise"].splitlines()[2] for a in (first, later)}
        assert len(numbers) == 1
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_the_whole_way_goes_over_the_wire(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        shown = show(name="Asha", place="Riverside")
        writing = instance.write(campaign, shown=shown)
        ticket = instance.get_ticket(campaign)
        issued = ask_for_token(browser, campaign.path, ticket, writing)
        sent = make_sign_body(writing.finish(issued.body))
        assert browser.post(f"/{campaign.path}/sign", sent).status == 200
        instance.publish(campaign)
        number = encode64(writing.prepared.nonce)
        receipt = browser.post(f"/{campaign.path}/receipt", {"nonce": number})
        assert receipt.status == 200
        assert [row.name for row in list_shown(origin=campaign.origin).rows] == ["Asha"]

    def test_its_body_may_come_in_pieces(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        data = json.dumps(body).encode()
        answer = browser.send(
            "POST",
            f"/{campaign.path}/sign",
            headers={"content_type": f"{JSON}; charset=utf-8"},
            chunks=[data[:1], data[1:100], b"", data[100:]],
        )
        assert answer.status == 200

    def test_a_client_that_hangs_up_signs_nothing(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        data = json.dumps(body).encode()
        for chunks in ([], [data[:50]], [data]):
            answer = browser.send(
                "POST",
                f"/{campaign.path}/sign",
                headers={"content_type": JSON},
                chunks=chunks,
                hangs_up=True,
            )
            assert answer.status == 0
        assert count_waiting(instance, campaign) == 0


def set_member(name: str, value: object) -> Callable[[Body], Body]:
    return lambda body: {**body, name: value}


def drop_member(name: str) -> Callable[[Body], Body]:
    return lambda body: {key: value for key, value in body.items() if key != name}


HASHES = ("public_hash", "withdraw_hash", "r")
MEMBERS = (*HASHES, "key_index", "stance", "authenticator", "public", "salt")
MALFORMED = (400, "signature-malformed")
NOT_VALID = (400, "body-not-valid")


class TestABadBody:
    def check(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        answer: Answer,
        expected: tuple[int, str],
    ) -> None:
        """Refused as said, nothing kept, and the good body is taken after it."""
        assert answer.problem() == expected
        assert count_waiting(instance, campaign) == 0
        assert browser.post(f"/{campaign.path}/sign", body).status == 200
        assert count_waiting(instance, campaign) == 1

    @pytest.mark.parametrize(
        "change, expected",
        [
            *[(drop_member(name), NOT_VALID) for name in MEMBERS],
            *[(set_member(name, 7.5), NOT_VALID) for name in MEMBERS],
            *[(set_member(name, []), NOT_VALID) for name in MEMBERS],
            *[(set_member(name, True), NOT_VALID) for name in MEMBERS],
            (set_member("extra", 1), NOT_VALID),
            *[(set_member(name, ""), MALFORMED) for name in HASHES],
            *[(set_member(name, "A" * 42), MALFORMED) for name in HASHES],
            *[(set_member(name, "A" * 44), MALFORMED) for name in HASHES],
            *[(set_member(name, "!" * 43), MALFORMED) for name in HASHES],
            *[(set_member(name, "é" * 43), MALFORMED) for name in HASHES],
            (set_member("authenticator", "A" * 341), MALFORMED),
            (set_member("authenticator", "A" * 344), MALFORMED),
            (set_member("authenticator", "A" * 342), (400, "token-not-valid")),
            (set_member("r", "A" * 43), (400, "token-not-valid")),
            (set_member("public_hash", "_" * 42 + "8"), (400, "token-not-valid")),
            (set_member("key_index", 7), (400, "key-index-unknown")),
            (set_member("key_index", 65535), (400, "key-index-unknown")),
            (set_member("key_index", 65536), MALFORMED),
            (set_member("key_index", -1), MALFORMED),
            (set_member("key_index", 2**70), MALFORMED),
            (set_member("key_index", 1), (400, "token-not-valid")),
            (set_member("stance", 1), (400, "stance-not-offered")),
            (set_member("stance", 255), (400, "stance-not-offered")),
            (set_member("stance", 256), (400, "stance-not-offered")),
            (set_member("stance", -1), (400, "stance-not-offered")),
            (set_member("salt", "A" * 43), MALFORMED),
            (set_member("public", {}), MALFORMED),
            (set_member("public", {"name": 7}), NOT_VALID),
            (set_member("public", show(name="Asha")), MALFORMED),
        ],
    )
    def test_it_is_refused_member_by_member(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        change: Callable[[Body], Body],
        expected: tuple[int, str],
    ) -> None:
        answer = browser.post(f"/{campaign.path}/sign", change(body))
        self.check(instance, browser, campaign, body, answer, expected)

    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{",
            b"null",
            b"[]",
            b"7",
            b'"text"',
            b"{} {}",
            b"\xff\xfe{}",
            b'{"key_index": \xc3\x28}',
            b'{"r": "\\ud800"}',
            b"\x00" * 100,
            b"[" * 16_000,
            b'{"public":' * 1_500,
            b"key_index=0&stance=0",
        ],
        ids=lambda data: repr(data[:20]),
    )
    def test_it_is_refused_if_it_is_not_the_json_asked_for(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        data: bytes,
    ) -> None:
        answer = browser.post(f"/{campaign.path}/sign", data)
        self.check(instance, browser, campaign, body, answer, NOT_VALID)

    def test_it_is_refused_for_malformed_utf8_inside(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        data = json.dumps({**body, "r": "@@"}).encode().replace(b"@@", b"\xff\xfe")
        answer = browser.post(f"/{campaign.path}/sign", data)
        self.check(instance, browser, campaign, body, answer, NOT_VALID)

    def test_it_is_refused_when_it_is_too_large(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        data = json.dumps(body).encode() + b" " * 20_000
        answer = browser.post(f"/{campaign.path}/sign", data)
        expected = (413, "body-too-large")
        self.check(instance, browser, campaign, body, answer, expected)

    @pytest.mark.parametrize("length", ["99999999", "1e3", "-1", "x", "9" * 400])
    def test_it_is_refused_before_it_is_read_when_it_says_so(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        length: str,
    ) -> None:
        answer = browser.post(f"/{campaign.path}/sign", body, content_length=length)
        expected = (413, "body-too-large")
        self.check(instance, browser, campaign, body, answer, expected)

    def test_it_is_refused_when_it_grows_too_large_in_pieces(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        answer = browser.send(
            "POST",
            f"/{campaign.path}/sign",
            headers={"content_type": JSON, "content_length": "10"},
            chunks=[b" " * 1000] * 30,
        )
        expected = (413, "body-too-large")
        self.check(instance, browser, campaign, body, answer, expected)

    @pytest.mark.parametrize(
        "media", [None, "", "text/plain", "application/x-www-form-urlencoded"]
    )
    def test_it_is_refused_under_another_media_type(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        media: str | None,
    ) -> None:
        answer = browser.post(f"/{campaign.path}/sign", body, media=media)
        expected = (415, "media-type-wrong")
        self.check(instance, browser, campaign, body, answer, expected)

    @pytest.mark.parametrize(
        "shown, code",
        [
            (show(name="asha@example.org"), "personal-data-found"),
            (show(name="Asha\u202e"), "text-not-clean"),
            (show(name="a" * 81), "text-too-long"),
        ],
    )
    def test_what_may_not_be_shown_is_refused_kindly(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        shown: dict[str, str],
        code: str,
    ) -> None:
        _writing, request = instance.make_signature(campaign, OMAR, shown=shown)
        answer = browser.post(f"/{campaign.path}/sign", make_sign_body(request))
        self.check(instance, browser, campaign, body, answer, (400, code))

    def test_names_are_refused_where_none_are_shown(
        self, instance: Instance, browser: Browser
    ) -> None:
        nameless = instance.open_campaign(show_names=False)
        _writing, request = instance.make_signature(nameless, shown=show(name="Asha"))
        answer = browser.post(f"/{nameless.path}/sign", make_sign_body(request))
        assert answer.problem() == (400, "names-not-shown")

    def test_another_campaigns_token_is_refused(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        other = instance.open_campaign(text="Another demand.")
        answer = browser.post(f"/{other.path}/sign", body)
        assert answer.problem() == (400, "token-not-valid")
        assert count_waiting(instance, other) == 0


class TestAClosedDoor:
    @pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
    def test_another_method_is_not_taken(
        self, browser: Browser, campaign: Campaign, method: str
    ) -> None:
        answer = browser.send(method, f"/{campaign.path}/sign")
        assert answer.status == 405
        assert answer.headers["allow"] == "POST"

    def test_a_closed_campaign_is_gone(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        from undersigned.ledger.operations import close_log

        close_log(
            ledger=instance.engine.services.ledger,
            origin=campaign.origin,
            reason="closing-day",
            at=instance.clock.now(),
        )
        answer = browser.post(f"/{campaign.path}/sign", body)
        assert answer.problem() == (410, "campaign-closed")
        assert browser.get(f"/{campaign.path}/checkpoint").status == 200

    def test_a_closed_campaign_is_gone_after_a_restart(
        self, instance: Instance, campaign: Campaign, body: Body, tmp_path: Any
    ) -> None:
        from tests.hot.conftest import make_browser
        from undersigned.campaigns.operations import begin_closing
        from undersigned.kernel.actor import OPERATOR

        begin_closing(
            actor=OPERATOR,
            campaign_id=campaign.id,
            issuer=instance.engine.services.issuer,
            reason="closed-by-organiser",
            at=instance.clock.now(),
        )
        instance.advance(timedelta(days=2))
        instance.restart()
        browser = make_browser(instance, tmp_path)
        answer = browser.post(f"/{campaign.path}/sign", body)
        assert answer.problem() == (410, "campaign-closed")

    def test_a_stopped_writer_is_unavailable_and_reads_stay_up(
        self, instance: Instance, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        store = instance.engine.services.ledger.store
        assert isinstance(store, EmbeddedStore)
        store.change(
            "CREATE TEMP TRIGGER broken BEFORE INSERT ON main.inbox "
            "BEGIN SELECT RAISE(ABORT, 'disk I/O error'); END"
        )
        for _time in range(2):
            answer = browser.post(f"/{campaign.path}/sign", body)
            assert answer.problem() == (503, "intake-closed")
            assert int(answer.headers["retry-after"]) > 0
        assert len(instance.engine.failures) == 1
        for name in ("count.json", "checkpoint", "statement", "log.vkey"):
            assert browser.get(f"/{campaign.path}/{name}").status == 200
        instance.restart()
        assert count_waiting(instance, campaign) == 0

    def test_an_unknown_campaign_is_not_there(
        self, browser: Browser, campaign: Campaign, body: Body
    ) -> None:
        for path in (
            "/c/no-such-campaign/sign",
            "/c//sign",
            "/c/sign",
            "/c/%2e%2e/sign",
        ):
            assert browser.post(path, body).problem() == (404, "nothing-here")
        assert browser.post(f"/{campaign.path}/sign", body).status == 200


class TestASwitchTurnedOff:
    @pytest.fixture
    def turn(self, instance: Instance) -> Callable[[Switch, bool], None]:
        """Turn a switch off or on, as the command line does."""

        def turn(switch: Switch, on: bool) -> None:
            at = instance.clock.now()
            flip = Flip(switch, EVERYWHERE, on=on, reason="attack", at=at)
            instance.engine.services.book.switches.flip(flip)

        return turn

    def test_what_it_stops_is_refused_and_can_be_sent_again_later(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        turn: Callable[[Switch, bool], None],
    ) -> None:
        turn(Switch.SIGNING, False)
        answer = browser.post(f"/{campaign.path}/sign", body)
        assert (answer.status, answer.json()["code"]) == (503, "switched-off")
        assert count_waiting(instance, campaign) == 0
        turn(Switch.SIGNING, True)
        assert browser.post(f"/{campaign.path}/sign", body).status == 200
        assert count_waiting(instance, campaign) == 1

    def test_a_token_in_hand_is_good_while_no_new_ones_are_made(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        turn: Callable[[Switch, bool], None],
    ) -> None:
        ticket = instance.get_ticket(campaign, "petra@example.org")
        turn(Switch.ISSUING, False)
        refused = ask_for_token(
            browser, campaign.path, ticket, instance.write(campaign)
        )
        assert (refused.status, refused.json()["code"]) == (503, "switched-off")
        assert browser.post(f"/{campaign.path}/sign", body).status == 200
        turn(Switch.ISSUING, True)
        issued = ask_for_token(browser, campaign.path, ticket, instance.write(campaign))
        assert issued.status == 200

    def test_what_shows_nothing_goes_on_where_nothing_is_shown(
        self,
        instance: Instance,
        browser: Browser,
        campaign: Campaign,
        body: Body,
        turn: Callable[[Switch, bool], None],
    ) -> None:
        _writing, shown = instance.make_signature(
            campaign, "petra@example.org", shown=show(name="Petra")
        )
        turn(Switch.SHOWN, False)
        refused = browser.post(f"/{campaign.path}/sign", make_sign_body(shown))
        assert (refused.status, refused.json()["code"]) == (503, "switched-off")
        bare = make_sign_body(shown) | {"public": None, "salt": None}
        assert browser.post(f"/{campaign.path}/sign", bare).status == 200
        assert browser.post(f"/{campaign.path}/sign", body).status == 200
