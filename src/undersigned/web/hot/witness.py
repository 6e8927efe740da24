"""``POST witness/add-checkpoint`` (C2SP tlog-witness), as raw ASGI.

The same path inside the instance's own server and in the stand-alone one. Statuses:
200 with the cosignature line, 400, 403, 404, 409 with the size as ``text/x.tlog.size``,
422; besides them 413 and 415 for what is no request of the protocol, 429 for a network
that asks too often, 503 while nothing can be cosigned. Nothing is kept of who asks.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ClassVar, Final

from undersigned.kernel.clock import Clock
from undersigned.kernel.errors import StorageFailed, Unavailable, UndersignedError
from undersigned.safety.intake import Intake
from undersigned.web.hot.wire import (
    NO_STORE,
    ClientGone,
    MethodNotTaken,
    NothingHere,
    Receive,
    Scope,
    Send,
    answer,
    read_body,
)
from undersigned.web.shared.problem import problem
from undersigned.witness.operations import CosignedOtherwise, cosign_checkpoint
from undersigned.witness.request import MAX_REQUEST_BYTES
from undersigned.witness.store import WitnessStopped
from undersigned.witness.witness import Witness

WITNESS_PATH: Final = "witness/add-checkpoint"
# A commit takes milliseconds: more waiting than these are no logs of friends.
MAX_WAITING: Final = 32
# A log asks once a minute, and once more after a conflict.
BURST: Final = 60
PER_MINUTE: Final = 60.0

_LINES = [(b"content-type", b"text/plain; charset=utf-8"), NO_STORE]
_SIZE = [(b"content-type", b"text/x.tlog.size"), NO_STORE]


class WitnessBusy(Unavailable):
    """Too many requests wait for the witness."""

    code: ClassVar[str] = "witness-busy"


class WitnessPath:
    """The one address of a witness. ``stop`` ends its thread."""

    def __init__(
        self, *, witness: Witness, clock: Clock, intake: Intake | None = None
    ) -> None:
        self._witness = witness
        self._clock = clock
        self._intake = intake or Intake(burst=BURST, per_minute=PER_MINUTE)
        self._waiting = 0
        # The store takes one change at a time; the event loop never waits for a disk.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="cosign")

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. Raises UndersignedError, ClientGone."""
        if scope["method"] != "POST":
            raise MethodNotTaken(allowed="POST")
        client = scope.get("client")
        self._intake.require(client[0] if client else None)
        body = await read_body(scope, receive, limit=MAX_REQUEST_BYTES)
        try:
            line = await self._cosign(body)
        except CosignedOtherwise as error:
            await answer(send, 409, f"{error.size}\n".encode(), _SIZE)
            return
        except StorageFailed:
            # Those who come after it are told the same; the operator reads what failed.
            raise WitnessStopped() from None
        await answer(send, 200, line.encode(), _LINES)

    async def _cosign(self, body: bytes) -> str:
        if self._waiting >= MAX_WAITING:
            raise WitnessBusy(retry_after_seconds=1)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(
                self._thread,
                partial(
                    cosign_checkpoint,
                    witness=self._witness,
                    body=body,
                    at=self._clock.now(),
                ),
            )
        finally:
            self._waiting -= 1

    def stop(self) -> None:
        """Finish what is under way and end the thread."""
        self._thread.shutdown()


class WitnessApp:
    """A whole application of that one address."""

    def __init__(self, path: WitnessPath) -> None:
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        try:
            if scope["path"] != f"/{WITNESS_PATH}":
                raise NothingHere()
            await self._path.handle(scope, receive, send)
        except UndersignedError as error:
            status, body, headers = problem(error)
            if isinstance(error, MethodNotTaken):
                headers.append((b"allow", b"POST"))
            await answer(send, status, body, headers, head=scope["method"] == "HEAD")
        except ClientGone:
            return
