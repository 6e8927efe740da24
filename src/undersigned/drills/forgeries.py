"""What someone can try who holds the log key, and signs everything anew.

Each forgery changes a good log of ``every_leaf`` and says which faults are right
answers, and which leaf is at fault where that is known. Interval numbers are those of
``every_leaf.make_log``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from undersigned_verify import entry
from undersigned_verify.canonical import encode_base64

from undersigned.drills.every_leaf import (
    EMAIL,
    HELD_EMAIL,
    OPEN,
    change_json,
)
from undersigned.drills.log_image import CASE, Approver, Author, IssuerKey, LogImage

FIRST_KEYS, FIRST_CROWD, HELD, DECISIONS, SECOND_CROWD = range(5)
LATE_KEYS, LATE_CROWD, LAST, CLOSE, AFTER = range(5, 10)


@dataclass(frozen=True, slots=True)
class Forgery:
    """A forged log. ``index``: the leaf at fault, None where any may be named."""

    name: str
    codes: tuple[str, ...]
    image: LogImage
    index: int | None = None


Make = Callable[[Author, LogImage], Forgery]
Change = Callable[[bytes], bytes]


def list_forgeries(author: Author, image: LogImage) -> Iterator[Forgery]:
    """Yield every forgery of a good log."""
    for group in (_signatures, _orders, _keys, _decisions, _forms, _ends, _headers):
        yield from group(author, image)


def _edit(
    image: LogImage, number: int, change: Change, *, nth: int = 0
) -> tuple[LogImage, int]:
    """Change the nth leaf of a type, keep the interval in order; return its index."""
    forged = image.copy()
    i, j = forged.find(number, nth)
    leaf = change(forged.intervals[i][j])
    forged.intervals[i][j] = leaf
    forged.sort()
    return forged, forged.index_of(leaf)


def _insert(image: LogImage, interval: int, *leaves: bytes) -> tuple[LogImage, int]:
    """Add leaves to an interval; return the index of the last of them."""
    forged = image.copy()
    forged.intervals[interval] += leaves
    forged.sort()
    return forged, forged.index_of(leaves[-1])


def _put(leaf: bytes, at: int, data: bytes) -> bytes:
    return leaf[:at] + data + leaf[at + len(data) :]


def _flip(leaf: bytes, at: int) -> bytes:
    return _put(leaf, at, bytes([leaf[at] ^ 1]))


# --- signatures


def _signatures(author: Author, image: LogImage) -> Iterator[Forgery]:
    kept = image.intervals[FIRST_CROWD][5]
    for interval in (FIRST_CROWD, DECISIONS, LAST):
        forged, index = _insert(image, interval, kept)
        yield Forgery(
            f"a signature copied into {interval}", ("nonce-again",), forged, index
        )
    changes: dict[str, Change] = {
        "another stance": lambda leaf: _put(leaf, 4, bytes([(leaf[4] + 1) % 3])),
        "another public hash": lambda leaf: _flip(leaf, 20),
        "another withdraw hash": lambda leaf: _flip(leaf, 50),
        "another r": lambda leaf: _flip(leaf, 80),
        "a byte of the token": lambda leaf: _flip(leaf, 200),
        "the last byte of the token": lambda leaf: _flip(leaf, 356),
    }
    for name, change in changes.items():
        forged, index = _edit(image, entry.SIGNATURE, change)
        yield Forgery(f"a signature with {name}", ("token-invalid",), forged, index)
    forged, index = _edit(image, entry.SIGNATURE, lambda leaf: _flip(leaf, 3))
    yield Forgery(
        "a signature moved to another class", ("token-invalid",), forged, index
    )
    forged, index = _edit(
        image, entry.SIGNATURE, lambda leaf: _put(leaf, 2, (77).to_bytes(2))
    )
    yield Forgery("a signature under no key", ("key-unknown",), forged, index)
    forged, index = _edit(image, entry.SIGNATURE, lambda leaf: _put(leaf, 4, b"\3"))
    yield Forgery("a fourth stance", ("leaf-value",), forged, index)
    invented = _put(kept, 69, sha256(b"another r").digest())
    invented = _put(invented, 101, sha256(b"x").digest() * 8)
    forged, index = _insert(image, LAST, invented)
    yield Forgery("an invented signature", ("token-invalid",), forged, index)
    foreign = Author(origin="drill.example/c/elsewhere")
    foreign.keys = dict(author.keys)
    forged, index = _insert(image, LAST, foreign.sign())
    yield Forgery("a token of another campaign", ("token-invalid",), forged, index)
    unknown = Author(origin=author.origin)
    unknown.keys = {EMAIL: IssuerKey()}
    forged, index = _insert(image, LAST, unknown.sign())
    yield Forgery(
        "a token of a key nobody announced", ("token-invalid",), forged, index
    )


# --- order


def _orders(_author: Author, image: LogImage) -> Iterator[Forgery]:
    forged = image.copy()
    crowd = forged.intervals[SECOND_CROWD]
    crowd[-2], crowd[-1] = crowd[-1], crowd[-2]
    index = forged.start_of(SECOND_CROWD + 1) - 1
    yield Forgery(
        "two signatures in the wrong order", ("order-in-interval",), forged, index
    )
    forged = image.copy()
    leaves = forged.intervals[HELD]
    leaves.append(leaves.pop(0))
    index = forged.start_of(HELD + 1) - 1
    yield Forgery(
        "a control leaf behind signatures", ("order-in-interval",), forged, index
    )
    forged = image.copy()
    crowd = forged.intervals[SECOND_CROWD]
    crowd.sort(key=lambda leaf: leaf[69:101] if leaf[1] == entry.SIGNATURE else b"")
    yield Forgery("signatures in an order of one's own", ("order-in-interval",), forged)


# --- keys


def _keys(author: Author, image: LogImage) -> Iterator[Forgery]:
    late = Author(origin=author.origin)
    leaf = late.announce(20, 1, entry.QUARANTINE)
    forged, index = _insert(image, LATE_KEYS, leaf, late.sign(20))
    yield Forgery("a key used where it is announced", ("key-too-new",), forged, index)
    for name, leaf, codes in (
        ("an index announced twice", late.announce(EMAIL, 1, 1), ("key-index-again",)),
        (
            "a key announced twice",
            author.announce(21, 2, 1, author.keys[EMAIL]),
            ("key-spki-again",),
        ),
        (
            "a second ordinary key of a class",
            late.announce(22, 1),
            ("key-class-again",),
        ),
    ):
        forged, index = _insert(image, LATE_KEYS, leaf)
        yield Forgery(name, codes, forged, index)
    many = [late.announce(30 + number, 1, entry.QUARANTINE) for number in range(7)]
    forged, _index = _insert(image, LATE_KEYS, *many)
    yield Forgery("nine quarantine keys", ("key-quarantine-many",), forged)
    narrow = replace(author.header, classes=("email", "invitation", "open"))
    forged = image.copy()
    forged.intervals[0][0] = entry.encode(narrow)
    yield Forgery("a key of a class the header lacks", ("key-class",), forged)
    danger = image.copy()
    danger.intervals[0][0] = entry.encode(replace(author.header, mode="danger"))
    yield Forgery("quarantine in danger mode", ("key-quarantine-danger",), danger)
    changes: dict[str, Change] = {
        "an even modulus": lambda leaf: _flip(leaf, 342),
        "another exponent": lambda leaf: _flip(leaf, 347),
    }
    for name, change in changes.items():
        forged, index = _edit(image, entry.ISSUER_KEY, change)
        yield Forgery(f"a key with {name}", ("leaf-spki",), forged, index)


# --- decisions


def _decisions(author: Author, image: LogImage) -> Iterator[Forgery]:
    yield from _withdrawals(author, image)
    yield from _approvals(author, image)
    first = image.start_of(FIRST_CROWD)
    for name, leaf, codes in (
        (
            "a removal of what is withdrawn",
            author.remove((first + 3, first + 3)),
            ("target-state",),
        ),
        (
            "a removal of a key leaf",
            author.remove((1, 1)),
            ("target-not-signature",),
        ),
        (
            "a removal of what is not there yet",
            author.remove((100_000, 100_001)),
            ("target-absent",),
        ),
        (
            "a reinstatement of what stands",
            author.approve(entry.Release(((first, first),), None, "appeal", CASE)),
            ("target-state",),
        ),
        (
            "a decision about an ordinary key",
            author.approve(entry.Removal(None, EMAIL, "abuse", CASE)),
            ("key-not-quarantine",),
        ),
        (
            "a second decision about a key",
            author.approve(entry.Removal(None, HELD_EMAIL, "abuse", CASE)),
            ("key-decided",),
        ),
        (
            "an approver announced again",
            Approver(author.approvers[0].id).announcement,
            ("approver-again",),
        ),
    ):
        forged, index = _insert(image, LAST, leaf)
        yield Forgery(name, codes, forged, index)


def _withdrawals(author: Author, image: LogImage) -> Iterator[Forgery]:
    first = image.start_of(FIRST_CROWD)
    leaves = image.leaves
    w = author.secrets[leaves[first + 3]]
    for name, target, secret, codes in (
        ("with a wrong secret", first + 5, bytes(32), ("withdrawal-secret",)),
        ("with another's secret", first + 5, w, ("withdrawal-secret",)),
        ("a second time", first + 3, w, ("target-state",)),
        ("of a key leaf", 1, w, ("target-not-signature",)),
        ("of a leaf to come", 100_000, w, ("target-absent",)),
    ):
        leaf = entry.encode(entry.Withdrawal(target, secret))
        forged, index = _insert(image, LAST, leaf)
        yield Forgery(f"a withdrawal {name}", codes, forged, index)


def _approvals(author: Author, image: LogImage) -> Iterator[Forgery]:
    first = image.start_of(FIRST_CROWD)
    removal = entry.Removal(((first + 7, first + 7),), None, "abuse", CASE)
    mina, noor = author.approvers
    mallory = Approver("mallory")
    posing = Approver("noor", Ed25519PrivateKey.generate())
    for name, approvers, codes in (
        ("by someone unannounced", (mina, mallory), ("approval-unknown",)),
        ("by two strangers", (mallory, Approver("eve")), ("approval-unknown",)),
        ("under another's name", (mina, posing), ("approval-signature",)),
        ("by one alone", (mina,), ("leaf-value", "leaf-members")),
        ("by one twice", (mina, mina), ("leaf-value", "leaf-members")),
    ):
        approvals = tuple(one.approve(author.origin, removal) for one in approvers)
        leaf = _encode_anyway(replace(removal, approvals=approvals))
        forged, index = _insert(image, LAST, leaf)
        yield Forgery(f"a removal approved {name}", codes, forged, index)
    good = author.approve(removal)
    changes: dict[str, dict[str, object]] = {
        "widened after approval": {"targets": [[first + 7, first + 9]]},
        "with another reason": {"reason": "other"},
        "of another case": {"case_sha256": "0" * 64},
    }
    for name, members in changes.items():
        forged, index = _insert(image, LAST, change_json(good, **members))
        yield Forgery(f"a removal {name}", ("approval-signature",), forged, index)
    approvals = tuple(
        one.approve("drill.example/c/elsewhere", removal) for one in (mina, noor)
    )
    leaf = entry.encode(replace(removal, approvals=approvals))
    forged, index = _insert(image, LAST, leaf)
    yield Forgery("approvals for another log", ("approval-signature",), forged, index)
    leaf = _edit_type(
        entry.encode(replace(removal, approvals=approvals)), entry.RELEASE
    )
    forged, index = _insert(image, LAST, leaf)
    yield Forgery(
        "a removal's approvals under a release", ("approval-signature",), forged, index
    )


def _edit_type(leaf: bytes, number: int) -> bytes:
    return _put(leaf, 1, bytes([number]))


def _encode_anyway(removal: entry.Removal) -> bytes:
    """Encode a removal with any approvals, which ``entry.encode`` may refuse."""
    good = entry.encode(
        replace(
            removal,
            approvals=tuple(
                entry.Approval(name, encode_base64(bytes(64))) for name in ("a", "b")
            ),
        )
    )
    approvals = [{"id": a.id, "signature": a.signature} for a in removal.approvals]
    return change_json(good, approvals=approvals)


# --- forms


def _forms(author: Author, image: LogImage) -> Iterator[Forgery]:
    changes: list[tuple[str, int, Change, tuple[str, ...]]] = [
        ("a blank in a JSON leaf", 7, lambda b: b.replace(b":", b": ", 1), _JSON),
        ("a JSON leaf with a line feed", 7, lambda b: b + b"\n", _JSON),
        ("a member too many", 7, lambda b: change_json(b, more=1), ("leaf-members",)),
        ("a member too few", 7, lambda b: change_json(b, kind=None), ("leaf-members",)),
        (
            "a digest in capitals",
            7,
            lambda b: change_json(b, sha256=CASE.upper()),
            _VALUE,
        ),
        (
            "a record's digest that is short",
            7,
            lambda b: change_json(b, sha256="0"),
            _VALUE,
        ),
        ("not UTF-8", 7, lambda b: b[:-2] + b"\xff" + b[-1:], _JSON),
        ("version 2", 7, lambda b: _put(b, 0, b"\2"), ("leaf-version",)),
        ("type 10", 7, lambda b: _put(b, 1, b"\x0a"), ("leaf-type",)),
        ("a leaf of one byte", 7, lambda b: b[:1], ("leaf-length",)),
        ("a longer signature", 1, lambda b: b + b"\0", ("leaf-length",)),
        ("a shorter signature", 1, lambda b: b[:-1], ("leaf-length",)),
        ("a longer key leaf", 2, lambda b: b + b"\0", ("leaf-length",)),
        ("a longer withdrawal", 3, lambda b: b + b"\0", ("leaf-length",)),
        ("more accepted than claimed", 6, lambda b: _rows(author, b, 5, 6), _VALUE),
        ("a sheet of 61 rows", 6, lambda b: _rows(author, b, 61, 6), _VALUE),
        ("targets reversed", 5, lambda b: change_json(b, targets=[[9, 8]]), _RANGES),
        (
            "targets unsorted",
            5,
            lambda b: change_json(b, targets=[[9, 9], [8, 8]]),
            _RANGES,
        ),
        (
            "targets overlapping",
            5,
            lambda b: change_json(b, targets=[[8, 9], [9, 9]]),
            _RANGES,
        ),
        ("no targets", 5, lambda b: change_json(b, targets=[]), _RANGES),
        ("a target of leaf 0", 5, lambda b: change_json(b, targets=[[0, 1]]), _RANGES),
        (
            "an approver's key too short",
            9,
            lambda b: change_json(b, public_key="AA=="),
            _VALUE,
        ),
        (
            "base64 that is not canonical",
            9,
            lambda b: change_json(b, public_key="A" * 42 + "B="),
            ("base64-not-canonical",),
        ),
    ]
    for name, number, change, codes in changes:
        forged, _index = _edit(image, number, change)
        yield Forgery(name, codes, forged)


_JSON = ("json-not-canonical",)
_VALUE = ("leaf-value",)
_RANGES = ("leaf-ranges",)


def _rows(author: Author, leaf: bytes, claimed: int, accepted: int) -> bytes:
    del author
    return change_json(leaf, rows_claimed=claimed, rows_accepted=accepted)


# --- the end


def _ends(author: Author, image: LogImage) -> Iterator[Forgery]:
    for name, leaf in (
        ("a signature after the close", author.sign()),
        ("an open signature after the close", author.sign(OPEN)),
        (
            "a removal after the close",
            author.remove((image.start_of(1), image.start_of(1))),
        ),
        ("a key after the close", Author(origin=author.origin).announce(40, 1, 1)),
        ("a second close", image.intervals[CLOSE][0]),
    ):
        forged, index = _insert(image, AFTER, leaf)
        yield Forgery(name, ("after-close",), forged, index)
    forged, index = _insert(image, CLOSE, author.sign())
    yield Forgery(
        "a signature beside the close", ("close-not-alone", "after-close"), forged
    )
    totals = dict(image.recount().totals())
    for name in ("signatures", "net", "removals", "paper"):
        wrong = {**totals, name: int(str(totals[name])) + 1}
        leaf = entry.encode(entry.Close("done", wrong))
        forged = image.copy()
        forged.intervals[CLOSE] = [leaf]
        yield Forgery(
            f"a close that counts one {name} more",
            ("close-totals",),
            forged,
            forged.start_of(CLOSE),
        )
    forged = image.copy()
    forged.intervals[LAST] = [
        leaf for leaf in forged.intervals[LAST] if leaf[1] != entry.REMOVAL
    ]
    yield Forgery(
        "a close while a quarantine key is undecided",
        ("close-undecided", "close-totals"),
        forged,
        forged.start_of(CLOSE),
    )
    forged = image.copy()
    forged.intervals[LAST].pop()
    yield Forgery("a signature dropped before the close", ("close-totals",), forged)


# --- the header


def _headers(author: Author, image: LogImage) -> Iterator[Forgery]:
    forged, index = _insert(image, LATE_KEYS, entry.encode(author.header))
    yield Forgery("a second header", ("header-again",), forged, index)
    forged = image.copy()
    forged.intervals[0].pop(0)
    yield Forgery("no header", ("header-missing",), forged, 0)
    other = replace(author.header, origin="drill.example/c/elsewhere")
    forged = image.copy()
    forged.intervals[0][0] = entry.encode(other)
    yield Forgery("a header of another log", ("checkpoint-origin",), forged, 0)
    other = replace(author.header, issuer_name="elsewhere.example")
    forged = image.copy()
    forged.intervals[0][0] = entry.encode(other)
    yield Forgery("another issuer's name", ("token-invalid",), forged)
    text = image.statement.replace(b"open", b"shut")
    forged = image.copy()
    forged.statement = text
    yield Forgery("other words", ("statement-mismatch",), forged)
    forged = forged.copy()
    forged.intervals[0][0] = entry.encode(
        replace(author.header, statement_sha256=sha256(text).hexdigest())
    )
    yield Forgery(
        "other words, with their digest in the header", ("token-invalid",), forged
    )
