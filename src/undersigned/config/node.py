"""A web node: its server, and what the doctor says of it. Loads no Django."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import cast

import psycopg
import uvicorn
from typing_extensions import override

from undersigned.cli.bare import BareContext
from undersigned.cli.context import Finding
from undersigned.cli.run import run_command
from undersigned.config.env import Environment
from undersigned.config.ledger import make_conninfo
from undersigned.config.listening import (
    FILES_KEPT,
    Server,
    bind,
    keep_memory_in,
    make_config,
    raise_file_limit,
)
from undersigned.config.stream import examine_stream
from undersigned.kernel.errors import StorageFailed
from undersigned.ledger.pg.session import Session
from undersigned.ledger.stream.frame import Seal
from undersigned.web.hot.limits import LimitedProtocol
from undersigned.web.node.app import NodeApp
from undersigned.web.node.intake import NodePool
from undersigned.web.node.stream import StreamIntake
from undersigned.web.node.upstream import Upstream
from undersigned.web.public.waiting import render_wait

log = logging.getLogger("undersigned.node")

_LOCAL = ("127.0.0.1", "::1", "localhost")
# What a node must not hold, wherever its data directory is.
_NOT_HERE = ("secrets", "issuance", "ledger.sqlite3", "app.sqlite3")


@dataclass(frozen=True, slots=True)
class NodeContext:
    """What ``undersigned doctor`` is given on a node."""

    environment: Environment
    examine: Callable[[], list[Finding]]


def run_node_command(arguments: argparse.Namespace, environment: Environment) -> int:
    """Run ``serve`` or ``doctor``; whatever else there is, runs at the issuer's."""
    if arguments.noun == "serve":
        arguments.run = lambda _arguments, _context: serve_node(environment)
    elif arguments.noun != "doctor":
        print(
            "undersigned: this is a web node (UNDERSIGNED_ISSUER_URL is set): it has "
            "`serve` and `doctor`. Other commands run where the issuer's process does",
            file=sys.stderr,
        )
        return 2
    context = NodeContext(environment, lambda: list(examine_node(environment)))
    return run_command(arguments, cast("BareContext", context))


def make_node(environment: Environment) -> tuple[NodeApp, NodePool]:
    """Return the application, and its pool, which is not started."""
    assert environment.issuer is not None
    assert environment.intake is not None
    assert environment.node_secret is not None
    url = make_conninfo(environment.intake)
    pool = NodePool(lambda: Session(url))
    stream = None
    if environment.stream is not None:
        stream = StreamIntake(
            address=environment.stream,
            seal=Seal(environment.node_secret),
            now=time.monotonic,
        )
    app = NodeApp(
        upstream=Upstream(*environment.issuer),
        base_url=environment.base_url,
        secret=environment.node_secret,
        pool=pool,
        now=time.monotonic,
        render_wait=render_wait,
        stream=stream,
    )
    return app, pool


class _NodeServer(Server):
    """Begins to ask for the book before the first request comes."""

    def __init__(self, config: uvicorn.Config, app: NodeApp) -> None:
        super().__init__(config)
        self._app = app

    @override
    async def startup(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # as uvicorn's
        await self._app.ask_book()
        self._app.follow()
        await super().startup(sockets)  # type: ignore[arg-type]  # handed on

    @override
    async def shutdown(self, sockets: list[object] | None = None) -> None:  # type: ignore[override]  # as uvicorn's
        await super().shutdown(sockets)  # type: ignore[arg-type]  # handed on
        await self._app.stop()


def serve_node(environment: Environment) -> int:
    """Serve until a signal. Raises AddressTaken."""
    for finding in examine_node(environment):
        if finding.level in ("warning", "danger"):
            print(f"{finding.level}: {finding.text}", file=sys.stderr)
    keep_memory_in()
    members = {"max_connections": max(64, raise_file_limit() - FILES_KEPT)}
    listener = bind(environment.bind_host, environment.bind_port)
    app, pool = make_node(environment)
    protocol = type("NodeProtocol", (LimitedProtocol,), members)
    config = make_config(environment, app, protocol)
    with contextlib.closing(listener):
        pool.start()
        try:
            host, port = listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            print(f"\n  A web node listens on http://{shown}:{port}/\n", flush=True)
            server = _NodeServer(config, app)
            # Whoever starts it again starts it with nothing to remember.
            pool.on_stopped = server.end
            server.run(sockets=[listener])
        finally:
            # What is queued is added, and answered, first.
            pool.stop()
            pool.close()
    if pool.failure is not None:
        raise StorageFailed(f"the pool's thread ended: {type(pool.failure).__name__}")
    return 0


def examine_node(environment: Environment) -> Iterator[Finding]:
    """Return every finding: of what lies here, of the way to both, and of both."""
    assert environment.issuer is not None
    lying = [name for name in _NOT_HERE if (environment.data / name).exists()]
    if lying:
        yield Finding(
            "danger",
            "node-holds-data",
            f"{environment.data} holds {', '.join(lying)}: a web node holds none",
        )
    host, port = environment.issuer
    if host not in _LOCAL:
        yield Finding(
            "warning",
            "node-way-in-clear",
            f"we do not encrypt the way to the issuer's process at {host}: it must be "
            "a tunnel (docs/operate/cluster.md)",
        )
    yield from _examine_issuer(environment, host, port)
    yield from _examine_pool(environment)
    yield from examine_stream(environment)


def _examine_issuer(
    environment: Environment, host: str, port: int
) -> Iterator[Finding]:
    app, _pool = make_node(environment)

    async def ask() -> bool:
        try:
            return await app.ask_book()
        finally:
            await app.stop()

    if asyncio.run(ask()):
        yield Finding("ok", "issuer-answers", "the issuer's process knows this node")
    else:
        yield Finding(
            "danger",
            "issuer-silent",
            f"the issuer's process at {host}:{port} does not answer, or does not know "
            "our UNDERSIGNED_NODE_SECRET: nothing can be signed through this node",
        )


def _examine_pool(environment: Environment) -> Iterator[Finding]:
    address = environment.intake
    assert address is not None
    if not address.is_local and address.tls != "verify-full":
        yield Finding(
            "danger",
            "intake-in-clear",
            f"sslmode={address.tls}: whoever sits on the way to the database may read "
            "or alter signatures; use verify-full",
        )
    try:
        session = Session(make_conninfo(address))
    except StorageFailed as error:
        yield Finding("danger", "intake-away", f"nothing can be added: {error}")
        return
    try:
        row = session.connection.execute(
            "SELECT has_column_privilege('inbox', 'nonce', 'INSERT'), "
            "has_column_privilege('inbox', 'leaf', 'SELECT') "
            "OR has_table_privilege('log', 'UPDATE') "
            "OR (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)"
        ).fetchone()
    except psycopg.Error as error:
        yield Finding(
            "danger", "intake-away", f"no ledger is there: {type(error).__name__}"
        )
        return
    finally:
        session.close()
    may_add, may_more = row if row is not None else (False, False)
    if not may_add:
        yield Finding("danger", "intake-refused", "our role may add no signatures")
    elif may_more:
        yield Finding(
            "danger",
            "intake-too-strong",
            f"the role {address.user} may do more than add: use the role intake",
        )
    else:
        yield Finding("ok", "intake-adds", "our role adds signatures, and no more")
