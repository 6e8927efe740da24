"""The ``undersigned`` command: environment and Django first, then the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence


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
    try:
        environment = read_environment()
    except SettingNotValid as error:
        print(f"undersigned: {error}", file=sys.stderr)
        return 2
    from undersigned.cli.run import run_command
    from undersigned.config.context import make_context

    return run_command(arguments, make_context(environment))


if __name__ == "__main__":
    sys.exit(main())
