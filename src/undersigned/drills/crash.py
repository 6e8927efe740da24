"""``crash``: kill -9 under load loses nothing, moves nothing and forks nothing.

The server is killed at random moments, at each numbered step of a publication
(ledger/publish.py, ledger/spine.py), before chosen fsyncs and renames, and while it
starts. At each single call of redeeming, issuing and rebuilding, ``disk`` does it.
Signers repeat what was not answered. In the end every promise must stand in the log
exactly once, and every checkpoint that anybody ever saw must be a prefix of it.

What kill -9 cannot show is a power cut: pages that the kernel has not written survive
the death of a process. ``power`` shows that.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from bisect import bisect_right
from collections import Counter
from datetime import datetime
from pathlib import Path
from tempfile import mkdtemp

from undersigned_verify import entry
from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.errors import Fault, Unreadable
from undersigned_verify.note import VerifierKey
from undersigned_verify.recount import Recount
from undersigned_verify.source import DirectorySource

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.live import JobFailed, LiveServer, ServerDied, running
from undersigned.drills.load import Load, Memory
from undersigned.drills.public_log import (
    audit_running,
    nonce_of,
    prefix_roots,
    read_leaves,
)
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts
from undersigned.drills.site import NetSite, get
from undersigned.kernel.clock import SystemClock

STEPS = (
    *("choose", "append", "before-commit", "after-commit", "after-mark"),
    *("after-export", "after-hand-on"),
    *("spine-before-commit", "spine-after-commit", "spine-after-mark"),
    "spine-after-export",
)
# A minute of the campaign is a second of the drill.
SPEED = 60.0
CAMPAIGN = "crash"
SERVER = "undersigned.drills.crash_server"


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("crash")
    folder = Path(mkdtemp(prefix="undersigned-crash-"))
    server = make_server(folder)
    path = save_campaign(folder, CAMPAIGN, write_campaign(CAMPAIGN))
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", CAMPAIGN)
    with running(server):
        memory, key = asyncio.run(_torment(server, options, report))
        stopped = server.stop()
    report.check("asked to end, it ends", stopped == 0, f"status {stopped}")
    log = server.data / "public" / key.path
    judge(log, key, memory, report)
    _judge_databases(server.data, memory, report)
    return report.as_json()


def make_server(folder: Path, *, epoch: int | None = None) -> LiveServer:
    """Return a server whose clock is fast and goes on through restarts.

    ``epoch``: when the fast clock began (seconds since 1970), for a second machine.
    """
    epoch = epoch or int(SystemClock().now().timestamp())
    return LiveServer(
        folder,
        module=SERVER,
        arguments=["--epoch", str(epoch), "--speed", str(SPEED)],
    )


# --- killing


async def _torment(
    server: LiveServer, options: Options, report: Report
) -> tuple[Memory, KeyFacts]:
    rng = random.Random(options.seed)
    site = NetSite(server.port)
    key = (await signing.read_keys(site, f"c/{CAMPAIGN}"))["email"]
    vkey = (await get(site, f"/c/{CAMPAIGN}/log.vkey")).text
    await site.close()
    load = Load(server, key, vkey, random.Random(rng.random()))
    load.is_up()
    target = options.pick(tiny=150, ci=4_000, full=100_000)
    begun = time.monotonic()
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(options.pick(tiny=8, ci=24, full=32)))
        kills = await _kill_again_and_again(server, load, options, rng, report)
        while len(load.memory.promises) < target:
            await asyncio.sleep(0.2)
        load.end()
    seconds = time.monotonic() - begun
    # Two more publications: the last signatures, then withdrawals that follow them.
    await asyncio.sleep(2.5 * 60 / SPEED)
    answer = await get(load.site, f"/{key.path}/checkpoint")
    load.note_checkpoint(answer.body)
    await load.site.close()
    memory = load.memory
    report.figures |= {
        "kills": dict(kills),
        "all_kills": kills.total(),
        "acknowledged": len(memory.promises),
        "tokens": len(memory.issued),
        "withdrawals": len(memory.withdrawn),
        "shown": len(memory.shown),
        "requests_repeated": memory.retried,
        "answers_503": memory.refused_for_now,
        "checkpoints_seen": len(memory.checkpoints),
        "seconds_under_load": round(seconds, 1),
    }
    least = options.pick(tiny=3, ci=20, full=40)
    report.check(
        f"at least {least} kills under load, at least {target} acknowledged",
        kills.total() >= least and len(memory.promises) >= target,
        f"{kills.total()} kills, {len(memory.promises)} acknowledged",
    )
    return memory, key


def _plan(options: Options, rng: random.Random) -> list[str]:
    """Return what kills the server, one after another."""
    plan = ["moment"] * options.pick(tiny=1, ci=8, full=40)
    plan += [f"step:{name}" for name in STEPS] * options.pick(tiny=0, ci=1, full=3)
    plan += ["fsync", "replace"] * options.pick(tiny=1, ci=3, full=10)
    plan += ["start"] * options.pick(tiny=0, ci=2, full=8)
    rng.shuffle(plan)
    return plan


async def _kill_again_and_again(
    server: LiveServer,
    load: Load,
    options: Options,
    rng: random.Random,
    report: Report,
) -> Counter[str]:
    kills: Counter[str] = Counter()
    plan = _plan(options, rng)
    audits = options.pick(tiny=1, ci=2, full=8)
    for number, what in enumerate(plan):
        await asyncio.sleep(rng.uniform(0.2, 1.2))
        await _kill(server, what, rng)
        load.up.clear()
        kills[what] += 1
        folder = server.data / "public" / load.key.path
        if number % audits == 0:
            fault = await asyncio.to_thread(find_fault, folder)
            if fault:
                load.memory.surprises.append(f"killed at {what}: {fault}")
        if what == "start":
            server.spawn()
            await asyncio.sleep(rng.uniform(0.05, 0.6))
            server.kill()
            kills["while starting"] += 1
        try:
            await asyncio.to_thread(server.start)
        except ServerDied as error:
            report.check(f"killed at {what}: it starts again", False, error)
            raise
        load.is_up()
        await load.try_again(options.pick(tiny=1, ci=3, full=5))
        if number % 5 == 4:
            done = len(load.memory.promises)
            report.say(f"{kills.total()} kills, {done} signatures acknowledged")
    return kills


async def _kill(server: LiveServer, what: str, rng: random.Random) -> None:
    """Kill the server, or light a fuse and wait until it has burnt."""
    if what in ("moment", "start"):
        server.kill()
        return
    count = rng.randrange(1, 3) if what.startswith("step:") else rng.randrange(1, 60)
    try:
        await asyncio.to_thread(
            server.run_job,
            "drill-fuse",
            {"place": what, "count": count, "fails": False},
        )
    except (JobFailed, OSError):
        pass  # it burnt before it could say so
    if await asyncio.to_thread(server.wait_for_death, 60.0) is None:
        raise RuntimeError(f"the server did not die at {what}")


def find_fault(folder: Path) -> str:
    """Return what a recount of the public files finds wrong now; tokens aside.

    Right after a kill the files are as a reader, or a mirror, would find them.
    """
    for _attempt in range(3):
        source = DirectorySource(folder, live=True)
        try:
            Recount(source, workers=1, tokens=False).run()
        except Unreadable:
            continue  # published under our eyes
        except Fault as fault:
            return str(fault)
        return ""
    return ""


# --- judging


def judge(log: Path, key: KeyFacts, memory: Memory, report: Report) -> None:
    """Compare what the log holds in the end with what was acknowledged and seen."""
    leaves = read_leaves(log)
    where: dict[bytes, list[int]] = {}
    withdrawn: set[int] = set()
    for index, leaf in enumerate(leaves):
        if leaf[1] == entry.SIGNATURE:
            where.setdefault(nonce_of(leaf, key.challenge_digest), []).append(index)
        elif leaf[1] == entry.WITHDRAWAL:
            withdrawn.add(int.from_bytes(leaf[2:10]))
    lost = [nonce for nonce in memory.promises if nonce not in where]
    report.check(
        f"0 of {len(memory.promises)} acknowledged signatures are lost",
        not lost,
        f"{len(lost)} lost",
    )
    twice = [nonce for nonce, indexes in where.items() if len(indexes) > 1]
    report.check("0 signatures stand twice", not twice, f"{len(twice)} twice")
    strange = [nonce for nonce in where if nonce not in memory.promises]
    report.check(
        "0 signatures stand that nobody was promised",
        not strange,
        f"{len(strange)} unexpected",
    )
    missing = [
        nonce
        for nonce in memory.withdrawn
        if nonce not in where or where[nonce][0] not in withdrawn
    ]
    report.check(
        f"0 of {len(memory.withdrawn)} acknowledged withdrawals are lost",
        not missing,
        f"{len(missing)} lost",
    )
    _judge_checkpoints(log, leaves, memory, report)
    _judge_promises(log, where, memory, report)
    report.check(
        "0 answers were other than expected",
        not memory.surprises,
        f"{len(memory.surprises)}: {memory.surprises[:5]}",
    )
    audit = audit_running(log)
    report.check("the recount accepts the log", audit.accepted, audit.fault or "")


def _judge_checkpoints(
    log: Path, leaves: list[bytes], memory: Memory, report: Report
) -> None:
    vkey = VerifierKey.parse((log / "log.vkey").read_text().strip())
    kept = {int(path.name) for path in (log / "checkpoints").iterdir()}
    for size in kept:
        note = (log / "checkpoints" / str(size)).read_bytes()
        memory.checkpoints.setdefault(size, set()).add(note)
    roots = prefix_roots(leaves, set(memory.checkpoints))
    inconsistent = [
        size
        for size, notes in memory.checkpoints.items()
        if len(notes) > 1
        or any(open_checkpoint(note, vkey).root != roots.get(size) for note in notes)
    ]
    count = sum(len(notes) for notes in memory.checkpoints.values())
    report.check(
        f"0 of {count} checkpoints ever seen are inconsistent: nothing has moved",
        not inconsistent,
        f"sizes {inconsistent[:5]}",
    )
    gone = sorted(set(memory.checkpoints) - kept)
    report.check("0 checkpoints that were seen are gone", not gone, f"sizes {gone[:5]}")


def _judge_promises(
    log: Path, where: dict[bytes, list[int]], memory: Memory, report: Report
) -> None:
    """Compare publish-by with the rounded time of the checkpoint that has the leaf."""
    sizes: list[int] = []
    times: list[int] = []
    for line in (log / "growth.csv").read_text().splitlines()[1:]:
        size, _net, at = line.split(",")
        sizes.append(int(size))
        times.append(int(datetime.fromisoformat(at).timestamp()))
    late = 0
    for nonce, (_signature, promise) in memory.promises.items():
        if nonce in where:
            at_index = bisect_right(sizes, where[nonce][0])
            late += times[at_index] > promise.publish_by
    report.check("0 promises were broken", late == 0, f"{late} published too late")


def _judge_databases(data: Path, memory: Memory, report: Report) -> None:
    """Look into the stopped server's databases: one token each, one name each."""
    with sqlite3.connect(
        f"file:{data}/issuance/{CAMPAIGN}.sqlite3?mode=ro", uri=True
    ) as db:
        (issued,) = db.execute("SELECT count(*) FROM issued").fetchone()
    report.check(
        "as many tokens on record as were received",
        issued == len(memory.issued),
        f"{issued} on record, {len(memory.issued)} received",
    )
    withdrawn = {nonce for nonce in memory.withdrawn if nonce in memory.shown}
    with sqlite3.connect(f"file:{data}/app.sqlite3?mode=ro", uri=True) as db:
        rows = db.execute("SELECT nonce, name FROM signatures_shownrecord").fetchall()
    expected = {
        nonce: shown["name"]
        for nonce, shown in memory.shown.items()
        if nonce not in withdrawn
    }
    found = {bytes(nonce): name for nonce, name in rows}
    report.check(
        f"each of {len(expected)} shown names is there once; none of "
        f"{len(withdrawn)} that were withdrawn",
        found == expected and len(rows) == len(found),
        f"{len(expected.keys() - found.keys())} missing, "
        f"{len(found.keys() - expected.keys())} too many",
    )
