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
import socketserver
import threading
from collections.abc import Generator
from pathlib import Path

from django.db import connection
from typing_extensions import override

from undersigned.cli.context import Context, RunningEngine, Values
from undersigned.cli.jobs import JOBS
from undersigned.cli.remote import (
    OnProgress,
    ServerUnreachable,
    encode_error,
    run_remotely,
    short_path,
)
from undersigned.kernel.errors import UndersignedError

MAX_LINE_BYTES = 4 << 20


def run_job(
    context: Context, name: str, values: Values, *, on_progress: OnProgress
) -> Values:
    """Run a job in the process that owns the writer; return its result.

    Raises what the job raises, JobFailed, ServerUnreachable.
    """
    try:
        opened = context.open_engine(run_clock=False)
        with opened as engine:
            return _drive(JOBS[name](engine, values), on_progress)
    except UndersignedError as error:
        if error.code != "writer-busy":
            raise
    return run_remotely(context.environment.data, name, values, on_progress)


def ask_server(context: Context, name: str, values: Values) -> Values | None:
    """Run a job in the server's process; None where no server runs.

    Raises what the job raises.
    """
    try:
        return run_remotely(
            context.environment.data, name, values, lambda _progress: None
        )
    except ServerUnreachable:
        return None


def _drive(steps: Generator[Values, None, Values], on_progress: OnProgress) -> Values:
    try:
        while True:
            on_progress(next(steps))
    except StopIteration as end:
        result: Values = end.value
        return result


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
            # Whoever reads the answer and looks at a page shall find it there.
            server.engine.show_changes()
            self._send({"result": result})
        except BrokenPipeError:
            # The caller hung up: the job was closed where it stood.
            return
        except UndersignedError as error:
            self._send_error(encode_error(error))
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
        address, self._folder = short_path(path)
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
