"""A server whose clock moves when told to: ``python -m tests.journeys.server``.

The product as it is, with one difference: its clock is the machine's plus an offset.
``advance SECONDS`` on standard input moves it and does what time asks for, so that a
journey need not wait a minute for a publication. ``room STAGE NUMBER`` lets so many
into a stage of signing at once: with none, everybody waits in line, as where more come
than the machine can take. Answers ``done`` on standard output; the first line there is
the port.
"""

from __future__ import annotations

import os
import sys
import threading
from datetime import datetime, timedelta
from typing import cast

from undersigned.config.context import set_up_database, set_up_django
from undersigned.config.env import read_environment
from undersigned.kernel.clock import SystemClock
from undersigned.safety.turns import Stage


class MovedClock:
    """The machine's clock plus an offset."""

    def __init__(self) -> None:
        self.offset = timedelta(0)

    def now(self) -> datetime:
        """Return the moved present."""
        return SystemClock().now() + self.offset


def main() -> None:
    """Serve until standard input ends."""
    environment = read_environment()
    set_up_django()
    set_up_database(environment)
    from undersigned.config.engine import Engine, open_engine
    from undersigned.config.server import run_server

    clock = MovedClock()

    def obey(engine: Engine) -> None:
        engine.tick(clock.now())
        for line in sys.stdin:
            verb, *words = line.split()
            if verb == "room":
                engine.services.lines.lines[cast("Stage", words[0])].room = int(
                    words[1]
                )
            else:
                clock.offset += timedelta(seconds=int(words[0]))
                engine.tick(clock.now())
                engine.show_changes()
            print("done", flush=True)
        os._exit(0)

    with open_engine(environment, clock=clock, run_clock=False) as engine:
        threading.Thread(target=obey, args=(engine,), daemon=True).start()
        run_server(engine, announce=lambda _host, port: print(port, flush=True))


if __name__ == "__main__":
    main()
