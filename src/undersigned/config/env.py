"""Deployment facts from the environment, read once, each a row of one table.

``docs/operate/settings.md`` shows the same rows; a test compares them. A secret may be
given as ``NAME`` or as ``NAME_FILE``, the path of a file that holds it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from undersigned.ledger.stream.address import BrokerAddress

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
        "UNDERSIGNED_DATABASE_URL",
        "URL, secret",
        "",
        "the file app.sqlite3 in the data directory",
        "Keeps the pages database in PostgreSQL: postgresql://user:password@host/name, "
        "with libpq's parameters behind a question mark (docs/operate/postgresql.md).",
    ),
    Setting(
        "UNDERSIGNED_LEDGER_URL",
        "URL, secret",
        "",
        "the file ledger.sqlite3 in the data directory",
        "Keeps the ledger in PostgreSQL, in a database of its own, as the role ledger; "
        "then a second machine may stand by (docs/operate/postgresql.md).",
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
        "UNDERSIGNED_OBJECTS_URL",
        "URL",
        "",
        "",
        "Public files and pages are also put into this object store, which speaks S3: "
        "https://host/bucket, a prefix behind it, and ?region= where it has one "
        "(docs/operate/object-storage.md).",
    ),
    Setting(
        "UNDERSIGNED_OBJECTS_KEY",
        "text, secret",
        "",
        "",
        "Key id and secret for that store, with a colon between them.",
    ),
    Setting(
        "UNDERSIGNED_ISSUER_URL",
        "URL",
        "",
        "",
        "Makes this process a web node, in front of the one at this address "
        "(docs/operate/cluster.md). It holds no data and no keys.",
    ),
    Setting(
        "UNDERSIGNED_INTAKE_URL",
        "URL, secret",
        "",
        "",
        "Where a web node adds signatures: the ledger's database, as the role intake.",
    ),
    Setting(
        "UNDERSIGNED_NODE_SECRET",
        "text, secret",
        "",
        "",
        "Known to the issuer's process and its web nodes, at least 32 characters; with "
        "it they ask for what nobody else may.",
    ),
    Setting(
        "UNDERSIGNED_STREAM_URL",
        "URL, secret",
        "",
        "",
        "Servers of a JetStream that carries signatures from web nodes to the pool: "
        "tls://user:password@host1:4222,host2:4222,host3:4222, with ?ca=/path where "
        "their certificates are not the system's (docs/operate/jetstream.md).",
    ),
    Setting(
        "UNDERSIGNED_STREAM_MONITOR",
        "URLs, by commas",
        "",
        "",
        "Where those servers tell about themselves (http://host:8222), for the doctor.",
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
# The test suite's own words in the environment.
NAME_OF_TEST_LEDGER: Final = "UNDERSIGNED_TEST_LEDGER"
NAMES_OF_TESTS: Final = {
    "UNDERSIGNED_CI",
    "UNDERSIGNED_TEST_DATABASE",
    NAME_OF_TEST_LEDGER,
}

_DATABASE_FORM: Final = "{} must be postgresql://user:password@host:port/name"
# What may stand behind the question mark; a password may not.
_DATABASE_PARAMETERS: Final = frozenset(
    "host port sslmode sslrootcert sslcert sslkey sslcrl channel_binding passfile "
    "connect_timeout target_session_attrs".split()
)


_OBJECTS_FORM: Final = (
    "UNDERSIGNED_OBJECTS_URL must be https://host/bucket, with a prefix behind it or "
    "?region=NAME where the store needs that"
)
# As S3 names them; nothing that a path could be.
_BUCKET: Final = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{1,62}")
_PREFIX: Final = re.compile(
    r"[a-zA-Z0-9_-][a-zA-Z0-9._-]*(/[a-zA-Z0-9_-][a-zA-Z0-9._-]*)*"
)
_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")


class SettingNotValid(Exception):
    """A setting in the environment cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """Where a database is, and as whom; empty fields are libpq's defaults.

    ``parameters``: libpq's, by name. ``host`` may be a folder of a socket, or several
    hosts by commas.
    """

    host: str
    port: str
    name: str
    user: str
    password: str = field(repr=False)
    parameters: dict[str, str]

    @property
    def is_local(self) -> bool:
        """Whether what is sent stays on this machine."""
        return all(
            host == "" or host[0] in "/@" or host in ("localhost", "127.0.0.1", "::1")
            for host in self.host.split(",")
        )

    @property
    def tls(self) -> str:
        """libpq's sslmode. Beyond this machine the server must prove its name."""
        return self.parameters.get(
            "sslmode", "prefer" if self.is_local else "verify-full"
        )

    def describe(self) -> str:
        """Return the address without the password, for people to read."""
        where = f"{self.host}:{self.port}" if self.port else self.host
        return f"postgresql://{self.user}@{where}/{self.name}"


