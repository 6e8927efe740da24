"""Witnessing as this environment has it, and the server of nothing but a witness."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable

from undersigned.cli.bare import BareContext
from undersigned.config.env import Environment
from undersigned.config.listening import (
    FILES_KEPT,
    Server,
    bind,
    keep_memory_in,
    make_config,
    raise_file_limit,
)
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.keystore import KeysLocked, Keystore
from undersigned.web.hot.limits import LimitedProtocol
from undersigned.web.hot.witness import WitnessApp, WitnessPath
from undersigned.witness.witness import Witness
from undersigned.witness.witnessing import Witnessing

log = logging.getLogger("undersigned.engine")


def open_keystore(environment: Environment) -> Keystore | None:
    """Return the secrets, or None when they are sealed and do not open."""
    try:
        return Keystore(environment.data / "secrets", passphrase=environment.passphrase)
    except KeysLocked as error:
        log.error("secrets stay locked (%s): intake is closed, reads go on", error)
        return None


def make_witnessing(
    environment: Environment,
    keystore: Keystore | None,
    *,
    at_step: Callable[[str], None] = lambda _name: None,
) -> Witnessing:
    """Return both sides of witnessing, without a feeder."""
    return Witnessing(
        folder=environment.data,
        public=environment.public,
        host=environment.host,
        base_url=environment.base_url,
        witness=Witness(
            environment.data,
            host=environment.host,
            keystore=keystore,
            at_step=at_step,
        ),
    )


def make_bare_context(environment: Environment) -> BareContext:
    """Return what commands need that run without Django and without an engine."""
    return BareContext(
        environment=environment,
        make_witnessing=lambda: make_witnessing(
            environment, open_keystore(environment)
        ),
        serve_witness=lambda witnessing, announce: run_witness_server(
            environment, witnessing, announce=announce
        ),
    )


def run_witness_server(
    environment: Environment,
    witnessing: Witnessing,
    *,
    announce: Callable[[str, int], None],
) -> None:
    """Serve nothing but the witness until a signal. Raises AddressTaken."""
    keep_memory_in()
    members = {"max_connections": max(64, raise_file_limit() - FILES_KEPT)}
    listener = bind(environment.bind_host, environment.bind_port)
    path = WitnessPath(witness=witnessing.witness, clock=SystemClock())
    protocol = type("WitnessProtocol", (LimitedProtocol,), members)
    config = make_config(environment, WitnessApp(path), protocol)
    with contextlib.closing(listener):
        try:
            announce(*listener.getsockname()[:2])
            Server(config).run(sockets=[listener])
        finally:
            path.stop()
            witnessing.stop()
