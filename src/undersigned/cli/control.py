"""Running a job where the writer is.

A job is a function of the engine and plain values that yields progress and returns
plain values. Without a server it runs here, under the writer lock. With one, it runs
in the server's process: asked for in one JSON line over a Unix socket that only the
owner of the data directory can open, answered in JSON lines.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import ClassVar, TypeAlias

from django.db import connection
from typing_extensions import override

from undersigned.cli.context import Context, RunningEngine, Values
from undersigned.cli.jobs import JOBS
from undersigned.kernel.errors import (
    Conflict,
    NotAllowed,
    NotFound,
    Refused,
    Unavailable,
    UndersignedError,
)

OnProgress: TypeAlias = Callable[[Values], None]

MAX_LINE_BYTES = 4 << 20


class JobFailed(Refused):
    """A job failed in the server's process in a way nobody foresaw."""

    code: ClassVar[str] = "job-failed"


FAMILIES: dict[str, type[UndersignedError]] = {
    family.__name__: family
    for family in (NotAllowed, NotFound, Refused, Conflict, Unavailable)
}


def _encode_error(error: UndersignedError) -> Values:
    family = next(
        name for name, family in FAMILIES.items() if isinstance(error, family)
    )
    return {"family": family, "code": error.code, "text": str(error)}


def _decode_error(found: Values) -> UndersignedError:
    """Return the error as the server's process raised it: same family, same code."""
    family = FAMILIES.get(str(found.get("family")), JobFailed)
    code = str(found.get("code", JobFailed.code))
    error: UndersignedError = type("RemoteError", (family,), {"code": code})()
    error.args = (str(found.get("text", code)),)
    return error


class ServerUnreachable(Unavailable):
    """The writer lock is held, and no control socket answers."""

    code: ClassVar[str] = "server-unreachable"


def run_job(
    context: Context, name: str, values: Values, *, on_progress: OnProgress
) -> Values:
    """Run a job in the process that owns the writer; return its result.

    Raises what the job raises, JobFailed, ServerUnreachable.
    """
    try:
        opened = context.open_engine(False)
        with opened as engine:
            return _drive(JOBS[name](engine, values), on_progress)
    except UndersignedError as error:
        if error.code != "writer-busy":
            raise
    return _run_remotely(context.environment.data, name, values, on_progress)


def _drive(steps: Generator[Values, None, Values], on_progress: OnProgress) -> Values:
    try:
        while True:
            on_progress(next(steps))
    except StopIteration as end:
        result: Values = end.value
        return result


def _short_path(path: Path) -> tuple[str, int | None]:
    """Return a name for the socket that fits the system's limit of some 100 bytes."""
    if len(os.fsencode(path)) < 100:
        return str(path), None
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    return f"/proc/self/fd/{folder}/{path.name}", folder


def _run_remotely(
    data: Path, name: str, values: Values, on_progress: OnProgress
) -> Values:
    address, folder = _short_path(data / "control.sock")
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
                        raise _decode_error(found["error"])
    finally:
        if folder is not None:
            os.close(folder)
    raise ServerUnreachable(data=str(data))


class _Handler(socketserver.StreamRequestHandler):
    @override
    def handle(self) -> None:
        """Run one job and stream its lines; a client that hangs up cancels it."""
        server = self.server
        if not isinstance(server, _Server):
            return
        raw = self.rfile.readline(MAX_LINE_BYTES)
        try:
            found = json.loads(raw)
            steps = JOBS[found["job"]](server.engine, found["values"])
            with contextlib.closing(steps):
                result = _drive(steps, lambda values: self._send({"progress": values}))
            self._send({"result": result})
        except BrokenPipeError:
            # The caller hung up: the job was closed where it stood.
            return
        except UndersignedError as error:
            self._send_error(_encode_error(error))
        except Exception as error:  # noqa: BLE001 - the handler's outer loop
            # Whoever asked must hear of it; the server goes on.
            text = f"{type(error).__name__}: {error}"
            self._send_error({"family": "Refused", "code": "job-failed", "text": text})
        finally:
            connection.close()

    def _send(self, values: Values) -> None:
        self.wfile.write(json.dumps(values).encode() + b"\n")

    def _send_error(self, error: Values) -> None:
        try:
            self._send({"error": error})
        except BrokenPipeError:
            return


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True

    def __init__(self, address: str, engine: RunningEngine) -> None:
        self.engine = engine
        super().__init__(address, _Handler)


class ControlServer:
    """Listens on the control socket while the server runs."""

    def __init__(self, path: Path, engine: RunningEngine) -> None:
        self._path = path
        path.unlink(missing_ok=True)
        address, self._folder = _short_path(path)
        old = os.umask(0o177)
        try:
            self._server = _Server(address, engine)
        finally:
            os.umask(old)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="control", daemon=True
        )

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Stop listening and remove the socket."""
        self._server.shutdown()
        self._server.server_close()
        self._path.unlink(missing_ok=True)
        if self._folder is not None:
            os.close(self._folder)
