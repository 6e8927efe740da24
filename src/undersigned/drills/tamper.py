"""``tamper``: whatever is changed in a published log, the recount refuses and names it.

Three attackers: one who can change files, one who also holds the log key, and one who
holds it while somebody else holds an earlier checkpoint. None holds issuer keys. Two
logs: a made one in which every type of leaf stands, and an export of a real campaign.
Then the spine over two logs, by one who can change files, one who holds its key, and
one who has to do without witnesses (``tampered_spine``).
Not covered, by design: growth.csv, which is the server's unsigned word (PROTOCOL §8).
"""

from __future__ import annotations

import asyncio
import random
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import entry, note, tile
from undersigned_verify.audit import AuditReport, audit_log, find_shared_key
from undersigned_verify.checkpoint import Checkpoint
from undersigned_verify.errors import Fault

from undersigned.cli.exports import copy_log
from undersigned.drills import signer as signing
from undersigned.drills.campaign import write_campaign
from undersigned.drills.every_leaf import make_log
from undersigned.drills.forgeries import Forgery, list_forgeries
from undersigned.drills.log_image import (
    Author,
    LogImage,
    rank,
    safe_count,
    write_files,
)
from undersigned.drills.report import Options, Report, Values
from undersigned.drills.signer import Signer
from undersigned.drills.stage import Stage, open_stage
from undersigned.drills.tampered_spine import try_spine
from undersigned.drills.tampering import (
    UNSIGNED,
    Audit,
    Bench,
    kind_of,
    list_changes,
    names_file,
    try_files,
)


def recount(folder: Path) -> AuditReport:
    """Audit one log with the verifier, in this process."""
    return audit_log(folder, workers=1)


def run(values: Values) -> Values:
    """Run the drill."""
    options, report = Options(**values), Report("tamper")
    root = Path(mkdtemp(prefix="undersigned-tamper-"))
    try_made_log(root / "made", options, report, audit=recount)
    try_spine(root / "spine", options, report)
    if options.size != "tiny":
        _try_real_log(root / "real", options, report)
    if options.size == "full":
        _try_wide_log(root / "wide", options, report)
    return report.as_json()


def try_made_log(root: Path, options: Options, report: Report, *, audit: Audit) -> None:
    """Tamper with a log in which every leaf type stands."""
    author = Author(origin="drill.example/c/made")
    crowd = options.pick(tiny=12, ci=120, full=200)
    image = make_log(author, crowd=crowd)
    types = {leaf[1] for leaf in image.leaves}
    bench = Bench(root / image.path, image.files(), report, audit)
    report.check(
        "made log: every type of leaf stands, and it is accepted",
        types == set(range(10)) and bench.accepts(),
        f"{len(image.leaves)} leaves of types {sorted(types)}",
    )
    try_files(bench, options, "made log")
    try_keeping_less(bench, image, "made log")
    _try_forgeries(bench, author, image)
    _try_counts(bench, image, "made log")
    _try_held_checkpoint(bench, image, "made log")
    _try_notes(bench, image)


# --- one who can change files


def try_keeping_less(bench: Bench, image: LogImage, where: str) -> None:
    """Hide a kept checkpoint: two intervals become one, which is out of order.

    Where the two happen to be in order together (single leaves, or control leaves
    alone) the log by itself does not show it; whoever holds the hidden checkpoint, or
    a receipt made from it, sees it. Those are counted, not failed.
    """
    unseen = 0
    for number, size in enumerate(image.kept[:-1]):
        both = image.intervals[number] + image.intervals[number + 1]
        if both == sorted(both, key=rank) and not _uses_own_key(both):
            unseen += 1
            continue
        path = f"checkpoints/{size}"
        bench.attempt(
            "a kept checkpoint hidden",
            path,
            {path: None},
            names_it=partial(_names_disorder, size),
        )
    bench.report.figures[f"{where}, checkpoints whose hiding only a holder sees"] = (
        unseen
    )
    bench.close(where)


def _names_disorder(size: int, fault: Fault) -> bool:
    codes = ("order-in-interval", "key-too-new", "close-not-alone")
    return fault.code in codes and fault.index is not None and fault.index >= size


