"""``flood``: more come than the machine takes; they wait, in order, and all get in.

The real server, made slow and with little room at each stage of signing. A crowd comes
at once, with scripts and without, a school behind one address among it, and somebody
who only takes places. Halfway the server is killed. Everybody holds what they have (a
browser its secrets, a page its fields) and asks again as told. In the end all have
signed, those who came first came in first, reading was fast throughout, and the log
holds exactly what was acknowledged.
"""

from __future__ import annotations

import asyncio
import html
import itertools
import json
import random
import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from undersigned_verify.note import VerifierKey, parse_note, verify_note

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import SERVER, SPEED, judge
from undersigned.drills.live import LiveServer, running
from undersigned.drills.load import Memory
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Promise, Signature
from undersigned.drills.site import Answer, NetSite, SiteGone, get, post_form
from undersigned.kernel.clock import SystemClock
from undersigned.safety.line import AHEAD_MOST

CAMPAIGN = "flood"
# So that the crowd waits whatever the machine: little room, and slow commits.
ROOMS = {"issue": 8, "sign": 16, "finish": 4, "confirm": 4}
COMMIT_SECONDS = 0.1
# People near the front are told to ask again in seconds; the drill is in a hurry.
HURRY = 5.0
READ_EVERY_SECONDS = 0.05
# One address asks 120 times at once, then twice a second (safety.intake).
PUPILS_BEYOND = 6
PUPILS = 120 + PUPILS_BEYOND


@dataclass(slots=True)
class Places:
    """What people were told of their places, and when they came in."""

    # By life of the server: the numbers in the order in which they came in.
    entered: dict[int, list[int]] = field(default_factory=dict)
    waited: int = 0
    rises: int = 0
    farthest: int = 0


@dataclass(slots=True)
class Person:
    """Somebody who waits: their network, and their place as they were last told."""

    address: str
    turn: str = ""
    before: int | None = None
    life: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """What the proxy adds, and the turn."""
        turn = {"turn": self.turn} if self.turn else {}
        return {"x-forwarded-for": self.address, **turn}


