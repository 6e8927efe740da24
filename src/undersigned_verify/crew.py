"""Worker processes for an audit, started and fed without threads.

Each worker is a fresh interpreter that imports this package only, whatever program the
audit was called from: ``multiprocessing`` would run that program's main module again
in every child. A worker inherits neither secrets from the environment nor open files;
what passes through its two pipes are values of ``chunk``.
"""

import fcntl
import os
import pickle
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Iterator
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Final, Self

from undersigned_verify.chunk import Checked, Checker, Chunk, Context, find_repeats
from undersigned_verify.errors import Unreadable

Task = Chunk | bytes
Result = Checked | set[bytes]

# The most that Linux gives to anyone; a chunk of signatures has 0.8 MB.
_PIPE_BYTES: Final = 1 << 20
# A pipe holds pages, and a message may begin and end within one.
_PIPE_MARGIN: Final = 3 * 4096
_ENVIRONMENT: Final = ("PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR")
_START: Final = """
import sys
sys.path[:] = {path!r}
from undersigned_verify.crew import work
work({handles!r})
"""


class Crew:
    """Does tasks in worker processes, giving results in the order of the tasks.

    With one worker everything happens in the calling process. Use as a context
    manager: leaving it ends the workers, whatever happened.
    """

    def __init__(self, workers: int, context: Context) -> None:
        self._checker = Checker(context)
        self._workers = (
            [_Worker(context) for _ in range(workers)] if workers > 1 else []
        )
        self._numbers = 0
        self._next = 0
        self._done: dict[int, Result] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()

    def do(self, task: Task) -> Iterator[Result]:
        """Take one task, waiting for room; yield results that are due by now."""
        number = self._numbers
        self._numbers += 1
        if self._workers:
            data = pickle.dumps(task, pickle.HIGHEST_PROTOCOL)
            while not any(worker.has_room(data) for worker in self._workers):
                self._collect()
            ready = [worker for worker in self._workers if worker.has_room(data)]
            min(ready, key=lambda worker: len(worker.tasks)).give(number, data)
        else:
            self._done[number] = run(self._checker, task)
        yield from self._due()

    def finish(self) -> Iterator[Result]:
        """Yield the remaining results."""
        yield from self._due()
        while self._next < self._numbers:
            self._collect()
            yield from self._due()

    def _due(self) -> Iterator[Result]:
        while self._next in self._done:
            # Counted before it is handed over: whoever takes it may not come back.
            self._next += 1
            yield self._done.pop(self._next - 1)

    def _collect(self) -> None:
        """Wait for at least one result."""
        busy = {worker.pipe: worker for worker in self._workers if worker.tasks}
        for pipe in wait(list(busy)):
            assert isinstance(pipe, Connection)
            number, result = busy[pipe].take()
            self._done[number] = result


class _Worker:
    """One process, and the ends of its two pipes."""

    def __init__(self, context: Context) -> None:
        their_tasks, self._give, self._room = _make_pipe()
        self.pipe, their_results, _ = _make_pipe()
        self.tasks: deque[int] = deque()
        handles = their_tasks.fileno(), their_results.fileno()
        with their_tasks, their_results:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START.format(path=sys.path, handles=handles)],
                env={k: v for k, v in os.environ.items() if k in _ENVIRONMENT},
                pass_fds=handles,
                stdin=subprocess.DEVNULL,
            )
        self._send(pickle.dumps(context))

    def has_room(self, data: bytes) -> bool:
        """Tell whether a task can be given without waiting for the one at work.

        A busy worker takes one more, so that it never idles, but only if the pipe
        holds it whole: were this side to wait for a worker that waits in turn to
        hand over a result, both would wait for ever.
        """
        fits = len(data) + _PIPE_MARGIN <= self._room
        return not self.tasks or (len(self.tasks) == 1 and fits)

    def _send(self, data: bytes) -> None:
        try:
            self._give.send_bytes(data)
        except OSError as error:
            raise _lost() from error

    def give(self, number: int, data: bytes) -> None:
        """Send a task that it has room for."""
        self._send(data)
        self.tasks.append(number)

    def take(self) -> tuple[int, Result]:
        """Return the oldest task's number and result."""
        try:
            result: Result = self.pipe.recv()
        except (EOFError, OSError) as error:
            raise _lost() from error
        return self.tasks.popleft(), result

    def end(self) -> None:
        """Stop the process, whatever it is doing."""
        self._give.close()
        self.pipe.close()
        self._process.kill()
        self._process.wait()


def _lost() -> Unreadable:
    return Unreadable("A worker process ended; was it out of memory?")


def _make_pipe() -> tuple[Connection, Connection, int]:
    """Return the reading and the writing end of a pipe, and how much it holds.

    Zero where that is unknown: it works as well, only with more waiting.
    """
    reading, writing = os.pipe()
    room = 0
    if sys.platform == "linux":
        try:
            room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        except OSError:
            # This user's pipes are at their limit.
            pass
    return (
        Connection(reading, writable=False),
        Connection(writing, readable=False),
        room,
    )


def run(checker: Checker, task: Task) -> Result:
    """Do one task."""
    return checker.check(task) if isinstance(task, Chunk) else find_repeats(task)


def work(handles: tuple[int, int]) -> None:
    """Serve tasks until the other end closes: a worker process's whole life."""
    # Ctrl-C reaches every process of a terminal; the parent ends this one.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(Connection(handles[0]), Connection(handles[1]))


def serve(tasks: Connection, results: Connection) -> None:
    """Answer the tasks of one pipe into another."""
    with tasks, results:
        try:
            checker = Checker(tasks.recv())
            while True:
                results.send(run(checker, tasks.recv()))
        except (EOFError, OSError):
            return
