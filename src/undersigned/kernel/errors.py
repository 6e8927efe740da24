"""The one base and the five families of anticipated errors.

A leaf class is defined in the module that raises it. It carries data, a stable
``code`` in kebab case, and neither an HTTP status nor translated text: only
``web.shared`` turns a family into a status and a page.
"""

from __future__ import annotations

from typing import ClassVar


class UndersignedError(Exception):
    """Base of every anticipated error. ``data`` holds what a caller may show."""

    code: ClassVar[str] = "error"

    def __init__(self, **data: object) -> None:
        self.data = data
        detail = ", ".join(f"{name}={value}" for name, value in data.items())
        super().__init__(f"{self.code}: {detail}" if detail else self.code)


class NotAllowed(UndersignedError):
    """The actor may not do this, whatever the state."""

    code = "not-allowed"


class NotFound(UndersignedError):
    """There is no such thing, or the actor may not know that there is."""

    code = "not-found"


class Refused(UndersignedError):
    """A rule says no. Trying the same again will be refused again."""

    code = "refused"


class Conflict(UndersignedError):
    """Someone was first. Looking again, then retrying, may help."""

    code = "conflict"


class Unavailable(UndersignedError):
    """Not the caller's fault. ``retry_after_seconds`` says when to come back."""

    code = "unavailable"

    def __init__(self, *, retry_after_seconds: int = 60, **data: object) -> None:
        self.retry_after_seconds = retry_after_seconds
        super().__init__(**data)


class StorageFailed(Exception):
    """A commit or fsync failed, or a log is corrupt. Fatal by design.

    Not an UndersignedError: nobody may catch it and go on. After a failed fsync the
    kernel may have dropped the dirty pages, so a retry could report success for
    bytes that are lost (PROTOCOL §5: stop, never retry in place).
    """
