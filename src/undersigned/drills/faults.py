"""``faults``: storage that fails, keys that are missing, a database from yesterday.

Whatever fails, intake closes with 503 and says so on standard error, what is published
stays readable, nothing acknowledged is lost, and a restart after mending goes on. A
database older than what was published is refused at the start.
"""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from undersigned_verify import entry

from undersigned.drills import signer as signing
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.crash import SPEED, make_server
from undersigned.drills.live import (
    START_SECONDS,
    LiveServer,
    ServerDied,
    last_line,
    running,
)
from undersigned.drills.public_log import audit_running, list_nonces, read_leaves
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import KeyFacts, Signature, Signer
from undersigned.drills.site import Answer, NetSite, Site, SiteGone, get, post_form

CAMPAIGN = "faults"
PATH = f"c/{CAMPAIGN}"
READS = (f"/{PATH}/checkpoint", f"/{PATH}/count.json", f"/en/{PATH}/", "/en/promises/")
ANSWER_SECONDS = 20.0
LOUD_SECONDS = 30.0
# Two dozen publications of the fast clock.
PUBLISH_SECONDS = 24.0
STORAGE_FAILED = 8
WRITER_BUSY = 5


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("faults")
    storage = [
        _fail_at_publication,
        _fail_at_issuing,
        _fail_at_rename,
        _fill_disk,
        _limit_issuance,
    ]
    for attempt in storage if options.size != "tiny" else storage[:1]:
        with open_instance(report) as instance:
            attempt(instance)
    if options.size != "tiny":
        with open_instance(report) as instance:
            for check in (
                _try_missing_keys,
                _try_lost_record,
                _try_old_database,
                _try_second_server,
                _try_two_at_once,
                _try_sealed_keys,
            ):
                check(instance)
    return report.as_json()


# --- an instance that is broken and mended


@dataclass(slots=True)
class Instance:
    """A live instance, signatures ready to be sent, and what was acknowledged."""

    server: LiveServer
    report: Report
    key: KeyFacts
    ready: list[Signature] = field(default_factory=list)
    # Tickets not yet spent, each with the one request that its holder made.
    tickets: list[tuple[str, bytes]] = field(default_factory=list)
    acknowledged: list[bytes] = field(default_factory=list)

    @property
    def public(self) -> Path:
        """The campaign's public folder."""
        return self.server.data / "public" / PATH

    @property
    def secrets(self) -> Path:
        """Where the campaign's secrets are."""
        return self.server.data / "secrets" / PATH

    def check(self, name: str, passed: bool, detail: object = "") -> bool:
        """Note a check."""
        return self.report.check(name, passed, detail)

    def restart(self) -> None:
        """Stop the server in whatever way it stops, and start it again."""
        if self.server.is_running:
            self.server.stop()
        self.server.start()

    def ask(self, path: str = "") -> Answer:
        """GET a public page."""
        return self._run(lambda site: get(site, path or READS[0]))

    def sign(self) -> Answer:
        """Send the next ready signature; remember it when it is acknowledged."""
        signature = self.ready.pop()
        answer = self._run(
            lambda site: signing.send_signature(site, self.key, signature)
        )
        if answer.status == 200:
            self.acknowledged.append(signature.nonce)
        else:
            self.ready.append(signature)
        return answer

    def issue(self) -> Answer:
        """Ask for the next token; the same request again while it was not answered."""
        ticket, request = self.tickets[-1]
        answer = self._run(
            lambda site: signing.request_token(site, self.key, ticket, request)
        )
        if answer.status == 200:
            self.tickets.pop()
        return answer

    def ask_for_code(self) -> Answer:
        """Ask for a mail."""
        return self._run(
            lambda site: post_form(
                site,
                f"/en/{PATH}/sign/ask/",
                {"klass": "email", "address": "petra@example.org"},
            )
        )

    def _run(self, ask: Callable[[Site], Coroutine[None, None, Answer]]) -> Answer:
        async def once() -> Answer:
            site = NetSite(self.server.port)
            try:
                return await asyncio.wait_for(ask(site), ANSWER_SECONDS)
            except TimeoutError:
                return Answer(0, {}, b"no answer at all")
            except SiteGone as error:
                return Answer(0, {}, str(error).encode())
            finally:
                await site.close()

        return asyncio.run(once())

    def try_reads(self, what: str) -> None:
        """What is published stays readable."""
        wrong = {
            path: answer.status
            for path in READS
            if (answer := self.ask(path)).status != 200
        }
        self.check(f"{what}: reads stay up", not wrong, wrong)

    def try_refused(self, what: str, answer: Answer) -> None:
        """Intake is closed with 503, as problem+json."""
        self.check(
            f"{what}: 503 intake-closed",
            answer.status == 503 and answer.code == "intake-closed",
            answer.said or answer.body[:80],
        )

    def try_loud(self, what: str) -> None:
        """The operator is told."""
        deadline = time.monotonic() + LOUD_SECONDS
        while "STOPPED" not in self.server.said and time.monotonic() < deadline:
            time.sleep(0.1)
        said = self.server.said.strip().splitlines()
        self.check(
            f"{what}: it stops loudly",
            any("STOPPED" in line for line in said),
            said[-1][:160] if said else "it said nothing",
        )

    def try_recovered(self, what: str) -> None:
        """After a restart it goes on, and everything acknowledged is in the log."""
        try:
            self.restart()
        except ServerDied as error:
            self.check(f"{what}: a restart recovers", False, error.last_line)
            return
        answer = self.sign()
        self.check(
            f"{what}: after a restart it signs", answer.status == 200, answer.said
        )
        answer = self.issue()
        self.check(
            f"{what}: after a restart it issues", answer.status == 200, answer.said
        )
        self.wait_for_publication()
        found = [
            nonce for _i, nonce in list_nonces(self.public, self.key.challenge_digest)
        ]
        lost = [one for one in self.acknowledged if found.count(one) != 1]
        audit = audit_running(self.public)
        self.check(
            f"{what}: all {len(self.acknowledged)} acknowledged stand once, and the "
            "recount accepts",
            not lost and audit.accepted,
            f"{len(lost)} lost; {audit.fault or 'accepted'}",
        )

    def is_published(self) -> bool:
        """Say whether everything acknowledged stands in the log."""
        found = list_nonces(self.public, self.key.challenge_digest)
        return {nonce for _i, nonce in found}.issuperset(self.acknowledged)

    def wait_for_publication(self) -> None:
        """Wait until everything acknowledged is published, or a while."""
        deadline = time.monotonic() + PUBLISH_SECONDS
        while not self.is_published() and time.monotonic() < deadline:
            time.sleep(0.1)

    def settle(self) -> None:
        """Wait until the issuance file has nothing left to be written."""
        time.sleep(2.5 * 60 / SPEED)


