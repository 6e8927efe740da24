"""The way to a witness, over real sockets on this machine."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from undersigned.config.witnesses import MAX_ANSWER_BYTES, HttpTransport
from undersigned.witness.dialogue import Answer, Unanswered

BODY = b"old 0\n\nnot a checkpoint\n"


class Server:
    """Takes one connection, reads a request and does with it what the test says."""

    def __init__(self, speak: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.asked = b""
        self._speak = speak
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}/witness"

    def _run(self) -> None:
        with self._listener, self._listener.accept()[0] as client:
            client.settimeout(10)
            while BODY not in self.asked:
                self.asked += client.recv(65_536)
            try:
                self._speak(client)
            except OSError:
                # The transport has had enough.
                return

    def join(self) -> None:
        """Wait until it has spoken."""
        self._thread.join(20)
        assert not self._thread.is_alive()


Serve = Callable[[Callable[[socket.socket], None]], Server]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that are gone after the test."""
    servers: list[Server] = []

    def start(speak: Callable[[socket.socket], None]) -> Server:
        servers.append(Server(speak))
        return servers[-1]

    yield start
    for server in servers:
        server.join()


def say(text: bytes) -> Callable[[socket.socket], None]:
    return lambda client: client.sendall(text)


def ask(url: str, seconds: float = 10.0) -> Answer:
    return HttpTransport(seconds=seconds).add_checkpoint(url, BODY)


def test_it_posts_and_reads(serve: Serve) -> None:
    server = serve(
        say(
            b"HTTP/1.1 409 Conflict\r\ncontent-type: Text/X.tlog.size; x=y\r\n"
            b"content-length: 2\r\n\r\n5\n"
        )
    )
    assert ask(server.url) == Answer(409, "text/x.tlog.size", b"5\n")
    head, _gap, body = server.asked.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /witness/add-checkpoint HTTP/1.1\r\n")
    assert body == BODY
    # Nothing that says what runs here.
    assert b"user-agent" not in head.lower()
    assert b"cookie" not in head.lower()


def test_it_follows_nobody_elsewhere(serve: Serve) -> None:
    elsewhere = socket.create_server(("127.0.0.1", 0))
    elsewhere.settimeout(0.2)
    port = elsewhere.getsockname()[1]
    server = serve(
        say(
            b"HTTP/1.1 307 Elsewhere\r\ncontent-length: 0\r\n"
            b"location: http://127.0.0.1:%d/\r\n\r\n" % port
        )
    )
    assert ask(server.url).status == 307
    with pytest.raises(TimeoutError):
        elsewhere.accept()
    elsewhere.close()


def test_it_uses_no_proxy_of_the_environment(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    server = serve(say(b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\nx"))
    assert ask(server.url).body == b"x"


def test_nobody_there_is_unanswered() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/witness"
        with pytest.raises(Unanswered):
            ask(url)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"HTTP/1.1 2",
        b"SSH-2.0-nothing\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x: y\r\n" * 5000,
        b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000,
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
    ],
)
def test_no_http_is_unanswered(serve: Serve, text: bytes) -> None:
    with pytest.raises(Unanswered):
        ask(serve(say(text)).url)


def test_an_endless_answer_is_left(serve: Serve) -> None:
    def flood(client: socket.socket) -> None:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _number in range(1000):
            client.sendall(b"x" * MAX_ANSWER_BYTES)

    with pytest.raises(Unanswered, match="too long"):
        ask(serve(flood).url)


def test_silence_has_an_end(serve: Serve) -> None:
    def wait(client: socket.socket) -> None:
        client.recv(1)

    begun = time.monotonic()
    with pytest.raises(Unanswered):
        ask(serve(wait).url, seconds=0.3)
    assert time.monotonic() - begun < 5


@pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_drop_by_drop_has_an_end(serve: Serve, head: bytes) -> None:
    """Each drop is in time; the whole is not. In the head and in the body."""

    def drip(client: socket.socket) -> None:
        client.sendall(head)
        while True:
            client.sendall(b"x")
            time.sleep(0.05)

    begun = time.monotonic()
    try:
        answer = ask(serve(drip).url, seconds=0.5)
    except Unanswered:
        answer = None
    assert time.monotonic() - begun < 5
    assert answer is None or len(answer.body) < 200


def make_certificate(folder: Path) -> Path:
    """Write a key and a certificate that nobody has signed but itself."""
    key = Ed25519PrivateKey.generate()
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    begins = datetime(2020, 1, 1, tzinfo=UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(begins)
        .not_valid_after(begins + timedelta(days=36_500))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False
        )
        .sign(key, None)
    )
    path = folder / "certificate.pem"
    path.write_bytes(
        key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        + certificate.public_bytes(Encoding.PEM)
    )
    return path


def test_a_certificate_that_nobody_vouches_for_is_unanswered(tmp_path: Path) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(make_certificate(tmp_path))
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]

    def serve() -> None:
        with listener, listener.accept()[0] as client, suppress(OSError):
            tls.wrap_socket(client, server_side=True).recv(1)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(Unanswered, match="CERTIFICATE_VERIFY_FAILED"):
        ask(f"https://localhost:{port}/witness")
    thread.join()
