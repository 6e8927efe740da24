"""A real nginx and a real Caddy, as docs/operate/tls.md says, before the program."""

from __future__ import annotations

import http.client
import re
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.factories.asgi import Answer, make_behind
from tests.factories.instances import Instance
from tests.factories.wire import serve
from tests.support import ROOT, program
from tests.web.rendered.test_nginx import (
    HOST,
    NAME,
    adapt,
    wait_for,
    write_certificate,
)
from undersigned.drills.ports import find_ports
from undersigned.web.hot.app import HotApp
from undersigned.web.hot.files import Files
from undersigned.web.hot.wire import Scope

FORM = "application/x-www-form-urlencoded"
BODY = b"klass=invitation&code=Asha"


@dataclass
class Front:
    """What stands before the program, and what the program was asked."""

    kind: str
    tls: int
    plain: int
    onion: int
    prefix: Path
    asked: list[Scope]
    instance: Instance

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        port: int = 0,
        host: str = NAME,
        headers: dict[str, str] | None = None,
        chunked: bool = False,
    ) -> Answer:
        """Send a request: over TLS, or in plain to ``port``."""
        raw = socket.create_connection((HOST, port or self.tls), timeout=30)
        if port:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = raw
        else:
            context = ssl.create_default_context(cafile=self.prefix / "fullchain.pem")
            connection = http.client.HTTPSConnection(host, self.tls, context=context)
            connection.sock = context.wrap_socket(raw, server_hostname=host)
        try:
            connection.putrequest(method, path, skip_host=True)
            connection.putheader("Host", host)
            for name, value in (headers or {}).items():
                connection.putheader(name, value)
            if chunked:
                connection.putheader("Transfer-Encoding", "chunked")
            elif body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders(body, encode_chunked=chunked)
            found = connection.getresponse()
            values = {name.lower(): value for name, value in found.getheaders()}
            return Answer(found.status, values, found.read())
        finally:
            connection.close()


def read_block(language: str) -> str:
    text = (ROOT / "docs" / "operate" / "tls.md").read_text("utf-8")
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return str(found)


def write_nginx(prefix: Path, ports: dict[str, int]) -> list[str]:
    """Write the configuration; return the command that serves by it."""
    text = read_block("nginx")
    replaced = {
        "worker_rlimit_nofile 65536;": "",
        "worker_connections 16384;": "worker_connections 256;",
        "127.0.0.1:8081": f"{HOST}:{ports['onion']}",
    }
    for old, new in replaced.items():
        assert old in text
        text = text.replace(old, new)
    # Words that only the longer configuration has, so that one adapter serves both.
    absent = (
        "#/srv/undersigned/ worker_rlimit_nofile 262144; worker_connections 65536;\n"
    )
    text = adapt(text + absent, prefix=prefix, data=prefix, ports=ports)
    path = prefix / "nginx.conf"
    path.write_text(text, "utf-8")
    binary = program("nginx")
    return [binary, "-p", str(prefix), "-c", str(path), "-g", "daemon off;"]


def write_caddy(prefix: Path, ports: dict[str, int]) -> list[str]:
    """Write the configuration; return the command that serves by it."""
    binary = program("caddy")
    replaced = {
        "{\n    log {": (
            "{\n    admin off\n    auto_https disable_certs\n"
            f"    http_port {ports['plain']}\n    https_port {ports['tls']}\n"
            f"    default_bind {HOST}\n    storage file_system {prefix}/caddy\n"
            "    log {"
        ),
        f"{NAME} {{\n": (
            f"{NAME} {{\n    tls {prefix}/fullchain.pem {prefix}/privkey.pem\n"
        ),
        "127.0.0.1:8000": f"{HOST}:{ports['program']}",
    }
    text = read_block("caddy")
    for old, new in replaced.items():
        assert old in text, old
        text = text.replace(old, new, 1)
    path = prefix / "Caddyfile"
    path.write_text(text, "utf-8")
    return [binary, "run", "--config", str(path), "--adapter", "caddyfile"]


WRITERS = {"nginx": write_nginx, "caddy": write_caddy}
# The onion service's own listener is in nginx's configuration alone.
LISTENS = {"nginx": ("tls", "plain", "onion"), "caddy": ("tls", "plain")}


