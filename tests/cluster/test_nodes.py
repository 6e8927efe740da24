"""Web nodes as real processes: what is signed through them counts once, and stays."""

from __future__ import annotations

import asyncio
import time

import pytest

from tests.cluster.conftest import (
    CAMPAIGN,
    PATH,
    Town,
    make_signatures,
    send,
)
from undersigned.drills import signer as signing
from undersigned.drills.postgres import Server
from undersigned.drills.site import SiteGone, get

pytestmark = pytest.mark.slow


class TestTwoNodes:
    def test_the_same_token_sent_to_both_at_once_counts_once(self, town: Town) -> None:
        one, other = town.start(2)
        tickets = town.grant(8)

        async def sign() -> None:
            key = (await signing.read_keys(one, PATH))["email"]
            vkey = (await get(other, f"/{PATH}/log.vkey")).text
            for signature in await make_signatures(other, key, tickets):
                answers = await asyncio.gather(
                    *(send(site, key, signature) for site in (one, other, one, other))
                )
                assert [answer.status for answer in answers] == [200] * 4
                for answer in answers:
                    promise = signing.read_promise(answer, origin=key.origin, vkey=vkey)
                    assert promise.nonce == signature.nonce

        town.run(sign)
        town.wait_for(8)
        # A node writes nothing, wherever it runs.
        for node in town.nodes:
            assert not node.data.exists()
            assert node.stop() == 0

    def test_one_killed_loses_nothing_that_was_acknowledged(self, town: Town) -> None:
        one, other = town.start(2)
        tickets = town.grant(60)

        async def sign() -> int:
            key = (await signing.read_keys(one, PATH))["email"]
            signatures = await make_signatures(other, key, tickets)
            acknowledged = 0

            async def sign_somewhere(number: int) -> None:
                nonlocal acknowledged
                signature = signatures[number]
                if number % 2:
                    try:
                        answer = await send(one, key, signature)
                    except SiteGone:
                        # The same body, to whoever lives.
                        answer = await send(other, key, signature)
                else:
                    answer = await send(other, key, signature)
                assert answer.status == 200, answer.said
                acknowledged += 1
                if acknowledged == 20:
                    town.nodes[0].kill()

            await asyncio.gather(*map(sign_somewhere, range(len(signatures))))
            return acknowledged

        assert town.run(sign) == 60
        town.wait_for(60)

    def test_everything_else_is_done_through_a_node(self, town: Town) -> None:
        (site,) = town.start(1)

        async def sign() -> tuple[bytes, bytes]:
            key = (await signing.read_keys(site, PATH))["email"]
            signer = signing.Signer("asha@example.org")
            ticket = await signing.get_ticket_by_email(site, CAMPAIGN, signer)
            _prepared, signature = await signing.make_signature(site, key, ticket)
            answer = await send(site, key, signature)
            assert answer.status == 200, answer.said
            return signature.nonce, signature.w

        nonce, w = town.run(sign)
        town.wait_for(1)

        async def withdraw() -> None:
            receipt = await signing.fetch_receipt(site, PATH, nonce)
            assert receipt.status == 200, receipt.said
            answer = await signing.send_withdrawal(site, PATH, nonce, w)
            assert answer.status == 200, answer.said

        town.run(withdraw)
        town.wait_for(0)


class TestWithoutTheIssuer:
    def test_reading_goes_on_and_signing_waits(self, town: Town) -> None:
        (site,) = town.start(1)
        tickets = town.grant(3)
        read = (
            f"/{PATH}/checkpoint",
            f"/{PATH}/count.json",
            f"/en/{PATH}/",
            "/en/",
            "/static/look.css",
        )
        names = f"/zh-hans/{PATH}/names/"

        async def before() -> tuple[signing.KeyFacts, list[signing.Signature]]:
            key = (await signing.read_keys(site, PATH))["email"]
            signatures = await make_signatures(site, key, tickets)
            assert (await send(site, key, signatures[0])).status == 200
            for path in (*read, names):
                assert (await get(site, path)).status == 200
            return key, signatures

        key, signatures = town.run(before)
        town.issuer.kill()
        time.sleep(12)
        site = town.reach(town.nodes[0].port)

        async def meanwhile() -> None:
            for path in read:
                answer = await get(site, path)
                assert answer.status == 200, path
                assert int(answer.headers["age"]) > 5
                again = await get(
                    site, path, **{"if-none-match": answer.headers["etag"]}
                )
                assert again.status == 304
            for signature in signatures:
                answer = await send(site, key, signature)
                assert (answer.status, answer.code) == (503, "issuer-away")
                assert int(answer.headers["retry-after"]) == 30
            prepared = signing.prepare(key)
            answer = await signing.request_token(
                site, key, tickets[0], prepared.request
            )
            assert (answer.status, answer.code) == (503, "issuer-away")
            # Names may have been erased meanwhile; and people are told in their words.
            for path in (names, f"/zh-hans/{PATH}/?x=1"):
                page = await get(site, path, accept="text/html,*/*")
                assert page.status == 503
                assert "签名需要稍等片刻" in page.text
                assert page.headers["cache-control"] == "no-store"
                assert "default-src 'none'" in page.headers["content-security-policy"]

        town.run(meanwhile)
        town.issuer.start()
        time.sleep(2)
        site = town.reach(town.nodes[0].port)

        async def after() -> None:
            for signature in signatures:
                assert (await send(site, key, signature)).status == 200

        town.run(after)
        town.wait_for(3)


