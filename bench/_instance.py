"""An instance of the product to measure: made once, copied for every round.

The fixture is a data directory with one open campaign in the careful mode, whose
clock ticks once an hour, so that no publication falls into a round by chance.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from undersigned_verify import entry, tile, token

from bench import _programs
from bench._machine import ROOT
from bench._results import FIXTURES
from bench._tokens import SigningKey, make_body, sign_many
from undersigned.drills.ports import find_port

CAMPAIGN = "bench-redeem"
PATH = f"/c/{CAMPAIGN}"
WORK = FIXTURES / "work"
ISSUER_HOST = "bench.example"
TICK_SECONDS = 3600
# Sent before a measurement begins, again and again where they do not suffice.
WARM_BODIES = 4_000
# In standard mode the clock ticks each minute.
_MODES = {
    "careful": 'mode = "careful"\ninterval_minutes = 60',
    "standard": 'mode = "standard"',
}
_DRAFT = f"""
id = "{CAMPAIGN}"
title = "Measure what a signature costs"
language = "en"
MODE
classes = ["email"]
stances = ["for"]
show_names = false

[[offices]]
name = "Office of Weights and Measures"
jurisdiction = "Example"

[organiser]
name = "Omar"
contact = "omar@example.org"

[statement]
text = "The office shall publish what each of its acts costs."
"""


def environment_of(data: Path, **more: str) -> dict[str, str]:
    """Return the environment of a program that works on ``data``."""
    return _programs.make_environment(
        {
            "UNDERSIGNED_DATA": str(data),
            "UNDERSIGNED_HOST": ISSUER_HOST,
            "UNDERSIGNED_MODE": "development",
            **more,
        }
    )


def run_command(data: Path, *words: str) -> str:
    """Run a command of ``undersigned`` and return its output."""
    command = _programs.python("-m", "undersigned.config.main", *words)
    return _programs.run(command, environment_of(data))


@dataclass(frozen=True, slots=True)
class Fixture:
    """An opened campaign, untouched, and bodies that it will accept, one a line."""

    data: Path
    bodies: Path
    warm: Path
    count: int

    @property
    def key(self) -> SigningKey:
        """The campaign's issuer key."""
        der = self.data / "secrets" / "c" / CAMPAIGN / "issuer-0-1.der"
        return SigningKey(
            der.read_bytes(), read_challenge(self.data / "public" / "c" / CAMPAIGN)
        )


def read_challenge(log: Path) -> bytes:
    """Return the challenge digest of a log from its first leaf."""
    folder = log / "tile" / "entries"
    files = [folder / "000", *sorted(folder.glob("000.p/*"))]
    bundle = next(file for file in files if file.is_file()).read_bytes()
    header = entry.parse(tile.parse_bundle(bundle)[0])
    if not isinstance(header, entry.Header):
        raise ValueError("leaf 0 is no header")
    return token.Challenge(
        issuer_name=header.issuer_name,
        origin=header.origin,
        statement_sha256=bytes.fromhex(header.statement_sha256),
    ).digest


def make_fixture(
    *, bodies: int, fresh: bool = False, name: str = "sign", mode: str = "careful"
) -> Fixture:
    """Return the fixture with at least ``bodies`` bodies, making what is missing."""
    folder = FIXTURES / name
    data = folder / "data"
    found = _read_note(folder)
    if fresh or found.get("code") != identify_code():
        # Another schema, perhaps: the server would refuse what an older one made.
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        draft = folder / "campaign.toml"
        draft.write_text(_DRAFT.replace("MODE", _MODES[mode]), "utf-8")
        run_command(data, "campaign", "create", str(draft))
        run_command(data, "campaign", "open", CAMPAIGN)
        _note(folder, 0)
        found = _read_note(folder)
    made = int(str(found["bodies"]))
    fixture = Fixture(
        data, folder / "bodies.txt", folder / "warm.txt", max(made, bodies)
    )
    if made < bodies:
        _sign_bodies(fixture, folder, bodies)
    return fixture


def identify_code() -> str:
    """Return a digest of everything that could change what a data directory holds."""
    digest = hashlib.sha256()
    for path in sorted((ROOT / "src" / "undersigned").rglob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def _read_note(folder: Path) -> dict[str, object]:
    try:
        found = json.loads((folder / "made.json").read_bytes())
    except (OSError, ValueError):
        return {}
    return dict(found)


def _note(folder: Path, bodies: int) -> None:
    found = {"bodies": bodies, "code": identify_code()}
    (folder / "made.json").write_text(json.dumps(found), "utf-8")


def _sign_bodies(fixture: Fixture, folder: Path, count: int) -> None:
    print(f"signing {count:,} bodies for the fixture", flush=True)
    for path, number in ((fixture.warm, WARM_BODIES), (fixture.bodies, count)):
        with path.open("wb") as out:
            for leaves in sign_many(fixture.key, number):
                out.writelines(make_body(leaf) + b"\n" for leaf in leaves)
    _note(folder, count)


@dataclass(frozen=True, slots=True)
class Running:
    """A server under measurement."""

    pid: int
    port: int
    data: Path


@contextmanager
def copy_data(fixture: Fixture) -> Iterator[Path]:
    """Yield a copy of the fixture's data directory, removed at the end."""
    data = WORK / "data"
    shutil.rmtree(data, ignore_errors=True)
    WORK.mkdir(parents=True, exist_ok=True)
    shutil.copytree(fixture.data, data, ignore=shutil.ignore_patterns("*.sock"))
    try:
        yield data
    finally:
        shutil.rmtree(data, ignore_errors=True)


@contextmanager
def serve(data: Path, **more: str) -> Iterator[Running]:
    """Run ``undersigned serve`` on a data directory."""
    port = find_port()
    environment = environment_of(
        data, UNDERSIGNED_BIND=f"{_programs.HOST}:{port}", **more
    )
    command = _programs.python("-m", "undersigned.config.main", "serve")
    said = WORK / "server.txt"
    with _programs.start(command, environment, port=port, said=said) as pid:
        yield Running(pid, port, data)


def avoid_tick(seconds: float) -> None:
    """Wait if the publication clock would tick within ``seconds``."""
    left = TICK_SECONDS - time.time() % TICK_SECONDS
    if left < seconds:
        print(f"waiting {left:.0f} s: the clock is about to publish", flush=True)
        time.sleep(left + 2)


def close_and_count(data: Path) -> int:
    """Close the campaign of a running server, and return its final net count."""
    words = ("--retries-minutes", "0", "--grace-minutes", "0")
    with suppress(_programs.NotStarted):
        # Whether it came so far is seen below, by the state.
        run_command(data, "campaign", "close", CAMPAIGN, *words)
    until = time.monotonic() + 120
    while time.monotonic() < until:
        found = json.loads(run_command(data, "campaign", "show", CAMPAIGN, "--json"))
        if found["state"] == "closed":
            count = data / "public" / "c" / CAMPAIGN / "count.json"
            return int(json.loads(count.read_bytes())["net"])
        time.sleep(1)
    raise _programs.NotStarted("the campaign did not close")
