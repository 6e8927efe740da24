"""What is done to a spine: every lie about a log is found, and nobody is made to vouch.

Two logs of one host are audited with their spine. One attacker changes its files; one
holds its key and signs anew whatever he likes; one has no witness's key and wants a
checkpoint to look witnessed. In the end somebody holds what was shown before.
"""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import cosignature, entry, note, spine
from undersigned_verify.audit import audit_logs
from undersigned_verify.compare import FORK, compare, read_states
from undersigned_verify.errors import Fault
from undersigned_verify.source import find_instance
from undersigned_verify.spine_audit import WITNESSED

from undersigned.drills.every_leaf import make_log
from undersigned.drills.log_image import (
    Author,
    Files,
    LogImage,
    write_files,
    write_tree,
)
from undersigned.drills.report import Options, Report
from undersigned.drills.tampering import Bench, Changed, try_files

HOST = "drill.example"
ORIGIN = f"{HOST}/{spine.PATH}"
AT = 1_795_953_600  # 29 November 2026, 12:00 UTC
Leaves = list[spine.Leaf]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The instance's: of its logs and its spine."""

    accepted: bool
    fault: Fault | None


def recount(folder: Path, policy: bytes | None = None) -> Verdict:
    """Audit the spine in ``folder`` and the logs beside it.

    With a policy, accepted means witnessed. Paths are relative to the spine's folder.
    """
    logs, found_spine = find_instance(str(folder.parent))
    found = audit_logs(logs, spine=found_spine, workers=1, policy=policy)
    assert found.spine is not None
    fault = found.spine.fault
    for log in found.logs:
        fault = fault or log.fault
    if fault is not None and (fault.path or "").startswith(f"{spine.PATH}/"):
        fault = replace_path(fault, (fault.path or "").removeprefix(f"{spine.PATH}/"))
    if policy is not None:
        return Verdict(found.spine.verdict == WITNESSED and fault is None, fault)
    return Verdict(fault is None, fault)


def replace_path(fault: Fault, path: str) -> Fault:
    """Return the fault as one of another path."""
    return Fault(
        fault.code, fault.detail, index=fault.index, path=path, evidence=fault.evidence
    )


def try_spine(
    root: Path,
    options: Options,
    report: Report,
    *,
    audit: Callable[..., Verdict] = recount,
) -> None:
    """Tamper with the spine over a closed log and one that is open."""
    closed, opened = (Author(origin=f"{HOST}/c/{name}") for name in ("made", "open"))
    images = [
        make_log(closed, crowd=options.pick(tiny=12, ci=40, full=120)),
        _make_open_log(opened),
    ]
    for image in images:
        write_files(root / image.path, image.files())
    original = _list_leaves(images)
    key = Ed25519PrivateKey.generate()
    files = _write(key, original)
    folder = root / spine.PATH
    bench = Bench(folder, files, report, audit)
    report.check(
        "spine: over two logs, it is accepted",
        bench.accepts(),
        f"{len(original)} leaves, of {len(images)} logs",
    )
    try_files(bench, options, "spine")
    _try_lies(bench, key, original, images)
    _try_forms(bench, key, original)
    _try_witnesses(folder, key, original, report, audit, options)
    _try_held(root / "others", key, original, report)


def _make_open_log(author: Author) -> LogImage:
    image = author.image([[entry.encode(author.header), author.announce(0, 1)]])
    image.intervals += [author.signs(3), author.signs(2)]
    image.sort()
    return image


def _list_leaves(images: list[LogImage]) -> Leaves:
    """Return a truthful spine: all that it must say of these logs, in turns."""
    leaves: Leaves = [spine.ClientLeaf(sha256(b"a client").hexdigest())]
    announced: set[tuple[str, int]] = set()
    states = {image.origin: image.recount() for image in images}
    for image in images:
        header = sha256(image.leaves[0]).hexdigest()
        leaves.append(spine.CampaignLeaf(image.origin, header))
    for turn in range(max(len(image.kept) for image in images)):
        for image in images:
            if turn < len(image.kept):
                leaves += _list_turn(image, image.kept[turn], announced)
    for image in images:
        state = states[image.origin]
        leaves += [
            spine.IssuedLeaf(image.origin, key_index, 5_000 + key_index)
            for origin, key_index in sorted(announced)
            if origin == image.origin
        ]
        if state.closed:
            # A total may be told again when it has grown.
            leaves.append(spine.IssuedLeaf(image.origin, 0, 6_000))
    return leaves


