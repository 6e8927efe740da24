"""On a node nobody loses a form, and signatures have a bound, with the issuer away."""

from __future__ import annotations

import html
import re
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlencode

import pytest

from tests.factories.asgi import Answer, Browser
from undersigned.web.node import app as node_app
from undersigned.web.node.app import NodeApp
from undersigned.web.node.upstream import IssuerAway
from undersigned.web.public.waiting import render_wait

FORM = "application/x-www-form-urlencoded"
ASK = "/en/c/soil/sign/ask/"
TYPED = {"klass": "email", "address": 'asha"@example.org', "comment": "one\r\ntwo"}


class Away:
    """An issuer's process that does not answer."""

    async def ask(self, *_words: Any, **_more: Any) -> Any:
        raise IssuerAway(retry_after_seconds=30)


@pytest.fixture
def browser() -> Browser:
    """Asha's browser before a node."""
    node = NodeApp(
        upstream=cast("Any", Away()),
        base_url="https://undersigned.example",
        secret="s" * 32,
        pool=cast("Any", None),
        now=lambda: 0.0,
        render_wait=render_wait,
    )
    entry = SimpleNamespace(facts=SimpleNamespace(takes_shown=True))
    book = SimpleNamespace(find=lambda _path: entry, is_current=True)
    node.book = cast("Any", book)
    return Browser(app=node)


def post(browser: Browser, path: str, **headers: str) -> Answer:
    headers.setdefault("accept", "text/html")
    return browser.post(path, urlencode(TYPED), media=FORM, **headers)


@pytest.mark.parametrize(
    "path,words",
    [
        (ASK, "This takes a moment"),
        ("/zh-hans/c/soil/sign/finish/", "请稍等片刻"),
        ("/en/check/", "Nothing that you typed is lost"),
    ],
)
def test_a_form_stands_in_the_page_until_somebody_answers(
    browser: Browser, path: str, words: str
) -> None:
    answer = post(browser, path)
    page = answer.body.decode()
    assert (answer.status, answer.headers["retry-after"]) == (503, "30")
    assert answer.headers["cache-control"] == "no-store"
    assert words in page
    found = re.findall(r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page)
    fields = {html.unescape(name): html.unescape(value) for name, value in found}
    assert fields == TYPED | {"turn": ""}
    assert f'action="{path}"' in page
    # It is not told that many are here, nor that nothing was signed: the request may
    # have been on its way when the other end went.
    assert "<h1 hidden>" in page
    assert len(re.findall(r"<(?:span|p|div)[^>]* hidden>", page)) >= 3
    assert "<span>Nothing has been signed yet" not in page


@pytest.mark.parametrize(
    "headers",
    [
        {"accept": "application/json"},
        {"origin": "https://evil.example"},
        {"sec_fetch_site": "cross-site"},
    ],
)
def test_what_is_no_form_of_ours_is_put_into_no_page(
    browser: Browser, headers: dict[str, str]
) -> None:
    answer = post(browser, ASK, **headers)
    assert answer.status == 503
    assert b"asha" not in answer.body


def test_signatures_have_a_bound(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_app, "SIGN_ROOM", 0)
    body = {
        "key_index": 0,
        "stance": 0,
        "public": None,
        "salt": None,
        **dict.fromkeys(("public_hash", "withdraw_hash", "r"), "A" * 43),
        "authenticator": "A" * 342,
    }
    answer = browser.post("/c/soil/sign", body)
    assert answer.status == 503
    found = answer.json()
    assert (found["code"], found["turn"]) == ("please-wait", "")
