"""A log's public files and the site's own, and nothing else of the disk."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from undersigned_verify.audit import audit_log
from undersigned_verify.policy import parse_policy

from tests.factories.asgi import (
    Browser,
    ask_for_token,
    encode64,
    make_behind,
    make_sign_body,
)
from tests.factories.instances import Instance
from tests.hot.conftest import make_browser
from undersigned.campaigns.data import Campaign
from undersigned.kernel import keystore
from undersigned.kernel.keystore import Keystore
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.hot.wire import Scope

PASSPHRASE = "nine lives of the river path"


@pytest.fixture
def signed(instance: Instance, campaign: Campaign) -> Campaign:
    """The campaign with signatures across a tile's border."""
    instance.sign_many(campaign, 257)
    instance.publish(campaign)
    return campaign


def list_files(instance: Instance, campaign: Campaign) -> list[str]:
    folder = instance.folder(campaign)
    return sorted(
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()
    )


class TestALogsFiles:
    def test_every_one_is_served_as_it_lies_there(
        self, instance: Instance, browser: Browser, signed: Campaign
    ) -> None:
        names = list_files(instance, signed)
        assert "tile/entries/000" in names
        assert "tile/0/001.p/4" in names
        for name in names:
            answer = browser.get(f"/{signed.path}/{name}")
            content = (instance.folder(signed) / name).read_bytes()
            assert (answer.status, answer.body) == (200, content)
            assert answer.headers["content-length"] == str(len(content))

    def test_a_reader_can_recount_from_what_is_served(
        self, instance: Instance, browser: Browser, signed: Campaign, tmp_path: Path
    ) -> None:
        copy = tmp_path / "copy"
        for name in list_files(instance, signed):
            path = copy / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(browser.get(f"/{signed.path}/{name}").body)
        assert audit_log(copy, workers=1).accepted

    @pytest.mark.parametrize(
        "name, media, lasts",
        [
            ("checkpoint", "text/plain; charset=utf-8", False),
            ("log.vkey", "text/plain; charset=utf-8", False),
            ("statement", "text/plain; charset=utf-8", False),
            ("count.json", "application/json", False),
            ("growth.csv", "text/csv; charset=utf-8", False),
            ("checkpoints/3", "text/plain; charset=utf-8", True),
            ("tile/entries/000.p/3", "application/octet-stream", True),
            ("tile/0/000.p/3", "application/octet-stream", True),
        ],
    )
    def test_each_has_its_type_and_lifetime(
        self, browser: Browser, campaign: Campaign, name: str, media: str, lasts: bool
    ) -> None:
        answer = browser.get(f"/{campaign.path}/{name}")
        assert answer.status == 200
        assert answer.headers["content-type"] == media
        assert ("immutable" in answer.headers["cache-control"]) is lasts
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "default-src 'none'" in answer.headers["content-security-policy"]

    def test_auditors_on_other_sites_may_read_them(
        self, browser: Browser, campaign: Campaign
    ) -> None:
        answer = browser.get(f"/{campaign.path}/checkpoint")
        assert answer.headers["access-control-allow-origin"] == "*"
        assert answer.headers["cross-origin-resource-policy"] == "cross-origin"

    def test_the_count_follows_a_publication(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        before = browser.get(f"/{campaign.path}/count.json")
        instance.sign(campaign)
        instance.publish(campaign)
        after = browser.get(f"/{campaign.path}/count.json")
        assert (before.json()["net"], after.json()["net"]) == (0, 1)
        assert before.headers["etag"] != after.headers["etag"]


class TestTheSpinesFiles:
    def test_every_one_is_served_as_it_lies_there(
        self, instance: Instance, browser: Browser, signed: Campaign
    ) -> None:
        folder = instance.folder(signed).parent.parent / "spine"
        names = {
            path.relative_to(folder).as_posix(): path
            for path in folder.rglob("*")
            if path.is_file()
        }
        assert {"checkpoint", "log.vkey"} < set(names)
        assert any(name.startswith("tile/entries/") for name in names)
        for name, path in names.items():
            answer = browser.get(f"/spine/{name}")
            assert (answer.status, answer.body) == (200, path.read_bytes())
            # A kept checkpoint may gain a witness's word.
            lasts = "immutable" in answer.headers["cache-control"]
            assert lasts is name.startswith("tile/")

    def test_the_policy_is_served_once_there_is_one(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        policy = instance.folder(campaign).parent.parent / "policy.txt"
        answer = browser.get("/policy.txt")
        assert (answer.status, answer.body) == (200, policy.read_bytes())
        assert parse_policy(answer.body).logs
        policy.unlink()
        assert browser.get("/policy.txt").status == 404
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"

    @pytest.mark.parametrize("path", ["spine/", "spine/../app.sqlite3", "policy.txt/x"])
    def test_nothing_else_is(self, browser: Browser, path: str) -> None:
        # Left to the pages, which know no such address.
        assert browser.get(f"/{path}").body == b"Django"


class TestAskingAgain:
    def test_a_known_version_is_not_sent_again(
        self, browser: Browser, campaign: Campaign
    ) -> None:
        first = browser.get(f"/{campaign.path}/checkpoint")
        tag = first.headers["etag"]
        again = browser.get(f"/{campaign.path}/checkpoint", if_none_match=tag)
        assert (again.status, again.body) == (304, b"")
        assert again.headers["etag"] == tag
        # RFC 9110 §8.6: if at all, the length that the whole answer would have.
        length = again.headers.get("content-length", str(len(first.body)))
        assert length == str(len(first.body))

    def test_another_version_is_sent(
        self, browser: Browser, campaign: Campaign
    ) -> None:
        answer = browser.get(f"/{campaign.path}/checkpoint", if_none_match='"other"')
        assert answer.status == 200

    def test_a_head_tells_all_but_the_content(
        self, browser: Browser, campaign: Campaign
    ) -> None:
        whole = browser.get(f"/{campaign.path}/checkpoint")
        head = browser.send("HEAD", f"/{campaign.path}/checkpoint")
        assert (head.status, head.body) == (200, b"")
        assert head.headers == whole.headers

    def test_the_tag_is_the_contents_and_survives_a_restart(
        self, instance: Instance, browser: Browser, campaign: Campaign, static: Path
    ) -> None:
        tag = browser.get(f"/{campaign.path}/checkpoint").headers["etag"]
        instance.restart()
        again = make_browser(instance, static)
        assert again.get(f"/{campaign.path}/checkpoint").headers["etag"] == tag

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
    def test_nothing_can_be_written(
        self, instance: Instance, browser: Browser, campaign: Campaign, method: str
    ) -> None:
        before = (instance.folder(campaign) / "checkpoint").read_bytes()
        answer = browser.send(
            method, f"/{campaign.path}/checkpoint", chunks=[b"Mallory was here"]
        )
        assert answer.problem() == (405, "method-not-taken")
        assert answer.headers["allow"] == "GET, HEAD"
        assert (instance.folder(campaign) / "checkpoint").read_bytes() == before


class TestWhatIsNotThere:
    @pytest.mark.parametrize(
        "name",
        [
            "checkpoints/4",
            "checkpoints/0",
            "tile/0/001",
            "tile/entries/000",
            "tile/0/000.p/4",
            "tile/9/000",
        ],
    )
    def test_a_file_that_does_not_exist_is_not_found(
        self, browser: Browser, campaign: Campaign, name: str
    ) -> None:
        answer = browser.get(f"/{campaign.path}/{name}")
        assert answer.status in (404, 299)
        if answer.status == 404:
            assert answer.problem() == (404, "nothing-here")

    def test_another_campaigns_files_are_not_found(self, browser: Browser) -> None:
        answer = browser.get("/c/no-such-campaign/checkpoint")
        assert answer.problem() == (404, "nothing-here")

    def test_a_folder_is_not_a_file(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        (instance.folder(campaign) / "checkpoints" / "77").mkdir()
        answer = browser.get(f"/{campaign.path}/checkpoints/77")
        assert answer.problem() == (404, "nothing-here")


OUTSIDE = [
    "../../../secrets/{path}/log.key",
    "../../secrets/{path}/log.key",
    "../../../ledger.sqlite3",
    "checkpoints/../../../../ledger.sqlite3",
    "tile/../../../../secrets/{path}/log.key",
    "tile/0/../../../../../ledger.sqlite3",
    "tile/entries/000.p/../../../../../../app.sqlite3",
    "%2e%2e/%2e%2e/ledger.sqlite3",
    "..\\..\\ledger.sqlite3",
    "checkpoint/../../../../writer.lock",
    "checkpoint\x00.txt",
    ".checkpoint.new",
    "checkpoint~",
    "log.key",
    "/etc/passwd",
]


class TestMallory:
    @pytest.mark.parametrize("name", OUTSIDE)
    def test_he_gets_no_file_outside_a_logs_folder(
        self, browser: Browser, campaign: Campaign, name: str
    ) -> None:
        path = name.format(path=campaign.path)
        answer = browser.get(f"/{campaign.path}/{path}")
        # Not a path of ours: it is handed to Django, which knows no files.
        if answer.status == 299:
            assert answer.body == b"Django"
        else:
            assert answer.problem() == (404, "nothing-here")

    @pytest.mark.parametrize(
        "name",
        [
            "../secret.txt",
            "undersigned/../../secret.txt",
            "%2e%2e/secret.txt",
            "..%2fsecret.txt",
            ".hidden",
            "/etc/passwd",
            "undersigned//sign.js",
            "undersigned/",
            "undersigned",
            "",
            "look.css\x00",
            "nothing.css",
        ],
    )
    def test_he_gets_no_file_beside_the_sites_own(
        self, browser: Browser, name: str
    ) -> None:
        assert browser.get("/static/look.css").status == 200
        answer = browser.get(f"/static/{name}")
        assert answer.problem() == (404, "nothing-here")

    def test_he_follows_no_link_out_of_the_public_folder(
        self, instance: Instance, browser: Browser, campaign: Campaign
    ) -> None:
        # Nobody but us writes there, and no request can make one.
        answer = browser.send(
            "PUT", f"/{campaign.path}/checkpoints/9", chunks=[b"../../../x"]
        )
        assert answer.status == 405
        assert "checkpoints/9" not in list_files(instance, campaign)


class TestTheSitesOwnFiles:
    def test_they_are_served_with_their_type(self, browser: Browser) -> None:
        style = browser.get("/static/look.css")
        assert (style.status, style.body) == (200, b"body { margin: 0 }")
        assert style.headers["content-type"] == "text/css; charset=utf-8"
        assert style.headers["cross-origin-resource-policy"] == "same-origin"
        script = browser.get("/static/undersigned/sign.js")
        assert script.headers["content-type"] == "text/javascript; charset=utf-8"

    def test_other_sites_get_no_leave_to_read_them(self, browser: Browser) -> None:
        answer = browser.get("/static/look.css")
        assert "access-control-allow-origin" not in answer.headers


class TestWhatIsForPeople:
    @pytest.mark.parametrize(
        "path", ["/", "/en/", "/c/{id}", "/c/{id}/", "/c/", "/en/c/{id}/sign/"]
    )
    def test_it_goes_to_django_with_the_services(
        self, instance: Instance, browser: Browser, campaign: Campaign, path: str
    ) -> None:
        answer = browser.get(path.format(id=campaign.id))
        assert (answer.status, answer.body) == (299, b"Django")
        (scope,) = browser.passed_on
        assert scope["undersigned"] is instance.engine.services


def test_what_is_no_http_is_left_to_django(instance: Instance, static: Path) -> None:
    passed_on: list[Scope] = []
    app = HotApp(
        services=instance.engine.services,
        files=Files(public=instance.environment.public, static=[static]),
        behind=make_behind(passed_on),
    )

    async def send(_message: Any) -> None:
        return None

    async def receive() -> dict[str, Any]:
        return {"type": "lifespan.startup"}

    asyncio.run(app({"type": "lifespan"}, receive, send))
    assert [scope["type"] for scope in passed_on] == ["lifespan"]


class TestLockedSecrets:
    def test_files_are_served_and_intake_is_closed(
        self,
        instance: Instance,
        campaign: Campaign,
        static: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setattr(keystore, "_SCRYPT_N", 1 << 4)
        published = instance.sign(campaign)
        instance.publish(campaign)
        ticket = instance.get_ticket(campaign, "x@y.example")
        writing, request = instance.make_signature(campaign, "z@y.example")
        instance.stop()
        Keystore(instance.data / "secrets").seal(PASSPHRASE)
        instance.start()
        browser = make_browser(instance, static)
        issued = ask_for_token(browser, campaign.path, ticket, writing)
        assert issued.problem() == (503, "intake-closed")
        signed = browser.post(f"/{campaign.path}/sign", make_sign_body(request))
        assert signed.problem() == (503, "intake-closed")
        for name in list_files(instance, campaign):
            assert browser.get(f"/{campaign.path}/{name}").status == 200
        number = {"nonce": encode64(published.nonce)}
        assert browser.post(f"/{campaign.path}/receipt", number).status == 200
        instance.advance(timedelta(minutes=5))
        assert instance.engine.failures == []
        instance.restart(UNDERSIGNED_PASSPHRASE=PASSPHRASE)
        browser = make_browser(instance, static)
        assert (
            browser.post(f"/{campaign.path}/sign", make_sign_body(request)).status
            == 200
        )
