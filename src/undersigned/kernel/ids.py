"""Identifiers that must not be swapped, and random ones that tell nothing."""

from __future__ import annotations

import secrets
from typing import NewType

CampaignId = NewType("CampaignId", str)
StatementVersion = NewType("StatementVersion", int)
Origin = NewType("Origin", str)
LeafIndex = NewType("LeafIndex", int)
TreeSize = NewType("TreeSize", int)

# No vowels and no look-alikes: an identifier is read aloud and copied by hand.
_ALPHABET = "23456789bcdfghjkmnpqrstvwxz"


def make_random_id(length: int = 10) -> str:
    """Return ``length`` random characters; not ordered by time (SAFETY P3)."""
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))
