"""Where more come than can be taken, everybody is told a place, and loses nothing."""

from __future__ import annotations

import asyncio
import html
import json
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.factories.asgi import (
    JSON,
    Answer,
    Browser,
    ask_for_token,
    make_behind,
    make_sign_body,
)
from tests.factories.instances import HOST, Instance
from tests.factories.wire import Wire, make_request, serve
from undersigned.campaigns.data import Campaign
from undersigned.safety.turns import STAGES, Stage
from undersigned.web.hot import door
from undersigned.web.hot import sign as hot_sign
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.public.waiting import render_wait
from undersigned.web.shared.headers import HEADERS
from undersigned.web.shared.locale import LANGUAGES, PSEUDO, compile_catalogs

FORM = "application/x-www-form-urlencoded"
PROBLEM = "application/problem+json"
MEMBERS = {"type", "title", "status", "code", "detail"}
WAITS = {"before", "seconds", "reason", "retry_after", "turn"}
NASTY = "\"'><script>alert(1)</script>\r\n& 河 \u202e"


@pytest.fixture(scope="module", autouse=True)
def _catalogs() -> None:
    compile_catalogs()


@pytest.fixture
def browser(instance: Instance, static: Path) -> Browser:
    """Asha's browser, in front of the door with its page."""
    browser = Browser(app=make_behind([]))
    browser.app = HotApp(
        services=instance.engine.services,
        files=Files(public=instance.environment.public, static=[static]),
        behind=make_behind(browser.passed_on),
        render_wait=render_wait,
    )
    return browser


def close(instance: Instance, stage: Stage) -> None:
    """Have somebody in every place of a stage."""
    line = instance.engine.services.lines.lines[stage]
    while line.enter():
        pass


def leave(instance: Instance, stage: Stage) -> None:
    """Have one of them go."""
    instance.engine.services.lines.leave(stage)


def post(browser: Browser, path: str, fields: dict[str, str], **headers: str) -> Answer:
    return browser.post(path, urlencode(fields), media=FORM, **headers)


def read_wait(answer: Answer) -> dict[str, Any]:
    """Return the members of a problem that says to wait, its shape checked."""
    assert answer.status == 503
    assert answer.headers["content-type"] == PROBLEM
    assert answer.headers["cache-control"] == "no-store"
    found: dict[str, Any] = answer.json()
    assert set(found) == MEMBERS | WAITS
    assert found["code"] == "please-wait"
    assert answer.headers["retry-after"] == str(found["retry_after"])
    return found


def hidden(answer: Answer) -> list[tuple[str, str]]:
    """Return the fields that a page carries, as a browser would send them."""
    found = re.findall(
        r'<input type="hidden" name="([^"]*)" value="([^"]*)">', answer.body.decode()
    )
    return [(html.unescape(name), html.unescape(value)) for name, value in found]


