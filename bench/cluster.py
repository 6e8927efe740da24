"""What a signature costs through web nodes: two of them, against one.

    python -m bench.cluster [--rounds N] [--signatures N]

Real processes: the issuer's with its ledger in PostgreSQL, and one or two web nodes in
front. Each signature is a whole one, issued and redeemed through a node, durable.
Counted is the processor time of every process: nodes, issuer, and all of the
database's. The signers' own is not: they are this bench.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench._cpu import tree_seconds
from bench._results import Bar, Result, Rounds, Table, median
from undersigned.credentials.client import Prepared
from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import SERVER
from undersigned.drills.live import LiveServer
from undersigned.drills.ports import find_port
from undersigned.drills.postgres import Cluster, Server
from undersigned.drills.signer import KeyFacts, Signature
from undersigned.drills.site import Answer, NetSite
from undersigned.kernel.clock import SystemClock

CAMPAIGN = "soil"
WANTED = 1.25
SIGNERS = 128


@dataclass
class Town:
    """One issuer's process and its nodes."""

    issuer: LiveServer
    nodes: list[LiveServer] = field(default_factory=list)

    def grant(self, addresses: list[str]) -> list[str]:
        """Return a ticket for each address."""
        found = self.issuer.run_job(
            "drill-tickets", {"campaign": CAMPAIGN, "addresses": addresses}
        )
        return list(found["tickets"])


@contextlib.contextmanager
def run_town(server: Server, folder: Path, nodes: int) -> Iterator[Town]:
    """Run an issuer's process over an empty ledger, and so many nodes."""
    name = f"ledger{secrets.token_hex(4)}"
    server.make_database(name, owner="ledger")
    server.run_sql(f"GRANT CONNECT ON DATABASE {name} TO intake")
    server.run_sql("GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ledger", database=name)
    secret, port = secrets.token_hex(24), find_port()
    epoch = int(SystemClock().now().timestamp())
    common = {"node_secret": secret, "base_url": f"http://localhost:{port}"}
    issuer = LiveServer(
        folder / "issuer",
        module=SERVER,
        arguments=["--epoch", str(epoch), "--speed", "1"],
        settings={
            **common,
            "ledger_url": server.url(name, user="ledger"),
            "trusted_proxy": "127.0.0.1",
        },
        port=port,
    )
    town = Town(issuer)
    try:
        path = save_campaign(folder, CAMPAIGN, write_campaign(CAMPAIGN))
        issuer.run_cli("campaign", "create", str(path))
        issuer.run_cli("campaign", "open", CAMPAIGN)
        issuer.start()
        for number in range(nodes):
            node = LiveServer(
                folder / f"node{number}",
                settings={
                    **common,
                    "issuer_url": f"http://127.0.0.1:{port}",
                    "intake_url": server.url(name, user="intake"),
                },
            )
            node.folder.mkdir()
            node.start()
            town.nodes.append(node)
        yield town
    finally:
        for one in (*town.nodes, issuer):
            if one.is_running:
                one.stop()


# Something that a signer does at a node.
Act = Callable[[NetSite], Awaitable[Answer]]


@dataclass
class Crowd:
    """Signers, each at one node, many at once."""

    sites: list[NetSite]
    key: KeyFacts

    async def do(
        self, acts: list[Callable[[NetSite], Awaitable[Answer]]]
    ) -> list[bytes]:
        """Let each act be done; return the answers' bodies, in order."""
        found: dict[int, bytes] = {}
        left = iter(enumerate(acts))

        async def work(site: NetSite) -> None:
            for number, act in left:
                answer = await act(site)
                if answer.status != 200:
                    raise RuntimeError(answer.said)
                found[number] = answer.body

        await asyncio.gather(
            *(work(self.sites[n % len(self.sites)]) for n in range(SIGNERS))
        )
        return [found[number] for number in range(len(acts))]

    async def issue(self, tickets: list[str], prepared: list[Prepared]) -> list[bytes]:
        """Have a token issued for each ticket."""
        return await self.do(
            [
                partial(
                    signing.request_token,
                    key=self.key,
                    ticket=ticket,
                    request=one.request,
                )
                for ticket, one in zip(tickets, prepared, strict=True)
            ]
        )

    async def sign(self, signatures: list[Signature]) -> None:
        """Send each signature."""
        await self.do(
            [
                partial(signing.send_signature, key=self.key, signature=one)
                for one in signatures
            ]
        )