def _uses_own_key(leaves: list[bytes]) -> bool:
    announced = {leaf[2:4] for leaf in leaves if leaf[1] == entry.ISSUER_KEY}
    return any(leaf[1] == entry.SIGNATURE and leaf[2:4] in announced for leaf in leaves)


# --- one who holds the log key


def _try_forgeries(bench: Bench, author: Author, image: LogImage) -> None:
    for forgery in list_forgeries(author, image):
        files = forgery.image.files(
            count=safe_count(forgery.image, bench.files["count.json"])
        )
        bench.attempt(
            "signed anew by the log key",
            forgery.name,
            bench.replace_all(files),
            names_it=partial(_names_forgery, forgery),
        )
    bench.close("made log")


def _names_forgery(forgery: Forgery, fault: Fault) -> bool:
    if forgery.index is not None and fault.index != forgery.index:
        return False
    placed = fault.index is not None or fault.path is not None
    return placed and fault.code in forgery.codes


def _try_counts(bench: Bench, image: LogImage, where: str) -> None:
    """Publish another count than the recount."""
    good = bench.files["count.json"]
    text = good.decode()
    wrong = {
        "one more in net": _raise_member(text, "net"),
        "one more signature": _raise_member(text, "signatures"),
        "fewer removals": _raise_member(text, "removals", -1),
        "one more for": _raise_member(text, "for"),
        "one more on paper": _raise_member(text, "paper"),
        "another tree size": _raise_member(text, "tree_size"),
        "an order of its own": text.replace('{"by_class"', '{ "by_class"', 1),
        "a line feed": text + "\n",
    }
    for what, changed in wrong.items():
        bench.attempt(
            "count.json rewritten",
            what,
            {"count.json": changed.encode()},
            names_it=lambda fault: fault.path == "count.json",
        )
    older = LogImage(image.origin, image.statement, image.log_key, image.intervals[:3])
    bench.attempt(
        "count.json rewritten",
        "that of an earlier checkpoint",
        {"count.json": older.files()["count.json"]},
        names_it=lambda fault: fault.path == "count.json",
    )
    bench.close(where)


def _raise_member(text: str, name: str, by: int = 1) -> str:
    before, mark, rest = text.partition(f'"{name}":')
    digits = rest[: len(rest) - len(rest.lstrip("0123456789"))]
    return f"{before}{mark}{max(0, int(digits) + by)}{rest[len(digits) :]}"


def _try_held_checkpoint(bench: Bench, image: LogImage, where: str) -> None:
    """Rewrite history consistently while someone holds an earlier checkpoint.

    A log signed anew is a good log by itself: that it is not the one that was shown is
    seen with any checkpoint or receipt from before.
    """
    for what, forged, changed_at in _list_rewritten(image):
        files = forged.files()
        alone = bench.examine(bench.replace_all(files))
        bench.report.check(
            f"{where}, {what}, nobody holding a checkpoint: not to be seen (§1)",
            alone.accepted,
            alone.fault or "",
        )
        for size in image.kept[:-1]:
            if not changed_at < size <= forged.kept[-1]:
                continue
            held = f"checkpoints/{size}"
            bench.attempt(
                "history rewritten against a checkpoint that somebody holds",
                f"{what}, held {size}",
                bench.replace_all({**files, held: bench.files[held]}),
                names_it=partial(_names_held, held),
            )
    bench.close(where)


def _names_held(held: str, fault: Fault) -> bool:
    return fault.path == held and fault.code == "checkpoint-root"


