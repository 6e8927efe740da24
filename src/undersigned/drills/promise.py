"""``promise``: what was acknowledged and never published convicts the log by itself.

Signers keep what the server answered. Whoever holds the disk takes some of them out of
the pool, so that nothing here remembers them. The verifier, with a signer's file and a
copy of the log, says which promise was broken and hands over both signed texts; it says
so of no promise that was kept, that is not due, or that the log's key never made.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import note
from undersigned_verify import promise as promises
from undersigned_verify.errors import Fault
from undersigned_verify.note import parse_note
from undersigned_verify.promise import Promise, PromiseVerdict
from undersigned_verify.source import find_log

from undersigned.cli.exports import copy_logs
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.disk_acts import make_tickets
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import Signature
from undersigned.drills.stage import Stage, open_stage
from undersigned.ledger.operations import close_log

CAMPAIGN = "promise"
PATH = f"c/{CAMPAIGN}"
# In standard mode publish-by is the next interval's end and ten minutes.
DUE_MINUTES = 15
CLI_REFUSED = 1


@dataclass(frozen=True, slots=True)
class Held:
    """What one signer keeps."""

    signature: Signature
    note: bytes


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("promise")
    with open_stage() as stage:
        campaign = stage.open_campaign(write_campaign(CAMPAIGN))
        stage.engine.tick(stage.clock.now())
        held = asyncio.run(_sign(stage, options.pick(tiny=4, ci=12, full=200)))
        dropped, kept = held[::2], held[1::2]
        _drop(stage, dropped)
        _judge(stage, report, "before it is due", dropped, outcome="not due")
        stage.pass_time(minutes=1)
        asyncio.run(_withdraw(stage, kept[0]))
        for _minute in range(DUE_MINUTES):
            stage.pass_time(minutes=1)
        _judge(stage, report, "when it is due", dropped, outcome="broken")
        _judge(stage, report, "published, or published and withdrawn", kept)
        _judge_forgeries(stage, report, kept[1], dropped[0])
        _judge_program(stage, report, dropped[0], kept[1])
        close_log(
            ledger=stage.engine.services.ledger,
            origin=campaign.origin,
            reason="drill",
            at=stage.clock.now(),
        )
        _judge(stage, report, "closed, without a time", dropped, outcome="broken", at=0)
    return report.as_json()


async def _sign(stage: Stage, count: int) -> list[Held]:
    key = (await signing.read_keys(stage.site, PATH))["email"]
    held = []
    for ticket in make_tickets(stage, count):
        _made, signature = await signing.make_signature(stage.site, key, ticket)
        answer = await signing.send_signature(stage.site, key, signature)
        held.append(Held(signature, json.loads(answer.body)["promise"].encode()))
    return held


async def _withdraw(stage: Stage, held: Held) -> None:
    found = held.signature
    await signing.send_withdrawal(stage.site, PATH, found.nonce, found.w)


def _drop(stage: Stage, dropped: list[Held]) -> None:
    """Take signatures out of the pool as whoever holds the disk can."""
    ledger = stage.engine.services.ledger

    def drop() -> None:
        with ledger.store.transaction():
            ledger.store.change_each(
                "DELETE FROM inbox WHERE nonce=?",
                [(held.signature.nonce,) for held in dropped],
            )

    ledger.writer.run(drop)


# --- judging


def _copy(stage: Stage) -> Path:
    folder = Path(mkdtemp(prefix="undersigned-promise-"))
    copy_logs(stage.engine.services.ledger.public, folder, [PATH])
    return folder


def _look(folder: Path, data: bytes, *, at: int | None) -> PromiseVerdict | Fault:
    promise = Promise.parse(data)
    source = find_log(str(folder), PATH)
    try:
        return promises.check_promise(promise, source, now=at, clock=at or 0)
    except Fault as fault:
        return fault


def _describe(found: PromiseVerdict | Fault) -> str:
    if isinstance(found, Fault):
        return "broken" if found.code == "promise-broken" else found.code
    return "kept" if found.is_kept else "not due"


def _judge(
    stage: Stage,
    report: Report,
    when: str,
    held: list[Held],
    *,
    outcome: str = "kept",
    at: int | None = None,
) -> None:
    """Check promises against a copy. ``at`` 0: nobody says when it was made."""
    folder = _copy(stage)
    now = int(stage.clock.now().timestamp()) if at is None else None
    wrong = []
    for one in held:
        found = _look(folder, one.note, at=now)
        said = _describe(found)
        if said != outcome:
            wrong.append(said)
        elif isinstance(found, Fault):
            texts = {evidence.data for evidence in found.evidence}
            newest = (folder / PATH / "checkpoint").read_bytes()
            if not {one.note, newest} <= texts:
                wrong.append("broken, without both signed texts")
    report.check(
        f"{when}: of {len(held)} promises the verifier says {outcome}",
        not wrong,
        wrong[:5],
    )


def _judge_forgeries(stage: Stage, report: Report, kept: Held, dropped: Held) -> None:
    """Nobody can make a log look as if it had broken its word."""
    folder, wrong = _copy(stage), []
    now = int(stage.clock.now().timestamp())
    for what, data in _list_forgeries(kept, dropped):
        try:
            said = _describe(_look(folder, data, at=now))
        except Fault as fault:
            said = fault.code
        if said in ("broken", "kept", "not due"):
            wrong.append(f"{what}: {said}")
    report.check("promises that the log's key never made are refused", not wrong, wrong)


def _list_forgeries(kept: Held, dropped: Held) -> Iterator[tuple[str, bytes]]:
    found = parse_note(dropped.note)
    lines = found.text.split("\n")
    origin = lines[1]
    mallory = Ed25519PrivateKey.generate()
    signed_by = f"{origin}/promise"
    yield "by another key", note.sign_note(found.text, signed_by, mallory)
    other = bytes(32).hex()
    tail = dropped.note[len(found.text.encode()) :]
    for what, at, text in (
        ("another nonce", 2, other),
        ("another time", 3, "1"),
        ("another log", 1, "elsewhere.example/c/promise"),
    ):
        changed = [*lines[:at], text, *lines[at + 1 :]]
        yield what, "\n".join(changed).encode() + tail
    others = parse_note(kept.note).text.encode()
    yield "the text of another with this signature", others + tail


def _judge_program(stage: Stage, report: Report, dropped: Held, kept: Held) -> None:
    """Ask as a signer does: the program, a file, a folder, a time."""
    folder = _copy(stage)
    at = datetime.fromtimestamp(stage.clock.now().timestamp(), UTC)
    codes = []
    for held in (dropped, kept):
        file = folder / "promise.txt"
        file.write_bytes(held.note)
        done = subprocess.run(
            [
                *(sys.executable, "-m", "undersigned_verify", "promise", str(file)),
                *("--log", str(folder), "--at", at.strftime("%Y-%m-%dT%H:%MZ")),
                "--json",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        codes.append((done.returncode, "promise-broken" in done.stdout + done.stderr))
    report.check(
        "the program says so to a signer, by its exit status and in words",
        codes == [(CLI_REFUSED, True), (0, False)],
        codes,
    )