def _list_turn(
    image: LogImage, size: int, announced: set[tuple[str, int]]
) -> Iterator[spine.Leaf]:
    for leaf in image.leaves[:size]:
        parsed = entry.parse(leaf)
        if isinstance(parsed, entry.IssuerKey):
            known = image.origin, parsed.key_index
            if known not in announced:
                announced.add(known)
                digest = sha256(parsed.spki).hexdigest()
                yield spine.KeyLeaf(image.origin, parsed.key_index, digest)
    files = image.files()
    root = note.parse_note(files[f"checkpoints/{size}"]).text.splitlines()[2]
    yield spine.CheckpointLeaf(image.origin, size, _hex(root))


def _hex(base64_root: str) -> str:
    return base64.b64decode(base64_root).hex()


def _encode(leaves: Leaves) -> list[bytes]:
    return [spine.encode(leaf) for leaf in leaves]


def _write(key: Ed25519PrivateKey, leaves: Leaves) -> Files:
    """Return the spine's files."""
    return _write_raw(key, _encode(leaves))


def _write_raw(key: Ed25519PrivateKey, leaves: list[bytes]) -> Files:
    # Three kept checkpoints, wherever they fall.
    third = max(1, len(leaves) // 3)
    parts = [leaves[:third], leaves[third : 2 * third], leaves[2 * third :]]
    return write_tree(ORIGIN, key, [part for part in parts if part])


# --- one who holds the spine's key


def _try_lies(
    bench: Bench, key: Ed25519PrivateKey, original: Leaves, images: list[LogImage]
) -> None:
    """Say something that is not so, in a spine that is signed and well made."""
    for what, codes, leaves in _list_lies(original, images):
        bench.attempt(
            "said by who holds its key",
            what,
            bench.replace_all(_write(key, leaves)),
            names_it=partial(_has_code, codes),
        )
    bench.close("spine")


def _has_code(codes: tuple[str, ...], fault: Fault) -> bool:
    return fault.code in codes


def _list_lies(
    original: Leaves, images: list[LogImage]
) -> Iterator[tuple[str, tuple[str, ...], Leaves]]:
    yield from _list_left_out(original, closed=images[0].origin)
    yield from _list_changed(original)
    yield from _list_added(original, images)


def _list_left_out(
    original: Leaves, *, closed: str
) -> Iterator[tuple[str, tuple[str, ...], Leaves]]:
    for at, leaf in enumerate(original):
        less = original[:at] + original[at + 1 :]
        match leaf:
            case spine.CampaignLeaf():
                yield f"{at}: no log named", ("spine-campaign",), less
            case spine.KeyLeaf():
                codes = "spine-keys", "spine-key-unknown"
                yield f"{at}: a key left out", codes, less
            case spine.CheckpointLeaf():
                yield f"{at}: a checkpoint left out", ("spine-absent",), less
            case _:
                continue
    silent = [
        leaf
        for leaf in original
        if not (isinstance(leaf, spine.IssuedLeaf) and leaf.origin == closed)
    ]
    yield "no total of a closed log", ("spine-total",), silent
    half = len(original) // 2
    yield "its second half left out", ("spine-absent", "spine-keys"), original[:half]


def _list_changed(original: Leaves) -> Iterator[tuple[str, tuple[str, ...], Leaves]]:
    other = sha256(b"something else").hexdigest()
    for at, leaf in enumerate(original):

        def put(new: spine.Leaf, at: int = at) -> Leaves:
            return [*original[:at], new, *original[at + 1 :]]

        match leaf:
            case spine.CampaignLeaf():
                yield (
                    f"{at}: another header",
                    ("spine-header",),
                    put(replace(leaf, header_sha256=other)),
                )
            case spine.KeyLeaf():
                yield (
                    f"{at}: another key",
                    ("spine-keys",),
                    put(replace(leaf, spki_sha256=other)),
                )
            case spine.CheckpointLeaf():
                yield (
                    f"{at}: another root",
                    ("spine-fork",),
                    put(replace(leaf, root=other)),
                )
                yield (
                    f"{at}: one leaf more",
                    ("spine-fork", "spine-size", "spine-beyond", "spine-absent"),
                    put(replace(leaf, size=leaf.size + 1)),
                )
            case spine.IssuedLeaf():
                yield (
                    f"{at}: a total under a key that is not there",
                    ("spine-key-unknown",),
                    put(replace(leaf, key_index=999)),
                )
            case _:
                continue


def _list_added(
    original: Leaves, images: list[LogImage]
) -> Iterator[tuple[str, tuple[str, ...], Leaves]]:
    origin, size = images[0].origin, images[0].kept[-1]
    other = sha256(b"something else").hexdigest()
    named = next(leaf for leaf in original if isinstance(leaf, spine.CampaignLeaf))
    key = next(leaf for leaf in original if isinstance(leaf, spine.KeyLeaf))
    first = next(
        at for at, leaf in enumerate(original) if isinstance(leaf, spine.CheckpointLeaf)
    )
    elsewhere = spine.CampaignLeaf("elsewhere.example/c/x", other)
    yield "a log named twice", ("spine-campaign",), [*original, named]
    yield "a log of another host", ("spine-host",), [*original, elsewhere]
    unnamed = spine.CheckpointLeaf(f"{HOST}/c/never", 3, other)
    yield "a log that was not named", ("spine-campaign",), [*original, unnamed]
    yield "a key twice", ("spine-key-again",), [*original, key]
    again = spine.KeyLeaf(origin, 77, key.spki_sha256)
    yield "a key under two numbers", ("spine-key-again",), [*original, again]
    beyond = spine.CheckpointLeaf(origin, size + 50, other)
    yield "a checkpoint beyond the log", ("spine-beyond",), [*original, beyond]
    twice = original[first]
    yield "a checkpoint twice", ("spine-size",), [*original, twice]
    lower = spine.IssuedLeaf(origin, key.key_index, 1)
    yield "a total that falls", ("spine-issued",), [*original, lower]
    retired = spine.RetiredLeaf(origin)
    early = [*original[:first], retired, *original[first:]]
    yield "a log retired before its end", ("spine-retired",), early
    after = [*original, retired, spine.IssuedLeaf(origin, key.key_index, 9_000)]
    yield "a total after a log was retired", ("spine-retired",), after
    small = [
        replace(leaf, total=1)
        if isinstance(leaf, spine.IssuedLeaf) and leaf.origin == origin
        else leaf
        for leaf in original
    ]
    # Of each key one total: what is told again would have to grow.
    kept, seen = [], set()
    for leaf in small:
        if isinstance(leaf, spine.IssuedLeaf):
            if (leaf.origin, leaf.key_index) in seen:
                continue
            seen.add((leaf.origin, leaf.key_index))
        kept.append(leaf)
    yield "fewer issued than signed", ("spine-total",), kept


def _try_forms(bench: Bench, key: Ed25519PrivateKey, original: Leaves) -> None:
    """Write leaves in forms that say the same or nothing."""
    encoded = _encode(original)
    for at in (0, len(encoded) // 2, len(encoded) - 1):
        data = encoded[at]
        forms = {
            "a blank": data.replace(b":", b": ", 1),
            "a member more": data[:-1] + b',"more":1}',
            "a kind that there is not": data.replace(b'"kind":"', b'"kind":"x', 1),
            "a member less": b'{"kind":"client"}',
            "no JSON": b"\xff" + data,
            "a list": b"[" + data + b"]",
            "nothing": b"",
            "its members in another order": _reverse(data),
        }
        for what, changed in forms.items():
            leaves = [*encoded[:at], changed, *encoded[at + 1 :]]
            bench.attempt(
                "written in another form",
                f"{at}: {what}",
                bench.replace_all(_write_raw(key, leaves)),
                names_it=partial(_names_leaf, at),
            )
    bench.close("spine")


def _names_leaf(at: int, fault: Fault) -> bool:
    return fault.index == at


def _reverse(data: bytes) -> bytes:
    members = json.loads(data)
    turned = dict(reversed(members.items()))
    return json.dumps(turned, separators=(",", ":")).encode()


# --- one who has no witness's key


def _try_witnesses(
    folder: Path,
    key: Ed25519PrivateKey,
    original: Leaves,
    report: Report,
    audit: Callable[..., Verdict],
    options: Options,
) -> None:
    """Make a checkpoint look witnessed by two of three."""
    witnesses = {
        f"{name}.example/witness": Ed25519PrivateKey.generate()
        for name in ("asha", "omar", "petra")
    }
    policy = _make_policy(witnesses)
    files = _write(key, original)
    size = len(original)
    names = "checkpoint", f"checkpoints/{size}"
    signed = files[names[0]]
    lines = [_cosign(signed, name, private) for name, private in witnesses.items()]

    def show(*cosignatures: bytes) -> Files:
        """Return the files with these lines below the newest checkpoint."""
        return {**files, **dict.fromkeys(names, signed + b"".join(cosignatures))}

    witnessed = show(*lines[:2])
    bench = Bench(folder, witnessed, report, partial(audit, policy=policy))
    report.check(
        "spine: cosigned by two of three, it is witnessed", bench.accepts(), policy[:60]
    )
    for what, changed in _list_false_lines(show, lines, witnesses, files, signed):
        tally = bench.tallies["not witnessed, and said to be"]
        tally.attempts += 1
        if bench.examine(changed).accepted:
            tally.wrong.append(f"{what}: WITNESSED")
    rng = random.Random(options.seed)
    for _number in range(options.pick(tiny=10, ci=60, full=600)):
        at = len(signed) + rng.randrange(len(b"".join(lines[:2])))
        data = bytearray(witnessed[names[0]])
        data[at] ^= 1 << rng.randrange(8)
        tally = bench.tallies["a bit of a cosignature flipped"]
        tally.attempts += 1
        if bench.examine(dict.fromkeys(names, bytes(data))).accepted:
            tally.wrong.append(f"byte {at}: WITNESSED")
    other = spine.ClientLeaf(sha256(b"another client").hexdigest())
    forged = _write(key, [other, *original[1:]])
    for name in names:
        forged[name] += b"".join(lines)
    tally = bench.tallies["history signed anew above the old cosignatures"]
    tally.attempts += 1
    if bench.examine(bench.replace_all(forged)).accepted:
        tally.wrong.append("WITNESSED")
    bench.close("spine")


def _make_policy(witnesses: dict[str, Ed25519PrivateKey]) -> bytes:
    text = ""
    for name, private in witnesses.items():
        found = cosignature.witness_key(name, private.public_key().public_bytes_raw())
        text += f"witness {name} {found.vkey} https://{name}\n"
    text += f"group two 2 {' '.join(witnesses)}\nquorum two\n"
    return text.encode()


def _cosign(
    signed: bytes, name: str, private: Ed25519PrivateKey, time: int = AT
) -> bytes:
    text = note.parse_note(signed).text
    line = cosignature.cosignature_line(text, name=name, private=private, time=time)
    return line.encode()


def _list_false_lines(
    show: Callable[..., Files],
    lines: list[bytes],
    witnesses: dict[str, Ed25519PrivateKey],
    files: Files,
    signed: bytes,
) -> Iterator[tuple[str, Changed]]:
    first, second, third = witnesses
    mallory = Ed25519PrivateKey.generate()
    stranger = "mallory.example/witness"
    older = next(
        data
        for name, data in sorted(files.items())
        if name.startswith("checkpoints/") and data != signed
    )
    yield "no line", show()
    yield "one line", show(lines[0])
    yield "one line twice", show(lines[0], lines[0])
    later = _cosign(signed, first, witnesses[first], AT + 60)
    yield "one witness at two times", show(lines[0], later)
    own = _cosign(signed, second, mallory)
    yield "another key under a witness's name", show(lines[0], own)
    unknown = _cosign(signed, stranger, mallory)
    yield "a witness that the policy does not name", show(lines[0], unknown)
    moved = _cosign(older, second, witnesses[second])
    yield "a line of an older checkpoint", show(lines[0], moved)
    renamed = lines[1].replace(second.encode(), third.encode())
    yield "a line under another witness's name", show(lines[0], renamed)
    yield "the log's own line again", show(lines[0], signed.split(b"\n\n", 1)[1])
    yield "a line cut off", show(lines[0], lines[1][:-9])
    yield "a line without its end", show(lines[0], lines[1].rstrip(b"\n"))


# --- somebody holds what was shown before


def write_note(path: Path, data: bytes) -> Path:
    """Write what somebody kept of a checkpoint."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def _try_held(
    root: Path, key: Ed25519PrivateKey, original: Leaves, report: Report
) -> None:
    """Show another spine than before: both checkpoints prove it, whole."""
    shown = _write(key, original)["checkpoint"]
    found = note.VerifierKey.of(ORIGIN, key.public_key().public_bytes_raw())
    other = sha256(b"another client").hexdigest()
    wrong = []
    for what, leaves in {
        "as-long": [spine.ClientLeaf(other), *original[1:]],
        "longer": [spine.ClientLeaf(other), *original],
        "longer-at-its-end": [*original[:-1], spine.ClientLeaf(other), *original[-1:]],
    }.items():
        folder = write_files(root / what / spine.PATH, _write(key, leaves))
        data = (folder / "checkpoint").read_bytes()
        (held,) = read_states(str(write_note(root / "held", shown)))
        (result,) = compare([held], read_states(str(folder)), [found])
        proof = result.fault.evidence if result.fault is not None else ()
        named = {item.data for item in proof}
        if result.verdict != FORK or not {shown, data} <= named:
            wrong.append(f"{what}: {result.verdict}")
    report.check(
        "spine, another one than was shown before: a fork, with both checkpoints whole",
        not wrong,
        wrong,
    )
