"""A throw-away PostgreSQL from Debian's package: for drills, tests, benches and CI.

    with Cluster(durable=False) as cluster:
        primary = cluster.start_primary()
        url = primary.make_database("pages", owner="pages")

Everything lies in one folder of a random name, in memory where nothing has to be
durable. PostgreSQL refuses to run as root, so root's servers run as another user.
Whatever becomes of this process, a keeper process (``postgres_keeper``) stops the
servers and removes the folder. No password is ever an argument of a program: on the
private socket, in a folder of that user alone, the superuser needs none.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote, urlencode

from undersigned.drills import postgres_keeper
from undersigned.drills.ports import find_port

HOST = "127.0.0.1"
SUPERUSER = "postgres"
START_SECONDS = 60.0
# Whom root's servers run as, the first that exists.
_USERS = ("postgres", "nobody")
_ROOM_BYTES = 1 << 30
_PORT_TRIES = 5

_ALWAYS = {
    "listen_addresses": HOST,
    "max_connections": "100",
    "jit": "off",
    # As docs/operate/postgresql.md asks of an instance's own.
    "log_min_error_statement": "panic",
    # Messages that tests compare, and times in logs that people read.
    "lc_messages": "C",
    "timezone": "UTC",
}
# Written out, although they are the defaults: these are what durable means.
_DURABLE = {"fsync": "on", "full_page_writes": "on", "synchronous_commit": "on"}
# In memory a sync costs nothing, and a gigabyte of old journal would be felt.
_IN_MEMORY = {**_DURABLE, "max_wal_size": "96MB", "min_wal_size": "32MB"}
# On disk because there is no room in memory. A commit still waits for its standby.
_FORGETFUL = {**_IN_MEMORY, "fsync": "off", "full_page_writes": "off"}


class NoPostgres(Exception):
    """There is no PostgreSQL here, or nobody whom it may run as."""


class PostgresFailed(Exception):
    """A program of PostgreSQL failed; the text ends with what it said."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Where the programs are, of which version, and whom they run as.

    ``user``: None is as we are, else user and group for a caller who is root.
    """

    folder: Path
    major: int
    user: tuple[int, int] | None

    def run(self, name: str, *words: str, given: str | None = None) -> str:
        """Run a program to its end and return its output. Raises PostgresFailed."""
        user, group = self.user or (None, None)
        done = subprocess.run(
            [str(self.folder / name), *words],
            env=make_environment(),
            cwd="/",
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            text=True,
            user=user,
            group=group,
            extra_groups=None if user is None else [],
            check=False,
        )
        if done.returncode != 0:
            raise PostgresFailed(f"{name} failed: {done.stderr[-2000:]}")
        return done.stdout


def make_environment() -> dict[str, str]:
    """Return an environment without anybody's PGHOST, PGPASSWORD or settings."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C", "HOME": "/"}


def find_programs() -> Programs:
    """Return the newest version installed. Raises NoPostgres."""
    found = {
        int(path.parts[-3]): path.parent
        for path in Path("/usr/lib/postgresql").glob("*/bin/initdb")
        if path.parts[-3].isdigit()
    }
    if not found:
        raise NoPostgres("PostgreSQL is not installed (apt-get install postgresql)")
    major = max(found)
    return Programs(found[major], major, _find_user())


def _find_user() -> tuple[int, int] | None:
    if os.geteuid() != 0:
        return None
    for name in _USERS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return entry.pw_uid, entry.pw_gid
    raise NoPostgres("PostgreSQL refuses root, and there is no other user")


def _list_children(pid: int) -> list[int]:
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii")
    except OSError:
        # Without them it is only slower: they end when they miss the first one.
        return []
    return [int(word) for word in found.split()]


def _find_memory() -> str | None:
    memory = Path("/dev/shm")  # noqa: S108 - a folder of random name is made in it
    if not memory.is_dir() or not os.access(memory, os.W_OK):
        return None
    return str(memory) if shutil.disk_usage(memory).free > _ROOM_BYTES else None


