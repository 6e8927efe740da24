"""Who acts, as an opaque value: the domain never sees an account."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Actor:
    """An acting party.

    ``ref`` is opaque and stable (an account's reference, ``operator`` for the command
    line, ``clock`` for what time alone brings about); it never holds a name.
    """

    ref: str
    is_operator: bool = False


OPERATOR = Actor(ref="operator", is_operator=True)
CLOCK = Actor(ref="clock", is_operator=True)
