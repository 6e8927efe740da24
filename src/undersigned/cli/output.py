"""What commands print: lines for people, one JSON object for programs, a bar."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from typing import Any

from tqdm import tqdm

from undersigned.cli.remote import Values


def print_result(arguments: argparse.Namespace, values: Values, text: str) -> None:
    """Print ``values`` as one JSON line with ``--json``, else ``text``."""
    if getattr(arguments, "json", False):
        print(json.dumps(values, ensure_ascii=False, default=str))
    else:
        print(text)


class Bar:
    """A progress bar on standard error, with rate and time left; none when piped."""

    def __init__(self, *, unit: str, label: str, quiet: bool) -> None:
        self._bar: tqdm[Any] | None = None
        self._unit = unit
        self._label = label
        self._quiet = quiet

    def update(self, done: int, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` units are done."""
        if self._bar is None:
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=self._label,
                unit=self._unit,
                file=sys.stderr,
                disable=self._quiet or None,
                dynamic_ncols=True,
                unit_scale=False,
                mininterval=0.2,
            )
        if note:
            self._bar.set_postfix_str(note, refresh=False)
        self._bar.update(done - self._bar.n)

    def close(self) -> None:
        """Leave the bar as it stands."""
        if self._bar is not None:
            self._bar.close()


def make_reporter(arguments: argparse.Namespace) -> Callable[[Values], None]:
    """Return what prints a job's steps to standard error, unless ``--json``."""

    def report(values: Values) -> None:
        if not getattr(arguments, "json", False) and "doing" in values:
            print(f"{values['doing']} …", file=sys.stderr)

    return report
