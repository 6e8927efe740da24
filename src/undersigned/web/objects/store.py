"""What an object store must be able to do, and how it says that it cannot."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol


class StoreAway(Exception):
    """The store refused, failed or was silent. The text names the kind, and no key."""


@dataclass(frozen=True, slots=True)
class Held:
    """What a store says of an object. ``tag``: its ETag without quotes, or empty.

    ``keeps_versions``: what is replaced or deleted stays there, under a version.
    """

    key: str
    size: int
    tag: str
    keeps_versions: bool = False


class ObjectStore(Protocol):
    """Keeps bytes by key: ``c/soil/checkpoint``. Each method raises StoreAway.

    A put replaces in one step, and what is put or deleted is so for every reader once
    the call has returned. Calls may come from several threads.
    """

    def put(self, key: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Keep ``data``, and send ``headers`` to whoever reads it."""
        ...

    def get(self, key: str) -> bytes | None:
        """Return an object, or None where there is none."""
        ...

    def head(self, key: str) -> Held | None:
        """Return what is known of an object, or None where there is none."""
        ...

    def delete(self, keys: Collection[str]) -> None:
        """Keep these no longer. No error where there are none."""
        ...

    def list_below(self, folder: str) -> Iterator[Held]:
        """Yield every object whose key begins with ``folder``, which ends in a slash.

        The empty folder is all there is.
        """
        ...

    def list_top(self) -> tuple[list[str], list[str]]:
        """Return the folders at the top, each with its slash, and the keys there."""
        ...
