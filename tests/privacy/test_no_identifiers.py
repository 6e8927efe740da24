"""SAFETY P2: no column, log line or header keeps an address, agent or referrer."""

from __future__ import annotations

import base64
import logging
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.apps import apps
from django.conf import settings
from django.db import connection, models

from tests.factories.asgi import (
    Answer,
    Browser,
    ask_for_token,
    encode64,
    make_sign_body,
)
from tests.factories.instances import Instance
from undersigned.campaigns.data import Campaign
from undersigned.config.asgi import make_app
from undersigned.credentials.issuance_file import SCHEMA as ISSUANCE_SCHEMA
from undersigned.ledger.embedded import SCHEMA as LEDGER_SCHEMA

# Words that no column of ours is about, wherever they stand in its name.
IDENTIFYING = re.compile(
    r"(^|_)(ip|addr|address|email|mail|phone|agent|browser|referr?er|cookie|session|"
    r"fingerprint|device|hostname|country|latitude|longitude|birth|user|login)(_|$)"
)
# What organisers publish about themselves.
ALLOWED = {"campaigns.Campaign.organiser_contact"}
# Times of the operator's acts and of clocks, to the minute.
TIMES = {
    "audit.AuditEntry.at",
    "campaigns.Closing.retries_until",
    "campaigns.Closing.redeem_until",
}
LEDGER_TIMES = {("waiting", "since"), ("checkpoint", "at")}

CANARY_ADDRESS = "asha.kanarienvogel@river.example"
CANARY_AGENT = "Kanarienbrowser/7.3"
CANARY_REFERRER = "https://kanarien.example/private/path"
CANARY_IP = "203.0.113.7"  # the client of every request that Browser sends
CANARIES = (CANARY_ADDRESS, CANARY_AGENT, CANARY_REFERRER, CANARY_IP)


def list_columns() -> list[tuple[str, models.Field[object, object]]]:
    return [
        (f"{model._meta.app_label}.{model.__name__}.{field.name}", field)
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.Field)
    ]


def read_schema(schema: str) -> list[tuple[str, str]]:
    """Return every (table, column) of a schema."""
    db = sqlite3.connect(":memory:")
    db.executescript(schema)
    names = [
        name
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type='table'")
    ]
    found = [
        (name, row[1])
        for name in names
        for row in db.execute(f"PRAGMA table_info({name})")
    ]
    db.close()
    return found


class TestColumns:
    def test_none_of_the_pages_database_is_about_a_visitor(self) -> None:
        names = [name for name, _field in list_columns()]
        assert len(names) > 30
        found = {name for name in names if IDENTIFYING.search(name.rsplit(".", 1)[1])}
        assert found - ALLOWED == set()

    def test_none_holds_an_ip_address(self) -> None:
        kinds = (models.GenericIPAddressField,)
        assert [n for n, field in list_columns() if isinstance(field, kinds)] == []

    def test_none_holds_a_time_but_those_of_the_operators_acts(self) -> None:
        found = {n for n, f in list_columns() if isinstance(f, models.DateTimeField)}
        assert found == TIMES

    @pytest.mark.parametrize("schema", [LEDGER_SCHEMA, ISSUANCE_SCHEMA])
    def test_none_of_the_other_files_is_about_a_visitor(self, schema: str) -> None:
        columns = read_schema(schema)
        assert columns
        assert [c for c in columns if IDENTIFYING.search(c[1])] == []

    def test_none_of_the_other_files_holds_a_time_of_a_request(self) -> None:
        timely = re.compile(r"(^|_)(at|on|time|when|since|created|date|stamp)(_|$)")
        found = {c for c in read_schema(LEDGER_SCHEMA) if timely.search(c[1])}
        assert found == LEDGER_TIMES
        assert [c for c in read_schema(ISSUANCE_SCHEMA) if timely.search(c[1])] == []

    def test_none_counts_arrivals(self) -> None:
        # SAFETY P3: serial numbers are an order of requests.
        for schema in (LEDGER_SCHEMA, ISSUANCE_SCHEMA):
            assert "AUTOINCREMENT" not in schema.upper()
            for statement in schema.split(";"):
                if "CREATE TABLE" in statement and " log (" not in statement:
                    assert "WITHOUT ROWID" in statement, statement


