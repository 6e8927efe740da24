"""Headers on every answer, and requests that another site made."""

from __future__ import annotations

import pytest

from tests.factories.instances import HOST, Instance
from tests.web.conftest import Reader, text_of

PATHS = ["/en/", "/en/promises/", "/en/check/", "/en/nothing/", "/", "/en/mailbox/"]


@pytest.mark.parametrize("path", PATHS)
def test_every_answer_shuts_the_same_doors(reader: Reader, path: str) -> None:
    answer = reader.opens(path)
    policy = answer["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'")
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert answer["Cross-Origin-Opener-Policy"] == "same-origin"
    assert answer["Cross-Origin-Embedder-Policy"] == "require-corp"
    assert answer["Cross-Origin-Resource-Policy"] == "same-origin"
    assert answer["Referrer-Policy"] == "no-referrer"
    assert answer["X-Content-Type-Options"] == "nosniff"
    assert "Cache-Control" in answer


@pytest.mark.parametrize("step", ["sign/", "receipt/", "withdraw/"])
def test_no_step_of_a_journey_is_stored(
    instance: Instance, reader: Reader, step: str
) -> None:
    instance.open_campaign(id="soil")
    assert reader.opens(f"/en/c/soil/{step}")["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "headers,passes",
    [
        ({"sec_fetch_site": "same-origin"}, True),
        ({"sec_fetch_site": "none"}, True),
        ({"sec_fetch_site": "cross-site"}, False),
        ({"sec_fetch_site": "same-site"}, False),
        # Our pages send no referrer, so their browsers send no origin either.
        ({"sec_fetch_site": "same-origin", "origin": "null"}, True),
        ({"origin": "null"}, True),
        ({"origin": f"http://{HOST}"}, True),
        ({"origin": "https://mallory.example"}, False),
        ({}, True),
    ],
)
def test_a_form_on_another_site_does_nothing_here(
    reader: Reader, headers: dict[str, str], passes: bool
) -> None:
    answer = reader.sends("/en/check/", {"text": "x"}, **headers)
    assert (answer.status_code == 400) is passes
    if not passes:
        assert answer.status_code == 403
        assert "came from another site" in text_of(answer)


def test_the_root_leads_to_the_readers_language(reader: Reader) -> None:
    assert reader.opens("/", accept_language="zh-CN")["Location"] == "/zh-hans/"
    assert reader.opens("/", accept_language="de")["Location"] == "/en/"


def test_an_address_without_a_language_leads_to_one(
    instance: Instance, reader: Reader
) -> None:
    instance.open_campaign(id="soil")
    assert reader.opens("/c/soil/")["Location"] == "/en/c/soil/"


def test_a_page_leads_to_itself_in_the_other_language(reader: Reader) -> None:
    body = reader.opens("/en/promises/").content.decode()
    assert 'href="/zh-hans/promises/" lang="zh-Hans"' in body


def test_an_answer_to_a_form_leads_to_the_beginning(
    instance: Instance, reader: Reader
) -> None:
    instance.open_campaign(id="soil")
    data = {"klass": "email", "address": "asha@example.org"}
    body = reader.sends("/en/c/soil/sign/ask/", data).content.decode()
    assert 'href="/zh-hans/c/soil/sign/"' in body
