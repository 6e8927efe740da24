"""Who delivers mail: the mailbox page in demo and development, SMTP in production."""

from __future__ import annotations

import smtplib
import ssl
from email.message import EmailMessage
from email.utils import make_msgid

from undersigned.config.env import Environment, parse_smtp_url
from undersigned.eligibility.data import Mail
from undersigned.eligibility.desk import Mailbox, MailNotSent, MailSender

TIMEOUT_SECONDS = 30


class NoMail:
    """Refuses every mail: production without a mail server."""

    def send(self, mail: Mail) -> None:
        """Raise MailNotSent."""
        raise MailNotSent("UNDERSIGNED_SMTP_URL is not set", permanent=True)


class SmtpSender:
    """Sends by SMTP, one connection a mail.

    Certificates are verified. The mail server sees address, time and our host; so
    does everything on the way: PROTOCOL §1 promises nothing about mail.
    """

    def __init__(self, url: str, *, mail_from: str) -> None:
        """Read the URL. Raises SettingNotValid."""
        self._address = parse_smtp_url(url)
        self._from = mail_from

    def send(self, mail: Mail) -> None:
        """Send one mail. Raises MailNotSent."""
        message = EmailMessage()
        message["From"] = self._from
        message["To"] = mail.to
        message["Subject"] = mail.subject
        message["Auto-Submitted"] = "auto-generated"
        message["Content-Language"] = mail.language
        # Random, and of the sender's domain: the default names this machine.
        message["Message-ID"] = make_msgid(domain=self._from.rpartition("@")[2])
        message.set_content(mail.body)
        try:
            address = self._address
            with self._connect() as server:
                if address.user is not None:
                    server.login(address.user, address.password)
                server.send_message(message)
        except smtplib.SMTPResponseException as error:
            # The server's text may repeat the address: only its code is passed on.
            raise MailNotSent(
                f"the mail server answered {error.smtp_code}",
                permanent=error.smtp_code >= 500,
            ) from None
        except smtplib.SMTPRecipientsRefused as error:
            permanent = all(code >= 500 for code, _text in error.recipients.values())
            raise MailNotSent(
                "the recipient was refused", permanent=permanent
            ) from None
        except (smtplib.SMTPException, OSError) as error:
            raise MailNotSent(type(error).__name__, permanent=False) from None

    def _connect(self) -> smtplib.SMTP:
        context, address = ssl.create_default_context(), self._address
        if address.scheme == "smtps":
            return smtplib.SMTP_SSL(
                address.host, address.port, timeout=TIMEOUT_SECONDS, context=context
            )
        server = smtplib.SMTP(address.host, address.port, timeout=TIMEOUT_SECONDS)
        if address.scheme == "smtp+starttls":
            try:
                server.starttls(context=context)
            except (smtplib.SMTPException, OSError):
                # Never on in clear: whoever strips the offer would read the mail.
                server.close()
                raise
        return server


def make_sender(environment: Environment) -> MailSender:
    """Return the sender the environment asks for. Raises SettingNotValid."""
    if environment.smtp_url:
        return SmtpSender(environment.smtp_url, mail_from=environment.mail_from)
    return NoMail() if environment.mode == "production" else Mailbox()
