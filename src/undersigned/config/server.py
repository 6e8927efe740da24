"""The server: uvicorn over the application, in one process, without an access log."""

from __future__ import annotations

import contextlib
import logging
import socket
import sys
from collections.abc import Callable
from typing import ClassVar

import uvicorn

from undersigned.cli.control import ControlServer
from undersigned.config.asgi import make_app
from undersigned.config.engine import Engine
from undersigned.kernel.errors import Unavailable

log = logging.getLogger("undersigned.server")


class AddressTaken(Unavailable):
    """Somebody listens on that address already."""

    code: ClassVar[str] = "address-taken"


def _bind(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    server = socket.socket(family, socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        server.bind((host, port))
    except OSError as error:
        server.close()
        raise AddressTaken(address=f"{host}:{port}", problem=str(error)) from error
    return server


def run_server(engine: Engine, *, announce: Callable[[str, int], None]) -> None:
    """Serve until a signal. ``announce`` gets host and port once they are bound.

    Raises AddressTaken.
    """
    environment = engine.environment
    listener = _bind(environment.bind_host, environment.bind_port)
    config = uvicorn.Config(
        make_app(engine),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        # An access log would be a list of signers' addresses and times.
        access_log=False,
        log_level="warning",
        server_header=False,
        date_header=False,
        proxy_headers=bool(environment.trusted_proxy),
        forwarded_allow_ips=environment.trusted_proxy or None,
        backlog=2048,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=10,
    )
    with contextlib.closing(listener):
        control = ControlServer(environment.data / "control.sock", engine)
        control.start()
        try:
            host, port = listener.getsockname()[:2]
            announce(host, port)
            uvicorn.Server(config).run(sockets=[listener])
        finally:
            control.stop()
    if engine.failures:
        print(f"stopped after a failure: {engine.failures[0]}", file=sys.stderr)