class TestTroubleOfTheDatabase:
    def test_signing_waits_and_goes_on_by_itself(
        self, town: Town, database: Server
    ) -> None:
        (site,) = town.start(1)
        tickets = town.grant(2)

        async def send_all() -> list[int]:
            key = (await signing.read_keys(site, PATH))["email"]
            answers = [await send(site, key, one) for one in signatures]
            return [answer.status for answer in answers]

        async def make() -> list[signing.Signature]:
            key = (await signing.read_keys(site, PATH))["email"]
            return await make_signatures(site, key, tickets)

        signatures = town.run(make)
        assert town.run(send_all) == [200, 200]
        database.run_sql("ALTER ROLE intake NOLOGIN")
        try:
            database.run_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE usename = 'intake'"
            )
            assert town.run(send_all) == [503, 503]
        finally:
            database.run_sql("ALTER ROLE intake LOGIN")
        time.sleep(1.5)
        assert town.run(send_all) == [200, 200]
        town.wait_for(2)


class TestSwitches:
    def test_what_is_turned_off_is_off_at_a_node_within_seconds(
        self, town: Town
    ) -> None:
        (site,) = town.start(1)
        tickets = town.grant(1)

        async def make() -> list[signing.Signature]:
            key = (await signing.read_keys(site, PATH))["email"]
            return await make_signatures(site, key, tickets)

        (signature,) = town.run(make)

        async def try_to_sign() -> tuple[int, str]:
            key = (await signing.read_keys(site, PATH))["email"]
            answer = await send(site, key, signature)
            return answer.status, "" if answer.status == 200 else answer.code

        town.issuer.run_cli("switch", "off", "signing")
        time.sleep(2.5)
        assert town.run(try_to_sign) == (503, "switched-off")
        town.issuer.run_cli("switch", "on", "signing")
        time.sleep(2.5)
        assert town.run(try_to_sign) == (200, "")


class TestTheClose:
    def test_what_was_acknowledged_is_in_and_what_came_late_is_told(
        self, town: Town
    ) -> None:
        sites = town.start(2)
        tickets = town.grant(80)
        taken: set[bytes] = set()
        refused: list[str] = []

        async def race() -> None:
            key = (await signing.read_keys(sites[0], PATH))["email"]
            signatures = await make_signatures(sites[1], key, tickets)
            # Its clocks then run out while signatures still come.
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
        town.wait_for(len(taken))
        town.wait_for_close()
        town.wait_for(len(taken))


class TestWhoMayAsk:
    def test_only_who_has_the_secret(self, town: Town) -> None:
        (site,) = town.start(1)
        issuer = town.reach(town.port)
        right = {"authorization": f"Node {town.secret}"}

        async def ask() -> None:
            for headers in (
                {},
                {"authorization": "Node "},
                {"authorization": "Node x"},
            ):
                for path in ("/node/book", "/node/promises"):
                    assert (await get(issuer, path, **headers)).status == 404
            assert (await get(issuer, "/node/book", **right)).status == 200
            assert (await get(issuer, "/node/promises", **right)).status == 405
            # Not through a node, whatever is shown to it.
            assert (await get(site, "/node/book", **right)).status == 404

        town.run(ask)

    def test_the_doctor_of_a_node(self, town: Town) -> None:
        town.start(0)

        def codes(**settings: str) -> dict[str, str]:
            node = town.make_node(**settings)
            found = node.run_cli("doctor", allow=(0, 1))["findings"]
            return {one["code"]: one["level"] for one in found}

        assert codes() == {"issuer-answers": "ok", "intake-adds": "ok"}
        assert codes(node_secret="x" * 32)["issuer-silent"] == "danger"
        strong = codes(intake_url=town.urls["ledger"])
        assert strong["intake-too-strong"] == "danger"
        gone = codes(intake_url="postgresql://intake@127.0.0.1:9/ledger")
        assert gone["intake-away"] == "danger"
