"""A reader's browser without scripts, over a running instance."""

from __future__ import annotations

import html
import re
from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.factories.instances import HOST, Instance
from undersigned.web.shared.locale import compile_catalogs


@pytest.fixture(scope="session", autouse=True)
def _catalogs() -> None:
    compile_catalogs()


class Reader:
    """Opens pages and fills in forms; remembers nothing, since there are no cookies."""

    def __init__(self, instance: Instance) -> None:
        self.client = Client(headers={"host": HOST})
        scope = {"undersigned": instance.engine.services}
        defaults: dict[str, Any] = self.client.defaults
        defaults["asgi.scope"] = scope

    def opens(self, path: str, **headers: str) -> HttpResponse:
        """Return the answer to a GET."""
        return self._seen(self.client.get(path, headers=headers))

    def sends(self, path: str, data: Any = None, **headers: str) -> HttpResponse:
        """Return the answer to a form."""
        return self._seen(self.client.post(path, data or {}, headers=headers))

    def _seen(self, response: Any) -> HttpResponse:
        assert not response.cookies, "a page set a cookie"
        found: HttpResponse = response
        return found


@pytest.fixture
def reader(instance: Instance) -> Reader:
    """Somebody without scripts."""
    return Reader(instance)


def text_of(response: HttpResponse) -> str:
    """Return what can be read on a page, in one line."""
    body = re.sub(r"<(script|style|title).*?</\1>", " ", response.content.decode())
    plain = html.unescape(re.sub(r"<[^>]+>", " ", body))
    return re.sub(r" ([.,;:])", r"\1", re.sub(r"\s+", " ", plain))


def hidden_of(response: HttpResponse, name: str) -> str:
    """Return the value of a hidden field."""
    pattern = rf'<input type="hidden" name="{name}" value="([^"]*)"'
    found = re.search(pattern, response.content.decode())
    assert found is not None, f"no hidden field {name}"
    return html.unescape(found[1])
