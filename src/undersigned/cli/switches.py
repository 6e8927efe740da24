"""``undersigned switch``: what an operator turns off and on while people are there."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

from undersigned.cli.context import Context
from undersigned.cli.control import run_job
from undersigned.cli.output import make_reporter, print_result


def list_(arguments: argparse.Namespace, context: Context) -> int:
    """Say what is off."""
    values = run_job(context, "switch", {}, on_progress=make_reporter(arguments))
    print_result(arguments, values, _describe(values["off"]))
    return 0


def off(arguments: argparse.Namespace, context: Context) -> int:
    """Turn something off."""
    return _flip(arguments, context, on=False)


def on(arguments: argparse.Namespace, context: Context) -> int:
    """Turn something on again."""
    return _flip(arguments, context, on=True)


def _flip(arguments: argparse.Namespace, context: Context, *, on: bool) -> int:
    values = run_job(
        context,
        "switch",
        {
            "switch": arguments.name,
            "campaign": arguments.campaign or "",
            "on": on,
            "reason": arguments.reason,
        },
        on_progress=make_reporter(arguments),
    )
    print_result(arguments, values, _describe(values["off"]))
    if not values["logged"]:
        print(
            "The audit trail could not take this flip yet: it is entered once the "
            "pages database works again.",
            file=sys.stderr,
        )
    return 0


def _describe(flips: list[dict[str, Any]]) -> str:
    if not flips:
        return "Nothing is off."
    lines = []
    for flip in flips:
        at = datetime.fromtimestamp(flip["at"], tz=UTC)
        place = flip["campaign"] or "everywhere"
        lines.append(
            f"off: {flip['switch']} ({place}), {flip['reason']}, "
            f"since {at:%Y-%m-%d %H:%M} UTC"
        )
    return "\n".join(lines)
