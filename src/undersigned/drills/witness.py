"""``witness``: three real witnesses, raced, killed, filled up, lied to and overtaken.

No witness ever cosigns two root hashes of one size, nor a state that does not continue
its last one, whatever is submitted at once and wherever it is killed. A fork is refused
by each and both its checkpoints are named. The spine is shown within a second whoever
is slow or gone, and one that is older than what a witness has seen does not start.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from undersigned_verify.checkpoint import open_checkpoint
from undersigned_verify.cosignature import find_cosignature, parse_witness_key
from undersigned_verify.errors import Fault
from undersigned_verify.note import VerifierKey, parse_note
from undersigned_verify.policy import parse_policy

from undersigned.config.witnesses import HttpTransport
from undersigned.drills.live import LiveServer, running
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.small_log import SmallLog
from undersigned.drills.witness_server import FUSE
from undersigned.kernel.clock import SystemClock
from undersigned.witness.data import OurWitness, Standing
from undersigned.witness.dialogue import Answer, Unanswered
from undersigned.witness.feeder import WAIT_SECONDS, BehindWitness, Feeder
from undersigned.witness.policy import WitnessList, encode_policy

SPINE = "spine.example/spine"
RACE = "race.example/spine"
NAMES = ("ash", "beech", "cedar")
SERVER = "undersigned.drills.witness_server"
# Well beyond the second that publication waits.
SLOW_SECONDS = 2.5
# What a busy machine may add to a wait of one second before the check fails.
SLACK_SECONDS = 1.0
PATIENCE_SECONDS = 30.0
TRANSPORT = HttpTransport()
KEPT_OLD, KEPT_NEW = ("checked", "written"), ("committed", "marked")


@dataclass(slots=True)
class Party:
    """One witness as a process, and every state that it has been seen to cosign."""

    name: str
    server: LiveServer
    # The history of the log RACE that this witness has settled on.
    race: SmallLog
    # By origin and size: the history whose cosignature verified, and its time.
    cosigned: dict[tuple[str, int], tuple[SmallLog, int]] = field(default_factory=dict)
    contradictions: list[str] = field(default_factory=list)
    _listed: OurWitness | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def restart(self) -> None:
        """Start its process after it died or was ended, at another port."""
        if self.server.is_running:
            self.server.stop()
        self.server.start()
        if self._listed is not None:
            self._listed = OurWitness(self._listed.key, self._url)

    @property
    def listed(self) -> OurWitness:
        """Its key and present address."""
        if self._listed is None:
            found = self.server.run_cli("witness", "key")
            key = parse_witness_key(found["vkey"])
            self._listed = OurWitness(key, self._url)
        return self._listed

    @property
    def _url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/witness"

    def light(self, what: str) -> None:
        """Have something happen to it: see ``witness_server.Fuse``."""
        (self.server.data / FUSE).write_text(what, encoding="utf-8")

    def put_out(self) -> None:
        """Let nothing more happen to it."""
        (self.server.data / FUSE).unlink(missing_ok=True)

    def submit(self, log: SmallLog, old: int, size: int | None = None) -> Answer:
        """Ask for a cosignature and judge it; status 0 when there was no answer."""
        listed = self.listed
        try:
            answer = TRANSPORT.add_checkpoint(listed.url, log.ask(old, size))
        except Unanswered:
            return Answer(0, "", b"")
        if answer.status == 200:
            self._judge(log, log.size if size is None else size, answer.body)
        return answer

    def submit_honestly(self, log: SmallLog) -> Answer:
        """Ask as a log does: from nothing, then from the size it is told."""
        answer = self.submit(log, 0)
        if answer.status == 409:
            answer = self.submit(log, int(answer.body))
        return answer

    def _judge(self, log: SmallLog, size: int, lines: bytes) -> None:
        """Take note of a cosignature, and of what it contradicts."""
        try:
            note = parse_note(log.sign(size) + lines)
            found = find_cosignature(note, self.listed.key)
        except Fault as fault:
            found = None
            self.contradictions.append(f"{self.name}: {fault}")
        if found is None:
            self.contradictions.append(f"{self.name}: 200 without a cosignature")
            return
        with self._lock:
            for (origin, known), (other, at) in self.cosigned.items():
                if origin != log.origin:
                    continue
                shared = min(known, size)
                if other.root(shared) != log.root(shared):
                    self.contradictions.append(
                        f"{self.name}: cosigned {known} and {size} of two histories"
                    )
                if (known < size and at > found.time) or (
                    known > size and at < found.time
                ):
                    self.contradictions.append(
                        f"{self.name}: its time goes back between {known} and {size}"
                    )
            self.cosigned[log.origin, size] = (log, found.time)

    def has_cosigned(self, log: SmallLog) -> bool:
        """Say whether this very state was cosigned."""
        found = self.cosigned.get((log.origin, log.size))
        return found is not None and found[0].root(log.size) == log.root(log.size)

    def list(self) -> Values:
        """Return what ``undersigned witness list`` says."""
        return self.server.run_cli("witness", "list", allow=(0, 1))

    def size_of(self, origin: str) -> int:
        """Return how far it says that a log has come."""
        sizes = {log["origin"]: log["size"] for log in self.list()["logs"]}
        return int(sizes[origin])


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("witness")
    # What is provoked here would be told on standard error a hundred times.
    logging.getLogger("undersigned.witness").setLevel(logging.CRITICAL + 1)
    rng = random.Random(options.seed)
    spine = SmallLog(SPINE)
    spine.append(4)
    with open_parties(spine) as parties:
        for party in parties:
            party.submit(spine, 0)
        _race(parties, options, rng, report)
        steps = KEPT_NEW[:1] if options.size == "tiny" else KEPT_OLD + KEPT_NEW
        _kill(parties[0], spine, steps, report)
        _fill_disk(parties[1], spine, report)
        _fork(parties, spine, report)
        _feed(parties, spine, report)
        contradictions = [one for party in parties for one in party.contradictions]
        report.check(
            "no witness ever cosigned two histories, and no time went back",
            not contradictions,
            "; ".join(contradictions[:3])
            or f"{sum(len(party.cosigned) for party in parties)} states cosigned",
        )
    return report.as_json()


@contextmanager
def open_parties(spine: SmallLog) -> Iterator[list[Party]]:
    """Run three witnesses that trust the spine, and the log that is raced."""
    folder = Path(mkdtemp(prefix="undersigned-witness-"))
    race = SmallLog(RACE)
    with ExitStack() as stack:
        parties = []
        for name in NAMES:
            (folder / name).mkdir()
            server = LiveServer(
                folder / name,
                module=SERVER,
                arguments=["--trust", spine.vkey, "--trust", race.vkey],
                settings={"host": f"{name}.example"},
            )
            parties.append(Party(name, server, race))
            stack.enter_context(running(server))
        yield parties


# --- many at once


def _race(
    parties: list[Party], options: Options, rng: random.Random, report: Report
) -> None:
    """Four histories at once to each witness, from right and wrong sizes."""
    rounds = options.pick(tiny=2, ci=10, full=300)
    statuses: Counter[int] = Counter()
    chosen_once = 0
    with ThreadPoolExecutor(16) as pool:
        for number in range(rounds):
            asks: list[tuple[Party, SmallLog, int]] = []
            contenders: dict[str, list[SmallLog]] = {}
            for party in parties:
                base = party.race.size
                logs = [party.race.fork(base) for _history in range(4)]
                for index, log in enumerate(logs):
                    log.append(rng.randint(1, 3), salt=f"{number}-{index}".encode())
                contenders[party.name] = logs
                asks += [(party, log, base) for log in logs]
                asks += [(party, log, rng.randint(0, log.size)) for log in logs]
            rng.shuffle(asks)
            answers = pool.map(lambda ask: ask[0].submit(ask[1], ask[2]), asks)
            statuses.update(answer.status for answer in answers)
            for party in parties:
                won = [log for log in contenders[party.name] if party.has_cosigned(log)]
                chosen_once += len(won) == 1
                party.race = won[0] if won else party.race
    report.figures["race"] = {"rounds": rounds, "answers": dict(statuses)}
    report.check(
        "of four histories submitted at once, each witness cosigns exactly one",
        chosen_once == rounds * len(parties),
        f"{chosen_once} of {rounds * len(parties)}",
    )
    report.check(
        "the others are told a conflict or a bad proof, and nothing else",
        set(statuses) <= {200, 409, 422},
        dict(statuses),
    )


# --- killed, and without room


def _kill(
    party: Party, spine: SmallLog, steps: tuple[str, ...], report: Report
) -> None:
    """Kill -9 at each step between check and answer."""
    for step in steps:
        old = spine.size
        size = spine.append(2)
        party.light(f"kill:{step}")
        answer = party.submit(spine, old)
        died = party.server.wait_for_death(PATIENCE_SECONDS) is not None
        party.restart()
        found, right = party.size_of(SPINE), size if step in KEPT_NEW else old
        report.check(
            f"killed at “{step}”, it said nothing and knows where it was",
            died and answer.status == 0 and found == right,
            f"size {found}, of {old} and {size}",
        )
        if step in KEPT_NEW:
            fork = spine.fork(old)
            fork.append(2, salt=step.encode())
            status = party.submit(fork, old).status
            report.check(
                f"killed at “{step}”, another history is refused after the restart",
                status == 409,
                status,
            )
        status = party.submit_honestly(spine).status
        report.check(
            f"killed at “{step}”, the log asks again and is cosigned",
            status == 200,
            status,
        )


def _fill_disk(party: Party, spine: SmallLog, report: Report) -> None:
    """A full disk before the commit, and after it, before the mark."""
    party.submit_honestly(spine)
    for step in ("checked", "committed"):
        old = spine.size
        spine.append(1)
        party.light(f"full:{step}")
        first, second = party.submit(spine, old), party.submit(spine, old)
        report.check(
            f"no room at “{step}”: 503, and again 503 until somebody has looked",
            (first.status, second.status) == (503, 503),
            f"{first.status}, {second.status}",
        )
        party.restart()
        status = party.submit_honestly(spine).status
        report.check(
            f"no room at “{step}”: after a restart the log is cosigned",
            status == 200,
            status,
        )


# --- a log with two histories


def _fork(parties: list[Party], spine: SmallLog, report: Report) -> None:
    key = VerifierKey.parse(spine.vkey)
    fork, larger = spine.fork(3), spine.fork(3)
    fork.append(spine.size - 3, salt=b"fork")
    larger.append(spine.size - 1, salt=b"larger")
    for party in parties:
        party.submit_honestly(spine)
        statuses = [
            party.submit(fork, spine.size).status,
            party.submit(fork, 0).status,
            party.submit(larger, spine.size).status,
        ]
        report.check(
            f"{party.name}: a fork of the same size conflicts, a larger one fails",
            statuses == [409, 409, 422],
            statuses,
        )
        found = party.list()["evidence"]
        pairs = {
            one["kind"]: [
                open_checkpoint(one[side].encode(), key) for side in ("ours", "theirs")
            ]
            for one in found
            if one["origin"] == SPINE
        }
        ours, theirs = pairs.get("fork", [None, None])
        report.check(
            f"{party.name}: both checkpoints of the fork are kept, whole and signed",
            ours is not None
            and theirs is not None
            and ours.size == theirs.size
            and ours.root == spine.root(ours.size)
            and theirs.root == fork.root(theirs.size),
            ", ".join(sorted(pairs)),
        )


# --- as a log that is witnessed


def _feed(parties: list[Party], spine: SmallLog, report: Report) -> None:
    """One good, one slow, one gone; then one that is ahead of us."""
    _good, slow, gone = parties
    slow.light(f"pause:{SLOW_SECONDS}")
    gone.server.kill()
    listed = {party.name: party.listed for party in parties}
    feeder = make_feeder(spine, listed)
    policy = parse_policy(
        encode_policy(
            WitnessList(tuple(listed.values())),
            spine_vkey=spine.vkey,
            spine_url="https://spine.example/spine",
        )
    )
    size = spine.append(2)
    begun = time.monotonic()
    lines = feeder.feed(spine.sign())
    took = time.monotonic() - begun
    spine.add_cosignatures(size, lines)
    report.figures["first_feed_seconds"] = round(took, 2)
    report.check(
        "with one slow and one gone, the spine is shown after a second",
        len(lines) == 1 and took < WAIT_SECONDS + SLACK_SECONDS,
        f"{len(lines)} cosignatures after {took:.2f} s",
    )
    report.check(
        "one of three makes no quorum", not policy.is_met(spine.kept(size)), ""
    )
    report.check(
        "the late one is added to the same checkpoint, and makes the quorum",
        wait_for(lambda: policy.is_met(spine.kept(size))),
        standings(feeder),
    )
    size = spine.append(1)
    begun = time.monotonic()
    lines = feeder.feed(spine.sign())
    took = time.monotonic() - begun
    report.figures["second_feed_seconds"] = round(took, 2)
    report.check(
        "nobody waits for the slow one a second time",
        len(lines) == 1 and took < WAIT_SECONDS,
        f"{took:.2f} s",
    )
    slow.put_out()
    gone.restart()
    listed[gone.name] = gone.listed
    feeder.wake()
    report.check(
        "the one that was gone is asked again, and catches up",
        wait_for(lambda: standings(feeder)[gone.listed.name] == Standing.GOOD),
        standings(feeder),
    )
    feeder.stop()
    _overtake(parties, spine, report)


def _overtake(parties: list[Party], spine: SmallLog, report: Report) -> None:
    """A database from yesterday, and one of another history: no start."""
    size = spine.size
    for party in parties:
        party.submit_honestly(spine)
    forked = spine.fork(size - 2)
    forked.append(3, salt=b"recovered")
    for what, log in (
        ("older than what its witnesses have seen", spine.fork(size - 2)),
        ("of another history", forked),
    ):
        feeder = make_feeder(log, {party.name: party.listed for party in parties})
        try:
            feeder.require_not_behind(seconds=PATIENCE_SECONDS)
            refused = ""
        except BehindWitness as error:
            refused = str(error)
        feeder.stop()
        report.check(f"a spine {what} does not start", bool(refused), refused[:120])
    feeder = make_feeder(spine, {party.name: party.listed for party in parties})
    try:
        reports = feeder.require_not_behind(seconds=PATIENCE_SECONDS)
        good = [one.standing for one in reports] == [Standing.GOOD] * len(parties)
        detail = f"{len(reports)} agree"
    except BehindWitness as error:
        good, detail = False, str(error)
    feeder.stop()
    report.check("the right one does", good, detail)


def make_feeder(spine: SmallLog, listed: dict[str, OurWitness]) -> Feeder:
    """Return the product's own feeder over HTTP."""
    return Feeder(
        spine=spine,
        transport=TRANSPORT,
        list_witnesses=lambda: list(listed.values()),
        clock=SystemClock(),
    )


def standings(feeder: Feeder) -> dict[str, Standing]:
    """Return how it stands with each witness."""
    return {report.name: report.standing for report in feeder.list_reports()}


def wait_for(condition: Callable[[], bool]) -> bool:
    """Say whether something comes to pass in time."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False