@dataclass(frozen=True, slots=True)
class ObjectsAddress:
    """An object store that speaks S3, and as whom we go there.

    ``endpoint``: scheme, host and port. ``prefix``: without slashes at its ends, or
    empty.
    """

    endpoint: str
    bucket: str
    prefix: str
    region: str
    key_id: str
    secret: str = field(repr=False)

    @property
    def is_private(self) -> bool:
        """Whether nobody on the way can read or change what is sent."""
        parts = urlsplit(self.endpoint)
        return parts.scheme == "https" or parts.hostname in _LOOPBACK


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings, read and checked."""

    data: Path
    # None: the pages database is a file in ``data``.
    database: DatabaseAddress | None
    # None: the ledger is one, too.
    ledger: DatabaseAddress | None
    host: str
    base_url: str
    mode: Mode
    operator: str
    abuse_contact: str
    # Secrets stay out of a traceback that shows this object.
    smtp_url: str = field(repr=False)
    mail_from: str
    passphrase: str | None = field(repr=False)
    bind_host: str
    bind_port: int
    trusted_proxy: str
    # Where the issuer's process is; None: this is it, and no web node.
    issuer: tuple[str, int] | None
    # Where a web node adds signatures; None on others.
    intake: DatabaseAddress | None
    node_secret: str | None = field(repr=False)
    # None: public files are in ``data`` alone.
    object_store: ObjectsAddress | None
    # None: web nodes add to the pool by themselves.
    stream: BrokerAddress | None
    # Host and port of each server's own account of itself.
    stream_monitors: tuple[tuple[str, int], ...]

    @property
    def public(self) -> Path:
        """Root of the public files (PROTOCOL §8)."""
        return self.data / "public"

    @property
    def keeps_ledger_here(self) -> bool:
        """Whether the ledger is a file in ``data``, and no server's."""
        return self.ledger is None


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
        if not name.startswith("UNDERSIGNED_") or name in NAMES_OF_TESTS:
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


def parse_database_url(
    text: str, *, setting: str = "UNDERSIGNED_DATABASE_URL"
) -> DatabaseAddress:
    """Return the parts of a database's URL. Raises SettingNotValid.

    The error never repeats the text, which holds a password.
    """
    try:
        parts = urlsplit(text)
        port = str(parts.port or "")
        given = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=True)
    except ValueError:
        raise SettingNotValid(_DATABASE_FORM.format(setting)) from None
    parameters = dict(given)
    name = unquote(parts.path.removeprefix("/"))
    if (
        parts.scheme not in ("postgresql", "postgres")
        or not name
        or "/" in name
        or "\0" in unquote(text)
        or parts.fragment
    ):
        raise SettingNotValid(_DATABASE_FORM.format(setting))
    if unknown := parameters.keys() - _DATABASE_PARAMETERS:
        raise SettingNotValid(
            f"{setting}: {min(unknown)} is not among the parameters "
            f"{', '.join(sorted(_DATABASE_PARAMETERS))}"
        )
    return DatabaseAddress(
        host=parameters.pop("host", parts.hostname or ""),
        port=parameters.pop("port", port),
        name=name,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        parameters=parameters,
    )


