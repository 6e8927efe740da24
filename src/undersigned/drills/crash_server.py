"""The product's server with a fast clock and a fuse: ``serve --bind HOST:PORT …``.

Engine, application and server are the product's own; different are the clock, which
runs ``--speed`` times as fast from ``--epoch`` on (the same instant again after every
restart), and jobs on the control socket with which a drill grants many tickets at once,
lights the fuse, takes storage away, or sets the clock.
"""

from __future__ import annotations

import argparse
import errno
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Generator
from datetime import UTC, datetime, timedelta
from typing import Any

from undersigned.drills.report import Values
from undersigned.kernel.clock import SystemClock


class FastClock:
    """A clock that runs faster than the machine's, and goes on after a restart."""

    def __init__(self, epoch: datetime, speed: float) -> None:
        self._epoch = epoch
        self._speed = speed
        self._ahead = timedelta()
        self._machine = SystemClock()

    def now(self) -> datetime:
        """Return the drill's present instant."""
        since = (self._machine.now() - self._epoch) * self._speed
        return self._epoch + since + self._ahead

    def jump(self, span: timedelta) -> datetime:
        """Go ahead (or, below zero, back) until the next restart; return the time."""
        self._ahead += span
        return self.now()


class Fuse:
    """Kills or cripples this process where it was told to.

    ``place``: "step:NAME" of a publication, or "fsync", "replace" or "write" for calls
    of the operating system made by Python (SQLite makes its own, in C).
    """

    def __init__(self) -> None:
        self._place = ""
        self._left = 0
        self._fails = False
        self._lasts = False

    def light(self, place: str, *, count: int, fails: bool, lasts: bool) -> None:
        """Burn at the ``count``-th time; ``fails``: raise an error, do not die.

        ``lasts``: what failed once goes on failing, as a broken disk does.
        """
        self._left, self._fails, self._lasts = count, fails, lasts
        self._place = place

    def at_step(self, name: str) -> None:
        """Be called at each step of a publication."""
        self._burn(f"step:{name}")

    def _burn(self, place: str) -> None:
        if place != self._place:
            return
        self._left -= 1
        if self._fails:
            if self._left == 0 or (self._lasts and self._left < 0):
                raise OSError(errno.EIO, "the drill's disk has failed")
        elif self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch_calls(self) -> None:
        """Stand before fsync and replace, for the whole process."""

        def watch(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
            def watched(*arguments: Any, **named: Any) -> Any:
                self._burn(name)
                return original(*arguments, **named)

            return watched

        os.fsync = watch("fsync", os.fsync)
        os.replace = watch("replace", os.replace)


def make_slow(step: Callable[..., Any], seconds: float) -> Callable[..., Any]:
    """Return a step that waits before it begins."""

    def slowly(*arguments: Any) -> Any:
        time.sleep(seconds)
        return step(*arguments)

    return slowly


def make_jobs(fuse: Fuse, clock: FastClock) -> dict[str, Any]:
    """Return the drill's own jobs for the control socket."""
    from undersigned.campaigns.queries import get_any_campaign
    from undersigned.campaigns.rules import CLASS_NUMBERS
    from undersigned.cli.context import RunningEngine
    from undersigned.credentials.operations import get_version_key
    from undersigned.credentials.tickets import make_ticket
    from undersigned.kernel.ids import CampaignId

    def grant(engine: RunningEngine, values: Values) -> Generator[Values, None, Values]:
        """Grant a ticket to each address, registered together as a replay's are."""
        yield {"doing": "granting tickets"}
        services = engine.services
        campaign = get_any_campaign(campaign_id=CampaignId(values["campaign"]))
        klass = CLASS_NUMBERS["email"]
        key = get_version_key(issuer=services.issuer, origin=campaign.origin)
        made = [
            make_ticket(
                key,
                klass=klass,
                nullifier=key.make_nullifier(klass=klass, value=address),
                at=services.clock.now(),
            )
            for address in values["addresses"]
        ]
        services.issuer.add_tickets(
            services.issuer.get_version(campaign.origin),
            [facts for _text, facts in made],
        )
        return {"tickets": [text for text, _facts in made]}

    def light(
        _engine: RunningEngine, values: Values
    ) -> Generator[Values, None, Values]:
        """Light the fuse."""
        yield {"doing": "lighting the fuse"}
        fuse.light(
            values["place"],
            count=values["count"],
            fails=values["fails"],
            lasts=values.get("lasts", False),
        )
        return {}

    def limit(
        _engine: RunningEngine, values: Values
    ) -> Generator[Values, None, Values]:
        """Let no file grow beyond a size: what a full disk does to a database."""
        yield {"doing": "limiting files"}
        _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (values["bytes"], hard))
        return {}

    def unlock(
        engine: RunningEngine, _values: Values
    ) -> Generator[Values, None, Values]:
        """Lose the locks of a ledger on a server, and hear nothing of it."""
        yield {"doing": "losing the lease"}
        ledger = engine.services.ledger
        ledger.writer.run(lambda: ledger.store.query("SELECT pg_advisory_unlock_all()"))
        return {}

    def jump(_engine: RunningEngine, values: Values) -> Generator[Values, None, Values]:
        """Set the clock ahead or back."""
        yield {"doing": "setting the clock"}
        return {"now": clock.jump(timedelta(seconds=values["seconds"])).timestamp()}

    def slow_down(
        engine: RunningEngine, values: Values
    ) -> Generator[Values, None, Values]:
        """Set the room of stages of signing; let each batch of a store take longer."""
        yield {"doing": "slowing down"}
        for stage, line in engine.services.lines.lines.items():
            line.room = values["rooms"].get(stage, line.room)
        stores: list[Any] = [engine.services.issuer, engine.services.ledger.writer]
        for store in stores:
            store._commit = make_slow(store._commit, values["seconds"])
        return {}

    return {
        "drill-slow": slow_down,
        "drill-tickets": grant,
        "drill-fuse": light,
        "drill-limit": limit,
        "drill-unlock": unlock,
        "drill-clock": jump,
    }


def main() -> int:
    """Serve until a signal, or until the fuse burns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("--bind", required=True)
    parser.add_argument("--epoch", type=int, required=True)
    parser.add_argument("--speed", type=float, required=True)
    parser.add_argument("--standby", action="store_true")
    arguments = parser.parse_args()
    os.environ["UNDERSIGNED_BIND"] = arguments.bind
    from undersigned.config.context import set_up_database, set_up_django
    from undersigned.config.env import read_environment

    set_up_django()
    environment = read_environment()
    set_up_database(environment)
    from undersigned.cli.jobs import JOBS
    from undersigned.config.engine import open_engine
    from undersigned.config.server import run_server

    fuse = Fuse()
    fuse.watch_calls()
    # SQLite then reports the full disk; the default would end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    clock = FastClock(datetime.fromtimestamp(arguments.epoch, UTC), arguments.speed)
    JOBS.update(make_jobs(fuse, clock))

    def announce(host: str, port: int) -> None:
        print(f"listens on http://{host}:{port}/", flush=True)

    def say_waiting() -> None:
        print("stands by", flush=True)

    with open_engine(
        environment,
        clock=clock,
        at_step=fuse.at_step,
        on_wait=say_waiting if arguments.standby else None,
    ) as engine:
        run_server(engine, announce=announce)
    return 0


if __name__ == "__main__":
    sys.exit(main())