@contextmanager
def stand_in_front(kind: str, instance: Instance, folder: Path) -> Iterator[Front]:
    """Run the front before the program."""
    prefix = folder / kind
    prefix.mkdir()
    write_certificate(prefix)
    asked: list[Scope] = []
    app = HotApp(
        services=instance.engine.services,
        files=Files(public=instance.environment.public, static=[]),
        behind=make_behind(asked),
    )
    with serve(app) as wire:
        ports = dict(zip(("tls", "plain", "onion"), find_ports(3), strict=True))
        ports["program"] = wire.port
        process = subprocess.Popen(
            WRITERS[kind](prefix, ports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={"HOME": str(prefix), "PATH": "/usr/bin:/bin"},
        )
        try:
            wait_for(process, *(ports[name] for name in LISTENS[kind]))
            yield Front(
                kind=kind,
                tls=ports["tls"],
                plain=ports["plain"],
                onion=ports["onion"],
                prefix=prefix,
                asked=asked,
                instance=instance,
            )
        finally:
            process.terminate()
            said, _none = process.communicate(timeout=30)
    log = prefix / "error.log"
    assert not log.exists() or log.read_text() == "", "a log was written"
    # Nothing of any visitor, whatever else it tells its operator.
    assert b"Asha" not in said
    assert b"/en/c/" not in said


@pytest.fixture(params=["nginx", "caddy"])
def front(
    request: pytest.FixtureRequest, instance: Instance, tmp_path: Path
) -> Iterator[Front]:
    """Each of the two."""
    with stand_in_front(request.param, instance, tmp_path) as found:
        yield found


def test_the_program_sees_who_comes_and_by_what(front: Front) -> None:
    answer = front.send(
        "POST", "/en/c/soil/sign/ask/", body=BODY, headers={"Content-Type": FORM}
    )
    assert answer.status == 299
    (scope,) = front.asked
    assert scope["scheme"] == "https"
    assert scope["client"][0] == HOST
    assert (b"host", NAME.encode()) in scope["headers"]
    arrivals = front.instance.engine.services.arrivals.as_json()
    assert arrivals == {"direct": 0, "believed": 1, "not_believed": 0, "plain": 0}


@pytest.mark.parametrize(
    "claim",
    [
        {"X-Forwarded-For": "203.0.113.9"},
        {"X-Forwarded-For": "203.0.113.9, 127.0.0.1"},
        {"X-Forwarded-Proto": "http", "X-Real-IP": "203.0.113.9"},
        {"Forwarded": "for=203.0.113.9;proto=http", "X-Forwarded-Host": "evil.example"},
    ],
)
def test_nobody_is_who_they_claim_to_be(front: Front, claim: dict[str, str]) -> None:
    front.send("GET", "/en/confirm/?t=x", headers=claim)
    (scope,) = front.asked
    assert scope["client"][0] == HOST
    assert scope["scheme"] == "https"


def test_what_the_program_needs_is_handed_on(front: Front) -> None:
    given = {
        "authorization": "Ticket abc",
        "turn": "T" * 39,
        "origin": f"https://{NAME}",
        "sec-fetch-site": "same-origin",
        "content-type": FORM,
    }
    front.send("POST", "/en/confirm/", body=b"t=x", headers=given)
    (scope,) = front.asked
    found = {name.decode(): value.decode() for name, value in scope["headers"]}
    assert {name: found[name] for name in given} == given


def test_every_answer_tells_browsers_to_keep_to_tls(front: Front) -> None:
    for method, path in (("GET", "/en/x/"), ("POST", "/c/x/sign"), ("GET", "/nothing")):
        answer = front.send(method, path, body=b"" if method == "POST" else None)
        assert answer.headers["strict-transport-security"] == "max-age=63072000"


def test_plain_http_leads_to_tls_and_tells_the_program_nothing(front: Front) -> None:
    answer = front.send("GET", "/en/c/soil/?x=1", port=front.plain)
    assert answer.status in (301, 308)
    assert re.fullmatch(
        rf"https://{re.escape(NAME)}(:\d+)?/en/c/soil/\?x=1",
        answer.headers["location"],
    )
    assert front.asked == []


def test_another_name_gets_no_certificate(front: Front) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((HOST, front.tls), timeout=30) as raw,
        pytest.raises((ssl.SSLError, OSError)),
    ):
        context.wrap_socket(raw, server_hostname="mallory.example")


def test_nothing_that_was_sent_lies_on_disk(front: Front) -> None:
    answer = front.send(
        "POST", "/en/check/", body=b"Asha" * 50_000, headers={"Content-Type": FORM}
    )
    assert answer.status == 299
    for path in front.prefix.rglob("*"):
        assert not path.is_file() or b"Asha" not in path.read_bytes()


def test_too_much_is_refused(front: Front) -> None:
    # A byte more than each takes, so that nothing is left unread: what hangs up on
    # unread bytes may take its answer with it.
    length = {"nginx": 262_145, "caddy": 256_001}[front.kind]
    answer = front.send(
        "POST", "/en/check/", body=b"x" * length, headers={"Content-Type": FORM}
    )
    assert answer.status == 413
    assert front.asked == []


def test_too_much_that_does_not_say_so_is_cut_off(front: Front) -> None:
    answer = front.send(
        "POST",
        "/en/check/",
        body=b"x" * 262_145,
        headers={"Content-Type": FORM},
        chunked=True,
    )
    # Caddy sends what fits, and then says that the program is at fault.
    assert answer.status == 413 or (front.kind, answer.status) == ("caddy", 502)
    assert front.asked == []


def test_all_who_come_by_the_onion_are_one_network(
    instance: Instance, tmp_path: Path
) -> None:
    with stand_in_front("nginx", instance, tmp_path) as front:
        answer = front.send(
            "GET",
            "/en/confirm/?t=x",
            port=front.onion,
            host="abcdef.onion",
            headers={"X-Forwarded-For": "203.0.113.9"},
        )
        assert answer.status == 299
        assert "strict-transport-security" not in answer.headers
        (scope,) = front.asked
        assert scope["client"][0] == "192.0.2.1"
        assert (b"host", NAME.encode()) in scope["headers"]


def test_a_certificate_can_be_made_as_it_says(tmp_path: Path) -> None:
    program("openssl")
    text = (ROOT / "docs" / "operate" / "tls.md").read_text("utf-8")
    (commands,) = re.findall(r"^```sh\n(openssl req -x509.*?)^```$", text, re.M | re.S)
    subprocess.run(
        ["sh", "-eu", "-c", commands], cwd=tmp_path, check=True, capture_output=True
    )
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(tmp_path / "fullchain.pem", tmp_path / "privkey.pem")
    client = ssl.create_default_context(cafile=tmp_path / "authority.pem")
    ours, theirs = socket.socketpair()
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    back, forth = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours.close()
    theirs.close()
    one = client.wrap_bio(incoming, outgoing, server_hostname=NAME)
    other = server.wrap_bio(forth, back, server_side=True)
    for _step in range(4):
        for side in (one, other):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                pass
            forth.write(outgoing.read())
            incoming.write(back.read())
    assert one.version() == "TLSv1.3"
