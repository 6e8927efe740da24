"""A real nginx, configured as docs/operate says, answers files as the program does."""

from __future__ import annotations

import gzip
import http.client
import os
import re
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from typing_extensions import override

from tests.factories.asgi import Answer
from tests.factories.signers import show
from tests.support import ROOT, program
from tests.web.rendered.conftest import House
from undersigned.campaigns.data import Campaign
from undersigned.drills.ports import find_ports
from undersigned.signatures.operations.withdraw import erase_shown

HOST = "127.0.0.1"
NAME = "petitions.example"
NAMES = "/en/c/soil/names/"
# What nginx adds or leaves out by itself, or makes otherwise.
OWN = {
    "accept-ranges",
    "connection",
    "date",
    "etag",
    "server",
    "strict-transport-security",
}


class Program(BaseHTTPRequestHandler):
    """Stands in for the program behind; says so, and notes what it was asked."""

    protocol_version = "HTTP/1.1"
    asked: list[tuple[str, str, dict[str, str]]]

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.asked.append((self.command, self.path, headers))
        self.send_response(299)
        self.send_header("Content-Length", "7")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(b"program")

    def do_GET(self) -> None:
        """See above."""
        self._answer()

    def do_HEAD(self) -> None:
        """See above."""
        self._answer()

    def do_POST(self) -> None:
        """See above."""
        self._answer()

    @override
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@dataclass
class Nginx:
    """nginx in front of an instance's files and of a stand-in for the program."""

    port: int
    plain_port: int
    prefix: Path
    behind: ThreadingHTTPServer
    asked: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    def send(
        self, method: str, path: str, *, body: bytes | None = None, **headers: str
    ) -> Answer:
        """Send a request over TLS to the host that the configuration names."""
        context = ssl.create_default_context()
        context.load_verify_locations(self.prefix / "fullchain.pem")
        connection = http.client.HTTPSConnection(NAME, self.port, context=context)
        raw = socket.create_connection((HOST, self.port), timeout=30)
        connection.sock = context.wrap_socket(raw, server_hostname=NAME)
        try:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            connection.putrequest(
                method, path, skip_host=True, skip_accept_encoding=True
            )
            connection.putheader("Host", NAME)
            for name, value in named.items():
                connection.putheader(name, value)
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body)
            found = connection.getresponse()
            names = [name.lower() for name, _value in found.getheaders()]
            assert len(names) == len(set(names)), "a header stands twice"
            values = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, values, found.read())
        finally:
            connection.close()

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, body=None, **headers)


def read_configuration() -> str:
    """Return the configuration in the document."""
    text = (ROOT / "docs" / "operate" / "nginx.md").read_text("utf-8")
    (found,) = re.findall(r"^```nginx\n(.*?)^```$", text, re.M | re.S)
    return str(found)


def adapt(text: str, *, prefix: Path, data: Path, ports: dict[str, int]) -> str:
    """Return the configuration with this machine's places in place of the operator's.

    Each replacement must find what it replaces.
    """
    user = "user root;" if os.geteuid() == 0 else ""
    folders = "".join(
        f"    {name}_temp_path {prefix}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    replaced = {
        "user www-data;": user,
        "pid /run/nginx.pid;": f"pid {prefix}/nginx.pid;",
        "worker_rlimit_nofile 262144;": "",
        "worker_connections 65536;": "worker_connections 256;",
        "/var/log/nginx/error.log": f"{prefix}/error.log",
        "\nhttp {\n": f"\nhttp {{\n{folders}",
        "/etc/letsencrypt/live/petitions.example/": f"{prefix}/",
        "/srv/undersigned/": f"{data}/",
        "listen 443 ": f"listen {HOST}:{ports['tls']} ",
        "listen 80": f"listen {HOST}:{ports['plain']}",
        "server 127.0.0.1:8000;": f"server {HOST}:{ports['program']};",
    }
    for old, new in replaced.items():
        assert old in text, f"the configuration has no {old!r}"
        text = text.replace(old, new)
    return text


def write_certificate(prefix: Path) -> None:
    """Write a certificate for the host, signed by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(NAME)]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (prefix / "fullchain.pem").write_bytes(certificate.public_bytes(pem))
    (prefix / "privkey.pem").write_bytes(
        key.private_bytes(
            pem,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


@pytest.fixture
def campaign(house: House, campaign: Campaign) -> Campaign:
    """The campaign with signatures across a tile's border."""
    house.instance.sign_many(campaign, 257)
    house.publish(campaign)
    return campaign


