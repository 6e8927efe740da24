"""An issuer's process, web nodes in front of it, and the ledger's server: all real.

A minute of theirs is a second here.
"""

from __future__ import annotations

import asyncio
import re
import secrets
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest

from undersigned_verify.audit import AuditReport, audit_log

from tests.conftest import make_folder
from tests.ledger.pg.conftest import read_statements
from tests.support import skip_or_fail
from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import SERVER, SPEED
from undersigned.drills.live import LiveServer
from undersigned.drills.ports import find_port
from undersigned.drills.postgres import Cluster, NoPostgres, Server
from undersigned.drills.signer import KeyFacts, Signature
from undersigned.drills.site import Answer, NetSite
from undersigned.kernel.clock import SystemClock

Result = TypeVar("Result")
CAMPAIGN = "soil"
PATH = f"c/{CAMPAIGN}"
MINUTE = 60 / SPEED


@dataclass
class Town:
    """One issuer's process and its nodes."""

    folder: Path
    urls: dict[str, str]
    secret: str = field(default_factory=lambda: secrets.token_hex(24))
    nodes: list[LiveServer] = field(default_factory=list)
    sites: list[NetSite] = field(default_factory=list)

    def __post_init__(self) -> None:
        epoch = int(SystemClock().now().timestamp())
        self.port = find_port()
        self.issuer = LiveServer(
            self.folder / "issuer",
            module=SERVER,
            arguments=["--epoch", str(epoch), "--speed", str(SPEED)],
            settings={
                "ledger_url": self.urls["ledger"],
                "node_secret": self.secret,
                "trusted_proxy": "127.0.0.1",
                "base_url": f"http://localhost:{self.port}",
            },
            # Where nodes look for it, also after it was started again.
            port=self.port,
        )

    def make_node(self, **settings: str) -> LiveServer:
        """Return one more node, not started."""
        node = LiveServer(
            self.folder / f"node{len(self.nodes)}",
            settings={
                "issuer_url": f"http://127.0.0.1:{self.port}",
                "intake_url": self.urls["intake"],
                "node_secret": self.secret,
                "base_url": f"http://localhost:{self.port}",
                **settings,
            },
        )
        node.folder.mkdir(parents=True)
        self.nodes.append(node)
        return node

    def start(self, nodes: int) -> list[NetSite]:
        """Open the campaign, start everything; return how each node is reached."""
        path = save_campaign(self.folder, CAMPAIGN, write_campaign(CAMPAIGN))
        self.issuer.run_cli("campaign", "create", str(path))
        self.issuer.run_cli("campaign", "open", CAMPAIGN)
        self.issuer.start()
        return [self.reach(self.make_node().start()) for _number in range(nodes)]

    def reach(self, port: int) -> NetSite:
        """Return how a server is reached."""
        self.sites.append(NetSite(port))
        return self.sites[-1]

    def run(self, what: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        """Run what people do; every connection is closed after it."""

        async def run_and_close() -> Result:
            try:
                return await what()
            finally:
                for site in self.sites:
                    await site.close()

        return asyncio.run(run_and_close())

    def stop(self) -> None:
        """Kill whatever still runs."""
        for server in (*self.nodes, self.issuer):
            if server.is_running:
                server.kill()

    def grant(self, count: int, who: str = "crowd") -> list[str]:
        """Return tickets as so many confirmed addresses get them."""
        addresses = [f"{who}-{number}@signer.invalid" for number in range(count)]
        found = self.issuer.run_job(
            "drill-tickets", {"campaign": CAMPAIGN, "addresses": addresses}
        )
        return list(found["tickets"])

    def audit(self) -> AuditReport:
        """Recount the log's public files."""
        return audit_log(self.issuer.data / "public" / PATH, workers=1)

    def wait_for(self, net: int) -> AuditReport:
        """Wait until so many signatures are published; return the recount."""
        deadline = time.monotonic() + 60
        while True:
            report = self.audit()
            found = (report.totals or {}).get("net")
            if found == net or time.monotonic() > deadline:
                assert report.accepted, report.fault
                assert found == net
                return report
            time.sleep(MINUTE)

    def wait_for_close(self) -> None:
        """Wait until the log has ended."""
        deadline = time.monotonic() + 60
        while self.issuer.run_cli("campaign", "show", CAMPAIGN)["state"] != "closed":
            assert time.monotonic() < deadline
            time.sleep(MINUTE)


async def make_signatures(
    site: NetSite, key: KeyFacts, tickets: list[str]
) -> list[Signature]:
    """Get a token for each ticket; return signatures that nobody has sent yet."""
    made = [signing.make_signature(site, key, ticket) for ticket in tickets]
    return [signature for _prepared, signature in await asyncio.gather(*made)]


async def send(site: NetSite, key: KeyFacts, signature: Signature) -> Answer:
    """Send a signature."""
    return await signing.send_signature(site, key, signature)


@pytest.fixture(scope="session")
def database() -> Iterator[Server]:
    """A server set up word for word as docs/operate/postgresql.md says."""
    try:
        cluster = Cluster(durable=False)
    except NoPostgres as error:
        skip_or_fail(str(error))
    with cluster:
        server = cluster.start_primary(settings={"wal_recycle": "off"})
        for block in read_statements():
            server.run_sql(block)
        for role in re.findall(r"CREATE ROLE (\w+) ", "".join(read_statements())):
            password = secrets.token_urlsafe(12)
            server.run_sql(f"ALTER ROLE {role} PASSWORD '{password}'")
            server.passwords[role] = password
        yield server


@pytest.fixture
def town(database: Server) -> Iterator[Town]:
    """An issuer's process with an empty ledger; nothing is started."""
    database.run_sql("DROP DATABASE ledger WITH (FORCE)")
    (block,) = [one for one in read_statements() if "CREATE DATABASE ledger" in one]
    database.run_sql(re.sub(r"(?m)^CREATE ROLE .*\n", "", block))
    with make_folder() as folder:
        town = Town(
            folder,
            {
                "ledger": database.url("ledger", user="ledger"),
                "intake": database.url("ledger", user="intake"),
            },
        )
        yield town
        town.stop()
