"""``restore``: copied while it runs, lost, put back and recovered, it never forks.

Signers sign without a pause. Backups are made meanwhile, some cut off. Then the machine
dies and its disk with it; one of the backups, perhaps an old one, is restored on a new
one, and must not go on before a mirror has told how far the public saw the log. In the
end every checkpoint that anybody ever saw is a prefix of the log, every acknowledged
signature stands once, but for those that were only in the pool when the disk was lost:
their signers send them again. And no backup tells what was in a pool.
"""

from __future__ import annotations

import asyncio
import random
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from undersigned_verify import entry, tile
from undersigned_verify.audit import audit_log

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import judge, make_server
from undersigned.drills.isolated import make_environment
from undersigned.drills.live import PRODUCT, LiveServer, ServerDied, last_line
from undersigned.drills.load import WITHDRAWS, Load
from undersigned.drills.public_log import list_nonces, read_leaves, read_size
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts
from undersigned.drills.site import NetSite, get
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.whole_folder import (
    FolderDamaged,
    copy_whole_folder,
    read_manifest,
)
from undersigned.ledger.mirrors import list_sizes

CAMPAIGN = "restore"
PATH = f"c/{CAMPAIGN}"
STORAGE_FAILED = 8
# A few publications of the fast clock.
GROW_SECONDS = 30.0
# What waits for a test of the pool: a backup without anything pooled shows nothing.
LEAST_POOLED = 1


@dataclass(slots=True)
class Copy:
    """A backup, and raw copies of the ledger taken right after it."""

    folder: Path
    live: bytes


@dataclass(slots=True)
class Drill:
    """One log's lives, each on a machine of its own."""

    folder: Path
    server: LiveServer
    options: Options
    report: Report
    rng: random.Random
    # When every machine's fast clock began.
    epoch: int
    copies: list[Copy] = field(default_factory=list)
    # Every checkpoint of the spine that a mirror ever had, by size.
    spine: dict[int, bytes] = field(default_factory=dict)
    lives: int = 1
    cut: int = 0
    imported: int = 0
    resent: int = 0

    def make_machine(self, name: str) -> LiveServer:
        """Return a machine with nothing on it; all of them share one clock."""
        server = make_server(self.place(name), epoch=self.epoch)
        server.folder.mkdir()
        return server

    def place(self, name: str) -> Path:
        """Return a path that nothing has yet."""
        number = len(list(self.folder.iterdir()))
        return self.folder / f"{name}-{number}"


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("restore")
    folder = Path(mkdtemp(prefix="undersigned-restore-"))
    epoch = int(SystemClock().now().timestamp())
    server = make_server(folder / "machine-1", epoch=epoch)
    server.folder.mkdir()
    drill = Drill(folder, server, options, report, random.Random(options.seed), epoch)
    path = save_campaign(folder, CAMPAIGN, write_campaign(CAMPAIGN))
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", CAMPAIGN)
    server.start()
    try:
        load, key = asyncio.run(_live_and_die(drill))
    finally:
        if drill.server.is_running:
            drill.server.kill()
    # Tickets of before were in the record that is lost: their holders ask anew.
    load.memory.surprises = [
        said for said in load.memory.surprises if "ticket-not-valid" not in said
    ]
    judge(drill.server.data / "public" / PATH, key, load.memory, report)
    after = _read_spine(drill.server.data / "public")
    moved = [size for size, note in drill.spine.items() if after.get(size) != note]
    report.check(
        f"0 of {len(drill.spine)} checkpoints of the spine have moved or are gone",
        not moved,
        f"sizes {moved[:5]}",
    )
    _judge_copies(drill, load, key)
    report.figures |= {
        "lives": drill.lives,
        "backups": len(drill.copies),
        "commands_cut_off": drill.cut,
        "leaves_imported": drill.imported,
        "signatures_sent_again": drill.resent,
        "acknowledged": len(load.memory.promises),
        "checkpoints_seen": len(load.memory.checkpoints),
    }
    return report.as_json()