@pytest.fixture
def nginx(house: House, campaign: Campaign, tmp_path: Path) -> Iterator[Nginx]:
    """nginx over the instance's folders."""

    def configure(prefix: Path, ports: dict[str, int]) -> str:
        text = read_configuration()
        return adapt(text, prefix=prefix, data=house.instance.data, ports=ports)

    with run_nginx(tmp_path / "nginx", configure) as found:
        yield found


@contextmanager
def run_nginx(
    prefix: Path, configure: Callable[[Path, dict[str, int]], str]
) -> Iterator[Nginx]:
    """Run nginx in a new folder, before a program that notes what it is asked."""
    binary = program("nginx")
    prefix.mkdir()
    write_certificate(prefix)
    asked: list[tuple[str, str, dict[str, str]]] = []
    handler = type("Noting", (Program,), {"asked": asked})
    behind = ThreadingHTTPServer((HOST, 0), handler)
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    tls, plain = find_ports(2)
    file = prefix / "nginx.conf"
    ports = {"tls": tls, "plain": plain, "program": behind.server_address[1]}
    file.write_text(configure(prefix, ports), "utf-8")
    process = subprocess.Popen(
        [binary, "-p", str(prefix), "-c", str(file), "-g", "daemon off;"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        wait_for(process, tls, plain)
        yield Nginx(tls, plain, prefix, behind, asked)
    finally:
        process.terminate()
        _out, said = process.communicate(timeout=30)
        behind.shutdown()
        behind.server_close()
        log = prefix / "error.log"
        assert not log.exists() or log.read_text() == "", "a log was written"
    assert b"emerg" not in said


def wait_for(process: subprocess.Popen[bytes], *ports: int) -> None:
    """Wait until it listens at every port: some programs open one after the other."""
    left, until = list(ports), time.monotonic() + 30
    while left and time.monotonic() < until:
        if process.poll() is not None:
            said = process.stderr or process.stdout
            assert said is not None
            pytest.fail(f"it ended: {said.read().decode()}")
        try:
            socket.create_connection((HOST, left[0]), timeout=1).close()
        except OSError:
            time.sleep(0.01)
            continue
        left.pop(0)
    assert not left, f"nothing listens at {left}"


def list_log_files(house: House, campaign: Campaign) -> list[str]:
    """Return the addresses of every file of the campaign's log and of the spine."""
    public = house.instance.environment.public
    return [
        f"/{path.relative_to(public)}"
        for folder in (public / campaign.path, public / "spine")
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    ]


def trim(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name not in OWN}


@pytest.mark.slow
def test_every_file_is_answered_as_the_program_answers_it(
    nginx: Nginx, house: House, campaign: Campaign
) -> None:
    own_files = [
        each for each in house.renderer.store.list_addresses() if "/static/" in each
    ]
    logs = list_log_files(house, campaign)
    assert {f"/{campaign.path}/tile/entries/000", "/spine/checkpoint"} < set(logs)
    assert len(own_files) > 5
    for path in [*house.renderer.pages, *own_files, *logs]:
        ours, theirs = house.get(path), nginx.get(path)
        assert (theirs.status, theirs.body) == (200, ours.body), path
        found = trim(theirs.headers)
        if path in own_files:
            # Sent compressed by nginx alone.
            assert found.pop("vary") == "Accept-Encoding"
        assert found == trim(ours.headers), path
        assert theirs.headers["strict-transport-security"]
        again = nginx.get(path, If_None_Match=theirs.headers["etag"])
        assert (again.status, again.body) == (304, b""), path
        assert again.headers["cache-control"] == ours.headers["cache-control"]
        head = nginx.send("HEAD", path)
        assert (head.status, head.body) == (200, b"")
        assert head.headers["etag"] == theirs.headers["etag"]
    for path in house.renderer.pages:
        ours, theirs = house.get_packed(path), nginx.get(path, Accept_Encoding="gzip")
        assert theirs.body == ours.body
        assert trim(theirs.headers) == trim(ours.headers)
        assert theirs.headers["etag"] != nginx.get(path).headers["etag"]
    assert nginx.asked == []


def test_what_is_no_file_is_the_programs(
    nginx: Nginx, house: House, campaign: Campaign
) -> None:
    for path in (
        "/",
        "/c/soil/",
        "/en/c/soil/sign/",
        "/en/c/soil/?x=1",
        f"{NAMES}?after=00",
        "/en/c/soil/index.html",
        "/en/c/soil/index.html.gz",
        "/en/c/soil/.index.html.new",
        "/static/look.css.gz",
        "/static/nothing.css",
        "/c/soil/sign",
        "/c/soil/count.json.gz",
        "/c/nothing/count.json",
        "/app.sqlite3",
        "/secrets/seal.json",
        "/public/c/soil/count.json",
        "/en/.none",
    ):
        assert nginx.get(path).status == 299, path
    assert nginx.send("POST", "/en/c/soil/", body=b"x").status == 299
    assert nginx.send("POST", "/c/soil/sign", body=b"{}").status == 299
    asked = len(nginx.asked)
    for path in (
        "/en/%2e%2e/%2e%2e/app.sqlite3",
        "/static/../../app.sqlite3",
        "/c/soil/tile/../../../../app.sqlite3",
    ):
        assert nginx.get(path).status == 400, path
    assert len(nginx.asked) == asked


def test_a_new_checkpoint_and_an_erasure_are_seen_at_once(
    nginx: Nginx, house: House, campaign: Campaign
) -> None:
    count = f"/{campaign.path}/count.json"
    before = {path: nginx.get(path) for path in (count, "/en/c/soil/", NAMES)}
    signed = house.instance.sign(
        campaign, "vic@example.org", shown=show(name="Vic of the well")
    )
    house.publish(campaign)
    for path, old in before.items():
        new = nginx.get(path, If_None_Match=old.headers["etag"])
        assert new.status == 200
        assert new.body != old.body
    packed = nginx.get(NAMES, Accept_Encoding="gzip")
    assert b"Vic of the well" in gzip.decompress(packed.body)
    erase_shown(
        book=house.instance.engine.services.book,
        book_entry=house.instance.entry(campaign),
        nonce=signed.nonce,
        w=signed.w,
    )
    for encoding in ("gzip", "identity"):
        assert nginx.get(NAMES, Accept_Encoding=encoding).status == 299
    house.renderer.catch_up()
    again = nginx.get(NAMES, If_None_Match=packed.headers["etag"])
    assert again.status == 200
    assert b"Vic of the well" not in again.body


def test_reading_goes_on_without_the_program(
    nginx: Nginx, house: House, campaign: Campaign
) -> None:
    nginx.behind.shutdown()
    nginx.behind.server_close()
    for path in ("/en/", "/en/c/soil/", "/c/soil/count.json", "/static/look.css"):
        assert nginx.get(path).status == 200
    away = nginx.get("/en/c/soil/sign/")
    assert away.status == 503
    assert away.headers["retry-after"] == "30"
    assert away.headers["cache-control"] == "no-store"
    assert nginx.send("POST", "/c/soil/sign", body=b"{}").status == 503


def test_the_program_is_told_the_true_address_and_no_other(nginx: Nginx) -> None:
    nginx.send(
        "POST",
        "/c/soil/sign",
        body=b"{}",
        X_Forwarded_For="203.0.113.9",
        X_Forwarded_Proto="http",
    )
    ((method, path, headers),) = nginx.asked
    assert (method, path) == ("POST", "/c/soil/sign")
    assert headers["x-forwarded-for"] == HOST
    assert headers["x-forwarded-proto"] == "https"
    assert headers["host"] == NAME


def test_too_much_is_refused_before_the_program(nginx: Nginx) -> None:
    assert nginx.send("POST", "/en/check/", body=b"x" * 300_000).status == 413
    assert nginx.get("/en/", X_Long="x" * 40_000).status == 400
    assert nginx.asked == []


def test_nothing_that_was_sent_lies_on_disk(nginx: Nginx) -> None:
    assert nginx.send("POST", "/en/check/", body=b"Asha" * 50_000).status == 299
    for path in nginx.prefix.rglob("*"):
        assert not path.is_file() or b"Asha" not in path.read_bytes()


def test_another_name_gets_no_answer(nginx: Nginx) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, nginx.port), timeout=30) as raw,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(raw, server_hostname="mallory.example")


def test_plain_http_leads_to_tls(nginx: Nginx) -> None:
    connection = http.client.HTTPConnection(HOST, nginx.plain_port, timeout=30)
    connection.request("GET", "/en/?x=1", headers={"Host": NAME})
    found = connection.getresponse()
    assert found.status == 301
    assert found.getheader("Location") == f"https://{NAME}/en/?x=1"
    connection.close()
