"""``failover``: the database's machine dies while people sign; two sequence at once.

Ledger and pages lie on a server with a synchronous standby. Again and again the primary
is killed -9 under load, the standby promoted, and the process that stood by serves over
it. Then a sequencer loses its lock without hearing of it while another one, with a disk
of its own, takes its place. Signers repeat what was not answered. In the end every
promise must stand in the log exactly once, and every checkpoint that anybody ever saw
must be a prefix of it.

Both servers run on this machine and in memory: a network that comes apart, and a disk
that forgets, are not shown.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import quote

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import judge
from undersigned.drills.live import JobFailed, LiveServer, ServerDied, last_line
from undersigned.drills.load import Load
from undersigned.drills.postgres import HOST, Cluster, NoPostgres, Server
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import Signature
from undersigned.drills.site import NetSite, SiteGone, get
from undersigned.kernel.clock import SystemClock

# A minute of the campaign is three seconds of the drill: what is promised within ten
# minutes outlives a fail-over.
SPEED = 20.0
INTERVAL_SECONDS = 60 / SPEED
CAMPAIGN = "failover"
SERVER = "undersigned.drills.crash_server"
PATIENCE_SECONDS = 60.0
ROLES = {"database": "pages", "ledger": "ledger"}
# What belongs to one process and is on no other machine.
_OWN = ("issuance", "writer.lock", "control.sock")


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("failover")
    try:
        cluster = Cluster(durable=False)
    except NoPostgres as error:
        if os.environ.get("UNDERSIGNED_CI") == "1":
            report.check("there is a PostgreSQL to fail over", False, error)
        else:
            report.skip(str(error))
        return report.as_json()
    with cluster:
        drill = _Drill(options, report, _Machines.make(cluster))
        try:
            drill.run()
        finally:
            drill.end()
    return report.as_json()


@dataclass(slots=True)
class _Machines:
    """Two servers, of which one follows the other."""

    cluster: Cluster
    primary: Server
    standby: Server
    number: int = 1

    @classmethod
    def make(cls, cluster: Cluster) -> _Machines:
        """Set both up as docs/operate/postgresql.md says."""
        primary = cluster.start_primary(settings={"wal_recycle": "off"})
        for name in ROLES.values():
            primary.make_database(name, owner=name)
        primary.run_sql("GRANT pg_checkpoint TO ledger")
        primary.run_sql(
            "GRANT EXECUTE ON FUNCTION pg_switch_wal() TO ledger", database="ledger"
        )
        return cls(cluster, primary, cluster.add_standby(primary, "standby1"))

    def list_settings(self) -> dict[str, str]:
        """Return the URLs that find whichever server may be written to."""
        ports = f"{self.primary.port},{self.standby.port}"
        query = f"host={HOST},{HOST}&port={ports}&target_session_attrs=read-write"
        return {
            f"{setting}_url": (
                f"postgresql://{name}:{quote(self.primary.passwords[name], safe='')}"
                f"@/{name}?{query}"
            )
            for setting, name in ROLES.items()
        }

    def fail_over(self) -> None:
        """Let the standby be the primary; the other one is dead."""
        self.standby.promote()

    def replace_dead(self) -> None:
        """Give the new primary a synchronous standby in the dead one's place."""
        port, self.primary = self.primary.port, self.standby
        self.number += 1
        self.standby = self.cluster.add_standby(
            self.primary, f"standby{self.number}", port=port
        )