class Crowd:
    """All who come, over one live server."""

    def __init__(self, server: LiveServer, key: KeyFacts, vkey: str) -> None:
        self.server = server
        self.key = key
        self.vkey = vkey
        self.memory = Memory()
        self.places = Places()
        self.unscripted: set[bytes] = set()
        self.up = asyncio.Event()
        self.up.set()
        self.life = 0
        self.site = NetSite(server.port)
        self.delays: list[float] = []
        self.lost_fields = 0
        self.flooded: list[Answer] = []
        self.ending = False

    def wait_as_told(self, person: Person, told: Values) -> float:
        """Note a place; return after how many seconds to ask again."""
        places = self.places
        before = told["before"]
        if told["reason"] == "site" and before is not None:
            same = person.turn == told["turn"] and person.before is not None
            if same and before > (person.before or 0):
                places.rises += 1
            places.farthest = max(places.farthest, before)
            person.before = before
        places.waited += 1
        person.turn, person.life = told["turn"], self.life
        hurry = 1.0 if told["reason"] == "network" else HURRY
        return float(told["retry_after"]) / hurry

    def note_entry(self, person: Person) -> None:
        """Note that somebody came in by a number."""
        if person.turn and person.life == self.life:
            number = int.from_bytes(signing.unb64url(person.turn)[1:9])
            self.places.entered.setdefault(self.life, []).append(number)
        person.turn, person.before = "", None

    async def sign(self, person: Person, ticket: str) -> None:
        """Sign as the browser client does: what was made is sent until it is taken."""
        prepared = signing.prepare(self.key)
        while True:
            await self.up.wait()
            try:
                answer = await signing.request_token(
                    self.site, self.key, ticket, prepared.request, person.headers
                )
            except SiteGone:
                await asyncio.sleep(0.05)
                continue
            if answer.code != "please-wait":
                break
            await asyncio.sleep(self.wait_as_told(person, json.loads(answer.body)))
        self.note_entry(person)
        if answer.status != 200:
            self.memory.surprises.append(f"issue: {answer.said}")
            return
        signature = signing.finish(prepared, answer.body)
        while True:
            await self.up.wait()
            try:
                answer = await signing.send_signature(
                    self.site, self.key, signature, person.headers
                )
            except SiteGone:
                await asyncio.sleep(0.05)
                continue
            if answer.code != "please-wait":
                break
            await asyncio.sleep(self.wait_as_told(person, json.loads(answer.body)))
        self._remember(answer, signature)

    def _remember(self, answer: Answer, signature: Signature) -> None:
        if answer.status != 200:
            self.memory.surprises.append(f"sign: {answer.said}")
            return
        promise = signing.read_promise(answer, origin=self.key.origin, vkey=self.vkey)
        self.memory.promises[signature.nonce] = signature, promise

    async def send_form(self, step: str, fields: dict[str, str], address: str) -> str:
        """Send a form and whatever waiting page comes, until there is another page."""
        person, typed = Person(address), dict(fields)
        while True:
            await self.up.wait()
            try:
                page = await post_form(
                    self.site,
                    f"/en/c/{CAMPAIGN}/sign/{step}/",
                    fields,
                    {"x-forwarded-for": address},
                )
            except SiteGone:
                await asyncio.sleep(0.05)
                continue
            if 'id="line"' not in page.text:
                return page.text
            fields = read_fields(page)
            told = read_place(page, fields["turn"])
            if {n: v for n, v in fields.items() if n != "turn"} != typed:
                self.lost_fields += 1
            await asyncio.sleep(self.wait_as_told(person, told))

    async def sign_without_scripts(self, number: int, address: str, tick: str) -> None:
        """Sign by a form alone, with a text of several lines in it."""
        fields = {
            "ticket": tick,
            "stance": "0",
            "name": f"Mina {'&<' * (number % 2)}the {number}th",
            "place": "",
            "comment": "My children\nplay there.",
            "when": "0",
        }
        page = await self.send_form("finish", fields, address)
        found = re.search(r"undersigned promise v1[^<]+", page)
        if found is None:
            # A kill in that one request: the token is gone with the server's memory,
            # as the page says (PROTOCOL §4.5).
            title = re.search(r"<h2>(?:<svg.*?</svg>)?([^<]+)", page)
            self.memory.surprises.append(f"without scripts: {title and title[1]}")
            return
        note = parse_note(html.unescape(found[0]).encode())
        log_key = VerifierKey.parse(self.vkey.strip())
        verify_note(note, VerifierKey.of(f"{self.key.origin}/promise", log_key.public))
        lines = note.text.split("\n")
        nonce = bytes.fromhex(lines[2])
        self.memory.promises[nonce] = _NO_BODY, Promise(nonce, int(lines[3]))

    async def attend(self, address: str, ticket: str) -> None:
        """Come as far as the words to be signed, from behind a school's address."""
        page = await self.send_form("write", {"ticket": ticket}, address)
        if 'id="statement"' not in page:
            self.memory.surprises.append("a pupil did not come to the form")

    async def flood(self, requests: int) -> None:
        """Take places from one network, over and over, and never use one."""
        for number in range(requests):
            await self.up.wait()
            address = f"203.0.113.{number % 256}"
            try:
                answer = await signing.request_token(
                    self.site,
                    self.key,
                    "no-ticket",
                    bytes(259),
                    {"x-forwarded-for": address},
                )
            except SiteGone:
                await asyncio.sleep(0.05)
                continue
            self.flooded.append(answer)
            if self.ending:
                return

    async def read(self) -> None:
        """Read as visitors do, and note how long each took."""
        site = NetSite(self.server.port)
        paths = (f"/{self.key.path}/count.json", f"/en/c/{CAMPAIGN}/")
        for path in itertools.cycle(paths):
            if self.ending:
                break
            await self.up.wait()
            site.drop(self.server.port) if site.port != self.server.port else None
            begun = time.monotonic()
            try:
                answer = await get(site, path)
            except SiteGone:
                await asyncio.sleep(READ_EVERY_SECONDS)
                continue
            self.delays.append(time.monotonic() - begun)
            if answer.status != 200:
                self.memory.surprises.append(f"{path}: {answer.said}")
            await asyncio.sleep(READ_EVERY_SECONDS)
        await site.close()

    async def restart(self) -> None:
        """Kill the server amid the flood, and start it again."""
        self.up.clear()
        self.server.kill()
        await asyncio.to_thread(self.server.start)
        await asyncio.to_thread(slow_down, self.server)
        self.life += 1
        self.site.drop(self.server.port)
        self.up.set()


