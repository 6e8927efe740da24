"""The short way for issue and sign answers as the long way does, byte for byte."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.factories.asgi import JSON, make_behind, make_sign_body
from tests.factories.instances import Instance
from tests.factories.wire import Wire, make_request, serve
from undersigned.campaigns.data import Campaign
from undersigned.ledger.queries import count_pooled
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.hot.wire import PAGE_LIMIT_BYTES, Scope

REQUEST = "application/private-token-request"


@pytest.fixture
def passed_on() -> list[Scope]:
    """What reached the pages."""
    return []


@pytest.fixture
def wire(
    instance: Instance, campaign: Campaign, static: Path, passed_on: list[Scope]
) -> Iterator[Wire]:
    front = HotApp(
        services=instance.engine.services,
        files=Files(public=instance.environment.public, static=[static]),
        behind=make_behind(passed_on),
    )
    with serve(front) as found:
        yield found


def encode(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


@pytest.fixture
def good(instance: Instance, campaign: Campaign) -> bytes:
    """Asha's signature, ready to be sent."""
    _writing, request = instance.make_signature(campaign)
    return encode(make_sign_body(request))


def sign(campaign: Campaign, body: bytes, **more: Any) -> bytes:
    more.setdefault("content_type", JSON)
    return make_request("POST", f"/{campaign.path}/sign", body, **more)


def count_waiting(instance: Instance, campaign: Campaign) -> int:
    ledger = instance.engine.services.ledger
    return sum(count_pooled(ledger=ledger, origin=campaign.origin).values())


