"""A log in which every type of leaf stands, and every decision is made once."""

from __future__ import annotations

import json
from hashlib import sha256

from undersigned_verify import entry
from undersigned_verify.canonical import encode as encode_json

from undersigned.drills.log_image import CASE, Author, LogImage

EMAIL, INVITATION, OPEN, HELD_EMAIL, VOUCHED, HELD_INVITATION = range(6)


def make_log(author: Author, *, crowd: int) -> LogImage:
    """Return the log. ``crowd``: signatures in each of its two large intervals.

    Leaves of types 0 to 9; quarantine keys released and removed; a withdrawal, a
    removal, a reinstatement, a paper sheet replaced, a close, a record after it.
    """
    image = author.image(
        [
            [
                entry.encode(author.header),
                author.announce(EMAIL, 1),
                author.announce(INVITATION, 2),
                author.announce(OPEN, 4),
                author.announce(HELD_EMAIL, 1, entry.QUARANTINE),
                *(approver.announcement for approver in author.approvers),
            ],
            [
                *author.signs(40),
                *author.signs(6, INVITATION),
                *author.signs(6, OPEN),
            ],
        ]
    )
    image.intervals.append(
        [
            entry.encode(entry.PublicRecord("office-answer", CASE)),
            *author.signs(20),
            *author.signs(10, HELD_EMAIL),
        ]
    )
    first = image.start_of(1)
    leaves = image.leaves
    # Whatever the first crowd's order by hash: its signatures stand from ``first`` on.
    image.intervals.append(
        [
            *(_withdraw(author, leaves, first + number) for number in (3, 11)),
            author.remove((first + 20, first + 24), (first + 30, first + 30)),
            author.approve(_sheet(1, claimed=40, accepted=31)),
            *author.signs(crowd),
        ]
    )
    image.intervals.append(
        [
            author.approve(
                entry.Release(((first + 21, first + 22),), None, "appeal", CASE)
            ),
            author.approve(entry.Release(None, HELD_EMAIL, "cleared", CASE)),
            author.approve(_sheet(1, claimed=40, accepted=28)),
            *author.signs(crowd),
            *author.signs(5, HELD_EMAIL),
        ]
    )
    image.intervals.append(
        [
            author.announce(VOUCHED, 3),
            author.announce(HELD_INVITATION, 2, entry.QUARANTINE),
            *author.signs(12),
        ]
    )
    image.intervals.append(
        [*author.signs(10, VOUCHED), *author.signs(10, HELD_INVITATION)]
    )
    image.intervals.append(
        [
            author.approve(entry.Removal(None, HELD_INVITATION, "abuse", CASE)),
            *author.signs(24),
        ]
    )
    image.sort()
    close = entry.Close("done", image.recount().totals())
    image.intervals.append([entry.encode(close)])
    image.intervals.append([entry.encode(entry.PublicRecord("outcome", CASE))])
    return image


def _withdraw(author: Author, leaves: list[bytes], index: int) -> bytes:
    return entry.encode(entry.Withdrawal(index, author.secrets[leaves[index]]))


def _sheet(sheet: int, *, claimed: int, accepted: int) -> entry.PaperSheet:
    scan = sha256(f"sheet {sheet}".encode()).hexdigest()
    return entry.PaperSheet(sheet, claimed, accepted, scan)


def change_json(leaf: bytes, **members: object) -> bytes:
    """Return a JSON leaf with members replaced, added, or (by None) left out."""
    content = json.loads(leaf[2:])
    for name, value in members.items():
        if value is None:
            del content[name]
        else:
            content[name] = value
    return leaf[:2] + encode_json(content)