def _list_rewritten(image: LogImage) -> Iterator[tuple[str, LogImage, int]]:
    """Yield rewritten logs and the first leaf that differs.

    The victim stands behind everything that a removal or withdrawal aims at, so that
    its absence shifts no target; the close leaf is counted anew.
    """
    last = _last_target(image)
    interval, position = next(
        (i, j)
        for i, leaves in enumerate(image.intervals)
        for j, leaf in enumerate(leaves)
        if leaf[1] == entry.SIGNATURE and image.start_of(i) + j > last
    )
    index = image.start_of(interval) + position
    dropped = image.copy()
    leaf = dropped.intervals[interval].pop(position)
    yield "a signature gone", _count_close_anew(dropped), index
    moved = image.copy()
    moved.intervals[interval].remove(leaf)
    later = next(
        number
        for number in range(interval + 1, len(moved.intervals))
        if moved.intervals[number][-1][1] == entry.SIGNATURE
    )
    moved.intervals[later].append(leaf)
    moved.sort()
    yield "a signature moved to a later interval", _count_close_anew(moved), index


def _last_target(image: LogImage) -> int:
    targets = [0]
    for leaf in image.leaves:
        found = entry.parse(leaf)
        if isinstance(found, entry.Withdrawal):
            targets.append(found.target)
        elif isinstance(found, entry.Removal | entry.Release) and found.targets:
            targets += [high for _low, high in found.targets]
    return max(targets)


def _count_close_anew(image: LogImage) -> LogImage:
    for number, leaves in enumerate(image.intervals):
        if leaves[0][1] == entry.CLOSE:
            before = LogImage(
                image.origin, image.statement, image.log_key, image.intervals[:number]
            )
            close = entry.Close("done", before.recount().totals())
            image.intervals[number] = [entry.encode(close)]
    return image


def _try_notes(bench: Bench, image: LogImage) -> None:
    """Checkpoints signed by the wrong key, under the wrong name, or with more lines."""
    size, data = image.kept[-1], bench.files["checkpoint"]
    root = Checkpoint.parse(note.parse_note(data).text).root
    text = Checkpoint(image.origin, size, root).text()
    mallory = Ed25519PrivateKey.generate()
    promise = f"{image.origin}/promise"
    grown = Checkpoint(image.origin, size + 1, root).text()
    for what, forged, codes in (
        ("another key", note.sign_note(text, image.origin, mallory), _SIGNATURE),
        (
            "the promise's name",
            note.sign_note(text, promise, image.log_key),
            _SIGNATURE,
        ),
        (
            "an extension line",
            note.sign_note(f"{text}more\n", image.origin, image.log_key),
            ("checkpoint-form",),
        ),
        (
            "a size beyond the leaves",
            note.sign_note(grown, image.origin, image.log_key),
            ("file-missing", "checkpoint-root"),
        ),
        (
            "another root",
            image.sign(size, bytes(32)),
            ("checkpoint-root",),
        ),
    ):
        bench.attempt(
            "checkpoint signed anew",
            what,
            {"checkpoint": forged},
            names_it=partial(_has_code, codes),
        )
    bench.close("made log")
    other = bench.folder.parent / "elsewhere"
    shutil.copytree(bench.folder, other)
    _try_whole_instance(bench, other)


def _has_code(codes: tuple[str, ...], fault: Fault) -> bool:
    return fault.code in codes


_SIGNATURE = ("note-signature",)


def _try_whole_instance(bench: Bench, other: Path) -> None:
    """A log under another path, and one issuer key in two logs."""
    from undersigned_verify.source import find_logs

    root = bench.folder.parents[1]
    reports = [audit_log(source, workers=1) for source in find_logs(str(root))]
    moved = [one for one in reports if one.path == f"c/{other.name}"]
    codes = [one.fault.code if one.fault else "accepted" for one in moved]
    bench.report.check(
        "a log copied to another path is refused", codes == ["origin-path"], codes
    )
    author = Author(origin="drill.example/c/twin")
    key = author.announce(0, 1)
    twins = []
    for name in ("twin", "other-twin"):
        twin = Author(origin=f"drill.example/c/{name}")
        twin.keys = author.keys
        header = entry.encode(twin.header)
        image = twin.image([[header, key], twin.signs(3)])
        folder = write_files(root / "twins" / image.path, image.files())
        twins.append(audit_log(folder, workers=1))
    shared = find_shared_key(twins)
    bench.report.check(
        "one issuer key in two logs is refused",
        shared is not None and shared.code == "spki-shared",
        shared,
    )
    shutil.rmtree(other)
    shutil.rmtree(root / "twins")


