"""Mail over a real mail server on this machine: what it is told, and when it fails."""

from __future__ import annotations

import datetime
import ipaddress
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from tests.factories.cast import ASHA
from undersigned.config.env import SettingNotValid
from undersigned.config.mail import SmtpSender
from undersigned.drills.ports import find_port
from undersigned.eligibility.data import Mail
from undersigned.eligibility.desk import MailNotSent

MAIL = Mail(to=ASHA, subject="Your code", body="1234 5678\n", language="en")
FROM = "no-reply@undersigned.example"


@dataclass
class PostOffice:
    """A mail server's handler: keeps what comes, or refuses."""

    answer: str = "250 OK"
    refuses: str | None = None
    came: list[Message] = field(default_factory=list)

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> str:
        if self.refuses is not None:
            return self.refuses
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        assert isinstance(envelope.content, bytes)
        self.came.append(message_from_bytes(envelope.content))
        return self.answer


Serve = Callable[..., str]


@pytest.fixture
def office() -> PostOffice:
    return PostOffice()


@pytest.fixture
def serve(office: PostOffice) -> Iterator[Serve]:
    """Start a mail server on this machine; return its host and port."""
    running: list[Controller] = []

    def start(**options: Any) -> str:
        controller = Controller(
            office, hostname="127.0.0.1", port=find_port(), **options
        )
        controller.start()
        running.append(controller)
        return f"127.0.0.1:{controller.port}"

    yield start
    for controller in running:
        controller.stop()


class TestAMail:
    def test_it_arrives_as_it_was_written(
        self, serve: Serve, office: PostOffice
    ) -> None:
        SmtpSender(f"smtp://{serve()}", mail_from=FROM).send(MAIL)
        (message,) = office.came
        assert message["To"] == ASHA
        assert message["From"] == FROM
        assert message["Subject"] == "Your code"
        payload = message.get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert payload.decode().splitlines() == ["1234 5678"]

    def test_it_says_nothing_of_this_machine_or_a_campaign(
        self, serve: Serve, office: PostOffice
    ) -> None:
        SmtpSender(f"smtp://{serve()}", mail_from=FROM).send(MAIL)
        (message,) = office.came
        assert message["Message-ID"].endswith("@undersigned.example>")
        assert socket.gethostname() not in message["Message-ID"]
        assert message["Auto-Submitted"] == "auto-generated"
        assert message["User-Agent"] is None
        assert message["X-Mailer"] is None

    def test_it_may_be_chinese(self, serve: Serve, office: PostOffice) -> None:
        mail = Mail(to=ASHA, subject="您的验证码", body="验证码 1234\n", language="zh")
        SmtpSender(f"smtp://{serve()}", mail_from=FROM).send(mail)
        payload = office.came[0].get_payload(decode=True)
        assert isinstance(payload, bytes)
        assert payload.decode().strip() == "验证码 1234"


class TestAServerThatRefuses:
    @pytest.mark.parametrize(
        "answer, permanent",
        [("550 no such user asha", True), ("451 asha, try later", False)],
    )
    def test_the_recipient_is_refused_without_repeating_the_address(
        self, serve: Serve, office: PostOffice, answer: str, permanent: bool
    ) -> None:
        office.refuses = answer
        sender = SmtpSender(f"smtp://{serve()}", mail_from=FROM)
        with pytest.raises(MailNotSent) as caught:
            sender.send(MAIL)
        assert "asha" not in str(caught.value)
        assert caught.value.permanent is permanent
        office.refuses = None
        sender.send(MAIL)
        assert len(office.came) == 1

    @pytest.mark.parametrize(
        "answer, permanent",
        [("554 asha is a spammer", True), ("452 asha's box is full", False)],
    )
    def test_the_mail_is_refused_without_repeating_the_address(
        self, serve: Serve, office: PostOffice, answer: str, permanent: bool
    ) -> None:
        office.answer = answer
        with pytest.raises(MailNotSent) as caught:
            SmtpSender(f"smtp://{serve()}", mail_from=FROM).send(MAIL)
        assert "asha" not in str(caught.value)
        assert caught.value.permanent is permanent
        assert caught.value.__cause__ is None

    def test_nobody_listens(self) -> None:
        sender = SmtpSender(f"smtp://127.0.0.1:{find_port()}", mail_from=FROM)
        with pytest.raises(MailNotSent) as caught:
            sender.send(MAIL)
        assert not caught.value.permanent

    def test_it_takes_no_password_without_encryption(
        self, serve: Serve, office: PostOffice
    ) -> None:
        sender = SmtpSender(f"smtp://omar:secret@{serve()}", mail_from=FROM)
        with pytest.raises(MailNotSent) as caught:
            sender.send(MAIL)
        assert "secret" not in str(caught.value)
        assert office.came == []


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for this machine that nobody signed but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
            ),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + made.public_bytes(Encoding.PEM))
    return path