@contextmanager
def open_instance(report: Report) -> Iterator[Instance]:
    """Run an instance with tokens in hand and a publication every second."""
    folder = Path(mkdtemp(prefix="undersigned-faults-"))
    server = make_server(folder)
    path = save_campaign(folder, CAMPAIGN, write_campaign(CAMPAIGN))
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", CAMPAIGN)
    with running(server):
        yield asyncio.run(_prepare(server, report))


async def _prepare(server: LiveServer, report: Report) -> Instance:
    site = NetSite(server.port)
    key = (await signing.read_keys(site, PATH))["email"]
    instance = Instance(server, report, key)
    for number in range(14):
        ticket = await signing.get_ticket_by_email(
            site, CAMPAIGN, Signer(f"s{number}@example.org")
        )
        if number < 10:
            _made, signature = await signing.make_signature(site, key, ticket)
            instance.ready.append(signature)
        else:
            instance.tickets.append((ticket, signing.prepare(key).request))
    await site.close()
    return instance


# --- storage that fails


def _light(instance: Instance, place: str, *, lasts: bool = True) -> None:
    instance.server.run_job(
        "drill-fuse", {"place": place, "count": 1, "fails": True, "lasts": lasts}
    )


def _fail_at_publication(instance: Instance) -> None:
    what = "fsync fails at a publication"
    instance.settle()
    instance.sign()
    _light(instance, "fsync")
    instance.try_loud(what)
    instance.try_refused(f"{what}, sign", instance.sign())
    instance.try_reads(what)
    instance.try_recovered(what)


def _fail_at_issuing(instance: Instance) -> None:
    what = "fsync fails while issuing"
    # Once, so that what goes on besides issuing can be seen to go on.
    _light(instance, "fsync", lasts=False)
    answer = instance.issue()
    instance.try_refused(f"{what}, the request in flight", answer)
    instance.try_loud(what)
    instance.try_refused(f"{what}, the next request", instance.issue())
    answer = instance.sign()
    if answer.status == 200:
        instance.wait_for_publication()
    instance.check(
        f"{what}: a signature is refused, or acknowledged and still published",
        answer.status == 503 or instance.is_published(),
        answer.said,
    )
    answer = instance.ask_for_code()
    # Asking stores nothing; what follows it would, and must say so.
    instance.check(
        f"{what}, asking for a code: answered without a fault",
        answer.status in (200, 503),
        answer.status,
    )
    instance.try_reads(what)
    instance.try_recovered(what)


