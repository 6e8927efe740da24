"""Takes signatures on a node: into the pool in batches, then the issuer's promise."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from undersigned.kernel.batching import BatchThread
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.data import PooledSignature
from undersigned.ledger.pg.inbox import MAX_BATCH, Arrival, Fate, pool_signatures
from undersigned.ledger.pg.session import Session
from undersigned.ledger.writer import GATHER_SECONDS, LogNotAccepting
from undersigned.web.hot.nodes import (
    MAX_PROMISES,
    PROMISES,
    PromiseReply,
    PromiseRequest,
)
from undersigned.web.hot.wire import Headers
from undersigned.web.node.upstream import RETRY_SECONDS, IssuerAway, Upstream

# While the database is away nobody waits for it more than once in this time.
AWAY_SECONDS: Final = 1.0

_logger = logging.getLogger("undersigned.node")


@dataclass(slots=True)
class _Waiting:
    arrival: Arrival
    done: Callable[[BaseException | None], None]


class NodePool(BatchThread[_Waiting]):
    """The thread that adds to the pool, as the role ``intake``.

    Unlike a sequencer it believes nothing about the ledger: after a failure, when it is
    not known what was committed, it has told nobody anything, connects again, and the
    clients' retries are answered by what is there.
    """

    def __init__(self, connect: Callable[[], Session]) -> None:
        self._connect = connect
        # Called when the thread has ended by an error that nobody foresaw.
        self.on_stopped: Callable[[], None] = lambda: None
        self._session: Session | None = None
        self._away_until = 0.0
        super().__init__(
            name="node-pool",
            commit=self._pool,
            refuse=lambda item: item.done(
                IssuerAway(retry_after_seconds=RETRY_SECONDS)
            ),
            on_failure=self._tell,
            max_batch=MAX_BATCH,
            gather_seconds=GATHER_SECONDS,
        )

    def submit(
        self,
        log_id: int,
        pooled: PooledSignature,
        done: Callable[[BaseException | None], None],
    ) -> None:
        """Queue one signature. ``done`` runs on this thread once it is durable."""
        self.put(_Waiting(Arrival(log_id, pooled), done))

    def _tell(self, error: BaseException) -> None:
        _logger.critical("STOPPED: %s. This node ends.", type(error).__name__)
        self.on_stopped()

    def _pool(self, batch: list[_Waiting]) -> None:
        fates = self._try_to_pool([item.arrival for item in batch])
        for item in batch:
            if fates is None:
                item.done(IssuerAway(retry_after_seconds=RETRY_SECONDS))
            elif fates[item.arrival.key] is Fate.CLOSED:
                item.done(LogNotAccepting())
            else:
                item.done(None)

    def _try_to_pool(
        self, arrivals: list[Arrival]
    ) -> dict[tuple[int, bytes], Fate] | None:
        """Add a batch; None where it is not known to be durable."""
        if time.monotonic() < self._away_until:
            return None
        try:
            if self._session is None:
                self._session = self._connect()
            return pool_signatures(session=self._session, arrivals=arrivals)
        except StorageFailed as error:
            _logger.error("nothing can be added to the pool: %s", error)
            self._away_until = time.monotonic() + AWAY_SECONDS
            self.close()
            return None

    def close(self) -> None:
        """End the connection."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class Promises:
    """Asks for promises, as many at once as have gathered while the last were asked.

    On the event loop. ``headers``: with the secret.
    """

    def __init__(self, upstream: Upstream, headers: Headers) -> None:
        self._upstream = upstream
        self._headers = headers
        self._waiting: list[tuple[str, bytes, asyncio.Future[str]]] = []
        self._task: asyncio.Task[None] | None = None

    async def get(self, path: str, nonce: bytes) -> str:
        """Return the promise for a durable signature. Raises IssuerAway."""
        future: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append((path, nonce, future))
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._work())
        return await future

    async def _work(self) -> None:
        while self._waiting:
            batch = self._waiting[:MAX_PROMISES]
            del self._waiting[:MAX_PROMISES]
            try:
                promises = await self._ask(batch)
            except IssuerAway:
                promises = [None] * len(batch)
            for (_path, _nonce, future), promise in zip(batch, promises, strict=True):
                if future.done():
                    continue
                if promise is None:
                    future.set_exception(IssuerAway(retry_after_seconds=RETRY_SECONDS))
                else:
                    future.set_result(promise)

    async def _ask(
        self, batch: list[tuple[str, bytes, asyncio.Future[str]]]
    ) -> list[str | None]:
        request = PromiseRequest([(path, nonce) for path, nonce, _future in batch])
        reply = await self._upstream.ask(
            "POST",
            b"/" + PROMISES.encode(),
            self._headers,
            msgspec.json.encode(request),
        )
        if reply.status != 200:
            raise IssuerAway(retry_after_seconds=RETRY_SECONDS)
        try:
            found = msgspec.json.decode(reply.body, type=PromiseReply).promises
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise IssuerAway(retry_after_seconds=RETRY_SECONDS) from None
        if len(found) != len(batch):
            raise IssuerAway(retry_after_seconds=RETRY_SECONDS)
        return found
