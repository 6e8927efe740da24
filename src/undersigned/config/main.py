"""The ``undersigned`` command: environment and Django first, then the command line."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Sequence

DEMO_PORTS = range(8000, 8020)


def _find_free_port() -> int:
    """Return the first port a newcomer's machine has free, from 8000 on."""
    for port in DEMO_PORTS:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    return DEMO_PORTS[0]


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code (docs/operate/commands.md)."""
    from undersigned.cli.parser import build_parser
    from undersigned.config.env import SettingNotValid, read_environment

    arguments = build_parser().parse_args(argv)
    preset = getattr(arguments, "mode_preset", None)
    if preset is not None:
        os.environ.setdefault("UNDERSIGNED_MODE", preset)
    if getattr(arguments, "bind", None):
        os.environ["UNDERSIGNED_BIND"] = arguments.bind
    elif preset == "demo" and "UNDERSIGNED_BIND" not in os.environ:
        os.environ["UNDERSIGNED_BIND"] = f"127.0.0.1:{_find_free_port()}"
    try:
        environment = read_environment()
    except SettingNotValid as error:
        print(f"undersigned: {error}", file=sys.stderr)
        return 2
    from undersigned.cli.run import STORAGE_FAILED, run_command

    if environment.issuer is not None:
        from undersigned.config.context import set_up_django

        # For its names only: a node opens no database of Django's.
        set_up_django()
        from undersigned.config.node import run_node_command

        return run_node_command(arguments, environment)

    if getattr(arguments, "bare", False):
        from undersigned.config.witnessing import make_bare_context

        return run_command(arguments, make_bare_context(environment))
    from django.db import DatabaseError

    from undersigned.config.context import make_context
    from undersigned.config.database import describe_database

    try:
        return run_command(arguments, make_context(environment))
    except DatabaseError as error:
        # Damaged, locked by somebody else, on a full disk, or not to be reached.
        where = describe_database(environment)
        print(f"undersigned: {where} cannot be used: {error}", file=sys.stderr)
        return STORAGE_FAILED


if __name__ == "__main__":
    sys.exit(main())