def _fail_at_rename(instance: Instance) -> None:
    what = "rename fails at a publication"
    instance.settle()
    instance.sign()
    _light(instance, "replace")
    instance.try_loud(what)
    instance.try_refused(f"{what}, sign", instance.sign())
    instance.try_reads(what)
    instance.try_recovered(what)


def _fill_disk(instance: Instance) -> None:
    what = "the disk is full for the ledger"
    instance.sign()
    wal = instance.server.data / "ledger.sqlite3-wal"
    # Room for the journal as it is, and for no page more.
    instance.server.run_job("drill-limit", {"bytes": max(4096, wal.stat().st_size)})
    answers = [instance.sign() for _number in range(3)]
    refused = [answer for answer in answers if answer.status != 200]
    instance.check(f"{what}: signatures are refused", bool(refused), len(refused))
    instance.try_refused(f"{what}, sign", answers[-1])
    instance.try_loud(what)
    instance.try_reads(what)
    instance.try_recovered(what)


def _limit_issuance(instance: Instance) -> None:
    what = "the disk is full for the issuance file"
    instance.server.run_job("drill-limit", {"bytes": 4096})
    instance.try_refused(f"{what}, issue", instance.issue())
    instance.try_loud(what)
    instance.try_reads(what)
    instance.try_recovered(what)


# --- keys and files that are missing, weak or old


@contextmanager
def _without(path: Path, instead: bytes | None = None) -> Iterator[None]:
    """Move a file away for a while, perhaps with something else in its place."""
    aside = path.with_name(f".{path.name}.aside")
    path.rename(aside)
    if instead is not None:
        path.write_bytes(instead)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        aside.rename(path)


def _try_missing_keys(instance: Instance) -> None:
    secrets = instance.secrets
    issuer_key = next(secrets.glob("issuer-*.der"))
    # Weak on purpose: the key that must be refused.
    weak = generate_private_key(65537, 1024)  # noqa: S505
    short = weak.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
    for what, path, instead, tries in (
        ("the log key is missing", secrets / "log.key", None, [instance.sign]),
        ("the log key is cut", secrets / "log.key", b"short", [instance.sign]),
        ("the version key is missing", secrets / "version.key", None, [instance.issue]),
        ("the version key is cut", secrets / "version.key", b"x", [instance.issue]),
        ("the issuer key is missing", issuer_key, None, [instance.issue]),
        ("the issuer key has 1,024 bits", issuer_key, short, [instance.issue]),
        ("the issuer key is garbage", issuer_key, b"garbage", [instance.issue]),
    ):
        if instance.server.is_running:
            instance.server.stop()
        with _without(path, instead):
            try:
                instance.server.start()
            except ServerDied as error:
                instance.check(
                    f"{what}: it starts all the same", False, error.last_line
                )
                continue
            for attempt in tries:
                instance.try_refused(f"{what}, {attempt.__name__}", attempt())
            instance.try_reads(what)
            instance.server.stop()
    instance.server.start()
    answers = [instance.sign(), instance.issue()]
    instance.check(
        "with all keys back: signing and issuing",
        [answer.status for answer in answers] == [200, 200],
        [answer.said for answer in answers],
    )


def _try_lost_record(instance: Instance) -> None:
    what = "the issuance file is lost"
    path = instance.server.data / "issuance" / f"{CAMPAIGN}.sqlite3"
    instance.server.stop()
    with _without(path, b"not a database at all, but long enough" * 100):
        instance.server.start()
        instance.try_refused("the issuance file is garbage, issue", instance.issue())
        instance.server.stop()
    path.unlink()
    instance.server.start()
    instance.try_refused(f"{what}, issue", instance.issue())
    instance.try_reads(what)
    instance.server.run_cli("issuance", "reopen", CAMPAIGN)
    # Tickets were in the lost file: who holds one asks again.
    answer = asyncio.run(_ask_anew(instance))
    instance.check(
        f"{what}: issued again once the operator reopens",
        answer.status == 200,
        answer.said,
    )
    deadline = time.monotonic() + 30
    kinds: list[str] = []
    while time.monotonic() < deadline and not kinds:
        kinds = [
            leaf.kind
            for leaf in map(entry.parse, read_leaves(instance.public))
            if isinstance(leaf, entry.PublicRecord)
        ]
        time.sleep(0.1)
    instance.check(
        f"{what}: the log says so for ever", kinds == ["issuance-record-lost"], kinds
    )


async def _ask_anew(instance: Instance) -> Answer:
    site = NetSite(instance.server.port)
    with suppress(signing.JourneyBroken):
        ticket = await signing.get_ticket_by_email(
            site, CAMPAIGN, Signer("anew@example.org")
        )
        request = signing.prepare(instance.key).request
        return await signing.request_token(site, instance.key, ticket, request)
    return Answer(0, {}, b"no ticket")


