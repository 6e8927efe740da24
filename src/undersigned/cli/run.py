"""Running one command: errors become one line and an exit code."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from undersigned_verify.errors import Unreadable

from undersigned.kernel.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    StorageFailed,
    Unavailable,
    UndersignedError,
)

if TYPE_CHECKING:
    # Loads Django's HTTP side, which a stand-alone witness does without.
    from undersigned.cli.bare import BareContext
    from undersigned.cli.context import Context

EXIT_CODES: dict[type[UndersignedError], int] = {
    Refused: 3,
    NotFound: 4,
    Conflict: 5,
    Unavailable: 6,
    NotAllowed: 7,
}
STORAGE_FAILED = 8
UNREADABLE = 2


def run_command(arguments: argparse.Namespace, context: Context | BareContext) -> int:
    """Run the command that the parser chose; return its exit code."""
    try:
        code = arguments.run(arguments, context)
    except UndersignedError as error:
        return _fail(arguments, error.code, str(error), _exit_code(error))
    except StorageFailed as error:
        return _fail(arguments, "storage-failed", str(error), STORAGE_FAILED)
    except (OSError, UnicodeDecodeError, Unreadable) as error:
        return _fail(arguments, "unreadable", str(error), UNREADABLE)
    except KeyboardInterrupt:
        print("\ninterrupted; nothing that was acknowledged is lost", file=sys.stderr)
        return 130
    return int(code)


def _exit_code(error: UndersignedError) -> int:
    for family, code in EXIT_CODES.items():
        if isinstance(error, family):
            return code
    return 1


def _fail(arguments: argparse.Namespace, code: str, text: str, exit_code: int) -> int:
    if getattr(arguments, "json", False):
        print(json.dumps({"error": {"code": code, "text": text}}, ensure_ascii=False))
    print(f"undersigned: {text}", file=sys.stderr)
    return exit_code
