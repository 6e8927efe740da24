"""A real store that speaks S3: an instance put there, read, audited, cut off."""

from __future__ import annotations

import http.client
import json
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from undersigned_verify.cli import main as verify

from tests.factories.instances import Instance
from tests.factories.objects import BUCKET, S3Server
from tests.web.objects.conftest import NAMES, Port
from undersigned.campaigns.data import Campaign
from undersigned.config.env import parse_objects_url
from undersigned.config.objects import examine_objects, open_store
from undersigned.web.objects.layout import MARK
from undersigned.web.objects.store import ObjectStore, StoreAway

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    """A server that runs; tests that stop it start it again."""
    with tempfile.TemporaryDirectory() as folder:
        server = S3Server(Path(folder))
        server.start()
        yield server
        server.stop()


def open_at(server: S3Server, prefix: str, key: str = "") -> ObjectStore:
    """Return what is below a prefix of the server's bucket."""
    return open_store(parse_objects_url(f"{server.url}/{prefix}", key or server.key))


def read(
    server: S3Server, key: str, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Read an object as anybody does: without a key, over HTTP."""
    url = urlsplit(f"{server.read_url}/{key}")
    connection = http.client.HTTPConnection(url.netloc, timeout=30)
    try:
        connection.request("GET", url.path, headers=headers)
        answer = connection.getresponse()
        found = {name.lower(): value for name, value in answer.getheaders()}
        return answer.status, found, answer.read()
    finally:
        connection.close()


class TestTheStore:
    def test_what_is_put_is_there_with_its_headers_and_a_strong_validator(
        self, server: S3Server
    ) -> None:
        store = open_at(server, "headers")
        headers = {
            "Content-Type": "text/html; charset=utf-8",
            "Content-Language": "zh-hans",
            "Cache-Control": "public, max-age=15, stale-while-revalidate=60",
        }
        for body in (b"one", "二".encode()):
            store.put("zh-hans/index.html", body, headers)
            status, found, got = read(server, "headers/zh-hans/index.html")
            assert (status, got) == (200, body)
            assert {name: found[name.lower()] for name in headers} == headers
            assert found["etag"][0] == found["etag"][-1] == '"'
            again = {"If-None-Match": found["etag"]}
            assert read(server, "headers/zh-hans/index.html", **again)[0] == 304
        assert store.get("zh-hans/index.html") == "二".encode()

    def test_what_is_deleted_is_gone_and_twice_is_no_error(
        self, server: S3Server
    ) -> None:
        store = open_at(server, "deleting")
        for name in ("a", "b", "c"):
            store.put(f"x/{name}", b"text", {})
        store.delete(["x/a", "x/b", "x/never"])
        assert [held.key for held in store.list_below("x/")] == ["x/c"]
        store.delete(["x/a"])
        assert store.get("x/a") is None
        assert store.head("x/a") is None
        assert store.list_top() == (["x/"], [])

    def test_prefixes_do_not_see_each_other(self, server: S3Server) -> None:
        one, other = open_at(server, "one"), open_at(server, "one-more")
        one.put("checkpoint", b"ours", {})
        assert other.list_top() == ([], [])
        assert list(other.list_below("")) == []
        held = one.head("checkpoint")
        assert held is not None
        assert (held.size, held.keeps_versions) == (4, False)

    def test_refusals_say_what_is_wrong_and_no_secret(self, server: S3Server) -> None:
        for store, word in (
            (open_at(server, "p", "omar:store:wrong-secret"), "SignatureDoesNotMatch"),
            (open_at(server, "p", "nobody:here:wrong-secret"), "SignatureDoesNotMatch"),
            (
                open_store(
                    parse_objects_url(
                        server.url.replace(BUCKET, "no-such-bucket"), server.key
                    )
                ),
                "NoSuchBucket",
            ),
        ):
            for act in (
                lambda store=store: store.put("a", b"x", {}),
                lambda store=store: list(store.list_below("a/")),
                lambda store=store: store.list_top(),
                lambda store=store: store.get("a"),
            ):
                with pytest.raises(StoreAway) as caught:
                    act()
                assert word in str(caught.value)
                assert "wrong-secret" not in str(caught.value)
        nobody = open_store(parse_objects_url("http://127.0.0.1:9/bucket", server.key))
        with pytest.raises(StoreAway, match="nobody answers"):
            nobody.get("a")


@pytest.fixture
def port(instance: Instance, server: S3Server) -> Iterator[Port]:
    """The instance, with a prefix of its own in the bucket."""
    prefix = uuid.uuid4().hex
    instance.restart(
        UNDERSIGNED_OBJECTS_URL=f"{server.url}/{prefix}",
        UNDERSIGNED_OBJECTS_KEY=server.key,
    )
    port = Port(instance, open_at(server, prefix), prefix=prefix)
    yield port
    port.carrier.stop()


def find(port: Port) -> dict[str, str]:
    """Return what the doctor says of the store, by code."""
    found = examine_objects(port.instance.environment)
    return {finding.code: finding.text for finding in found}


class TestAnInstance:
    def test_an_outsider_audits_the_log_from_the_bucket(
        self,
        port: Port,
        server: S3Server,
        campaign: Campaign,
        capsys: pytest.CaptureFixture[str],
    ) -> None:
        for crowd in (3, 260):
            port.carry()
            port.instance.sign_many(campaign, crowd, who=f"crowd {crowd}")
            port.publish(campaign)
        port.carry()
        url = f"{server.read_url}/{port.prefix}"
        assert verify(["audit", f"{url}/c/soil", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        (log,) = report["logs"]
        assert (log["tree_size"], log["totals"]["net"]) == (266, 264)
        assert log["spine"]["verdict"] == "accepted"
        assert verify(["audit", f"{url}/spine"]) in (0, 3)
        assert read(server, f"{port.prefix}/en/index.html")[0] == 200

    def test_an_outage_is_caught_up_after_and_the_doctor_says_how_far(
        self, port: Port, server: S3Server, campaign: Campaign
    ) -> None:
        assert set(find(port)) == {"objects-unused"}
        port.carry()
        assert set(find(port)) == {"objects-level"}
        server.stop()
        try:
            port.instance.sign_many(campaign, 2)
            port.publish(campaign)
            assert not port.carrier.try_to_catch_up()
            assert "nobody answers" in find(port)["objects-away"]
            # The process ends meanwhile; who comes after it knows nothing.
            port.carrier.stop()
        finally:
            server.start()
        behind = find(port)
        assert "c/soil at 3 of 5 leaves" in behind["objects-behind"]
        assert "objects-pages-behind" in behind
        port.open_carrier()
        port.carry()
        assert set(find(port)) == {"objects-level"}

    def test_the_doctor_says_when_an_erased_name_is_still_there(
        self, port: Port, campaign: Campaign
    ) -> None:
        port.carry()
        port.instance.engine.renderer.erase_shown()
        assert "pages in the object store may show" in find(port)["objects-show-erased"]
        port.carry()
        assert port.store.get(NAMES) is None
        assert "objects-show-erased" not in find(port)

    def test_another_instance_is_refused(self, port: Port, campaign: Campaign) -> None:
        port.store.put(MARK, b"Public files of other.example", {})
        assert not port.carrier.try_to_catch_up()
        assert set(find(port)) == {"objects-not-ours"}
        assert port.store.list_top() == ([], [MARK])

    def test_the_server_carries_by_itself(self, port: Port, campaign: Campaign) -> None:
        engine = port.instance.engine
        assert engine.carrier is not None
        engine.pages.on_changed = engine.carrier.note_page
        engine.carrier.start()
        try:
            for _look in range(600):
                if port.store.get("en/c/soil/index.html") is not None:
                    break
            assert port.store.get("c/soil/checkpoint") is not None
        finally:
            engine.carrier.stop()