class TestPrograms:
    def test_a_token_waits_and_is_given_with_the_turn(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        close(instance, "issue")
        first = read_wait(ask_for_token(browser, campaign.path, ticket, writing))
        assert first["before"] == 0
        turn = first["turn"]
        again = read_wait(
            ask_for_token(browser, campaign.path, ticket, writing, turn=turn)
        )
        assert again["turn"] == turn
        leave(instance, "issue")
        answer = ask_for_token(browser, campaign.path, ticket, writing, turn=turn)
        assert answer.status == 200
        assert writing.finish(answer.body).authenticator

    def test_a_signature_waits_and_is_taken_with_the_turn(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        _writing, request = instance.make_signature(campaign)
        body, path = make_sign_body(request), f"/{campaign.path}/sign"
        close(instance, "sign")
        turn = read_wait(browser.post(path, body))["turn"]
        instance.publish(campaign)
        assert instance.net(campaign) == 0
        leave(instance, "sign")
        # Somebody without a turn does not pass.
        read_wait(browser.post(path, body))
        assert browser.post(path, body, turn=turn).status == 200
        instance.publish(campaign)
        assert instance.net(campaign) == 1

    def test_whatever_is_refused_leaves_its_place(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        lines = instance.engine.services.lines.lines
        ticket, writing = instance.get_ticket(campaign), instance.write(campaign)
        _writing, request = instance.make_signature(campaign)
        bad = make_sign_body(request) | {"r": "A" * 43}
        ask_for_token(browser, campaign.path, "nonsense", writing)
        ask_for_token(browser, campaign.path, ticket, writing)
        ask_for_token(browser, campaign.path, ticket, instance.write(campaign))
        browser.post(f"/{campaign.path}/sign", bad)
        browser.post(f"/{campaign.path}/sign", make_sign_body(request))
        browser.post(f"/{campaign.path}/sign", b"{")
        assert [lines[stage].inside for stage in STAGES] == [0] * len(STAGES)

    @pytest.mark.parametrize("action", ["receipt", "withdraw"])
    def test_what_is_no_step_of_signing_is_asked_for_again(
        self,
        browser: Browser,
        campaign: Campaign,
        action: str,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        body = {"nonce": "A" * 43} | ({"w": "A" * 43} if action == "withdraw" else {})
        assert browser.post(f"/{campaign.path}/{action}", body).status != 503
        monkeypatch.setattr(hot_sign, "THREADS_ROOM", 0)
        found = read_wait(browser.post(f"/{campaign.path}/{action}", body))
        assert (found["turn"], found["before"]) == ("", None)

    def test_the_short_way_is_not_taken_past_a_line(
        self, instance: Instance, campaign: Campaign, static: Path
    ) -> None:
        _writing, request = instance.make_signature(campaign)
        body = json.dumps(make_sign_body(request)).encode()
        front = HotApp(
            services=instance.engine.services,
            files=Files(public=instance.environment.public, static=[static]),
            behind=make_behind([]),
        )
        path = f"/{campaign.path}/sign"

        def ask(wire: Wire, **more: Any) -> Any:
            (answer,) = wire.ask(
                make_request("POST", path, body, content_type=JSON, **more)
            )
            return answer

        with serve(front) as wire:
            close(instance, "sign")
            found = ask(wire).json()
            assert found["code"] == "please-wait"
            leave(instance, "sign")
            assert ask(wire, turn=found["turn"]).status == 200
            assert wire.taken == []
            # Nobody waits any more, and one place is free: the short way again.
            assert ask(wire).status == 200
            assert wire.taken == [path]

    def test_the_short_way_gives_no_places(
        self, instance: Instance, campaign: Campaign, static: Path
    ) -> None:
        """It does not know whose a request is: places are counted by network."""
        _writing, request = instance.make_signature(campaign)
        body = json.dumps(make_sign_body(request)).encode()
        front = HotApp(
            services=instance.engine.services,
            files=Files(public=instance.environment.public, static=[static]),
            behind=make_behind([]),
        )
        line = instance.engine.services.lines.lines["sign"]
        path = f"/{campaign.path}/sign"
        plain = make_request("POST", path, body, content_type=JSON)
        with serve(front) as wire, wire.connect() as connection:
            # Its head comes while nobody waits, its body later.
            connection.send(plain[: -len(body)])
            until = time.monotonic() + 10
            while not wire.taken:
                assert time.monotonic() < until
                time.sleep(0.005)
            close(instance, "sign")
            connection.send(body)
            found = read_wait(connection.read())
            assert (found["turn"], line.waiting) == ("", 0)
            # The next time it has a place.
            connection.send(plain)
            turn = read_wait(connection.read())["turn"]
            assert turn
            assert line.waiting == 1
            leave(instance, "sign")
            leave(instance, "sign")
            # Whoever has a place uses it up: never the short way with one.
            taken = len(wire.taken)
            connection.send(
                make_request("POST", path, body, content_type=JSON, turn=turn)
            )
            assert connection.read().status == 200
            # And without one a script sends the header empty.
            connection.send(
                make_request("POST", path, body, content_type=JSON, turn="")
            )
            assert connection.read().status == 200
            assert len(wire.taken) == taken + 1


class TestForms:
    @pytest.mark.parametrize(
        "step, stage",
        [
            ("c/soil/sign/ask", "ask"),
            ("c/soil/sign/confirm", "confirm"),
            ("c/soil/sign/write", "confirm"),
            ("c/soil/sign/finish", "finish"),
            ("confirm", "confirm"),
        ],
    )
    def test_a_form_that_waits_stands_in_the_page_to_the_last_letter(
        self, instance: Instance, browser: Browser, step: str, stage: Stage
    ) -> None:
        typed = {"klass": "invitation", "comment": NASTY, "name": "Asha", "x": ""}
        close(instance, stage)
        answer = post(browser, f"/en/{step}/", typed)
        assert answer.status == 503
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        for name, value in HEADERS.items():
            assert answer.headers[name.lower()] == value
        assert "set-cookie" not in answer.headers
        assert "refresh" not in answer.headers
        assert "<script>alert" not in answer.body.decode()
        assert f'method="post" action="/en/{step}/"' in answer.body.decode()
        fields = hidden(answer)
        turn = fields.pop()
        assert turn[0] == "turn"
        assert fields == list(typed.items())
        assert browser.passed_on == []
        # The form comes back with its turn: still too early, then it goes on.
        again = post(browser, f"/en/{step}/", dict([*fields, turn]))
        assert again.status == 503
        assert hidden(again) == [*fields, turn]
        leave(instance, stage)
        assert post(browser, f"/en/{step}/", dict([*fields, turn])).status == 299
        (scope,) = browser.passed_on
        assert scope["path"] == f"/en/{step}/"

    def test_mail_has_a_line_of_its_own(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "mail")
        ask = "/en/c/soil/sign/ask/"
        assert post(browser, ask, {"klass": "email", "address": "a@b.cd"}).status == 503
        assert post(browser, ask, {"klass": "open"}).status == 299

    @pytest.mark.parametrize("code", [code for code, _name in (*LANGUAGES, PSEUDO)])
    def test_it_is_said_in_the_readers_language(
        self, instance: Instance, browser: Browser, code: str
    ) -> None:
        close(instance, "confirm")
        page = post(browser, f"/{code}/confirm/", {"t": "abc"}).body.decode()
        title = {
            "en": "Many people are here just now",
            "zh-hans": "此刻来的人很多",
            PSEUDO[0]: "⟦",
        }[code]
        assert title in page
        assert f'dir="{"rtl" if code == PSEUDO[0] else "ltr"}"' in page
        assert "\ue000" not in page

    def test_an_address_in_no_language_of_ours_still_gets_a_page(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "confirm")
        page = post(browser, "/tlh/confirm/", {"t": "abc"}).body.decode()
        assert '<html lang="en"' in page

    def test_who_wants_json_gets_json(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "confirm")
        answer = post(browser, "/en/confirm/", {"t": "abc"}, accept="application/json")
        assert read_wait(answer)["before"] == 0

    def test_another_sites_form_never_becomes_ours(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "ask")
        path, typed = "/en/c/soil/sign/ask/", {"klass": "open", "x": "victim"}
        for headers in (
            {"sec_fetch_site": "cross-site"},
            {"origin": "https://evil.example"},
        ):
            # Handed on, for the refusal inside; and where even that has no room:
            assert post(browser, path, typed, **headers).status == 299
            app: Any = browser.app
            app._door._others = door.OTHERS_ROOM
            answer = post(browser, path, typed, **headers)
            app._door._others = 0
            assert answer.headers["content-type"] == PROBLEM
            assert b"victim" not in answer.body
        own = {"origin": f"https://{HOST}", "sec_fetch_site": "same-origin"}
        assert post(browser, path, typed, **own).status == 503

    @pytest.mark.parametrize(
        "media, body",
        [
            ("multipart/form-data; boundary=x", b"--x--"),
            ("text/plain", b"klass=open"),
            (FORM, b"a=1&" * 60),
            (FORM, b"\xff\xfe=1"),
            (FORM, "klass=email&address=a%40b.cd&x=é".encode()),
        ],
    )
    def test_what_cannot_be_carried_passes_no_line(
        self, instance: Instance, browser: Browser, media: str, body: bytes
    ) -> None:
        """Which of its lines it belongs to stands in it: no browser sends such a form
        here, and Django would read some of these."""
        for path in ("/en/c/soil/sign/ask/", "/en/confirm/"):
            answer = browser.post(path, body, media=media)
            assert answer.problem() == (400, "body-not-valid")
        assert browser.passed_on == []

    def test_a_turn_in_the_form_that_is_none_is_replaced(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "ask")
        typed = {"klass": "open", "turn": "made-up"}
        fields = hidden(post(browser, "/en/c/soil/sign/ask/", typed))
        assert [name for name, _value in fields] == ["klass", "turn"]
        assert fields[1][1] != "made-up"

    def test_a_network_that_asks_too_often_waits_and_keeps_its_form(
        self, instance: Instance, browser: Browser
    ) -> None:
        typed = {"klass": "invitation", "code": "ABCD"}
        intake = instance.engine.services.intake
        while intake.reserve("203.0.113.8", most=600).seconds < 30:
            pass
        answer = post(browser, "/en/c/soil/sign/ask/", typed)
        page = answer.body.decode()
        assert hidden(answer)[:2] == list(typed.items())
        assert re.search(r'<p data-wait="network">', page)


class TestReading:
    def test_a_page_that_has_no_room_is_asked_for_again(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(door, "OTHERS_ROOM", 0)
        answer = browser.get("/en/confirm/?t=abc%22")
        assert answer.status == 503
        assert answer.headers["refresh"] == answer.headers["retry-after"]
        assert ("t", 'abc"') in hidden(answer)
        assert 'method="get" action="/en/confirm/"' in answer.body.decode()
        head = browser.send("HEAD", "/en/confirm/")
        assert (head.status, head.body) == (503, b"")
        assert browser.passed_on == []

    @pytest.mark.parametrize("path", ["/\\evil.example/", "/en/a b/"])
    def test_no_address_leads_the_form_elsewhere(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setattr(door, "OTHERS_ROOM", 0)
        page = browser.get(path).body.decode()
        (action,) = re.findall(r'action="([^"]*)"', page)
        assert re.fullmatch(r"/[a-z][a-z./%0-9]*/", action)

    def test_no_network_takes_all_the_room(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Nobody signs who cannot read the page before."""
        monkeypatch.setattr(door, "OTHERS_ROOM", 12)
        app: Any = browser.app
        held: list[str] = []

        async def hold(scope: Any, _receive: Any, _send: Any) -> None:
            held.append(scope["client"][0])
            await asyncio.Event().wait()

        async def come(address: str) -> Any:
            scope = {
                "type": "http",
                "scheme": "https",
                "method": "GET",
                "path": "/en/c/soil/sign/",
                "query_string": b"",
                "headers": [],
                "client": (address, 1),
            }
            sent: list[Any] = []

            async def send(message: Any) -> None:
                sent.append(message)

            await app._door.pass_on(scope, None, send, body=None)
            return sent[0]["status"]

        async def flood() -> list[asyncio.Task[Any]]:
            app._door._behind = hold
            crowd = [f"198.51.100.{one}" for one in range(80)] + ["192.0.2.1"] * 40
            tasks = [asyncio.create_task(come(address)) for address in crowd]
            await asyncio.sleep(0)
            # Two who take what they can have left a third, and a fourth.
            assert len(held) < 12
            late = ("203.0.113.1", "2001:db8::1")
            tasks += [asyncio.create_task(come(address)) for address in late]
            await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return tasks

        tasks = asyncio.run(flood())
        assert held[-2:] == ["203.0.113.1", "2001:db8::1"]
        refused = [one.result() for one in tasks if not one.cancelled()]
        assert refused == [503] * (len(tasks) - len(held))
        # Whoever has gone is forgotten.
        assert (app._door._others, app._door._of_network) == (0, {})

    @pytest.mark.parametrize("path", ["//evil.example/", "///evil.example/?x=1"])
    def test_it_leads_to_no_other_site(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch, path: str
    ) -> None:
        monkeypatch.setattr(door, "OTHERS_ROOM", 0)
        answer = browser.get(path)
        assert answer.headers["content-type"] == PROBLEM
        assert b"evil" not in answer.body
        answer = post(browser, path, {"x": "typed"})
        assert answer.headers["content-type"] == PROBLEM

    def test_an_address_is_asked_for_again_as_it_was(
        self, browser: Browser, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(door, "OTHERS_ROOM", 0)
        page = browser.get("/en/a?b").body.decode()
        assert 'action="/en/a"' in page
        # As the server hands it on: decoded.
        odd = browser.send("GET", "/en/é#x\\ y%/").body.decode()
        assert 'action="/en/%C3%A9%23x%5C%20y%25/"' in odd

    def test_files_have_no_line(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        for stage in STAGES:
            close(instance, stage)
        assert browser.get(f"/{campaign.path}/checkpoint").status == 200


class TestAskingForOnesTurn:
    def test_it_is_told_until_it_is_there(
        self, instance: Instance, browser: Browser
    ) -> None:
        close(instance, "confirm")
        turn = dict(hidden(post(browser, "/en/confirm/", {"t": "abc"})))["turn"]
        answer = browser.get(f"/wait/{turn}")
        assert answer.status == 200
        assert answer.headers["cache-control"] == "no-store"
        assert answer.json()["called"] is False
        assert set(answer.json()) == WAITS | {"called"}
        leave(instance, "confirm")
        assert browser.get(f"/wait/{turn}").json() == {"called": True}
        # As where it is not known any more: whoever comes then gets another.
        assert browser.get("/wait/nonsense").json() == {"called": True}
        assert browser.get("/wait/").json() == {"called": True}
        assert browser.post(f"/wait/{turn}", b"").problem() == (405, "method-not-taken")


def test_the_scope_says_that_the_turn_was_counted(browser: Browser) -> None:
    post(browser, "/en/c/soil/sign/ask/", {"klass": "open"})
    browser.get("/en/confirm/")
    first, second = browser.passed_on
    assert first["undersigned.turn"]
    assert "undersigned.turn" not in second
