"""``undersigned doctor`` and ``undersigned seal``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import ClassVar

from undersigned.cli.context import Context
from undersigned.cli.output import print_result
from undersigned.kernel.errors import Refused
from undersigned.kernel.keystore import Keystore

MARKS = {"ok": "ok     ", "note": "note   ", "warning": "WARNING", "danger": "DANGER "}
LEAST_PASSPHRASE = 16


class PassphraseTooShort(Refused):
    """A sealing passphrase has at least sixteen characters."""

    code: ClassVar[str] = "passphrase-too-short"


def doctor(arguments: argparse.Namespace, context: Context) -> int:
    """Say what is unsafe; exit 1 if something is dangerous."""
    findings = context.examine()
    values = {
        "findings": [
            {"level": found.level, "code": found.code, "text": found.text}
            for found in findings
        ]
    }
    text = "\n".join(f"{MARKS[found.level]}  {found.text}" for found in findings)
    print_result(arguments, values, text)
    return 1 if any(found.level == "danger" for found in findings) else 0


def seal(arguments: argparse.Namespace, context: Context) -> int:
    """Wrap every secret under the passphrase in a file; the server must be stopped."""
    passphrase = Path(arguments.passphrase_file).read_text(encoding="utf-8").strip()
    if len(passphrase) < LEAST_PASSPHRASE:
        raise PassphraseTooShort(least=LEAST_PASSPHRASE)
    with context.open_engine(run_clock=False):
        # Holding the writer lock: no server reads a secret while it is wrapped.
        store = Keystore(context.environment.data / "secrets", passphrase=passphrase)
        wrapped = store.seal(passphrase)
    print_result(
        arguments,
        {"wrapped": wrapped},
        f"{wrapped} secrets sealed. Start with UNDERSIGNED_PASSPHRASE_FILE set; "
        "without the passphrase nobody can sign here again.",
    )
    return 0
