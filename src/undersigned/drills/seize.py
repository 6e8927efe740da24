"""``seize``: every file of a live campaign, taken at several moments, betrays nobody.

A synthetic campaign runs through the live server: addresses, codes, links,
invitations, names that are shown, refused, erased or withdrawn before they appear,
signatures without scripts, wrong inputs of every kind. Files are copied raw at six
moments, journals, free pages, temporary and deleted files and what the server printed
included, and searched for canaries in every usual spelling. Not searched for, because
it must be there: nullifiers and hashes of requests in the issuance file, nonces and
leaves in the ledger, names that are public, comments that wait for a moderator.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import random
import sqlite3
import struct
import threading
import time
import urllib.parse
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from tempfile import mkdtemp

from typing_extensions import override

from undersigned.credentials.tickets import VersionKey
from undersigned.drills import signer as signing
from undersigned.drills import stamps
from undersigned.drills.campaign import save_campaign, write_campaign
from undersigned.drills.isolated import HOST, make_folder
from undersigned.drills.linker import find_orders
from undersigned.drills.live import LiveServer, running
from undersigned.drills.raw import (
    Hit,
    Needles,
    copy_all,
    copy_deleted,
)
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.site import NetSite, get
from undersigned.drills.stamps import Span
from undersigned.drills.statistics import correlation_bound, order_correlation
from undersigned.drills.visitors import Visitors, make_marker
from undersigned.kernel.clock import SystemClock
from undersigned.kernel.keystore import Keystore

CAMPAIGN = "seize"
PATH = f"c/{CAMPAIGN}"
INTERVAL = 60
PAGES = "app.sqlite3"


@dataclass(slots=True)
class Haul:
    """Everything on disk at one moment.

    ``modified``: seconds since 1970 at which a private file or folder was last changed,
    its content or what the file system notes of it.
    """

    moment: str
    files: dict[str, bytes]
    modified: dict[str, set[int]]


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("seize")
    try_search(report)
    folder = Path(mkdtemp(prefix="undersigned-seize-"))
    server = LiveServer(folder, settings={"trusted_proxy": "127.0.0.1"})
    path = save_campaign(
        folder,
        CAMPAIGN,
        write_campaign(CAMPAIGN, classes=("email", "invitation", "open")),
    )
    server.run_cli("campaign", "create", str(path))
    server.run_cli("campaign", "open", CAMPAIGN)
    path.unlink()
    (code,) = server.run_cli("invitation", "make", CAMPAIGN, "--count", "1")["codes"]
    # No operator's act falls into a second in which a signer comes.
    time.sleep(1.5)
    thief = Thief(server)
    with running(server), Watch(folder / "tmp") as watch:
        visitors = asyncio.run(_live_through(server, thief, code, options, report))
        server.stop()
        thief.take("after a clean stop")
        server.start()
        asyncio.run(_die_under_load(server, visitors))
        server.kill()
        thief.take("after kill -9")
    judge(thief, visitors, report)
    report.check(
        "no temporary file was ever seen", not watch.seen, sorted(watch.seen)[:5]
    )
    _judge_order(thief, visitors, report)
    return report.as_json()


class Thief:
    """Copies all files of an instance; never asks the server."""

    def __init__(self, server: LiveServer) -> None:
        self._server = server
        self.hauls: list[Haul] = []

    def nullify(self, addresses: list[str]) -> dict[str, bytes]:
        """Compute nullifiers, as the thief of an unsealed instance can."""
        secret = Keystore(self._server.data / "secrets").get(f"{PATH}/version.key")
        key = VersionKey(f"{HOST}/{PATH}", secret)
        return {
            address: key.make_nullifier(klass=1, value=address) for address in addresses
        }

    def take(self, moment: str) -> Haul:
        """Copy everything as it is on disk now."""
        server = self._server
        files = copy_all([server.data, server.folder / "tmp"])
        files["server.log"] = server.log.read_bytes()
        if server.is_running:
            files |= copy_deleted(server.pid)
        haul = Haul(moment, files, self.read_dates())
        self.hauls.append(haul)
        return haul

    def read_dates(self) -> dict[str, set[int]]:
        """Return when each private file or folder was last changed, as in a haul."""
        server = self._server
        modified: dict[str, set[int]] = {}
        for path in (server.data, *server.data.rglob("*")):
            name = str(path.relative_to(server.folder))
            if not name.startswith("data/public"):
                with contextlib.suppress(FileNotFoundError):
                    # A journal may come and go while we look.
                    stat = path.lstat()
                    modified[name] = {int(stat.st_mtime), int(stat.st_ctime)}
        return modified


class Watch(threading.Thread):
    """Sees files come and go in the folder for temporary files."""

    def __init__(self, folder: Path) -> None:
        super().__init__(daemon=True)
        self._folder = folder
        self._ended = threading.Event()
        self.seen: set[str] = set()

    def __enter__(self) -> Watch:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._ended.set()
        self.join()

    @override
    def run(self) -> None:
        """Look every few milliseconds."""
        while not self._ended.wait(0.003):
            self.seen.update(path.name for path in self._folder.iterdir())


# --- the campaign


async def _live_through(
    server: LiveServer, thief: Thief, code: str, options: Options, report: Report
) -> Visitors:
    site = NetSite(server.port)
    keys = await signing.read_keys(site, PATH)
    visitors = Visitors(
        server.port, keys, random.Random(options.seed), wait=_stand_clear
    )
    marks = visitors.markers
    await _be_early_in_interval()
    report.say("signers come")
    erased = await visitors.sign(shown=_show(name=f"Asha {marks.erased}"))
    unshown = await visitors.sign(
        shown=_show(name=f"Asha {marks.unshown}", comment=f"Why {marks.unshown}")
    )
    await visitors.sign(shown=_show(name=f"Omar {marks.shown}"))
    await visitors.sign(shown=_show(comment=f"Because {marks.comment}"), link=True)
    gone = await visitors.sign(
        shown=_show(name=f"Vic {marks.erased}", comment=f"Why {marks.erased}")
    )
    await visitors.sign_without_scripts(f"Petra {marks.shown}", keep_w=True)
    await visitors.sign_without_scripts("", keep_w=False)
    await visitors.sign_otherwise(code)
    answers = await visitors.go_wrong()
    wrong = [answer.status for answer in answers if answer.status >= 500]
    report.check("wrong inputs end in no fault", not wrong, wrong)
    # Before it is published: what was to be shown must never be.
    await visitors.withdraw(unshown)
    for number in range(options.pick(tiny=5, ci=60, full=250)):
        await visitors.sign(link=number % 3 == 0)
    thief.take("between two publications")
    # Something is pooled, whether or not the minute ended while they came.
    await visitors.sign()
    await _wait_for_growth(site, report)
    await _wait_until_dated(thief, visitors)
    thief.take("after a publication")
    report.say("erasing, withdrawing")
    await visitors.erase(erased)
    await visitors.withdraw(gone)
    thief.take("just after erasing")
    for _number in range(options.pick(tiny=2, ci=10, full=30)):
        await visitors.sign()
    await _wait_for_growth(site, report)
    await _wait_until_dated(thief, visitors)
    thief.take("after another publication")
    await site.close()
    return visitors


def _show(*, name: str = "", comment: str = "") -> dict[str, str]:
    return {"comment": comment, "name": name, "place": ""}


async def _be_early_in_interval() -> None:
    """Leave signers room before the next publication."""
    left = INTERVAL - SystemClock().now().timestamp() % INTERVAL
    if left < 20:
        await asyncio.sleep(left + 1)


async def _stand_clear() -> None:
    """Let nobody come in the seconds of a publication.

    It changes every file, in a second that everybody knows: a request of the same
    second would look as if it had been written down.
    """
    into = SystemClock().now().timestamp() % INTERVAL
    if into > INTERVAL - 6:
        await asyncio.sleep(INTERVAL - into + 4)
    elif into < 4:
        await asyncio.sleep(4 - into)


async def _wait_for_growth(site: NetSite, report: Report) -> None:
    report.say("waiting for the minute's publication")
    before = (await get(site, f"/{PATH}/checkpoint")).body
    deadline = time.monotonic() + 3 * INTERVAL
    while (await get(site, f"/{PATH}/checkpoint")).body == before:
        if time.monotonic() > deadline:
            raise RuntimeError("nothing was published for three minutes")
        await asyncio.sleep(0.2)
    # Shown records follow the checkpoint.
    await asyncio.sleep(2)


async def _wait_until_dated(thief: Thief, visitors: Visitors) -> None:
    """Give the server time to settle its files: a crowded host may need seconds."""
    for _second in range(20):
        dated = thief.read_dates()
        if not any(seconds & visitors.traces.seconds for seconds in dated.values()):
            break
        await asyncio.sleep(1)


async def _die_under_load(server: LiveServer, visitors: Visitors) -> None:
    visitors.port = server.port
    for number in range(4):
        await visitors.sign(
            shown=_show(name=f"Noor {visitors.markers.shown}") if number % 2 else None
        )


# --- judging


def judge(thief: Thief, visitors: Visitors, report: Report) -> None:
    """Search every haul for what must not be there at that moment."""
    marks = visitors.markers
    everywhere = visitors.traces.make_needles(marks)
    gone = Needles()
    gone.add_text("a name that was erased", marks.erased)
    never = Needles()
    never.add_text("a name withdrawn before it was published", marks.unshown)
    published = Needles()
    published.add_text("a name that is published", marks.shown)
    published.add_text("a comment", marks.comment)
    published.add_text("a name that was erased", marks.erased)
    for haul in thief.hauls:
        size = sum(map(len, haul.files.values()))
        hits = everywhere.find(haul.files)
        report.check(
            f"{haul.moment}: none of {len(everywhere.spelled)} spellings of addresses, "
            "browsers, codes, tickets, requests and secrets",
            not hits,
            _say(hits, f"{len(haul.files)} files, {size} bytes"),
        )
        if haul.moment == "between two publications":
            # The journal keeps its old pages until the publication empties it.
            report.figures["withdrawn names still in files before a publication"] = (
                _say(never.find(haul.files), "none")
            )
        else:
            hits = never.find(haul.files)
            report.check(
                f"{haul.moment}: no name that was withdrawn before it was published",
                not hits,
                _say(hits),
            )
        if haul.moment not in ("between two publications", "after a publication"):
            hits = gone.find(haul.files)
            report.check(
                f"{haul.moment}: no name that was erased", not hits, _say(hits)
            )
        if "publication" in haul.moment and haul.moment.startswith("after"):
            # And in the public pages made from it, which show it to everybody.
            elsewhere = {
                name: data
                for name, data in haul.files.items()
                if PAGES not in name and "/pages/" not in name
            }
            hits = published.find(elsewhere)
            report.check(
                f"{haul.moment}: what is shown stands in pages and their database",
                not hits,
                _say(hits),
            )
        _judge_times(haul, visitors, report)


def _say(hits: list[Hit], otherwise: str = "") -> str:
    if not hits:
        return otherwise
    kinds: dict[tuple[str, str], int] = defaultdict(int)
    for hit in hits:
        kinds[hit.needle, hit.file] += 1
    said = [f"{needle} in {file} ({n})" for (needle, file), n in kinds.items()]
    return f"{len(hits)} hits: {said[:6]}"


def _judge_times(haul: Haul, visitors: Visitors, report: Report) -> None:
    traces = visitors.traces
    span = Span(traces.first, traces.last, traces.seconds, INTERVAL)
    written: list[str] = []
    short, chance = 0, 0.0
    for name, data in haul.files.items():
        written += [f"{name}: {text}" for text in stamps.find_written(data, span)]
        written += [f"{name}: {text}" for text in stamps.find_binary(data, span)]
        found, expected = stamps.count_short(data, span)
        short, chance = short + found, chance + expected
        if name.endswith(".sqlite3") and haul.moment == "after a clean stop":
            columns = stamps.find_in_columns(data, span)
            written += [f"{name}: {text}" for text in columns]
    report.check(
        f"{haul.moment}: no time of a request finer than the batch",
        not written,
        written[:5],
    )
    bound = 3 + 4 * chance
    report.check(
        f"{haul.moment}: four-byte integers that are seconds of requests, at most "
        f"{bound:.1f} by chance",
        short <= bound,
        f"{short} found, {chance:.2f} expected among random bytes",
    )
    told = sorted(
        name for name, seconds in haul.modified.items() if seconds & traces.seconds
    )
    if haul.moment.startswith("after") and "publication" in haul.moment:
        report.check(
            f"{haul.moment}: no file or folder was last changed in a request's second",
            not told,
            told,
        )
    else:
        # Requests since the last publication: not promised (PROTOCOL §1).
        report.figures[f"{haul.moment}: changed last in a request's second"] = told


def _judge_order(thief: Thief, visitors: Visitors, report: Report) -> None:
    """Look for the interleaved order of issue and sign in any pair of files.

    The sequence in which signatures came stands in the ledger's journal until the
    publication (PROTOCOL §5); what must not be there is a sequence of issuing that
    could be laid beside it.
    """
    nullifiers = thief.nullify(visitors.issued)
    issued = [nullifiers[address] for address in visitors.issued]
    sent = {one.address: one.signature for one in visitors.signed}
    for haul in thief.hauls:
        rows = list(find_orders(issued, haul.files))
        leaves: list[tuple[str, list[bytes]]] = []
        # A signature is known by its nonce in tables and by its r in leaves.
        for kind in ("nonce", "r"):
            owner = {
                sent[address].nonce if kind == "nonce" else sent[address].r: null
                for address, null in nullifiers.items()
                if address in sent
            }
            for name, order in find_orders(list(owner), haul.files):
                leaves.append((f"{name} ({kind})", [owner[item] for item in order]))
        pairs = [(0.0, "")]
        for one, order in rows:
            rho = abs(order_correlation(issued, order))
            pairs.append((rho, f"{one} and the order of issue"))
            for other, signed in leaves:
                rho = abs(order_correlation(order, signed))
                pairs.append((rho, f"{one} and {other}"))
        worst, where = max(pairs)
        bound = correlation_bound(len(issued), least=0.1, sigmas=4.5)
        report.check(
            f"{haul.moment}: issuing and signing are in no common order, at most "
            f"{bound:.2f} in {len(pairs) - 1} pairs",
            worst <= bound and bool(rows) and bool(leaves),
            f"{worst:.2f}: {where}" if rows else "the rows were not even found",
        )


# --- does the search find what is there?


def try_search(report: Report) -> None:
    """Plant canaries as careless programs leave them; the same search must find all."""
    marker, at = make_marker(), SystemClock().now().timestamp()
    # In the middle of a minute, whatever the time is.
    at += 17.25 - at % INTERVAL
    needles = Needles()
    needles.add_text("planted", marker)
    noise = random.Random(marker)
    missed = [
        spelling
        for spelling, data in _write_in_context(marker, noise).items()
        if not needles.find({"file": noise.randbytes(999) + data + noise.randbytes(99)})
    ]
    report.check("control: every spelling of a canary is found", not missed, missed)
    with make_folder(durable=False) as folder:
        left = _leave_deleted_rows(folder / "careless.sqlite3", marker)
        found = {hit.file for hit in needles.find(left)}
    report.check(
        "control: deleted rows are found in free pages and in a write-ahead log",
        found == set(left),
        sorted(found),
    )
    span = Span(at - 30, at + 30, {int(at)}, INTERVAL)
    missed = [
        name
        for name, data in _write_times(at).items()
        if not [*stamps.find_written(data, span), *stamps.find_binary(data, span)]
    ]
    report.check("control: times are found in every usual form", not missed, missed)
    column = int(at).to_bytes(4) + b"row"
    short, chance = stamps.count_short(column * 20, span)
    report.check(
        "control: a column of seconds is more than chance",
        short > 3 + 4 * chance,
        f"{short} found, {chance:.2f} expected",
    )


def _write_in_context(marker: str, noise: random.Random) -> dict[str, bytes]:
    """Return a canary as it stands in the middle of something longer."""
    text = f"<{marker}@example.org>"
    found = {
        "plain": text.encode(),
        "UTF-16LE": text.encode("utf-16-le"),
        "UTF-16BE": text.encode("utf-16-be"),
        "hex": text.encode().hex().encode(),
        "HEX": text.encode().hex().upper().encode(),
        "URL-quoted": urllib.parse.quote(text, safe="").encode(),
        "JSON": json.dumps({"text": f"“{text}”"}).encode(),
    }
    for phase in range(3):
        longer = noise.randbytes(30 + phase) + text.encode() + noise.randbytes(20)
        found[f"base64, phase {phase}"] = base64.b64encode(longer)
        found[f"base64url, phase {phase}"] = base64.urlsafe_b64encode(longer)
    return found


def _leave_deleted_rows(path: Path, marker: str) -> dict[str, bytes]:
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA secure_delete=OFF")
    db.execute("CREATE TABLE person (address TEXT)")
    db.executemany(
        "INSERT INTO person VALUES (?)",
        [(f"{marker}-{number}@example.org" * 20,) for number in range(50)],
    )
    db.execute("DELETE FROM person")
    data = path.read_bytes()
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("PRAGMA secure_delete=ON")
    db.execute("INSERT INTO person VALUES (?)", (marker,))
    db.execute("DELETE FROM person")
    journal = path.with_name(f"{path.name}-wal").read_bytes()
    db.close()
    return {"free pages": data, "write-ahead log": journal}


def _write_times(at: float) -> dict[str, bytes]:
    moment = datetime.fromtimestamp(at, UTC)
    return {
        "decimal seconds": b"at=%d;" % int(at),
        "decimal milliseconds": b"at=%d;" % int(at * 1000),
        "ISO 8601": moment.isoformat().encode(),
        "SQL": moment.strftime("%Y-%m-%d %H:%M:%S").encode(),
        "HTTP": format_datetime(moment, usegmt=True).encode(),
        "access log": moment.strftime("%d/%b/%Y:%H:%M:%S +0000").encode(),
        "seconds, 8 bytes": b"x" + int(at).to_bytes(8) + b"x",
        "milliseconds, 8 bytes, little-endian": int(at * 1e3).to_bytes(8, "little"),
        "microseconds, 8 bytes": int(at * 1e6).to_bytes(8),
        "nanoseconds, 8 bytes": int(at * 1e9).to_bytes(8),
        "float": struct.pack(">d", at),
        "float, little-endian": struct.pack("<d", at),
    }
