"""What docs/operate/jetstream.md tells operators to write is what the servers take."""

from __future__ import annotations

import asyncio
import datetime
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support import ROOT, skip_or_fail
from undersigned.config.env import parse_stream_url
from undersigned.drills.brokers import NoBrokers, find_program
from undersigned.ledger.stream import broker
from undersigned.ledger.stream.broker import BrokerAway, open_broker

pytestmark = pytest.mark.slow


def write_certificate(folder: Path) -> None:
    """Write a certificate for localhost that is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    (folder / "ca.pem").write_bytes(made.public_bytes(pem))
    (folder / "server.pem").write_bytes(made.public_bytes(pem))
    (folder / "server.key").write_bytes(
        key.private_bytes(
            pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """The document's file, with this machine's folders and ports."""
    text = (ROOT / "docs/operate/jetstream.md").read_text("utf-8")
    (block,) = re.findall(r"```\n(server_name.*?)```", text, flags=re.S)
    write_certificate(tmp_path)
    block = block.replace("/etc/nats", str(tmp_path))
    block = block.replace("/var/lib/nats", str(tmp_path / "store"))
    block = re.sub(r'"(0\.0\.0\.0|127\.0\.0\.1):\d+"', '"127.0.0.1:-1"', block)
    path = tmp_path / "nats.conf"
    path.write_text(block + f'\nports_file_dir: "{tmp_path}"\n', encoding="utf-8")
    return path


@pytest.fixture
def program() -> str:
    try:
        return find_program()
    except NoBrokers as error:
        skip_or_fail(str(error))


def test_the_servers_take_it(configuration: Path, program: str) -> None:
    done = subprocess.run(
        [program, "-t", "-c", str(configuration)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.fixture
def port(configuration: Path, program: str) -> Iterator[int]:
    """One of the servers, running; it finds no others."""
    folder = configuration.parent
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [program, "-c", str(configuration)], stdout=log, stderr=log
        )
    try:
        until = time.monotonic() + 20
        found = None
        while found is None and time.monotonic() < until:
            said = (folder / "log").read_text("utf-8", "replace")
            found = re.search(r"client connections on 127\.0\.0\.1:(\d+)", said)
            time.sleep(0.05)
        assert found is not None, (folder / "log").read_text("utf-8", "replace")
        yield int(found[1])
    finally:
        server.kill()
        server.wait()


def test_it_is_reached_under_its_name_alone(
    port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(broker, "PATIENCE_SECONDS", 2.0)
    login = "issuer:made-by-a-machine-1"
    ca = f"?ca={tmp_path}/ca.pem"

    async def reach(url: str) -> None:
        client = await open_broker(parse_stream_url(url))
        await client.close()

    asyncio.run(reach(f"tls://{login}@localhost:{port}{ca}"))
    for wrong in (
        # Another name than the certificate's.
        f"tls://{login}@127.0.0.1:{port}{ca}",
        # An authority that nobody here knows.
        f"tls://{login}@localhost:{port}",
        # Another password.
        f"tls://issuer:x@localhost:{port}{ca}",
    ):
        with pytest.raises(BrokerAway):
            asyncio.run(reach(wrong))
