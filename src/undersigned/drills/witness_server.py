"""The product's stand-alone witness with a fuse: ``serve --bind HOST:PORT …``.

Witness, application and server are the product's own. Different is what happens at the
steps of a change: a file in the data directory says at which the process kills itself,
at which it has no more room in any file, as on a full disk, or how long it takes.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import time
from pathlib import Path

from undersigned.config.env import read_environment
from undersigned.config.witnessing import (
    make_witnessing,
    open_keystore,
    run_witness_server,
)
from undersigned.witness.operations import get_witness_key, trust_log

FUSE = "drill-fuse"


class Fuse:
    """Reads what the drill wrote: ``kill:STEP``, ``full:STEP`` or ``pause:SECONDS``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def at_step(self, name: str) -> None:
        """Do what the drill says."""
        try:
            what, _colon, detail = self._path.read_text(encoding="utf-8").partition(":")
        except FileNotFoundError:
            return
        if what == "pause" and name == "checked":
            time.sleep(float(detail))
        elif what == "kill" and detail == name:
            self._path.unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "full" and detail == name:
            self._path.unlink()
            _soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1, hard))


def main() -> int:
    """Serve until a signal, or until the fuse burns."""
    parser = argparse.ArgumentParser()
    parser.add_argument("verb", choices=["serve"])
    parser.add_argument("--bind", required=True)
    parser.add_argument("--trust", action="append", required=True)
    arguments = parser.parse_args()
    os.environ["UNDERSIGNED_BIND"] = arguments.bind
    environment = read_environment()
    # SQLite then reports the full disk; the default would end the process.
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    witnessing = make_witnessing(environment, open_keystore(environment))
    get_witness_key(witness=witnessing.witness)
    for vkey in arguments.trust:
        trust_log(witness=witnessing.witness, vkey=vkey)
    witnessing.witness.store.at_step = Fuse(environment.data / FUSE).at_step

    def announce(host: str, port: int) -> None:
        print(f"listens on http://{host}:{port}/", flush=True)

    run_witness_server(environment, witnessing, announce=announce)
    return 0


if __name__ == "__main__":
    sys.exit(main())