async def sign_all(
    town: Town, tickets: list[str], read: Callable[[], dict[str, float]]
) -> tuple[dict[str, float], float]:
    """Sign with every ticket; return what it cost by place, and in how many seconds.

    What signers do by themselves, blinding and unblinding, is done between the two
    parts that count.
    """
    sites = [NetSite(node.port) for node in town.nodes]
    key = (await signing.read_keys(sites[0], f"c/{CAMPAIGN}"))["email"]
    crowd = Crowd(sites, key)
    prepared = [signing.prepare(key) for _ticket in tickets]
    try:
        marks = [(read(), time.perf_counter())]
        answers = await crowd.issue(tickets, prepared)
        marks.append((read(), time.perf_counter()))
        signatures = [
            signing.finish(one, answer)
            for one, answer in zip(prepared, answers, strict=True)
        ]
        marks.append((read(), time.perf_counter()))
        await crowd.sign(signatures)
        marks.append((read(), time.perf_counter()))
    finally:
        for site in sites:
            await site.close()
    (a, at), (b, bt), (c, ct), (d, dt) = marks
    spent = {place: b[place] - a[place] + d[place] - c[place] for place in a}
    return spent, bt - at + dt - ct


def measure(server: Server, nodes: int, count: int) -> dict[str, float]:
    """Sign so many times through so many nodes; return µs of CPU for each."""
    with (
        tempfile.TemporaryDirectory(prefix="undersigned-cluster-") as folder,
        run_town(server, Path(folder), nodes) as town,
    ):
        addresses = [f"signer-{n}@signer.invalid" for n in range(count + SIGNERS)]
        tickets = town.grant(addresses)

        def read() -> dict[str, float]:
            return {
                "nodes": sum(tree_seconds(node.pid) for node in town.nodes),
                "issuer": tree_seconds(town.issuer.pid),
                "database": tree_seconds(server.pid),
            }

        # Connections, caches and sessions are made before it counts.
        asyncio.run(sign_all(town, tickets[:SIGNERS], read))
        found, seconds = asyncio.run(sign_all(town, tickets[SIGNERS:], read))
    spent = {place: cpu / count * 1e6 for place, cpu in found.items()}
    return {**spent, "all": sum(spent.values()), "rate": count / seconds}


def main() -> int:
    """Measure the rounds that are missing, then write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--signatures", type=int, default=3_000)
    options = parser.parse_args()
    settings = vars(options)
    rounds = Rounds("cluster", settings)
    with Cluster(durable=True) as cluster:
        server = cluster.start_primary(settings={"wal_recycle": "off"})
        for role in ("ledger", "intake"):
            server.make_role(role)
        server.run_sql("GRANT pg_checkpoint TO ledger")
        version = server.run_sql("SHOW server_version").split()[0]
        for _number in range(rounds.count("2 nodes"), options.rounds):
            for nodes in (1, 2):
                name = f"{nodes} node{'s' if nodes > 1 else ''}"
                rounds.add(name, measure(server, nodes, options.signatures))
    result = Result("cluster", "Signing through web nodes", settings)
    pairs = zip(
        rounds.list_values("2 nodes", "all"),
        rounds.list_values("1 node", "all"),
        strict=True,
    )
    ratio = median(two / one for two, one in pairs)
    result.bars.append(
        Bar(
            "CPU of a signature through two nodes against one", WANTED, ratio, "x", True
        )
    )
    rows = [
        [
            variant,
            *(
                f"{rounds.median(variant, part):,.0f}"
                for part in ("nodes", "issuer", "database", "all", "rate")
            ),
        ]
        for variant in rounds.found
    ]
    columns = ["Web nodes", "Nodes' µs a signature", "Issuer's µs", "Database's µs"]
    columns += ["All µs", "Signatures a second"]
    result.tables = [Table("Medians", columns, rows)]
    result.measured = {"rounds": rounds.found}
    result.notes = [
        f"PostgreSQL {version}: fsync, full_page_writes and synchronous_commit on, "
        "without a standby; every process of the server is counted, and so is what "
        "nodes and issuer do besides: publications, pages, asking for the book.",
        f"{SIGNERS} signers at once, on this machine; their own work is not counted. "
        "With few at once batches are small, and two nodes make twice as many.",
    ]
    code = result.finish()
    rounds.drop()
    return code


if __name__ == "__main__":
    raise SystemExit(main())
