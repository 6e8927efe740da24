"""Run a throw-away PostgreSQL: `python -m tools.postgres [--standby] [COMMAND …]`.

With a command, runs it with UNDERSIGNED_DATABASE_URL set to a fresh database, and ends
with its exit status. Without one, prints the address and waits for Ctrl-C. Everything
is gone afterwards (src/undersigned/drills/postgres.py).
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time

from undersigned.drills.postgres import Cluster, NoPostgres


def main() -> int:
    """Run the server for as long as the command, or the reader, wants it."""
    parser = argparse.ArgumentParser(prog="python -m tools.postgres")
    parser.add_argument("--standby", action="store_true", help="a synchronous standby")
    parser.add_argument(
        "--forgetful", action="store_true", help="in memory, not on the disk"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER)
    arguments = parser.parse_args()
    try:
        cluster = Cluster(durable=not arguments.forgetful)
    except NoPostgres as error:
        print(error, file=sys.stderr)
        return 1
    with cluster:
        primary = cluster.start_primary()
        primary.make_database("pages", owner="pages", options="CREATEDB")
        if arguments.standby:
            cluster.add_standby(primary)
        # Without a password: the socket's folder is this user's alone.
        url = primary.url("pages", user="pages", through_socket=True)
        if arguments.command:
            environment = {**os.environ, "UNDERSIGNED_DATABASE_URL": url}
            return subprocess.run(
                arguments.command, env=environment, check=False
            ).returncode
        print(f"UNDERSIGNED_DATABASE_URL={url}", flush=True)
        try:
            while primary.is_running:
                time.sleep(1)
        except KeyboardInterrupt:
            return 0
        print(primary.said[-2000:], file=sys.stderr)
        return 1


if __name__ == "__main__":
    raise SystemExit(main())
