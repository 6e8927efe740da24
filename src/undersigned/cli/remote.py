"""Asking the server's process, over its control socket, to run a job.

One JSON line goes out, JSON lines come back: progress, then a result or an error. What
answers is ``control``; this half needs no engine, and knows no job.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

from undersigned.kernel.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    Unavailable,
    UndersignedError,
)

Values: TypeAlias = dict[str, Any]
OnProgress: TypeAlias = Callable[[Values], None]


class JobFailed(Refused):
    """A job failed in the server's process in a way nobody foresaw."""

    code: ClassVar[str] = "job-failed"


class ServerUnreachable(Unavailable):
    """The writer lock is held, and no control socket answers."""

    code: ClassVar[str] = "server-unreachable"


FAMILIES: dict[str, type[UndersignedError]] = {
    family.__name__: family
    for family in (NotAllowed, NotFound, Refused, Conflict, Unavailable)
}


def encode_error(error: UndersignedError) -> Values:
    """Return an error as plain values."""
    family = next(
        name for name, family in FAMILIES.items() if isinstance(error, family)
    )
    return {"family": family, "code": error.code, "text": str(error)}


def decode_error(found: Values) -> UndersignedError:
    """Return the error as the server's process raised it: same family, same code."""
    family = FAMILIES.get(str(found.get("family")), JobFailed)
    code = str(found.get("code", JobFailed.code))
    error: UndersignedError = type("RemoteError", (family,), {"code": code})()
    error.args = (str(found.get("text", code)),)
    return error


def short_path(path: Path) -> tuple[str, int | None]:
    """Return a name for the socket that fits the system's limit of some 100 bytes."""
    if len(os.fsencode(path)) < 100:
        return str(path), None
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{path.name}", folder


def run_remotely(
    data: Path, name: str, values: Values, on_progress: OnProgress
) -> Values:
    """Run a job in the server's process; return its result.

    Raises what the job raises, JobFailed, ServerUnreachable.
    """
    address, folder = short_path(data / "control.sock")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            try:
                client.connect(address)
            except OSError as error:
                raise ServerUnreachable(data=str(data)) from error
            line = json.dumps({"job": name, "values": values})
            client.sendall(line.encode() + b"\n")
            with client.makefile("rb") as answers:
                for raw in answers:
                    found = json.loads(raw)
                    if "progress" in found:
                        on_progress(found["progress"])
                    elif "result" in found:
                        result: Values = found["result"]
                        return result
                    else:
                        raise decode_error(found["error"])
    finally:
        if folder is not None:
            os.close(folder)
    raise ServerUnreachable(data=str(data))