def parse_objects_url(text: str, key: str) -> ObjectsAddress:
    """Return the parts of UNDERSIGNED_OBJECTS_URL, with its key.

    Raises SettingNotValid, which never repeats the key.
    """
    try:
        parts = urlsplit(text)
        given = parse_qsl(parts.query, keep_blank_values=True)
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        raise SettingNotValid(_OBJECTS_FORM) from None
    bucket, _slash, prefix = unquote(parts.path).strip("/").partition("/")
    if (
        parts.scheme not in ("https", "http")
        or not parts.hostname
        or parts.username
        or parts.fragment
        or not _BUCKET.fullmatch(bucket)
        or (prefix and not _PREFIX.fullmatch(prefix))
        or {name for name, _value in given} - {"region"}
        or len(given) > 1
    ):
        raise SettingNotValid(_OBJECTS_FORM)
    key_id, colon, secret = key.rpartition(":")
    if not (key_id and colon and secret):
        raise SettingNotValid(
            "UNDERSIGNED_OBJECTS_KEY must be the key id and the secret of the object "
            "store, with a colon between them"
        )
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return ObjectsAddress(
        endpoint=f"{parts.scheme}://{host}{port}",
        bucket=bucket,
        prefix=prefix,
        region=dict(given).get("region") or "us-east-1",
        key_id=key_id,
        secret=secret,
    )


_STREAM_FORM: Final = (
    "UNDERSIGNED_STREAM_URL must be tls://user:password@host1:port,host2:port,… with "
    "?ca=/path behind it or without; nats:// in place of tls:// on this machine"
)
_STREAM_PORT: Final = 4222
_MONITOR_PORT: Final = 8222


def _read_server(text: str, *, port: int) -> tuple[str, int]:
    """Return host and port of ``host:port``. Raises ValueError."""
    parts = urlsplit(f"//{text}")
    if not parts.hostname or parts.username or parts.path or parts.query:
        raise ValueError(text)
    return parts.hostname, parts.port or port


def parse_stream_url(text: str) -> BrokerAddress:
    """Return the parts of UNDERSIGNED_STREAM_URL. Raises SettingNotValid.

    The error never repeats the text, which holds a password.
    """
    try:
        parts = urlsplit(text)
        login, _at, servers = parts.netloc.rpartition("@")
        user, _colon, password = login.partition(":")
        found = [_read_server(one, port=_STREAM_PORT) for one in servers.split(",")]
        given = dict(parse_qsl(parts.query, strict_parsing=True) if parts.query else [])
    except ValueError:
        raise SettingNotValid(_STREAM_FORM) from None
    is_tls = parts.scheme == "tls"
    if (
        parts.scheme not in ("tls", "nats")
        or parts.path not in ("", "/")
        or parts.fragment
        or given.keys() - {"ca"}
        or (given and not is_tls)
    ):
        raise SettingNotValid(_STREAM_FORM)
    return BrokerAddress(
        servers=tuple(found),
        user=unquote(user),
        password=unquote(password),
        is_tls=is_tls,
        ca=given.get("ca"),
    )


def _read_stream(
    environ: Mapping[str, str], *, has_server: bool, has_secret: bool
) -> BrokerAddress | None:
    text = _get(environ, "UNDERSIGNED_STREAM_URL")
    if not text:
        return None
    address = parse_stream_url(text)
    _require_extra("nats", "UNDERSIGNED_STREAM_URL")
    if not has_server or not has_secret:
        raise SettingNotValid(
            "UNDERSIGNED_STREAM_URL needs a ledger in PostgreSQL, and "
            "UNDERSIGNED_NODE_SECRET, with which what it carries is sealed"
        )
    return address


def _read_monitors(text: str) -> tuple[tuple[str, int], ...]:
    if not text:
        return ()
    try:
        parts = [urlsplit(one.strip()) for one in text.split(",")]
        if any(one.scheme != "http" or one.path not in ("", "/") for one in parts):
            raise ValueError(text)
        return tuple(_read_server(one.netloc, port=_MONITOR_PORT) for one in parts)
    except ValueError:
        raise SettingNotValid(
            "UNDERSIGNED_STREAM_MONITOR must be http://host:port, others by commas"
        ) from None


# What would be a key, a person or a log on a node, and is none of its business.
_NOT_ON_NODES: Final = (
    "UNDERSIGNED_DATABASE_URL",
    "UNDERSIGNED_LEDGER_URL",
    "UNDERSIGNED_OBJECTS_URL",
    "UNDERSIGNED_OBJECTS_KEY",
    "UNDERSIGNED_PASSPHRASE",
    "UNDERSIGNED_SMTP_URL",
)
LEAST_SECRET: Final = 32


