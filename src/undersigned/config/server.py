"""The server: uvicorn over the application, in one process, without an access log."""

from __future__ import annotations

import contextlib
import gc
import logging
import sys
from collections.abc import Callable

from undersigned.cli.control import ControlServer
from undersigned.config.asgi import make_app
from undersigned.config.engine import Engine
from undersigned.config.listening import (
    FILES_KEPT,
    Server,
    bind,
    keep_memory_in,
    make_config,
    raise_file_limit,
)
from undersigned.config.stream import make_taker
from undersigned.kernel.errors import StorageFailed
from undersigned.web.hot.protocol import make_protocol

log = logging.getLogger("undersigned.server")


def run_server(engine: Engine, *, announce: Callable[[str, int], None]) -> None:
    """Serve until a signal. ``announce`` gets host and port once they are bound.

    Raises AddressTaken, and StorageFailed where the ledger is a server's and a store
    has stopped: then it ends by itself.
    """
    environment = engine.environment
    keep_memory_in()
    max_connections = max(64, raise_file_limit() - FILES_KEPT)
    listener = bind(environment.bind_host, environment.bind_port)
    front = make_app(engine)
    protocol = make_protocol(front, max_connections=max_connections)
    config = make_config(environment, front, protocol)
    with contextlib.closing(listener):
        control = ControlServer(environment.data / "control.sock", engine)
        control.start()
        engine.pages.clean()
        engine.renderer.start()
        if engine.carrier is not None:
            engine.carrier.start()
        taker = make_taker(environment)
        if taker is not None:
            taker.start()
        try:
            host, port = listener.getsockname()[:2]
            announce(host, port)
            # What was loaded so far stays: the collector need not look at it again
            # and again while signatures come.
            gc.collect()
            gc.freeze()
            server = Server(config)
            if environment.ledger is not None:
                # Whoever stands by, or our own start anew, reads what is durable: that
                # is sooner done than by a person.
                engine.on_failed = server.end
                if engine.failures:
                    server.end()
            server.run(sockets=[listener])
        finally:
            if taker is not None:
                taker.stop()
            engine.renderer.stop()
            if engine.carrier is not None:
                engine.carrier.stop()
            control.stop()
            front.stop()
    if engine.failures:
        print(f"stopped after a failure: {engine.failures[0]}", file=sys.stderr)
        if environment.ledger is not None:
            # The exit code by which a service manager starts it again.
            raise StorageFailed(str(engine.failures[0]))