def quote_name(name: str) -> str:
    """Return an identifier as SQL wants it."""
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Return a string literal as SQL wants it."""
    return "'" + text.replace("'", "''") + "'"


@dataclass(slots=True)
class Server:
    """One server of a cluster. ``port`` stays the same over restarts."""

    programs: Programs
    name: str
    data: Path
    sockets: Path
    port: int = 0
    passwords: dict[str, str] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The first process; all others are below it."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether the server's first process lives."""
        return self._process is not None and self._process.poll() is None

    @property
    def said(self) -> str:
        """What the server wrote to its log, all of it."""
        return self._log.read_text("utf-8", "replace") if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.data.with_suffix(".log")

    def configure(self, **settings: str) -> None:
        """Set what takes effect at the next start."""
        lines = [f"{name} = {quote_text(value)}\n" for name, value in settings.items()]
        with (self.data / "postgresql.conf").open("a", encoding="utf-8") as file:
            file.writelines(lines)

    def start(self) -> None:
        """Start, and wait until it answers. Raises PostgresFailed."""
        chosen = bool(self.port)
        for tries in range(_PORT_TRIES):
            if not chosen:
                self.port = find_port()
            self._spawn()
            if self._wait_until_ready():
                return
            # Somebody took the port between our look and the server's.
            is_last = chosen or tries + 1 == _PORT_TRIES
            if is_last or "Address already in use" not in self.said[-2000:]:
                raise PostgresFailed(f"{self.name} did not start: {self.said[-2000:]}")

    def _spawn(self) -> None:
        user, group = self.programs.user or (None, None)
        with self._log.open("ab") as log:
            # A session of its own: Ctrl-C in a terminal is for the run, which then
            # ends the server in its own order.
            self._process = subprocess.Popen(
                [
                    str(self.programs.folder / "postgres"),
                    *("-D", str(self.data), "-p", str(self.port)),
                    *("-k", str(self.sockets)),
                ],
                env=make_environment(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                user=user,
                group=group,
                extra_groups=None if user is None else [],
                start_new_session=True,
            )

    def _wait_until_ready(self) -> bool:
        """Wait for the word that PostgreSQL writes behind its process id."""
        until = time.monotonic() + START_SECONDS
        while self.is_running and time.monotonic() < until:
            try:
                lines = (self.data / "postmaster.pid").read_text("ascii").splitlines()
            except OSError:
                lines = []
            mine = lines[:1] == [str(self.pid)]
            if mine and len(lines) > 7 and lines[7].strip() == "ready":
                return True
            time.sleep(0.02)
        return False

    def stop(self) -> None:
        """Stop in order: no client is waited for, everything reaches the disk."""
        self._end(signal.SIGINT)

    def crash(self) -> None:
        """Stop at once: nothing more is written, and the next start recovers."""
        self._end(signal.SIGQUIT)

    def kill(self) -> None:
        """Kill -9 all its processes at once: what its machine's end is to others."""
        for pid in (self.pid, *_list_children(self.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._end(signal.SIGKILL)

    def _end(self, number: int) -> None:
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.send_signal(number)
        try:
            self._process.wait(timeout=START_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def promote(self) -> None:
        """Make a standby a primary, and wait until it is one. Raises PostgresFailed."""
        if self.run_sql("SELECT pg_promote(true, 60)") != "t":
            raise PostgresFailed(f"{self.name} was not promoted in a minute")

    def run_sql(self, sql: str, *, database: str = "postgres") -> str:
        """Run statements as superuser; return rows as lines, fields by tabs.

        Raises PostgresFailed.
        """
        words = ["-X", "-q", "-A", "-t", "-F", "\t", "-v", "ON_ERROR_STOP=1"]
        words += ["-h", str(self.sockets), "-p", str(self.port), "-U", SUPERUSER]
        said = self.programs.run("psql", *words, "-d", database, "-f", "-", given=sql)
        return said.rstrip("\n")

    def make_role(self, name: str, *, options: str = "") -> str:
        """Make a role that may log in; return its password, which is random."""
        password = secrets.token_urlsafe(18)
        self.run_sql(
            f"CREATE ROLE {quote_name(name)} LOGIN {options} "
            f"PASSWORD {quote_text(password)}"
        )
        self.passwords[name] = password
        return password

    def make_database(self, name: str, *, owner: str, options: str = "") -> str:
        """Make a database, and its owner where there is none; return its URL.

        ``options``: more of CREATE ROLE, such as CREATEDB.
        """
        if owner not in self.passwords:
            self.make_role(owner, options=options)
        self.run_sql(f"CREATE DATABASE {quote_name(name)} OWNER {quote_name(owner)}")
        return self.url(name, user=owner)

    def url(
        self, database: str = "postgres", *, user: str, through_socket: bool = False
    ) -> str:
        """Return how a role of ``make_role`` reaches a database.

        Over the loopback with its password, or through the private socket without.
        """
        if through_socket:
            where = urlencode({"host": str(self.sockets), "port": str(self.port)})
            return f"postgresql://{quote(user, safe='')}@/{database}?{where}"
        login = f"{quote(user, safe='')}:{quote(self.passwords[user], safe='')}"
        return f"postgresql://{login}@{HOST}:{self.port}/{database}"


class Cluster:
    """A folder of servers: one primary, and standbys of it."""

    def __init__(self, *, durable: bool) -> None:
        """``durable`` False: in memory, or else without fsync. Raises NoPostgres."""
        self.programs = find_programs()
        self.servers: list[Server] = []
        place = None if durable else _find_memory()
        self._settings = _DURABLE if durable else _IN_MEMORY if place else _FORGETFUL
        self.folder = Path(tempfile.mkdtemp(prefix="undersigned-pg-", dir=place))
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", postgres_keeper.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self._sockets = self.folder / "s"
        self._sockets.mkdir(mode=0o700)
        if self.programs.user is not None:
            os.chown(self._sockets, *self.programs.user)
            os.chown(self.folder, *self.programs.user)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def start_primary(
        self, name: str = "primary", *, settings: Mapping[str, str] | None = None
    ) -> Server:
        """Make a server from nothing and start it. Raises PostgresFailed.

        Its texts sort by Unicode's rules (ICU) and not by bytes as SQLite's do: code
        that leans on one order shows.
        """
        server = self._make_server(name)
        words = ["--encoding=UTF8", "--locale=C.UTF-8", "--data-checksums"]
        if self.programs.major >= 15:
            words += ["--locale-provider=icu", "--icu-locale=und"]
        words += ["--auth-local=trust", "--auth-host=scram-sha-256", "--no-sync"]
        words += ["-U", SUPERUSER, "-D", str(server.data)]
        self.programs.run("initdb", *words)
        server.configure(**{**_ALWAYS, **self._settings, **(settings or {})})
        server.start()
        return server

    def add_standby(
        self,
        primary: Server,
        name: str = "standby",
        *,
        synchronous: bool = True,
        port: int = 0,
    ) -> Server:
        """Copy the primary, follow it through a slot, and wait until it does.

        ``synchronous``: from now on the primary's commits wait for this standby's
        disk. ``port``: of a server that is gone, whose place it takes. Raises
        PostgresFailed.
        """
        server = self._make_server(name)
        server.port = port
        source = f"host={primary.sockets} port={primary.port} user={SUPERUSER}"
        self.programs.run(
            "pg_basebackup",
            *("-D", str(server.data), "-d", f"{source} application_name={name}"),
            *("-X", "stream", "-c", "fast", "-C", "-S", name, "-R", "--no-sync"),
        )
        server.passwords.update(primary.passwords)
        server.start()
        if synchronous:
            primary.run_sql(
                f"ALTER SYSTEM SET synchronous_standby_names = {quote_text(name)}; "
                "SELECT pg_reload_conf()"
            )
        self._wait_for_standby(primary, name, "sync" if synchronous else "async")
        return server

    def _wait_for_standby(self, primary: Server, name: str, state: str) -> None:
        until = time.monotonic() + START_SECONDS
        asked = (
            "SELECT sync_state FROM pg_stat_replication "  # noqa: S608 - its one value is quoted
            f"WHERE application_name = {quote_text(name)} AND state = 'streaming'"
        )
        while primary.run_sql(asked) != state:
            if time.monotonic() > until:
                raise PostgresFailed(f"{name} does not follow: {primary.said[-2000:]}")
            time.sleep(0.05)

    def _make_server(self, name: str) -> Server:
        server = Server(self.programs, name, self.folder / name, self._sockets)
        self.servers.append(server)
        return server

    def close(self) -> None:
        """End every server, as a crash would, and remove everything."""
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        for server in self.servers:
            server.crash()
        self._keeper.wait()