@dataclass(slots=True)
class _Drill:
    """Two processes over the two servers, and signers."""

    options: Options
    report: Report
    machines: _Machines
    folder: Path = field(default_factory=lambda: Path(mkdtemp(prefix="failover-")))
    epoch: int = field(default_factory=lambda: int(SystemClock().now().timestamp()))
    processes: list[LiveServer] = field(default_factory=list)
    outages: list[float] = field(default_factory=list)

    def run(self) -> None:
        """Play everything, and judge the log of whoever serves in the end."""
        serving, waiting = self._make("one"), self._make("two", "--standby")
        path = save_campaign(self.folder, CAMPAIGN, write_campaign(CAMPAIGN))
        serving.run_cli("campaign", "create", str(path))
        serving.run_cli("campaign", "open", CAMPAIGN)
        serving.start()
        self._stand_by(waiting)
        try:
            last, load = asyncio.run(self._play_in_time(serving, waiting))
        except (TimeoutError, ServerDied, JobFailed, SiteGone) as error:
            self.report.check("somebody serves in the end", False, repr(error))
            return
        stopped = last.stop()
        self.report.check("asked to end, it ends", stopped == 0, f"status {stopped}")
        judge(last.data / "public" / load.key.path, load.key, load.memory, self.report)

    def end(self) -> None:
        """See to it that every process is gone."""
        for process in self.processes:
            if process.is_running:
                process.kill()

    def _make(self, name: str, *more: str, folder: Path | None = None) -> LiveServer:
        process = LiveServer(
            folder or self.folder,
            module=SERVER,
            arguments=["--epoch", str(self.epoch), "--speed", str(SPEED), *more],
            settings=self.machines.list_settings(),
        )
        # Two of them in one folder.
        process.log = process.folder / f"{name}.log"
        self.processes.append(process)
        return process

    def _stand_by(self, process: LiveServer) -> None:
        process.spawn()
        _wait(lambda: "stands by" in process.said or not process.is_running)
        stands = process.is_running and "listens" not in process.said
        self.report.check("a second process stands by", stands, process.said[-300:])

    async def _play_in_time(
        self, serving: LiveServer, waiting: LiveServer
    ) -> tuple[LiveServer, Load]:
        """Signers would wait for ever for a server that does not come back."""
        minutes = self.options.pick(tiny=2, ci=5, full=40)
        async with asyncio.timeout(60 * minutes):
            try:
                return await self._play(serving, waiting)
            except* (ServerDied, JobFailed) as group:
                raise group.exceptions[0] from group

    async def _play(
        self, serving: LiveServer, waiting: LiveServer
    ) -> tuple[LiveServer, Load]:
        options = self.options
        load = await self._make_load(serving)
        rounds = options.pick(tiny=1, ci=2, full=12)
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(options.pick(tiny=6, ci=12, full=24)))
            for number in range(1, rounds + 1):
                await self._sign_for_a_while(load, number)
                serving, waiting = await self._lose_primary(load, serving, waiting)
            await self._sign_for_a_while(load, rounds + 1)
            late = await self._prepare(load, options.pick(tiny=20, ci=60, full=300))
            load.end()
        # Two publications: the last signatures, then withdrawals that follow them.
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        self.report.figures |= {
            "fail_overs": rounds,
            "acknowledged_under_load": len(load.memory.promises),
            "requests_repeated": load.memory.retried,
            "answers_503": load.memory.refused_for_now,
            "seconds_without_service": [round(each, 1) for each in self.outages],
            "seconds_under_load": round(time.monotonic() - begun, 1),
        }
        await asyncio.to_thread(waiting.kill)
        other = await self._sequence_twice(load, serving, late)
        load.note_checkpoint(
            (await get(load.site, f"/{load.key.path}/checkpoint")).body
        )
        await load.site.close()
        return other, load

    async def _make_load(self, serving: LiveServer) -> Load:
        site = NetSite(serving.port)
        key = (await signing.read_keys(site, f"c/{CAMPAIGN}"))["email"]
        vkey = (await get(site, f"/c/{CAMPAIGN}/log.vkey")).text
        await site.close()
        load = Load(serving, key, vkey, random.Random(self.options.seed))
        load.is_up()
        return load

    async def _sign_for_a_while(self, load: Load, number: int) -> None:
        """Wait until some more have signed, and a little longer."""
        target = len(load.memory.promises) + self.options.pick(
            tiny=40, ci=250, full=3_000
        )
        until = time.monotonic() + PATIENCE_SECONDS
        while len(load.memory.promises) < target and time.monotonic() < until:
            await asyncio.sleep(0.1)
        self.report.check(
            f"people sign (round {number})",
            len(load.memory.promises) >= target,
            f"{len(load.memory.promises)} acknowledged",
        )
        await asyncio.sleep(random.Random(self.options.seed + number).uniform(0, 3))

    async def _lose_primary(
        self, load: Load, serving: LiveServer, waiting: LiveServer
    ) -> tuple[LiveServer, LiveServer]:
        """Kill the primary; return who serves then, and who stands by for it."""
        begun = time.monotonic()
        self.machines.primary.kill()
        load.up.clear()
        await asyncio.to_thread(self.machines.fail_over)
        status = await asyncio.to_thread(serving.wait_for_death, PATIENCE_SECONDS)
        self.report.check(
            "the sequencer whose server is gone ends by itself",
            bool(status),
            f"status {status}",
        )
        await asyncio.to_thread(_bring_up, waiting)
        load.server = waiting
        load.is_up()
        self.outages.append(time.monotonic() - begun)
        await load.try_again(self.options.pick(tiny=2, ci=4, full=8))
        await asyncio.to_thread(self.machines.replace_dead)
        following = self._make(f"more{self.machines.number}", "--standby")
        await asyncio.to_thread(self._stand_by, following)
        self.report.say(
            f"{len(self.outages)} fail-overs, "
            f"{len(load.memory.promises)} signatures acknowledged"
        )
        return waiting, following

    async def _prepare(self, load: Load, count: int) -> list[Signature]:
        """Have tokens issued whose signatures are kept back."""
        found = await asyncio.to_thread(
            load.server.run_job,
            "drill-tickets",
            {
                "campaign": CAMPAIGN,
                "addresses": [f"late{number}@example.org" for number in range(count)],
            },
        )
        made = []
        for ticket in found["tickets"]:
            prepared = signing.prepare(load.key)
            answer = await signing.request_token(
                load.site, load.key, ticket, prepared.request
            )
            load.memory.issued[ticket] = prepared.request, answer.body
            made.append(signing.finish(prepared, answer.body, shown=None, salt=None))
        return made

    # --- two at once

    async def _sequence_twice(
        self, load: Load, first: LiveServer, late: list[Signature]
    ) -> LiveServer:
        """Let two processes believe that they sequence; return the one that does."""
        other = self._make("other", "--standby", folder=self._copy_machine(first))
        await asyncio.to_thread(self._stand_by, other)
        epoch = self._read_epoch()
        await asyncio.to_thread(first.run_job, "drill-unlock", {})
        await asyncio.to_thread(_wait, lambda: self._read_epoch() > epoch)
        # From now on the first one may pool, and must publish nothing of it.
        sent = late[::2]
        await asyncio.gather(*(self._send_once(load, one) for one in sent))
        await asyncio.to_thread(_bring_up, other)
        status = await asyncio.to_thread(first.wait_for_death, PATIENCE_SECONDS)
        said = first.log.read_text("utf-8", "replace")
        self.report.check(
            "of two that sequence at once one ends, and says why",
            bool(status) and "another sequencer" in said,
            f"status {status}: {last_line(said)}",
        )
        if first.is_running:
            await asyncio.to_thread(first.kill)
        await asyncio.to_thread(_bring_up, other)
        await load.site.close()
        load.site = NetSite(other.port)
        # All of them: what the first one took is there, and is answered again.
        await asyncio.gather(*(load.send(one) for one in late))
        await asyncio.sleep(3 * INTERVAL_SECONDS)
        self._compare(first, other, load)
        return other

    def _read_epoch(self) -> int:
        primary = self.machines.primary
        return int(primary.run_sql("SELECT epoch FROM spine", database="ledger"))

    async def _send_once(self, load: Load, signature: Signature) -> None:
        """Send to one that may end meanwhile; remember what it acknowledges."""
        with suppress(SiteGone):
            answer = await signing.send_signature(load.site, load.key, signature)
            if answer.status == 200:
                promise = signing.read_promise(
                    answer, origin=load.key.origin, vkey=load.vkey
                )
                load.memory.promises[signature.nonce] = signature, promise

    def _compare(self, first: LiveServer, other: LiveServer, load: Load) -> None:
        """Every checkpoint that the superseded one has shown, the other one has too."""
        theirs, ours = (
            _read_checkpoints(process.data / "public" / load.key.path)
            for process in (first, other)
        )
        self.report.check(
            "two sequencers at once moved the log only once",
            theirs.items() <= ours.items() and len(ours) > len(theirs),
            f"{len(theirs)} and {len(ours)} checkpoints",
        )
        for note in theirs.values():
            load.note_checkpoint(note)

    def _copy_machine(self, first: LiveServer) -> Path:
        """Copy what another machine has: secrets, public files, marks."""
        folder = self.folder / "other"
        shutil.copytree(
            first.data, folder / "data", ignore=shutil.ignore_patterns(*_OWN)
        )
        return folder


def _read_checkpoints(log: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (log / "checkpoints").iterdir()}


def _bring_up(process: LiveServer) -> None:
    """Wait until it listens; start it again if it ends, as a service manager does."""
    until = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            if not process.is_running:
                process.spawn()
            process.wait_until_up()
            return
        except ServerDied:
            if time.monotonic() > until:
                raise
            time.sleep(0.2)


def _wait(condition: Callable[[], bool]) -> None:
    until = time.monotonic() + PATIENCE_SECONDS
    while not condition() and time.monotonic() < until:
        time.sleep(0.05)
