"""What the redeem is compared with, each run by gunicorn with two workers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench import _postgres, _programs
from bench._instance import WORK, Fixture
from undersigned.credentials.rsa import BlindSigner
from undersigned.drills.ports import find_port

WORKERS = 2
# As bench._ordinary has it, which cannot be imported here: it sets Django up.
ORDINARY_PATH = "/c/river/sign"


@dataclass(frozen=True, slots=True)
class Rival:
    """A running rival. ``pids``: every process whose time counts."""

    pids: tuple[int, ...]
    port: int
    path: str


def _gunicorn(app: str, port: int) -> list[str]:
    return _programs.python(
        "-m",
        "gunicorn",
        f"--workers={WORKERS}",
        "--worker-class=sync",
        "--log-level=error",
        f"--bind={_programs.HOST}:{port}",
        app,
    )


@contextmanager
def run_floor() -> Iterator[Rival]:
    """Run the floor: bare WSGI, one INSERT a request, PostgreSQL."""
    port = find_port()
    with _postgres.start() as database:
        _postgres.make_table(database.dsn)
        environment = _programs.make_environment({"FLOOR_DSN": database.dsn})
        command = _gunicorn("bench._floor:app", port)
        said = WORK / "floor.txt"
        with _programs.start(command, environment, port=port, said=said) as pid:
            yield Rival((pid, database.pid), port, "/")


@contextmanager
def run_ordinary(fixture: Fixture) -> Iterator[Rival]:
    """Run the ordinary Django view on a fresh database."""
    for old in WORK.glob("ordinary.sqlite3*"):
        old.unlink()
    environment = _programs.make_environment(
        {
            "ORDINARY_DATA": str(WORK),
            "ORDINARY_SPKI": BlindSigner(fixture.key.der).spki.hex(),
            "ORDINARY_CHALLENGE": fixture.key.challenge_digest.hex(),
        }
    )
    _programs.run(_programs.python("-m", "bench._ordinary"), environment)
    port = find_port()
    command = _gunicorn("bench._ordinary:app", port)
    said: Path = WORK / "ordinary.txt"
    with _programs.start(command, environment, port=port, said=said) as pid:
        yield Rival((pid,), port, ORDINARY_PATH)
