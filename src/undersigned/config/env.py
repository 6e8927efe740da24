"""Deployment facts from the environment, read once, each a row of one table.

``docs/operate/settings.md`` shows the same rows; a test compares them. A secret may be
given as ``NAME`` or as ``NAME_FILE``, the path of a file that holds it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import unquote, urlsplit

Mode = Literal["development", "demo", "production"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: what may be set, of what type and unit, and what it means."""

    name: str
    type: str
    unit: str
    default: str
    meaning: str


SETTINGS: Final[tuple[Setting, ...]] = (
    Setting(
        "UNDERSIGNED_DATA",
        "path",
        "",
        "./var",
        "The data directory: databases, secrets, public files. Nothing lies elsewhere.",
    ),
    Setting(
        "UNDERSIGNED_HOST",
        "text",
        "",
        "localhost:8000",
        "The instance's host: issuer name and first part of every log's origin. It is "
        "signed into every log and cannot be changed once a campaign is open.",
    ),
    Setting(
        "UNDERSIGNED_BASE_URL",
        "URL",
        "",
        "http://HOST (production), else where the server listens",
        "Scheme and host as visitors type them; links in mails begin with it.",
    ),
    Setting(
        "UNDERSIGNED_MODE",
        "development, demo or production",
        "",
        "production",
        "Demo and development show mails on a mailbox page and relax no cryptography.",
    ),
    Setting(
        "UNDERSIGNED_OPERATOR",
        "text",
        "",
        "",
        "Who runs this instance, as the privacy notice names them.",
    ),
    Setting(
        "UNDERSIGNED_ABUSE_CONTACT",
        "text",
        "",
        "",
        "Mail or web address for complaints, shown on the abuse page.",
    ),
    Setting(
        "UNDERSIGNED_SMTP_URL",
        "URL, secret",
        "",
        "",
        "smtp://, smtp+starttls:// or smtps://, with user and password where needed. "
        "Without it no mail is sent: in production asking by e-mail answers 503.",
    ),
    Setting(
        "UNDERSIGNED_MAIL_FROM",
        "mail address",
        "",
        "no-reply@HOST",
        "Sender of confirmation mails. It should name no campaign.",
    ),
    Setting(
        "UNDERSIGNED_PASSPHRASE",
        "text, secret",
        "",
        "",
        "Opens sealed secrets at start. Without it a sealed instance is read only.",
    ),
    Setting(
        "UNDERSIGNED_BIND",
        "host:port",
        "",
        "127.0.0.1:8000",
        "Where the server listens.",
    ),
    Setting(
        "UNDERSIGNED_TRUSTED_PROXY",
        "addresses, by commas",
        "",
        "",
        "Proxies whose X-Forwarded-For is believed. Addresses are used in memory only.",
    ),
)

_SMTP_FORM: Final = "UNDERSIGNED_SMTP_URL must be smtp://, smtp+starttls:// or smtps://"
_SMTP_PORTS: Final = {"smtp": 25, "smtp+starttls": 587, "smtps": 465}
_NAMES: Final = {row.name for row in SETTINGS}


class SettingNotValid(Exception):
    """A setting in the environment cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings, read and checked."""

    data: Path
    host: str
    base_url: str
    mode: Mode
    operator: str
    abuse_contact: str
    smtp_url: str
    mail_from: str
    passphrase: str | None
    bind_host: str
    bind_port: int
    trusted_proxy: str

    @property
    def public(self) -> Path:
        """Root of the public files (PROTOCOL §8)."""
        return self.data / "public"


def _get(environ: Mapping[str, str], name: str, default: str = "") -> str:
    file = environ.get(f"{name}_FILE")
    if file:
        try:
            return Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise SettingNotValid(f"{name}_FILE cannot be read: {error}") from error
    return environ.get(name, default).strip()


def _require_known(environ: Mapping[str, str]) -> None:
    for name in environ:
        if not name.startswith("UNDERSIGNED_") or name == "UNDERSIGNED_CI":
            continue
        if name.removesuffix("_FILE") not in _NAMES:
            raise SettingNotValid(f"{name} is not a setting of Undersigned")


