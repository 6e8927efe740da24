"""An issuer's process, nodes, the ledger's server and a stream: all of them real."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from tests.cluster.conftest import CAMPAIGN, PATH, Town, make_signatures, send
from tests.support import skip_or_fail
from undersigned.drills import signer as signing
from undersigned.drills.brokers import NoBrokers, Trio
from undersigned.drills.site import NetSite
from undersigned.ledger.stream.broker import STREAM

pytestmark = pytest.mark.slow


@pytest.fixture
def trio() -> Iterator[Trio]:
    """Three servers with nothing on them; first, for they take many ports."""
    try:
        found = Trio()
    except NoBrokers as error:
        skip_or_fail(str(error))
    with found:
        yield found


def start(town: Town, trio: Trio, nodes: int) -> list[NetSite]:
    """Start everything, with a stream between nodes and pool."""
    town.issuer.settings |= {
        "stream_url": trio.url("issuer"),
        "stream_monitor": trio.monitor,
    }
    town.start(0)
    found = []
    for _number in range(nodes):
        node = town.make_node(stream_url=trio.url("node"))
        found.append(town.reach(node.start()))
    return found


def count_carried(trio: Trio, number: int) -> tuple[int, int]:
    """Return how many frames the stream has ever taken, and how many are in it."""
    found = trio.ask(number, "/jsz?accounts=true&streams=true")
    for account in found["account_details"]:
        for stream in account.get("stream_detail") or []:
            if stream["name"] == STREAM:
                state: dict[str, Any] = stream["state"]
                return state["last_seq"], state["messages"]
    return 0, 0


class TestOneServerKilled:
    def test_nothing_acknowledged_is_lost_and_each_counts_once(
        self, trio: Trio, town: Town
    ) -> None:
        sites = start(town, trio, 2)
        tickets = town.grant(120)

        async def sign() -> int:
            key = (await signing.read_keys(sites[0], PATH))["email"]
            signatures = await make_signatures(sites[1], key, tickets)
            leader = await asyncio.to_thread(trio.find_leader)
            acknowledged = 0

            async def sign_twice(number: int) -> None:
                nonlocal acknowledged
                await asyncio.sleep(number / 40)
                for site in sites:
                    answer = await send(site, key, signatures[number])
                    assert answer.status == 200, answer.said
                acknowledged += 1

            async def kill() -> None:
                await asyncio.sleep(1)
                carried, _left = count_carried(trio, leader)
                assert carried > 0, "everything went the direct way"
                await asyncio.to_thread(trio.kill, leader)

            everybody = map(sign_twice, range(len(signatures)))
            await asyncio.gather(*everybody, kill())
            return acknowledged

        assert town.run(sign) == 120
        town.wait_for(120)

    def test_without_any_the_direct_way_is_taken(self, trio: Trio, town: Town) -> None:
        (site,) = start(town, trio, 1)
        tickets = town.grant(6)

        async def sign() -> None:
            key = (await signing.read_keys(site, PATH))["email"]
            signatures = await make_signatures(site, key, tickets)
            for number, signature in enumerate(signatures):
                if number == 3:
                    for server in range(3):
                        await asyncio.to_thread(trio.kill, server)
                answer = await send(site, key, signature)
                assert answer.status == 200, answer.said

        town.run(sign)
        town.wait_for(6)


class TestTheIssuersProcessKilled:
    def test_what_was_acknowledged_counts_and_what_was_not_counts_once(
        self, trio: Trio, town: Town
    ) -> None:
        (site,) = start(town, trio, 1)
        tickets = town.grant(40)

        async def make() -> tuple[signing.KeyFacts, list[signing.Signature]]:
            key = (await signing.read_keys(site, PATH))["email"]
            return key, await make_signatures(site, key, tickets)

        key, signatures = town.run(make)
        statuses: list[int] = []

        async def sign() -> None:
            async def one(number: int) -> None:
                await asyncio.sleep(number / 20)
                answer = await send(site, key, signatures[number])
                statuses.append(answer.status)

            async def kill() -> None:
                await asyncio.sleep(1)
                await asyncio.to_thread(town.issuer.kill)

            await asyncio.gather(*map(one, range(len(signatures))), kill())

        town.run(sign)
        assert set(statuses) == {200, 503}
        town.issuer.start()
        again = town.reach(town.nodes[0].port)

        async def send_again() -> None:
            await asyncio.sleep(2)
            for signature in signatures:
                answer = await send(again, key, signature)
                assert answer.status == 200, answer.said

        town.run(send_again)
        town.wait_for(40)


class TestTheClose:
    def test_what_was_acknowledged_is_in_and_what_came_late_is_told(
        self, trio: Trio, town: Town
    ) -> None:
        sites = start(town, trio, 2)
        tickets = town.grant(80)
        taken: set[bytes] = set()
        refused: list[str] = []

        async def race() -> None:
            key = (await signing.read_keys(sites[0], PATH))["email"]
            signatures = await make_signatures(sites[1], key, tickets)
            closing = asyncio.to_thread(
                town.issuer.run_cli,
                *("campaign", "close", CAMPAIGN),
                *("--retries-minutes", "0", "--grace-minutes", "1"),
            )
            close = asyncio.ensure_future(closing)
            for number, signature in enumerate(signatures):
                answer = await send(sites[number % 2], key, signature)
                if answer.status == 200:
                    taken.add(signature.nonce)
                else:
                    refused.append(answer.code)
                await asyncio.sleep(0.06)
            await close

        town.run(race)
        assert taken
        assert refused, "all came in time: the race was none"
        assert set(refused) == {"campaign-closed"}
        town.wait_for_close()
        town.wait_for(len(taken))


class TestTheDoctor:
    def test_it_says_what_the_stream_is_like(self, trio: Trio, town: Town) -> None:
        (_site,) = start(town, trio, 1)

        def levels(server: Any) -> dict[str, str]:
            found = server.run_cli("doctor", allow=(0, 1))["findings"]
            return {
                one["code"]: one["level"]
                for one in found
                if one["code"].startswith("stream-")
            }

        # Made while the issuer's process starts.
        trio.find_leader()
        assert levels(town.issuer) == {"stream-carries": "ok", "stream-synced": "ok"}
        assert levels(town.nodes[0]) == {"stream-answers": "ok"}
        careless = town.make_node(stream_url=trio.url("issuer"))
        assert levels(careless) == {"stream-too-strong": "danger"}
        leader = trio.find_leader()
        trio.kill((leader + 1) % 3)
        found = levels(town.issuer)
        assert found["stream-monitor-silent"] == "warning"
        trio.kill((leader + 2) % 3)
        trio.kill(leader)
        assert levels(town.issuer)["stream-away"] == "warning"
        assert levels(town.nodes[0]) == {"stream-away": "warning"}

    def test_it_finds_servers_that_do_not_wait_for_the_disk(self, town: Town) -> None:
        with Trio(sync='"2m"') as careless:
            town.issuer.settings |= {
                "stream_url": careless.url("issuer"),
                "stream_monitor": careless.monitor,
            }
            town.issuer.run_cli("campaign", "list")
            found = town.issuer.run_cli("doctor", allow=(0, 1))["findings"]
            levels = {one["code"]: one["level"] for one in found}
            assert levels["stream-not-synced"] == "danger"
            assert levels["stream-missing"] == "note"