def spell(canary: str) -> list[bytes]:
    """Return the ways in which a text could lie on disk."""
    raw = canary.encode()
    spellings = [raw, raw.lower(), raw.upper(), raw[::-1]]
    spellings += [canary.encode("utf-16-le"), canary.encode("utf-16-be")]
    spellings += [raw.hex().encode(), quote(canary, safe="").encode()]
    # Base64 of a longer text that holds it, at each of the three offsets.
    spellings += [
        base64.b64encode(b"\0" * offset + raw)[4 : -4 - offset] for offset in range(3)
    ]
    return [one for one in spellings if len(one) > 6]


def read_everything(instance: Instance) -> dict[str, bytes]:
    """Return every file of the instance and of the pages database, journals too."""
    pages = Path(str(connection.settings_dict["NAME"]))
    files = [path for path in instance.data.rglob("*") if path.is_file()]
    files += list(pages.parent.glob(f"{pages.name}*"))
    return {str(path): path.read_bytes() for path in files}


def find_canaries(content: dict[str, bytes]) -> list[tuple[str, str]]:
    return [
        (canary, name)
        for canary in CANARIES
        for name, data in content.items()
        if any(spelling in data for spelling in spell(canary))
    ]


@pytest.fixture
def browser(instance: Instance) -> Browser:
    """A browser in front of the whole application, as the server runs it."""
    return Browser(app=make_app(instance.engine))


def open_page(browser: Browser, path: str) -> Answer:
    return browser.get(path, user_agent=CANARY_AGENT, referer=CANARY_REFERRER)


def send_form(browser: Browser, path: str, **values: str) -> Answer:
    return browser.post(
        path,
        urlencode(values),
        media="application/x-www-form-urlencoded",
        user_agent=CANARY_AGENT,
        referer=CANARY_REFERRER,
        sec_fetch_site="same-origin",
        x_forwarded_for=CANARY_IP,
    )


def sign_as_asha(instance: Instance, browser: Browser, campaign: Campaign) -> None:
    """Ask, confirm, fetch a token, sign, fetch the receipt and withdraw."""
    base = f"/en/c/{campaign.id}/sign"
    page = send_form(browser, f"{base}/ask/", klass="email", address=CANARY_ADDRESS)
    assert page.status == 200
    mail = instance.mailbox.next()
    assert mail.to == CANARY_ADDRESS
    link = mail.body.split("?t=")[1].split()[0]
    assert open_page(browser, f"/en/confirm/?t={link}").status in (200, 410)
    ticket = instance.get_ticket(campaign, CANARY_ADDRESS)
    writing = instance.write(campaign)
    agent = {"user_agent": CANARY_AGENT, "referer": CANARY_REFERRER}
    issued = ask_for_token(browser, campaign.path, ticket, writing, **agent)
    body = make_sign_body(writing.finish(issued.body))
    assert browser.post(f"/{campaign.path}/sign", body, **agent).status == 200
    instance.publish(campaign)
    number = encode64(writing.prepared.nonce)
    receipt = browser.post(f"/{campaign.path}/receipt", {"nonce": number}, **agent)
    assert receipt.status == 200
    secret = {"nonce": number, "w": encode64(writing.prepared.w)}
    assert browser.post(f"/{campaign.path}/withdraw", secret, **agent).status == 200


