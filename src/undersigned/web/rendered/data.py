"""What the store, the renderer and the front tell one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KeptPage:
    """A page that is the same for everybody, and is kept as a file.

    ``address``: its path, without a query. ``cache``: its Cache-Control. ``depends``:
    equal to what it was exactly while nothing that the page shows has changed.
    ``shows_signers``: whether something on it can be erased.
    """

    address: str
    language: str
    cache: str
    depends: object
    shows_signers: bool = False


@dataclass(frozen=True, slots=True)
class MadePage:
    """An answer as Django gives it. ``headers``: by lower-case name."""

    status: int
    headers: Mapping[str, str]
    body: bytes