# A signature without scripts is made by the server: there is no body to send again.
_NO_BODY = Signature(nonce=b"", r=b"", w=b"", body=b"", salt=None)


def read_fields(page: Answer) -> dict[str, str]:
    """Return the fields that a waiting page carries, as a browser would send them."""
    found = re.findall(
        r'<input type="hidden" name="([^"]*)" value="([^"]*)">', page.text
    )
    return {html.unescape(name): html.unescape(value) for name, value in found}


def read_place(page: Answer, turn: str) -> Values:
    """Return the place that a waiting page tells, as the JSON has it."""
    before = re.search(r"<bdi data-before>([0-9,]+)</bdi>", page.text)
    is_told = re.search(r'data-wait="before"( hidden)?', page.text)
    network = re.search(r'data-wait="network"( hidden)?', page.text)
    tells = is_told is not None and not is_told[1] and before is not None
    return {
        "before": int(before[1].replace(",", "")) if tells and before else None,
        "reason": "site" if network is None or network[1] else "network",
        "retry_after": int(page.headers["retry-after"]),
        "turn": turn,
    }


def slow_down(server: LiveServer) -> None:
    """Let only a few into each stage at once, and have commits take their time."""
    server.run_job("drill-slow", {"rooms": ROOMS, "seconds": COMMIT_SECONDS})


def count_inversions(numbers: list[int], *, apart: int) -> float:
    """Return which part of the pairs, so far apart or more, came in the wrong order.

    Neighbours are called together, and come in as they next ask.
    """
    pairs = wrong = 0
    for first, number in enumerate(numbers):
        for other in numbers[first + 1 :]:
            if abs(other - number) >= apart:
                pairs += 1
                wrong += number > other
    return wrong / pairs if pairs else 0.0


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("flood")
    folder = Path(mkdtemp(prefix="undersigned-flood-"))
    epoch = int(SystemClock().now().timestamp())
    server = LiveServer(
        folder,
        module=SERVER,
        arguments=["--epoch", str(epoch), "--speed", str(SPEED)],
        settings={"trusted_proxy": "127.0.0.1"},
    )
    path = save_campaign(folder, CAMPAIGN, write_campaign(CAMPAIGN))
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", CAMPAIGN)
    with running(server):
        crowd = asyncio.run(_flood(server, options, report))
        report.check("asked to end, it ends", server.stop() == 0)
    _judge_waiting(crowd, options, report)
    judge(server.data / "public" / crowd.key.path, crowd.key, crowd.memory, report)
    return report.as_json()


