"""What the doctor says of a stream that is not what it must be."""

from __future__ import annotations

import asyncio

import pytest
from nats.js.api import RetentionPolicy, StreamConfig

from tests.ledger.pg.conftest import make_arrival
from tests.ledger.pg.stream.conftest import SECRET, Way, add
from undersigned.config import stream as examined
from undersigned.config.env import parse_stream_url, read_environment
from undersigned.config.stream import examine_stream
from undersigned.ledger.stream.broker import STREAM, SUBJECT, open_broker

pytestmark = pytest.mark.slow


def levels(url: str, **more: str) -> dict[str, str]:
    """Return the findings at the issuer's process, by code."""
    settings = {
        "LEDGER_URL": "postgresql://ledger@/ledger",
        "NODE_SECRET": SECRET,
        "STREAM_URL": url,
        **more,
    }
    environment = read_environment({f"UNDERSIGNED_{k}": v for k, v in settings.items()})
    return {found.code: found.level for found in examine_stream(environment)}


def test_nothing_without_one() -> None:
    assert list(examine_stream(read_environment({}))) == []


def test_what_waits_for_long(
    way: Way, log_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send() -> None:
        async with way.node() as node:
            assert await add(node, make_arrival(log_id)) is None

    url = way.trio.url("issuer")
    assert levels(url) == {"stream-carries": "ok", "stream-sync-unknown": "note"}
    asyncio.run(send())
    monkeypatch.setattr(examined, "LAG_SECONDS", 0.5)
    assert levels(url)["stream-behind"] == "warning"


def test_one_that_somebody_made_with_fewer_copies(way: Way) -> None:
    url = way.trio.url("issuer")

    async def make() -> None:
        client = await open_broker(parse_stream_url(url))
        stream = client.jetstream(timeout=20)
        await stream.delete_stream(STREAM)
        await stream.add_stream(
            StreamConfig(
                name=STREAM,
                subjects=[SUBJECT],
                retention=RetentionPolicy.WORK_QUEUE,
                num_replicas=1,
            )
        )
        await client.close()

    asyncio.run(make())
    assert levels(url)["stream-not-replicated"] == "danger"


def test_a_way_that_others_can_read(monkeypatch: pytest.MonkeyPatch) -> None:
    from undersigned.ledger.stream import broker

    monkeypatch.setattr(broker, "PATIENCE_SECONDS", 0.2)
    found = levels("nats://issuer:x@192.0.2.1")
    assert found["stream-in-clear"] == "danger"
    assert found["stream-away"] == "warning"


def test_a_wrong_password(way: Way, monkeypatch: pytest.MonkeyPatch) -> None:
    from undersigned.ledger.stream import broker

    monkeypatch.setattr(broker, "PATIENCE_SECONDS", 1.0)
    found = levels(way.trio.url("issuer").replace("issuer:", "issuer:x"))
    assert found["stream-away"] == "warning"