def _try_old_database(instance: Instance) -> None:
    what = "the database is older than what was published"
    server = instance.server
    server.stop()
    names = [path.name for path in server.data.glob("ledger.sqlite3*")]
    old, new = server.folder / "old", server.folder / "new"
    _copy(server.data, old, names)
    server.start()
    instance.sign()
    deadline = time.monotonic() + 30
    size = len(read_leaves(instance.public))
    while time.monotonic() < deadline and len(read_leaves(instance.public)) == size:
        time.sleep(0.1)
    server.stop()
    _copy(server.data, new, names)
    _put_back(old, server.data)
    status, said = _start_and_fail(server.folder)
    instance.check(
        f"{what}: start refused with status {STORAGE_FAILED}, and why",
        status == STORAGE_FAILED and "older than what the public has seen" in said,
        f"status {status}: {last_line(said)}",
    )
    _put_back(new, server.data)
    mark = server.data / "highwater.json"
    good = mark.read_bytes()
    size_and_root = good.decode().split('"')
    forged = good.replace(size_and_root[3].encode(), b"00" * 32)
    mark.write_bytes(forged)
    status, said = _start_and_fail(server.folder)
    instance.check(
        "the database has another history than was published: start refused",
        status == STORAGE_FAILED and "another history" in said,
        f"status {status}",
    )
    mark.write_bytes(good)
    _damage(server.data / "ledger.sqlite3")
    status, said = _start_and_fail(server.folder)
    instance.check(
        "the database is damaged: start refused",
        status == STORAGE_FAILED,
        f"status {status}: {last_line(said)}",
    )
    _put_back(new, server.data)
    server.start()
    answer = instance.sign()
    instance.check(
        "with the right database it goes on", answer.status == 200, answer.said
    )


def _copy(data: Path, target: Path, names: list[str]) -> None:
    target.mkdir(exist_ok=True)
    for name in names:
        if (data / name).exists():
            shutil.copy2(data / name, target / name)


def _put_back(source: Path, data: Path) -> None:
    for path in data.glob("ledger.sqlite3*"):
        path.unlink()
    for path in source.iterdir():
        shutil.copy2(path, data / path.name)


def _damage(path: Path) -> None:
    """Overwrite the first pages but their header, as a failing disk may."""
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    data = bytearray(path.read_bytes())
    data[100:8192] = b"\xa5" * 8092
    path.write_bytes(bytes(data))


def _start_and_fail(folder: Path) -> tuple[int, str]:
    """Start the product's own command over an instance; return how it ends."""
    server = LiveServer(folder)
    server.log = folder / "product.log"
    try:
        server.start()
    except ServerDied as error:
        return error.status, error.said
    said = server.said
    server.stop()
    return 0, said


def _try_second_server(instance: Instance) -> None:
    status, said = _start_and_fail(instance.server.folder)
    instance.check(
        "a second server over the same data is refused",
        status == WRITER_BUSY and "stop it first" in said,
        f"status {status}: {last_line(said)}",
    )


def _try_two_at_once(instance: Instance) -> None:
    """Start two servers in the same moment: one serves, the other says why not."""
    server = instance.server
    server.stop()
    rivals = [LiveServer(server.folder) for _number in range(2)]
    for number, rival in enumerate(rivals):
        rival.log = server.folder / f"rival-{number}.log"
    processes = [rival.spawn() for rival in rivals]
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and all(
        process.poll() is None for process in processes
    ):
        time.sleep(0.05)
    beaten = [n for n, process in enumerate(processes) if process.poll() is not None]
    said = rivals[beaten[0]].said if beaten else ""
    instance.check(
        "of two servers started at once one is refused",
        len(beaten) == 1
        and processes[beaten[0]].returncode == WRITER_BUSY
        and "stop it first" in said,
        f"{len(beaten)} ended: {last_line(said)}",
    )
    for rival in rivals:
        if rival.is_running:
            rival.stop()
    server.start()
    answer = instance.sign()
    instance.check("afterwards it signs", answer.status == 200, answer.said)


def _try_sealed_keys(instance: Instance) -> None:
    what = "keys are sealed and no passphrase is given"
    server = instance.server
    server.stop()
    passphrase = server.folder / "passphrase"
    passphrase.write_text("correct horse battery staple\n", encoding="utf-8")
    server.run_cli("seal", "--passphrase-file", str(passphrase))
    server.start()
    instance.try_refused(f"{what}, sign", instance.sign())
    instance.try_refused(f"{what}, issue", instance.issue())
    instance.try_reads(what)
    server.stop()
    server.settings = {"passphrase_file": str(passphrase)}
    server.start()
    answer = instance.sign()
    instance.check(
        "with the passphrase it signs again", answer.status == 200, answer.said
    )