def _read_issuer(environ: Mapping[str, str]) -> tuple[str, int] | None:
    """Return where the issuer's process listens, on a web node."""
    text = _get(environ, "UNDERSIGNED_ISSUER_URL")
    if not text:
        return None
    form = "UNDERSIGNED_ISSUER_URL must be http://host:port"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        raise SettingNotValid(form) from None
    if not host or parts.scheme != "http" or parts.path not in ("", "/"):
        raise SettingNotValid(form)
    for name in _NOT_ON_NODES:
        if environ.get(name) or environ.get(f"{name}_FILE"):
            raise SettingNotValid(
                f"{name} must not be given to a web node (UNDERSIGNED_ISSUER_URL): it "
                "holds nothing that a signature or a person could be found by"
            )
    return host, port


def _read_intake(
    environ: Mapping[str, str], issuer: tuple[str, int] | None
) -> DatabaseAddress | None:
    address = _read_database(environ, "UNDERSIGNED_INTAKE_URL")
    if (address is None) != (issuer is None):
        raise SettingNotValid(
            "UNDERSIGNED_INTAKE_URL and UNDERSIGNED_ISSUER_URL go together, on web "
            "nodes and nowhere else"
        )
    return address


def _read_node_secret(
    environ: Mapping[str, str], issuer: tuple[str, int] | None
) -> str | None:
    secret = _get(environ, "UNDERSIGNED_NODE_SECRET")
    if (secret or issuer is not None) and (
        len(secret) < LEAST_SECRET or not secret.isascii() or not secret.isprintable()
    ):
        raise SettingNotValid(
            f"UNDERSIGNED_NODE_SECRET must have at least {LEAST_SECRET} plain "
            "characters"
        )
    return secret or None


def _read_objects(text: str, key: str) -> ObjectsAddress | None:
    if not text:
        return None
    address = parse_objects_url(text, key)
    _require_extra("obstore", "UNDERSIGNED_OBJECTS_URL")
    return address


def _require_extra(package: str, name: str) -> None:
    if find_spec(package) is None:
        raise SettingNotValid(
            f"{name} needs the extra `scale`: "
            "pip install --require-hashes -r requirements/scale.txt"
        )


def _read_database(environ: Mapping[str, str], setting: str) -> DatabaseAddress | None:
    text = _get(environ, setting)
    if not text:
        return None
    address = parse_database_url(text, setting=setting)
    _require_extra("psycopg", setting)
    return address


def _read_ledger(
    environ: Mapping[str, str], pages: DatabaseAddress | None
) -> DatabaseAddress | None:
    """Return where the ledger is; never where the pages are, nor as the same role."""
    ledger = _read_database(environ, "UNDERSIGNED_LEDGER_URL")
    if ledger is not None and pages is not None:
        same_place = (ledger.host, ledger.port) == (pages.host, pages.port)
        if same_place and (ledger.user == pages.user or ledger.name == pages.name):
            raise SettingNotValid(
                "UNDERSIGNED_LEDGER_URL must name another role and another database "
                "than UNDERSIGNED_DATABASE_URL: whoever has one password must not be "
                "able to put people and signatures side by side"
            )
    return ledger


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
    database = _read_database(environ, "UNDERSIGNED_DATABASE_URL")
    issuer = _read_issuer(environ)
    ledger = _read_ledger(environ, database)
    intake = _read_intake(environ, issuer)
    node_secret = _read_node_secret(environ, issuer)
    return Environment(
        data=Path(_get(environ, "UNDERSIGNED_DATA", "./var")).absolute(),
        database=database,
        ledger=ledger,
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
        issuer=issuer,
        intake=intake,
        node_secret=node_secret,
        object_store=_read_objects(
            _get(environ, "UNDERSIGNED_OBJECTS_URL"),
            _get(environ, "UNDERSIGNED_OBJECTS_KEY"),
        ),
        stream=_read_stream(
            environ,
            has_server=ledger is not None or intake is not None,
            has_secret=node_secret is not None,
        ),
        stream_monitors=_read_monitors(_get(environ, "UNDERSIGNED_STREAM_MONITOR")),
    )
