"""What lies beside the code in a checkout, and not in an installed package."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]


def in_ci() -> bool:
    """Say whether what is missing is a failure: CI has everything, a clone may not."""
    return os.environ.get("UNDERSIGNED_CI") == "1"


def find_shared(*parts: str) -> Path | None:
    """Return a folder of the shared material beside the checkout, or None."""
    path = ROOT.parent.joinpath("shared", *parts)
    return path if path.exists() else None