class TestTheShortWay:
    def test_a_signature_takes_it_and_is_counted(
        self, instance: Instance, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        (answer,) = wire.ask(sign(campaign, good))
        assert answer.status == 200
        assert wire.taken == [f"/{campaign.path}/sign"]
        promise = answer.json()["promise"]
        assert promise.startswith(f"undersigned promise v1\n{campaign.origin}\n")
        instance.publish(campaign)
        assert instance.net(campaign) == 1
        assert instance.audit(campaign).accepted

    def test_a_token_takes_it(
        self, instance: Instance, campaign: Campaign, wire: Wire
    ) -> None:
        writing, ticket = instance.write(campaign), instance.get_ticket(campaign)
        headers: dict[str, Any] = {
            "content_type": REQUEST,
            "authorization": f"Ticket {ticket}",
        }
        path = f"/{campaign.path}/issue"
        plain = make_request("POST", path, writing.prepared.request, **headers)
        chunked = make_request(
            "POST", path, writing.prepared.request, chunked=True, **headers
        )
        short, long = wire.ask(plain, chunked)
        assert wire.taken == [path]
        # The same ticket and request: the same bytes again, whichever way.
        assert (short.status, short.body) == (200, long.body)
        assert short.headers == long.headers
        writing.finish(short.body)

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"{",
            b"\xff\xfe",
            b"[]",
            b"{}",
            b'{"key_index":0}',
            b" " * 16_384,
            b"[" * 16_000,
        ],
        ids=["empty", "cut", "no-utf8", "list", "bare", "part", "blank", "deep"],
    )
    def test_a_bad_body_is_refused_alike(
        self,
        instance: Instance,
        campaign: Campaign,
        wire: Wire,
        good: bytes,
        body: bytes,
    ) -> None:
        short, long = wire.ask(sign(campaign, body), sign(campaign, body, chunked=True))
        assert len(wire.taken) == 1
        assert (short.status, short.headers, short.body) == (
            long.status,
            long.headers,
            long.body,
        )
        assert short.problem()[0] == 400
        assert count_waiting(instance, campaign) == 0
        assert wire.ask(sign(campaign, good))[0].status == 200

    def test_a_changed_signature_is_refused_alike(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        for change in ({"r": "A" * 43}, {"stance": 9}, {"key_index": 77}, {"salt": ""}):
            body = encode({**json.loads(good), **change})
            short, long = wire.ask(
                sign(campaign, body), sign(campaign, body, chunked=True)
            )
            assert (short.status, short.headers, short.body) == (
                long.status,
                long.headers,
                long.body,
            )
            assert short.problem()[0] == 400

    def test_a_bad_ticket_is_refused_alike(
        self, campaign: Campaign, wire: Wire
    ) -> None:
        path = f"/{campaign.path}/issue"
        for given in (None, "Basic x", "Ticket ", "Ticket \xe9", "Ticket AAAA"):
            headers: dict[str, Any] = {"content_type": REQUEST}
            if given is not None:
                headers["authorization"] = given
            short, long = wire.ask(
                make_request("POST", path, bytes(259), **headers),
                make_request("POST", path, bytes(259), chunked=True, **headers),
            )
            assert short.problem() == long.problem()
            assert short.headers == long.headers

    def test_intake_that_is_closed_says_so(
        self, instance: Instance, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        instance.engine.services.ledger.writer.stop()
        (answer,) = wire.ask(sign(campaign, good))
        assert answer.problem() == (503, "intake-closed")
        assert int(answer.headers["retry-after"]) > 0

    def test_a_fault_nobody_foresaw_is_answered(
        self,
        campaign: Campaign,
        wire: Wire,
        good: bytes,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        def fail(_body: bytes) -> None:
            raise ArithmeticError

        with monkeypatch.context() as patch:
            patch.setattr("undersigned.web.hot.sign.parse_sign_body", fail)
            (answer,) = wire.ask(sign(campaign, good))
        assert answer.status == 500
        assert answer.headers["connection"] == "close"
        assert "ArithmeticError" in caplog.text
        assert wire.ask(sign(campaign, good))[0].status == 200


class TestTheLongWay:
    """Whatever is unusual takes it, and is answered as before."""

    @pytest.mark.parametrize(
        "more, status",
        [
            ({"content_type": f"{JSON}; charset=utf-8"}, 200),
            ({"content_type": "text/plain"}, 415),
            ({"content_length": "16385"}, 413),
            ({"chunked": True}, 200),
        ],
        ids=["charset", "media", "length", "chunked"],
    )
    def test_an_unusual_header(
        self,
        campaign: Campaign,
        wire: Wire,
        good: bytes,
        more: dict[str, Any],
        status: int,
    ) -> None:
        (answer,) = wire.ask(sign(campaign, good, **more))
        assert answer.status == status
        assert wire.taken == []

    def test_who_expects_to_be_told_to_go_on(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        with wire.connect() as connection:
            whole = sign(campaign, good, expect="100-continue")
            head, _blank, body = whole.partition(b"\r\n\r\n")
            connection.send(head + b"\r\n\r\n")
            assert connection.read().status == 100
            connection.send(body)
            assert connection.read().status == 200

    def test_another_method_or_address(self, campaign: Campaign, wire: Wire) -> None:
        got, nowhere = wire.ask(
            make_request("GET", f"/{campaign.path}/sign", b"", content_type=JSON),
            make_request("POST", "/c/nowhere/sign", b"{}", content_type=JSON),
        )
        assert got.problem() == (405, "method-not-taken")
        assert nowhere.problem() == (404, "nothing-here")
        assert wire.taken == []


class TestAConnection:
    def test_requests_in_a_row_are_answered_in_their_order(
        self, instance: Instance, campaign: Campaign, wire: Wire
    ) -> None:
        bodies = [
            encode(make_sign_body(instance.make_signature(campaign, address)[1]))
            for address in ("asha@example.org", "omar@example.org", "vic@example.org")
        ]
        log_file = make_request("GET", f"/{campaign.path}/count.json", b"")
        answers = wire.ask(
            *(sign(campaign, body) for body in bodies), log_file, sign(campaign, b"{}")
        )
        assert [answer.status for answer in answers] == [200, 200, 200, 200, 400]
        nonces = [answer.json()["promise"].split("\n")[2] for answer in answers[:3]]
        assert len(set(nonces)) == 3
        assert answers[3].json()["origin"] == campaign.origin
        assert count_waiting(instance, campaign) == 3

    def test_a_body_may_come_slowly(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        whole = sign(campaign, good)
        with wire.connect() as connection:
            for at in range(0, len(whole), 97):
                connection.send(whole[at : at + 97])
            assert connection.read().status == 200
            connection.send(whole)
            assert connection.read().status == 200
        assert len(wire.taken) == 2

    def test_who_hangs_up_before_the_end_signs_nothing(
        self, instance: Instance, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        with wire.connect() as connection:
            connection.send(sign(campaign, good)[:-1])
        assert wire.ask(sign(campaign, b"{}"))[0].status == 400
        assert count_waiting(instance, campaign) == 0

    def test_who_hangs_up_after_it_has_signed(
        self, instance: Instance, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        # The promise is lost, the signature is not: the same body gets it again.
        with wire.connect() as connection:
            connection.send(sign(campaign, good))
        assert wire.ask(sign(campaign, good))[0].status == 200
        assert count_waiting(instance, campaign) == 1

    @pytest.mark.parametrize("body", [b"{}", None], ids=["refused", "taken"])
    def test_it_is_closed_when_asked_for(
        self, campaign: Campaign, wire: Wire, good: bytes, body: bytes | None
    ) -> None:
        with wire.connect() as connection:
            connection.send(sign(campaign, body or good, connection="close"))
            answer = connection.read()
            assert answer.headers["connection"] == "close"
            assert connection.read().status == 0

    def test_an_old_client_is_answered(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        old = sign(campaign, good).replace(b"HTTP/1.1", b"HTTP/1.0", 1)
        assert wire.ask(old)[0].status == 200
        assert wire.taken == []


class TestAPageForm:
    """A body is awaited in front: the two page threads wait for nobody."""

    PATH = "/en/c/river/sign/ask/"

    def test_it_reaches_the_pages_when_it_is_whole(
        self, wire: Wire, passed_on: list[Scope]
    ) -> None:
        form = "application/x-www-form-urlencoded"
        whole = make_request("POST", self.PATH, b"klass=email", content_type=form)
        with wire.connect() as connection:
            connection.send(whole[:-1])
            assert wire.ask(make_request("GET", "/en/", b""))[0].status == 299
            assert [scope["path"] for scope in passed_on] == ["/en/"]
            connection.send(whole[-1:])
            assert connection.read().status == 299
        assert len(passed_on) == 2

    def test_it_is_not_awaited_for_ever(
        self, wire: Wire, passed_on: list[Scope], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("undersigned.web.hot.wire.PAGE_BODY_SECONDS", 0.05)
        with wire.connect() as connection:
            connection.send(make_request("POST", self.PATH, b"klass=email")[:-1])
            assert connection.read().problem() == (408, "body-too-slow")
        assert passed_on == []

    @pytest.mark.parametrize("chunked", [True, False])
    def test_it_has_a_limit(
        self, wire: Wire, passed_on: list[Scope], chunked: bool
    ) -> None:
        large = bytes(PAGE_LIMIT_BYTES + 1)
        (answer,) = wire.ask(make_request("POST", self.PATH, large, chunked=chunked))
        assert answer.problem() == (413, "body-too-large")
        assert passed_on == []


def test_who_has_a_file_already_is_told_in_a_whole_answer(
    campaign: Campaign, wire: Wire
) -> None:
    path = f"/{campaign.path}/checkpoint"
    with wire.connect() as connection:
        connection.send(make_request("GET", path, b""))
        first = connection.read()
        again = make_request("GET", path, b"", if_none_match=first.headers["etag"])
        connection.send(again + make_request("GET", path, b""))
        assert connection.read().status == 304
        assert connection.read().body == first.body


class TestLimits:
    def test_a_head_of_many_lines_is_refused(self, wire: Wire) -> None:
        lines = "".join(f"a: {number}\r\n" for number in range(150))
        with wire.connect() as connection:
            connection.send(f"GET /en/ HTTP/1.1\r\n{lines}\r\n".encode())
            assert connection.read().status == 400
            assert connection.read().status == 0

    def test_a_head_that_does_not_end_is_refused(
        self, wire: Wire, passed_on: list[Scope]
    ) -> None:
        with wire.connect() as connection:
            connection.send(b"GET /en/ HTTP/1.1\r\na: ")
            with contextlib.suppress(OSError):
                for _piece in range(40):
                    connection.send(b"y" * 8192)
            with contextlib.suppress(OSError):
                assert connection.read().status in (0, 400)
        assert passed_on == []

    def test_large_bodies_and_many_requests_are_no_head(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        body = bytes(200_000)
        form = make_request("POST", "/en/c/river/withdraw/", body)
        with wire.connect() as connection:
            for _time in range(3):
                connection.send(form)
                assert connection.read().status == 299
            for _time in range(60):
                connection.send(sign(campaign, good))
                assert connection.read().status == 200

    def test_a_request_that_arrives_for_ever_is_hung_up_on(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        with wire.connect() as silent, wire.connect() as slow:
            slow.send(sign(campaign, good)[:-1])
            wire.wait_for_connections(2)
            wire.close_late(after=1_000.0)
            assert silent.read().status == 0
            assert slow.read().status == 0

    def test_a_connection_is_kept_for_a_while_and_no_longer(
        self, campaign: Campaign, wire: Wire, good: bytes
    ) -> None:
        kept = wire.server.config.timeout_keep_alive
        with wire.connect() as connection:
            for _time in range(2):
                connection.send(sign(campaign, good))
                assert connection.read().status == 200
                wire.close_late(after=kept - 1.0)
            connection.send(make_request("GET", "/en/", b""))
            assert connection.read().status == 299
            wire.close_late(after=kept + 1.0)
            assert connection.read().status == 0

    def test_more_connections_than_files_allow_are_not_taken(
        self, instance: Instance, campaign: Campaign, static: Path, good: bytes
    ) -> None:
        front = HotApp(
            services=instance.engine.services,
            files=Files(public=instance.environment.public, static=[static]),
            behind=make_behind([]),
        )
        with (
            serve(front, max_connections=2) as wire,
            wire.connect() as first,
            wire.connect() as second,
        ):
            for connection in (first, second):
                connection.send(sign(campaign, good))
                assert connection.read().status == 200
            with wire.connect() as third, contextlib.suppress(OSError):
                third.send(sign(campaign, good))
                assert third.read().status == 0
            first.close()
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                with contextlib.suppress(OSError):
                    if wire.ask(sign(campaign, good))[0].status == 200:
                        return
                time.sleep(0.01)
            pytest.fail("a connection that ended makes no room")