@pytest.fixture
def tls(certificate: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


class TestEncryption:
    def test_a_mail_goes_out_after_starttls(
        self,
        serve: Serve,
        office: PostOffice,
        tls: ssl.SSLContext,
        certificate: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        address = serve(tls_context=tls, require_starttls=True)
        SmtpSender(f"smtp+starttls://{address}", mail_from=FROM).send(MAIL)
        assert [message["To"] for message in office.came] == [ASHA]

    def test_nothing_is_sent_where_starttls_is_absent(
        self, serve: Serve, office: PostOffice
    ) -> None:
        sender = SmtpSender(f"smtp+starttls://{serve()}", mail_from=FROM)
        with pytest.raises(MailNotSent):
            sender.send(MAIL)
        assert office.came == []

    def test_nothing_is_sent_under_a_certificate_nobody_trusts(
        self, serve: Serve, office: PostOffice, tls: ssl.SSLContext
    ) -> None:
        address = serve(tls_context=tls)
        with pytest.raises(MailNotSent):
            SmtpSender(f"smtp+starttls://{address}", mail_from=FROM).send(MAIL)
        assert office.came == []

    def test_nothing_is_sent_in_clear_where_tls_was_asked_from_the_start(
        self, serve: Serve, office: PostOffice, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("undersigned.config.mail.TIMEOUT_SECONDS", 2)
        with pytest.raises(MailNotSent):
            SmtpSender(f"smtps://{serve()}", mail_from=FROM).send(MAIL)
        assert office.came == []


class TestItsAddress:
    @pytest.mark.parametrize(
        "url",
        [
            "ftp://127.0.0.1",
            "127.0.0.1:25",
            "smtp://",
            "smtp+starttls:",
            "smtp://127.0.0.1:99999",
            "smtp://127.0.0.1:port",
            "smtp://[127.0.0.1",
        ],
    )
    def test_it_must_be_one_of_a_mail_server(self, url: str) -> None:
        with pytest.raises(SettingNotValid, match="UNDERSIGNED_SMTP_URL"):
            SmtpSender(url, mail_from=FROM)

    # The server of this test warns that it takes a password without encryption.
    @pytest.mark.filterwarnings("ignore:Requiring AUTH while not requiring TLS")
    def test_its_user_and_password_may_be_escaped(
        self, serve: Serve, office: PostOffice
    ) -> None:
        seen: list[LoginPassword] = []

        def let_in(*values: Any) -> AuthResult:
            seen.append(values[-1])
            return AuthResult(success=True)

        address = serve(
            authenticator=let_in, auth_required=True, auth_require_tls=False
        )
        url = f"smtp://omar%40example.org:p%3Ass%2F@{address}"
        SmtpSender(url, mail_from=FROM).send(MAIL)
        assert seen == [LoginPassword(b"omar@example.org", b"p:ss/")]
        assert len(office.came) == 1
