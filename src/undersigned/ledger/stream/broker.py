"""The stream's servers: how they are reached, and what the stream must be there.

Three servers keep each frame (R3); ``sync_interval: always`` is theirs to be set and
cannot be asked for here: ``config/stream.py`` looks at it for the doctor.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import nats
import nats.errors
from nats.aio.client import Client
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DiscardPolicy,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import NotFoundError

from undersigned.ledger.stream.address import BrokerAddress

STREAM: Final = "UNDERSIGNED"
CONSUMER: Final = "pool"
SUBJECT: Final = "undersigned.signatures"
# A node's name in hexadecimal stands behind it.
ANSWERS: Final = "undersigned.answers."
# Where frames are given out: nodes may not listen there, for they read no signatures.
TAKER: Final = "_TAKER"
REPLICAS: Final = 3
# Full: nodes go the direct way. Some hundred thousand signatures.
MAX_BYTES: Final = 256 << 20
# What nobody took by then, nobody was promised: it is not kept as a list of who came.
MAX_AGE_SECONDS: Final = 3600.0
# A frame that a taker has not acknowledged by then is given out again.
ACK_SECONDS: Final = 10.0
MAX_TAKEN: Final = 64
CONNECT_SECONDS: Final = 2
# For all of them together, where nobody waits for them to come back.
PATIENCE_SECONDS: Final = 3.0 * CONNECT_SECONDS
# What the library raises, and what lies below it.
TROUBLE: Final = (nats.errors.Error, OSError, asyncio.TimeoutError)


class BrokerAway(Exception):
    """No server of the stream can be used now; the text says why, and no password."""


async def open_broker(
    address: BrokerAddress,
    *,
    is_patient: bool = False,
    inbox: str = "_INBOX",
    on_change: Callable[[], Awaitable[None]] | None = None,
) -> Client:
    """Connect. ``is_patient``: wait for a server, now and whenever all are gone.

    ``inbox``: below what the servers send to this one alone. ``on_change`` is called
    when a connection is lost or there again. Raises BrokerAway.
    """
    scheme = "tls" if address.is_tls else "nats"
    client = Client()
    reasons = ["no answer"]

    async def note(error: Exception) -> None:
        # The library tells of each failed attempt, and tries again.
        reasons[:] = [type(error).__name__]

    connect = partial(
        client.connect,
        [f"{scheme}://{_write(host)}:{port}" for host, port in address.servers],
        user=address.user or None,
        password=address.password or None,
        connect_timeout=CONNECT_SECONDS,
        reconnect_time_wait=1,
        max_reconnect_attempts=-1,
        ping_interval=5,
        inbox_prefix=inbox,
        error_cb=note,
        disconnected_cb=on_change,
        reconnected_cb=on_change,
    )
    try:
        tls = ssl.create_default_context(cafile=address.ca) if address.is_tls else None
        async with asyncio.timeout(None if is_patient else PATIENCE_SECONDS):
            await connect(tls=tls)
    except TimeoutError:
        with contextlib.suppress(*TROUBLE):
            await client.close()
        raise BrokerAway(reasons[0]) from None
    except TROUBLE as error:
        raise BrokerAway(type(error).__name__) from None
    return client


def _write(host: str) -> str:
    return f"[{host}]" if ":" in host else host


async def ensure_stream(stream: JetStreamContext) -> StreamInfo:
    """Make the stream and its one consumer where they are not; return what is there."""
    wanted = StreamConfig(
        name=STREAM,
        subjects=[SUBJECT],
        # A frame that was acknowledged is removed.
        retention=RetentionPolicy.WORK_QUEUE,
        storage=StorageType.FILE,
        num_replicas=REPLICAS,
        # A full stream refuses what is new, and never forgets what it has taken.
        discard=DiscardPolicy.NEW,
        max_bytes=MAX_BYTES,
        max_age=MAX_AGE_SECONDS,
    )
    try:
        info = await stream.stream_info(STREAM)
    except NotFoundError:
        info = await stream.add_stream(wanted)
    await stream.add_consumer(
        STREAM,
        ConsumerConfig(
            durable_name=CONSUMER,
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_SECONDS,
            max_ack_pending=MAX_TAKEN,
            # What was given out, if forgotten, is given out again, and counts once.
            mem_storage=True,
        ),
    )
    return info
