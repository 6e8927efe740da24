"""What every server of ours does around uvicorn: bind, limit, stop by returning.

Knows no engine and no Django: the stand-alone witness needs neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import resource
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import uvicorn
from typing_extensions import override

from undersigned.config.env import Environment
from undersigned.kernel.errors import Unavailable
from undersigned.web.hot.limits import LimitedProtocol, close_late

BACKLOG = 2048


class AddressTaken(Unavailable):
    """Somebody listens on that address already."""

    code: ClassVar[str] = "address-taken"


# Files that stay free for storage, pages and the control socket.
FILES_KEPT = 256


class Server(uvicorn.Server):
    """uvicorn's server, which ends by returning and hangs up on the late.

    uvicorn raises the signal it got again once it has stopped: the process would die
    before the engine empties its journals and rebuilds the issuance files.
    """

    @override
    async def on_tick(self, counter: int) -> bool:
        """Ten times a second; every few seconds look for requests that never end."""
        if counter % 50 == 0:
            now = asyncio.get_running_loop().time()
            close_late(self.server_state.connections, now=now)
        return await super().on_tick(counter)

    def end(self) -> None:
        """Stop serving as at a signal. From any thread."""
        self.should_exit = True

    @contextlib.contextmanager
    @override
    def capture_signals(self) -> Iterator[None]:
        """Stop serving at the first signal; force it at the second."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle_exit) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def make_config(
    environment: Environment,
    app: Callable[..., Any],
    protocol: type[LimitedProtocol],
) -> uvicorn.Config:
    """Return how every server of ours listens: it notes nobody, trusts one proxy."""
    return uvicorn.Config(
        app,
        loop="uvloop",
        http=protocol,
        ws="none",
        lifespan="off",
        # An access log would be a list of signers' addresses and times.
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=bool(environment.trusted_proxy),
        forwarded_allow_ips=environment.trusted_proxy or None,
        backlog=BACKLOG,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
    )


def bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
        # Whoever is told the address may come at once: they wait in the queue.
        server.listen(BACKLOG)
    except OSError as error:
        server.close()
        raise AddressTaken(address=f"{host}:{port}", problem=str(error)) from error
    return server


def raise_file_limit() -> int:
    """Take as many open files as the system allows; return how many that is."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
        soft = wanted
    return soft


def keep_memory_in() -> None:
    """Let no crash write memory to disk: addresses are in it, and keys.

    No core file, and no other process of this user may read this one's memory.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with contextlib.suppress(OSError, AttributeError):
        # PR_SET_DUMPABLE; Linux only, elsewhere the limit must do.
        ctypes.CDLL(None, use_errno=True).prctl(4, 0, 0, 0, 0)
