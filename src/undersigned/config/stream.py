"""The stream between web nodes and the pool: made from the settings, and examined."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING, Any

from undersigned.cli.context import Finding
from undersigned.config.env import Environment
from undersigned.config.ledger import make_conninfo
from undersigned.ledger.stream.address import BrokerAddress

if TYPE_CHECKING:
    # nats-py is in the extra ``scale``, which the embedded form does without.
    from undersigned.ledger.stream.taker import StreamTaker

# Frames wait for milliseconds; the doctor speaks of what waits for longer.
LAG_SECONDS = 10.0
_ASK_SECONDS = 3.0
_REFUSED_SECONDS = 1.0


def make_taker(environment: Environment) -> StreamTaker | None:
    """Return what takes from the stream; None where none is set."""
    if environment.stream is None:
        return None
    from undersigned.ledger.pg.session import Session
    from undersigned.ledger.stream.frame import Seal
    from undersigned.ledger.stream.taker import StreamTaker

    assert environment.ledger is not None
    assert environment.node_secret is not None
    url = make_conninfo(environment.ledger)
    return StreamTaker(
        address=environment.stream,
        seal=Seal(environment.node_secret),
        connect=lambda: Session(url),
    )


def examine_stream(environment: Environment) -> Iterator[Finding]:
    """Return every finding; none where no stream is set."""
    address = environment.stream
    if address is None:
        return
    if not address.is_private:
        yield Finding(
            "danger",
            "stream-in-clear",
            "the way to the stream's servers is not encrypted: who sits on it learns "
            "the password, and when signatures come; use tls://",
        )
    yield from _examine_servers(environment, address)
    yield from _examine_monitors(environment)


def _examine_servers(
    environment: Environment, address: BrokerAddress
) -> Iterator[Finding]:
    from nats.js.errors import NotFoundError

    from undersigned.ledger.stream.broker import TROUBLE, BrokerAway

    try:
        is_node = environment.issuer is not None
        found = asyncio.run(_ask(address, is_node=is_node))
    except NotFoundError:
        yield Finding(
            "note",
            "stream-missing",
            "the stream is made when the server starts for the first time",
        )
    except (*TROUBLE, BrokerAway) as error:
        yield Finding(
            "warning",
            "stream-away",
            f"the stream cannot be used ({error}): web nodes add to the pool by "
            "themselves, and nothing is lost",
        )
    else:
        if found is None:
            yield Finding("ok", "stream-answers", "the stream's servers answer")
        elif is_node:
            yield Finding(
                "danger",
                "stream-too-strong",
                f"the user {address.user} may do more than send: use the nodes' own",
            )
        else:
            yield from _judge(found)


async def _ask(address: BrokerAddress, *, is_node: bool) -> dict[str, Any] | None:
    """Return what the stream is like now, or None where a node may not ask, as it must.

    Raises BrokerAway and the library's own.
    """
    from nats.js.api import StorageType

    from undersigned.ledger.stream.broker import (
        STREAM,
        TROUBLE,
        open_broker,
    )

    client = await open_broker(address)
    try:
        stream = client.jetstream(timeout=_REFUSED_SECONDS if is_node else _ASK_SECONDS)
        try:
            info = await stream.stream_info(STREAM)
        except TimeoutError:
            # What one may not ask is not answered.
            if is_node and client.is_connected:
                return None
            raise
        waiting_seconds = 0.0
        if info.state.messages:
            oldest = await stream.get_msg(STREAM, seq=info.state.first_seq)
            if oldest.time is not None:
                since = datetime.now(UTC) - oldest.time
                waiting_seconds = since.total_seconds()
        peers = (info.cluster.replicas or []) if info.cluster is not None else []
        return {
            "replicas": info.config.num_replicas,
            "current": 1 + sum(1 for peer in peers if peer.current),
            "in_files": info.config.storage == StorageType.FILE,
            "waiting": info.state.messages,
            "waiting_seconds": waiting_seconds,
        }
    finally:
        with contextlib.suppress(*TROUBLE):
            await client.close()


def _judge(found: dict[str, Any]) -> Iterator[Finding]:
    from undersigned.ledger.stream.broker import REPLICAS

    is_whole = True
    if found["replicas"] != REPLICAS or not found["in_files"]:
        is_whole = False
        yield Finding(
            "danger",
            "stream-not-replicated",
            f"the stream keeps {found['replicas']} copies of a frame: it must "
            f"keep {REPLICAS} in files. Delete it, and restart the server",
        )
    elif found["current"] < REPLICAS:
        is_whole = False
        yield Finding(
            "warning",
            "stream-replica-behind",
            f"only {found['current']} of {REPLICAS} copies are up to date: one more "
            "gone, and web nodes go the direct way",
        )
    if found["waiting_seconds"] > LAG_SECONDS:
        is_whole = False
        yield Finding(
            "warning",
            "stream-behind",
            f"{found['waiting']} frames wait, the first for "
            f"{found['waiting_seconds']:.0f} s: do the server and its database run?",
        )
    if is_whole:
        yield Finding(
            "ok", "stream-carries", "the stream keeps three copies, up to date"
        )


def _examine_monitors(environment: Environment) -> Iterator[Finding]:
    if environment.issuer is not None:
        return
    if not environment.stream_monitors:
        yield Finding(
            "note",
            "stream-sync-unknown",
            "whether the stream's servers wait for the disk is not known: set "
            "UNDERSIGNED_STREAM_MONITOR",
        )
        return
    silent, careless = [], []
    for host, port in environment.stream_monitors:
        try:
            settings = _ask_monitor(host, port).get("config") or {}
        except (OSError, HTTPException, ValueError):
            silent.append(f"{host}:{port}")
        else:
            if settings.get("sync_always") is not True:
                careless.append(f"{host}:{port}")
    if silent:
        yield Finding(
            "warning",
            "stream-monitor-silent",
            f"{', '.join(silent)} tells nothing about itself",
        )
    if careless:
        yield Finding(
            "danger",
            "stream-not-synced",
            f"{', '.join(careless)} does not wait for the disk: sync_interval must be "
            "always",
        )
    elif not silent:
        yield Finding(
            "ok", "stream-synced", "every server of the stream waits for disk"
        )


def _ask_monitor(host: str, port: int) -> dict[str, Any]:
    """Return a server's JetStream. Raises OSError, HTTPException, ValueError."""
    connection = HTTPConnection(host, port, timeout=_ASK_SECONDS)
    try:
        connection.request("GET", "/jsz")
        found = json.loads(connection.getresponse().read(1 << 20))
        if not isinstance(found, dict):
            raise ValueError(host)
        return found
    finally:
        connection.close()
