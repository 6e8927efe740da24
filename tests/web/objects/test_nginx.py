"""A real nginx before a real store, as docs/operate says, answers as the program."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.factories.asgi import Answer
from tests.factories.instances import Instance
from tests.factories.objects import S3Server
from tests.support import ROOT
from tests.web.objects.conftest import Port
from tests.web.rendered.conftest import House
from tests.web.rendered.test_nginx import (
    OWN,
    Nginx,
    adapt,
    read_configuration,
    run_nginx,
)
from undersigned.campaigns.data import Campaign
from undersigned.config.env import parse_objects_url
from undersigned.config.objects import open_store

pytestmark = pytest.mark.slow

# What a store adds by itself, or nginx when it hands on.
OWN_TO_STORES = {*OWN, "x-timestamp", "x-trans-id", "x-openstack-request-id", "vary"}


@pytest.fixture
def port(instance: Instance, tmp_path: Path) -> Iterator[Port]:
    """The instance, with a store of its own."""
    server = S3Server(tmp_path / "store")
    server.start()
    prefix = uuid.uuid4().hex
    address = parse_objects_url(f"{server.url}/{prefix}", server.key)
    port = Port(instance, open_store(address), prefix=f"{server.read_url}/{prefix}")
    yield port
    port.carrier.stop()
    server.stop()


def write_configuration(port: Port, prefix: Path, ports: dict[str, int]) -> str:
    """Return nginx.md's configuration with what object-storage.md changes in it."""
    page = (ROOT / "docs" / "operate" / "object-storage.md").read_text("utf-8")
    maps, locations = re.findall(r"^```nginx\n(.*?)^```$", page, re.M | re.S)
    data = port.instance.data
    text = adapt(read_configuration(), prefix=prefix, data=data, ports=ports)
    text, found = re.subn(
        rf"^        location [^{{]*\{{\n            root {data}/.*?^        \}}\n",
        "",
        text,
        flags=re.M | re.S,
    )
    assert found == 6
    text = text.replace("        location / {", f"{locations}        location / {{", 1)
    text = text.replace(
        "    upstream undersigned {", f"{maps}    upstream undersigned {{"
    )
    scheme, _slashes, rest = port.prefix.partition("://")
    host, _slash, path = rest.partition("/")
    for old, new in {
        "server s3.example:443;": f"server {host};",
        "https://objects/petitions-public": f"{scheme}://objects/{path}",
        "proxy_ssl_trusted_certificate /etc/ssl/certs/ca-certificates.crt;": "",
        "proxy_ssl_verify on;": "",
    }.items():
        assert old in text
        text = text.replace(old, new)
    return text


@pytest.fixture
def nginx(port: Port, campaign: Campaign, tmp_path: Path) -> Iterator[Nginx]:
    """nginx before the store, which holds everything."""
    port.carry()

    def configure(prefix: Path, ports: dict[str, int]) -> str:
        return write_configuration(port, prefix, ports)

    with run_nginx(tmp_path / "nginx", configure) as found:
        yield found


def plain(answer: Answer) -> dict[str, str]:
    """Return an answer's headers without those that each server has its own of."""
    headers = {k: v for k, v in answer.headers.items() if k not in OWN_TO_STORES}
    headers.pop("content-length", None)
    return headers


def test_readers_get_what_the_program_answers(
    port: Port, nginx: Nginx, campaign: Campaign
) -> None:
    house = House(port.instance)
    for path in (
        "/en/",
        "/zh-hans/c/soil/",
        "/en/promises/",
        "/static/look.css",
        "/c/soil/checkpoint",
        "/c/soil/checkpoints/3",
        "/c/soil/count.json",
        "/c/soil/growth.csv",
        "/c/soil/log.vkey",
        "/c/soil/statement",
        "/c/soil/tile/0/000.p/3",
        "/c/soil/tile/entries/000.p/3",
        "/spine/checkpoint",
        "/policy.txt",
    ):
        here, there = house.get(path), nginx.get(path)
        assert (there.status, there.body) == (here.status, here.body), path
        assert plain(there) == plain(here), path
        assert "last-modified" not in there.headers
        again = nginx.get(path, if_none_match=there.headers["etag"])
        assert (again.status, again.body) == (304, b""), path
    assert nginx.asked == []


def test_the_rest_is_the_programs(nginx: Nginx, campaign: Campaign) -> None:
    for path in (
        "/en/c/soil/names/",
        "/en/c/soil/sign/",
        "/en/?after=1",
        "/c/soil/count.json?x",
        "/c/soil/tile/0/001",
        "/c/other/checkpoint",
        "/undersigned.txt",
        "/",
    ):
        answer = nginx.get(path)
        assert (answer.status, answer.body) == (299, b"program"), path
    assert nginx.send("POST", "/en/c/soil/sign/", body=b"a=b").body == b"program"
    assert nginx.send("POST", "/c/soil/sign", body=b"{}").body == b"program"
    methods = {path: method for method, path, _headers in nginx.asked}
    assert methods["/c/soil/sign"] == "POST"