async def _flood(server: LiveServer, options: Options, report: Report) -> Crowd:
    rng = random.Random(options.seed)
    site = NetSite(server.port)
    key = (await signing.read_keys(site, f"c/{CAMPAIGN}"))["email"]
    vkey = (await get(site, f"/c/{CAMPAIGN}/log.vkey")).text
    await site.close()
    scripted = options.pick(tiny=40, ci=240, full=5_000)
    plain = options.pick(tiny=6, ci=40, full=400)
    everybody = scripted + plain + PUPILS
    addresses = [f"s{number}@example.org" for number in range(everybody)]
    granted = await asyncio.to_thread(
        server.run_job, "drill-tickets", {"campaign": CAMPAIGN, "addresses": addresses}
    )
    tickets: list[str] = granted["tickets"]
    await asyncio.to_thread(slow_down, server)
    crowd = Crowd(server, key, vkey)
    begun = time.monotonic()
    async with asyncio.timeout(options.pick(tiny=60, ci=120, full=1200)):
        async with asyncio.TaskGroup() as readers:
            readers.create_task(crowd.read())
            flooder = readers.create_task(
                crowd.flood(options.pick(tiny=60, ci=600, full=20_000))
            )
            async with asyncio.TaskGroup() as group:
                for number in range(scripted):
                    person = Person(f"10.{number >> 8}.{number & 255}.7")
                    group.create_task(crowd.sign(person, tickets[number]))
                for number in range(PUPILS):
                    ticket = tickets[scripted + plain + number]
                    group.create_task(crowd.attend("192.0.2.9", ticket))
                await _let_some_in(crowd, scripted // 3)
                await crowd.restart()
                # Without scripts one request does all: a kill in it loses a token, as
                # the page says. So these come after the kill.
                for number in range(plain):
                    group.create_task(
                        crowd.sign_without_scripts(
                            number,
                            f"172.16.{rng.randrange(256)}.{number % 256}",
                            tickets[scripted + number],
                        )
                    )
            crowd.ending = True
            await flooder
    report.figures["seconds"] = round(time.monotonic() - begun, 1)
    # Two more publications: the last ones are in the log then.
    await asyncio.sleep(2.5 * 60 / SPEED)
    await crowd.site.close()
    return crowd


async def _let_some_in(crowd: Crowd, people: int) -> None:
    while len(crowd.memory.promises) < people:
        await asyncio.sleep(0.02)


def _judge_waiting(crowd: Crowd, options: Options, report: Report) -> None:
    places, memory = crowd.places, crowd.memory
    signed = options.pick(tiny=46, ci=280, full=5_400)
    report.check(
        f"all {signed} who stayed have signed",
        len(memory.promises) == signed,
        f"{len(memory.promises)}",
    )
    least = signed // 4
    report.check(
        f"at least {least} had to wait, and were told their place",
        places.waited >= least and places.farthest >= least // 2,
        f"{places.waited} answers, {places.farthest} people before the last",
    )
    report.check("no place ever got worse", not places.rises, f"{places.rises} times")
    apart = int(ROOMS["issue"] * AHEAD_MOST)
    wrong = {
        life: count_inversions(found, apart=apart)
        for life, found in places.entered.items()
    }
    report.check(
        f"who came first came in first: of pairs {apart} places apart, which are not "
        "called together, at most a tenth came otherwise",
        bool(wrong) and all(part <= 0.1 for part in wrong.values()),
        {life: round(part, 3) for life, part in wrong.items()},
    )
    report.check(
        "whatever was typed came back in the page, to the last letter",
        not crowd.lost_fields,
        f"{crowd.lost_fields} pages without it",
    )
    taken = {
        found["turn"]
        for answer in crowd.flooded
        if answer.code == "please-wait"
        and (found := json.loads(answer.body))["reason"] == "site"
    }
    report.check(
        "somebody who only takes places gets no more than their network's",
        len(taken) <= 2 * (600 + 10 * report.figures["seconds"]),
        f"{len(taken)} places for {len(crowd.flooded)} requests",
    )
    delays = sorted(crowd.delays)
    p99 = delays[int(len(delays) * 0.99)] if delays else float("inf")
    report.check(
        "reading went on meanwhile: p99 within a second", p99 < 1.0, f"{p99:.3f} s"
    )
    report.figures |= {
        "signed": len(memory.promises),
        "told_to_wait": places.waited,
        "most_before_one": places.farthest,
        "far_pairs_out_of_order": {
            life: round(part, 4) for life, part in wrong.items()
        },
        "reads": len(delays),
        "read_median_seconds": round(delays[len(delays) // 2], 4) if delays else None,
        "read_p99_seconds": round(p99, 4),
    }
