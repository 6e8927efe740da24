"""What a waiting page holds, between the door (``web.hot``) and the page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from undersigned.safety.turns import PleaseWait

Fields = Sequence[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Held:
    """What the page holds for a person, and hands on when it is their turn.

    ``action``: where the form goes, a path. ``is_form``: something was typed; else a
    page was only to be read. ``fields``: what was typed, the turn left out.
    """

    action: str
    is_form: bool
    fields: Fields


# From the language in the address, what is held, and the wait, to a page.
RenderWait = Callable[[str, Held, PleaseWait], bytes]