def _read_bind(text: str) -> tuple[str, int]:
    host, _colon, port = text.rpartition(":")
    decimal = port.isascii() and port.isdigit()
    if not host or not decimal or int(port) > 65535:
        raise SettingNotValid("UNDERSIGNED_BIND must be host:port")
    return host.strip("[]"), int(port)


def _require_base_url(text: str) -> None:
    try:
        parts = urlsplit(text)
        valid = (
            parts.scheme in ("http", "https")
            and bool(parts.netloc)
            and parts.path in ("", "/")
        )
    except ValueError:
        valid = False
    if not valid:
        raise SettingNotValid("UNDERSIGNED_BASE_URL must be http(s)://host")


@dataclass(frozen=True, slots=True)
class SmtpAddress:
    """Where mail is handed in, and as whom; ``user`` None: without logging in."""

    scheme: str
    host: str
    port: int
    user: str | None
    password: str


def parse_smtp_url(text: str) -> SmtpAddress:
    """Return the parts of UNDERSIGNED_SMTP_URL. Raises SettingNotValid."""
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise SettingNotValid(_SMTP_FORM) from None
    if parts.scheme not in _SMTP_PORTS or not parts.hostname:
        raise SettingNotValid(_SMTP_FORM)
    return SmtpAddress(
        scheme=parts.scheme,
        host=parts.hostname,
        port=port or _SMTP_PORTS[parts.scheme],
        user=unquote(parts.username) if parts.username else None,
        password=unquote(parts.password) if parts.password else "",
    )


def read_environment(environ: Mapping[str, str] | None = None) -> Environment:
    """Return the settings. Raises SettingNotValid, naming the setting."""
    environ = os.environ if environ is None else environ
    _require_known(environ)
    host = _get(environ, "UNDERSIGNED_HOST", "localhost:8000").lower()
    if not host or any(c in host for c in "/ +\t\n?#@") or not host.isascii():
        raise SettingNotValid("UNDERSIGNED_HOST must be a host, with a port or without")
    mode = _get(environ, "UNDERSIGNED_MODE", "production")
    if mode not in ("development", "demo", "production"):
        raise SettingNotValid(
            "UNDERSIGNED_MODE must be development, demo or production"
        )
    bind_host, bind_port = _read_bind(
        _get(environ, "UNDERSIGNED_BIND", "127.0.0.1:8000")
    )
    base_url = _get(environ, "UNDERSIGNED_BASE_URL")
    if not base_url:
        # Browsers treat localhost as a secure context, so signing scripts run there.
        local = bind_host in ("127.0.0.1", "::1", "localhost")
        literal = f"[{bind_host}]" if ":" in bind_host else bind_host
        here = "localhost" if local else literal
        base_url = f"http://{host if mode == 'production' else f'{here}:{bind_port}'}"
    _require_base_url(base_url)
    smtp_url = _get(environ, "UNDERSIGNED_SMTP_URL")
    if smtp_url:
        parse_smtp_url(smtp_url)
    name = host.rsplit(":", 1)[0]
    return Environment(
        data=Path(_get(environ, "UNDERSIGNED_DATA", "./var")).absolute(),
        host=host,
        base_url=base_url.rstrip("/"),
        mode=cast("Mode", mode),
        operator=_get(environ, "UNDERSIGNED_OPERATOR"),
        abuse_contact=_get(environ, "UNDERSIGNED_ABUSE_CONTACT"),
        smtp_url=smtp_url,
        mail_from=_get(environ, "UNDERSIGNED_MAIL_FROM") or f"no-reply@{name}",
        passphrase=_get(environ, "UNDERSIGNED_PASSPHRASE") or None,
        bind_host=bind_host,
        bind_port=bind_port,
        trusted_proxy=_get(environ, "UNDERSIGNED_TRUSTED_PROXY"),
    )