@pytest.fixture
def _noted(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Catch every record of every logger, also those that propagate to nobody."""
    names = ["", *logging.root.manager.loggerDict]
    loggers = [logging.getLogger(name) for name in names]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    yield
    for logger in loggers:
        logger.removeHandler(caplog.handler)


class TestAJourney:
    def test_it_leaves_nothing_of_the_visitor_in_any_file(
        self, instance: Instance, browser: Browser
    ) -> None:
        campaign = instance.open_campaign()
        sign_as_asha(instance, browser, campaign)
        assert find_canaries(read_everything(instance)) == []
        instance.stop()
        assert find_canaries(read_everything(instance)) == []

    def test_the_search_would_find_them(self, instance: Instance) -> None:
        for number, canary in enumerate(CANARIES):
            for way, spelling in enumerate(spell(canary)):
                path = instance.data / f"planted-{number}-{way}"
                path.write_bytes(b"before " + spelling + b" after")
                assert find_canaries(read_everything(instance)) != [], spelling
                path.unlink()

    @pytest.mark.usefixtures("_noted")
    def test_it_leaves_nothing_of_the_visitor_in_a_log_line(
        self,
        instance: Instance,
        browser: Browser,
        caplog: pytest.LogCaptureFixture,
        capfd: pytest.CaptureFixture[str],
    ) -> None:
        campaign = instance.open_campaign()
        sign_as_asha(instance, browser, campaign)
        # Errors too: of a path that is not there, a form that is refused, a bad body.
        open_page(browser, f"/en/c/{CANARY_ADDRESS}/")
        send_form(browser, f"/en/c/{campaign.id}/sign/ask/", klass="email", address="?")
        browser.post(f"/{campaign.path}/sign", b"{", user_agent=CANARY_AGENT)
        said = capfd.readouterr()
        lines = [
            f"{record.getMessage()} {record.exc_text}"
            for record in caplog.records
            # Django's own words about what is anticipated go nowhere (next test).
            if record.name.split(".")[0] != "asyncio"
            and not record.name.startswith("django.request")
        ]
        text = "\n".join([*lines, said.out, said.err])
        assert find_canaries({"log": text.encode()}) == []
        assert campaign.id not in said.out + said.err

    @pytest.mark.parametrize(
        "name", ["django.request", "django.security", "django.server"]
    )
    def test_djangos_words_about_requests_go_nowhere(self, name: str) -> None:
        loggers: Any = settings.LOGGING["loggers"]
        assert loggers[name] == {"handlers": ["nowhere"], "propagate": False}


class TestAnswers:
    @pytest.mark.parametrize(
        "path",
        [
            "/en/",
            "/en/c/{id}/",
            "/en/c/{id}/sign/",
            "/en/promises/",
            "/en/nothing/",
            "/c/{id}/checkpoint",
            "/c/{id}/count.json",
            "/c/nothing/checkpoint",
        ],
    )
    def test_one_sets_and_repeats_nothing_about_its_reader(
        self, instance: Instance, browser: Browser, path: str
    ) -> None:
        campaign = instance.open_campaign()
        answer = open_page(browser, path.format(id=campaign.id))
        assert answer.status in (200, 404)
        kept = {"set-cookie", "report-to", "nel", "reporting-endpoints"}
        assert kept & set(answer.headers) == set()
        assert answer.headers["referrer-policy"] == "no-referrer"
        whole = f"{answer.headers}".encode() + answer.body
        found = {canary for canary, _name in find_canaries({"answer": whole})}
        assert found == set()

    def test_the_same_page_is_the_same_for_everybody(
        self, instance: Instance, browser: Browser
    ) -> None:
        campaign = instance.open_campaign()
        path = f"/en/c/{campaign.id}/"
        first = browser.get(path)
        second = browser.get(path, user_agent=CANARY_AGENT, referer=CANARY_REFERRER)
        assert (first.body, first.headers) == (second.body, second.headers)


def test_no_app_that_keeps_visitors_is_installed() -> None:
    keepers = ("sessions", "messages", "admin", "contrib.auth")
    assert [name for name in settings.INSTALLED_APPS if name.endswith(keepers)] == []
    middleware = " ".join(settings.MIDDLEWARE).lower()
    assert "session" not in middleware
    assert "csrf" not in middleware