async def _live_and_die(drill: Drill) -> tuple[Load, KeyFacts]:
    options, server = drill.options, drill.server
    site = NetSite(server.port)
    key = (await signing.read_keys(site, PATH))["email"]
    vkey = (await get(site, f"/{PATH}/log.vkey")).text
    await site.close()
    load = Load(server, key, vkey, random.Random(drill.rng.random()))
    load.is_up()
    target = options.pick(tiny=40, ci=120, full=3_000)
    async with asyncio.TaskGroup() as group:
        group.create_task(load.run(options.pick(tiny=4, ci=8, full=24)))
        for _life in range(options.pick(tiny=1, ci=1, full=8)):
            wanted = len(load.memory.promises) + target
            await asyncio.to_thread(_back_up, drill)
            await _grow(load, wanted - target // 2)
            await asyncio.to_thread(_cut_backups, drill)
            await asyncio.to_thread(_back_up, drill)
            # Who withdraws while the machine dies could not tell what became of it.
            load.withdraws = 0.0
            await _grow(load, wanted)
            await asyncio.sleep(0.5)
            drill.server.kill()
            load.up.clear()
            await _come_back(drill, load, key)
            load.withdraws = WITHDRAWS
            drill.report.say(
                f"life {drill.lives}: {len(load.memory.promises)} acknowledged"
            )
        await _grow(load, len(load.memory.promises) + target // 4)
        load.end()
    # Two more publications: the last signatures, then withdrawals that follow them.
    await asyncio.sleep(2.5)
    load.note_checkpoint((await get(load.site, f"/{PATH}/checkpoint")).body)
    await load.site.close()
    drill.server.stop()
    return load, key


async def _grow(load: Load, acknowledged: int) -> None:
    while len(load.memory.promises) < acknowledged:
        await asyncio.sleep(0.05)


# --- backups


def _back_up(drill: Drill) -> None:
    """Make a backup while signing goes on; keep the live ledger's bytes beside it."""
    target = drill.place("backup")
    drill.server.run_cli("backup", str(target))
    live = b"".join(
        path.read_bytes() for path in drill.server.data.glob("ledger.sqlite3*")
    )
    drill.copies.append(Copy(target, live))
    audit = audit_log(target / "public" / PATH, workers=1)
    drill.report.check(
        "a backup's public files are a log that the recount accepts",
        audit.accepted,
        audit.fault or f"{audit.tree_size} leaves",
    )


def _run_cut(
    server: LiveServer, place: str, count: int, *words: str
) -> subprocess.CompletedProcess[str]:
    """Run a command that is cut off; see ``cut_command``."""
    module = "undersigned.drills.cut_command"
    return subprocess.run(
        [sys.executable, "-m", module, place, str(count), *words],
        env=make_environment(server.folder),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def _cut_backups(drill: Drill) -> None:
    """Kill backups, fill their disk: nothing that is left looks whole."""
    options, report, rng = drill.options, drill.report, drill.rng
    for number in range(options.pick(tiny=1, ci=2, full=6)):
        target = drill.place("cut")
        full = number % 2 == 1
        place = "limit" if full else rng.choice(("fsync", "replace"))
        count = rng.randrange(2_000, 60_000) if full else rng.randrange(1, 12)
        done = _run_cut(drill.server, place, count, "backup", str(target))
        drill.cut += 1
        if full:
            left = list(drill.folder.glob(f".{target.name}*"))
            report.check(
                "a full disk: a backup ends with status 8 and leaves nothing",
                done.returncode == STORAGE_FAILED
                and not left
                and not target.exists()
                and "couldn't" in done.stderr,
                f"status {done.returncode}: {last_line(done.stderr)} {left}",
            )
            continue
        report.check(
            "killed: a backup is there whole, or not at all",
            done.returncode == -signal.SIGKILL and _is_absent_or_whole(drill, target),
            f"status {done.returncode} at {place} {count}",
        )


def _is_absent_or_whole(drill: Drill, target: Path) -> bool:
    if not target.exists():
        return True
    checked = drill.place("checked")
    checked.mkdir()
    try:
        copy_whole_folder(target, checked, read_manifest(target))
    except FolderDamaged:
        return False
    return True


# --- the loss, and the way back


async def _come_back(drill: Drill, load: Load, key: KeyFacts) -> None:
    """Lose the machine's disk; restore and recover on another; sign on."""
    old = drill.server
    # All that is left of the old machine: a mirror, as fresh as mirrors can be.
    mirror = drill.place("mirror")
    shutil.copytree(old.data / "public", mirror)
    drill.spine |= _read_spine(mirror)
    # The largest that was signed may have been served a moment before the end.
    size = list_sizes(mirror / PATH)[-1]
    drill.lives += 1
    new = drill.server = drill.make_machine("machine")
    await asyncio.to_thread(_restore, drill, mirror, size)
    shutil.rmtree(old.folder)
    _forget_what_was_lost(drill, load, mirror, size)
    load.forget_tickets()
    load.server = new
    await asyncio.to_thread(new.start)
    load.is_up()
    await _try_closed_issuing(drill, load)
    await asyncio.to_thread(new.run_cli, "issuance", "reopen", CAMPAIGN)
    for signature in load.lost:
        await load.send(signature)
        drill.resent += 1
    load.lost.clear()


def _read_spine(public: Path) -> dict[int, bytes]:
    return {
        int(path.name): path.read_bytes()
        for path in (public / "spine" / "checkpoints").iterdir()
    }


def _restore(drill: Drill, mirror: Path, published: int) -> None:
    report, rng, new = drill.report, drill.rng, drill.server
    copy = rng.choice(drill.copies)
    if drill.options.size != "tiny":
        _cut_restore(drill, copy)
    new.run_cli("restore", str(copy.folder))
    copied = read_size(copy.folder / "public" / PATH)
    status, said = _start_and_fail(new)
    report.check(
        "restored, it is not started before it is recovered",
        status == STORAGE_FAILED and "no high-water mark" in said,
        f"status {status}: {last_line(said)}",
    )
    _try_bad_sources(drill, copy, mirror)
    if drill.options.size != "tiny":
        count = rng.randrange(1, 6)
        cut = _run_cut(new, "fsync", count, "recover", str(mirror), "--workers", "1")
        drill.cut += 1
        again = "killed" if cut.returncode == -signal.SIGKILL else "done"
        report.say(f"a recovery is cut off at sync {count}: {again}")
    found = new.run_cli("recover", str(mirror), "--workers", "1")
    log = next(one for one in found["logs"] if one["origin"].endswith(PATH))
    drill.imported += published - copied
    report.check(
        "recovered, it goes on from what the mirror shows",
        log["size"] == published,
        log,
    )
    report.check(
        "every leaf of the mirror is in it",
        read_leaves(mirror / PATH, published)
        == read_leaves(new.data / "public" / PATH),
    )


def _cut_restore(drill: Drill, copy: Copy) -> None:
    """Kill a restore: nothing starts on what is left."""
    spare = drill.make_machine("spare")
    count = drill.rng.randrange(1, 40)
    done = _run_cut(spare, "fsync", count, "restore", str(copy.folder))
    drill.cut += 1
    if done.returncode == 0:
        return
    if not any(spare.data.iterdir()):
        # Its first sync makes the data directory itself: a start finds it empty, as
        # if nobody had wished to restore anything.
        drill.report.say(f"a restore is cut off at sync {count}: nothing was begun")
        return
    status, said = _start_and_fail(spare)
    drill.report.check(
        "a restore that was killed is not started",
        status != 0 and ("restore-unfinished" in said or "high-water" in said),
        f"killed at sync {count}; status {status}: {last_line(said)}",
    )


def _try_bad_sources(drill: Drill, copy: Copy, mirror: Path) -> None:
    """What must not let the database go on, does not."""
    new, report = drill.server, drill.report
    refused: list[tuple[str, list[str], int, str]] = [
        ("no mirror", [], 3, "source-missing"),
        (
            "the copy that came with the backup",
            [str(copy.folder / "public")],
            3,
            "how-far-unknown",
        ),
        (
            "a mirror with one bit changed",
            [str(_tamper(drill, mirror))],
            3,
            "mirror-refused",
        ),
    ]
    if drill.options.size != "tiny" and drill.lives == 2:
        fork = _make_fork(drill, drill.copies[0])
        both = [str(mirror), str(fork)]
        drill.rng.shuffle(both)
        refused.append(("a mirror and a fork of it", both, 5, "log-forked"))
    for name, sources, status, code in refused:
        try:
            new.run_cli("recover", *sources, "--workers", "1")
            said, ended = "it was accepted", 0
        except ServerDied as error:
            said, ended = error.said, error.status
        report.check(
            f"{name}: refused",
            ended == status and code in said,
            f"status {ended}: {last_line(said)}",
        )
        # Nor does the refusal leave something with which it starts.
        report.check(
            f"{name}: no mark is left", not (new.data / "highwater.json").exists()
        )


def _tamper(drill: Drill, mirror: Path) -> Path:
    changed = drill.place("tampered")
    shutil.copytree(mirror, changed)
    size = list_sizes(mirror / PATH)[-1]
    names = [tile.tile_path("entries", n, width) for n, width in tile.bundles_of(size)]
    names += [
        tile.tile_path(level, n, width) for level, n, width in tile.tiles_of(size)
    ]
    path = changed / PATH / drill.rng.choice(names)
    data = bytearray(path.read_bytes())
    data[drill.rng.randrange(len(data))] ^= 1 << drill.rng.randrange(8)
    path.write_bytes(bytes(data))
    return changed


def _make_fork(drill: Drill, copy: Copy) -> Path:
    """Do what must never be done: go on from a backup on nothing but a word."""
    rogue = drill.make_machine("rogue")
    rogue.run_cli("restore", str(copy.folder))
    rogue.run_cli("recover", "--nothing-published-since-backup")
    note = drill.folder / "answer.txt"
    note.write_text("The office answers.", encoding="utf-8")
    folder = rogue.data / "public" / PATH
    before = read_size(folder)
    rogue.start()
    rogue.run_cli("record", "publish", CAMPAIGN, "--kind", "answer", str(note))
    asyncio.run(_wait_for_growth(folder, before))
    rogue.stop()
    return rogue.data / "public"


async def _wait_for_growth(folder: Path, size: int) -> None:
    async with asyncio.timeout(GROW_SECONDS):
        while read_size(folder) == size:
            await asyncio.sleep(0.1)


def _start_and_fail(server: LiveServer) -> tuple[int, str]:
    """Start the product's own command over an instance; return how it ends."""
    product = LiveServer(server.folder, module=PRODUCT)
    product.log = server.folder / "product.log"
    try:
        product.start()
    except ServerDied as error:
        return error.status, error.said
    said = product.said
    product.kill()
    return 0, said


def _forget_what_was_lost(drill: Drill, load: Load, mirror: Path, size: int) -> None:
    """Take from memory what was only in the pool: documented as lost with the disk."""
    memory, log = load.memory, mirror / PATH
    indexes = {
        nonce: index
        for index, nonce in list_nonces(log, load.key.challenge_digest, size)
    }
    gone = [nonce for nonce in memory.promises if nonce not in indexes]
    load.lost += [memory.promises.pop(nonce)[0] for nonce in gone]
    leaves = read_leaves(log, size)
    withdrawn = {
        int.from_bytes(leaf[2:10]) for leaf in leaves if leaf[1] == entry.WITHDRAWAL
    }
    memory.withdrawn = {
        nonce for nonce in memory.withdrawn if indexes.get(nonce) in withdrawn
    }
    drill.report.say(f"{len(gone)} were only in the pool when the disk was lost")


async def _try_closed_issuing(drill: Drill, load: Load) -> None:
    """Nobody is given a token before the operator reopens; tokens in hand work."""
    ticket, (request, _signed) = next(iter(load.memory.issued.items()))
    answer = await signing.request_token(load.site, load.key, ticket, request)
    drill.report.check(
        "no token is given before issuing is reopened: 503",
        answer.status == 503 and answer.code == "intake-closed",
        answer.said,
    )
    if load.lost:
        signature = load.lost.pop()
        await load.send(signature)
        drill.resent += 1
        drill.report.check(
            "a signature with a token from before is taken at once",
            signature.nonce in load.memory.promises,
        )


# --- judging


def _judge_copies(drill: Drill, load: Load, key: KeyFacts) -> None:
    """No backup tells of a signature that its own log does not show."""
    nonces = set(load.memory.promises)
    leaked, pooled = 0, 0
    for copy in drill.copies:
        log = copy.folder / "public" / PATH
        shown = {nonce for _i, nonce in list_nonces(log, key.challenge_digest)}
        data = b"".join(
            path.read_bytes() for path in copy.folder.rglob("*") if path.is_file()
        )
        waiting = {nonce for nonce in nonces - shown if nonce in copy.live}
        pooled += len(waiting)
        leaked += sum(nonce in data for nonce in nonces - shown)
        parts = {path.name for path in copy.folder.iterdir()}
        drill.report.check(
            "a backup has neither issuance file nor mark",
            not parts & {"issuance", "highwater.json"},
            parts,
        )
    drill.report.check(
        "0 pooled signatures can be told from a backup", leaked == 0, f"{leaked} found"
    )
    drill.report.check(
        "control: the live ledger does hold some then", pooled >= LEAST_POOLED, pooled
    )