# --- a real campaign


def _try_real_log(root: Path, options: Options, report: Report) -> None:
    """Sign, withdraw and remove in a real campaign, export it, and tamper with that."""
    with open_stage() as stage:
        campaign = stage.open_campaign(
            write_campaign("real", classes=("email", "open"), show_names=True)
        )
        asyncio.run(_fill(stage, campaign.path, options))
        keystore = stage.engine.keystore
        if keystore is None:
            raise RuntimeError("the stage has no keys")
        seed = keystore.get(f"{campaign.path}/log.key")
        folder = root / campaign.path
        copy_log(stage.engine.services.ledger.public / campaign.path, folder)
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    bench = Bench(folder, files, report, recount)
    image = LogImage.read(folder, Ed25519PrivateKey.from_private_bytes(seed))
    report.check(
        "exported campaign: accepted, and rebuilt from its leaves byte for byte",
        bench.accepts()
        and {**image.files(), UNSIGNED: b""} == {**files, UNSIGNED: b""},
        f"{len(image.leaves)} leaves in {len(image.kept)} checkpoints",
    )
    try_files(bench, options, "exported campaign")
    try_keeping_less(bench, image, "exported campaign")
    _try_counts(bench, image, "exported campaign")
    _try_held_checkpoint(bench, image, "exported campaign")
    forged = image.copy()
    interval, position = forged.find(entry.SIGNATURE, 4)
    leaf = forged.intervals[interval][position]
    forged.intervals[-1].append(leaf)
    forged.sort()
    bench.attempt(
        "signed anew by the log key",
        "a signature copied",
        bench.replace_all(forged.files(count=files["count.json"])),
        names_it=lambda fault: (
            fault.code == "nonce-again" and fault.index == forged.index_of(leaf)
        ),
    )
    bench.close("exported campaign")


async def _fill(stage: Stage, path: str, options: Options) -> None:
    """Four publications: signatures, a withdrawal, a removal, more signatures."""
    from undersigned.drills.moderation import announce_approvers, remove

    site, campaign = stage.site, path.removeprefix("c/")
    key = (await signing.read_keys(site, path))["email"]
    ledger = stage.engine.services.ledger
    approvers = announce_approvers(stage, campaign)
    stage.pass_time(seconds=60)
    made = []
    for interval in range(4):
        for number in range(options.pick(tiny=5, ci=65, full=100)):
            signer = Signer(f"{interval}-{number}@example.org", stance=number % 3)
            ticket = await signing.get_ticket_by_email(site, campaign, signer)
            _prepared, signature = await signing.make_signature(
                site, key, ticket, signer=signer
            )
            await signing.send_signature(site, key, signature)
            made.append(signature)
        stage.pass_time(seconds=60)
        if interval == 1:
            await signing.send_withdrawal(site, path, made[3].nonce, made[3].w)
            first = ledger.get_log(key.origin).size - 3
            remove(stage, key.origin, approvers, (first, first + 1))
    stage.pass_time(seconds=60)


def _try_wide_log(root: Path, options: Options, report: Report) -> None:
    """A log of more than 65,536 leaves, so that a tile of level 1 is full."""
    author = Author(origin="drill.example/c/wide")
    report.say("making a log of 66,000 signatures")
    image = make_log(author, crowd=33_000)
    bench = Bench(root / image.path, image.files(), report, recount)
    report.check("wide log: accepted", bench.accepts(), f"{len(image.leaves)} leaves")
    chosen = [path for path in bench.files if path.startswith(("tile/1/", "tile/2/"))]
    chosen += ["tile/0/255", tile.tile_path("entries", 255)]
    rng = random.Random(options.seed)
    tiny = Options("tiny", options.seed)
    for path in chosen:
        data = bench.files[path]
        for what, changed in list_changes(path, data, bench.files, rng, tiny):
            if all(bench.files.get(name) == new for name, new in changed.items()):
                continue
            bench.attempt(
                kind_of(path, image.kept[-1]),
                f"{path}: {what}",
                changed,
                names_it=partial(names_file, changed),
            )
    bench.close("wide log")
