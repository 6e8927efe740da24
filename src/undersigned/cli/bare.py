"""What a command is given that needs neither Django nor an engine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from undersigned.cli.pages_dump import PagesAddress
from undersigned.witness.witnessing import Witnessing


class BareFacts(Protocol):
    """The settings such a command may read (``config.env.Environment``)."""

    @property
    def data(self) -> Path: ...

    @property
    def database(self) -> PagesAddress | None: ...

    @property
    def keeps_ledger_here(self) -> bool: ...


@dataclass(frozen=True, slots=True)
class BareContext:
    """Environment and constructors."""

    environment: BareFacts
    make_witnessing: Callable[[], Witnessing]
    serve_witness: Callable[[Witnessing, Callable[[str, int], None]], None]
