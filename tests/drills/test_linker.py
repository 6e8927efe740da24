"""The linker wins where an order is kept, and scores by chance where none is."""

from __future__ import annotations

import random

from undersigned.drills.linker import Case, attack, train_and_test


def make_case(rng: random.Random, files: str) -> Case:
    """Return forty signers; ``files``: what their server keeps."""
    people = [(rng.randbytes(32), rng.randbytes(32)) for _number in range(40)]
    asked, signed = [a for a, _n in people], [n for _a, n in people]
    if files == "orders":
        snapshot = {"a": b"-".join(asked), "b": b"-".join(signed)}
    elif files == "log":
        snapshot = {"log": b"".join(a + b" " + n + b"\n" for a, n in people)}
    else:
        snapshot = {"a": b"-".join(sorted(asked)), "b": b"-".join(sorted(signed))}
    shuffled = rng.sample(asked, len(asked))
    return Case(snapshot, shuffled, sorted(signed), dict(people))


def score(files: str, *, rounds: int = 20) -> float:
    rng = random.Random(files)
    found = [attack(make_case(rng, files), asked=[])[0] for _round in range(rounds)]
    total, _chosen = train_and_test(found)
    return total.right / total.guesses


def test_two_orders_laid_side_by_side_link_everybody() -> None:
    assert score("orders") == 1.0


def test_one_log_of_both_links_everybody() -> None:
    assert score("log") == 1.0


def test_sorted_files_link_nobody() -> None:
    assert score("sorted") < 4 / 40


def test_who_saw_people_come_needs_one_order_only() -> None:
    rng = random.Random(1)
    found = []
    for _round in range(6):
        case = make_case(rng, "orders")
        case.snapshot.pop("a")
        found.append(attack(case, asked=list(case.truth)))
    thief, _chosen = train_and_test([alone for alone, _seen in found])
    watcher, _chosen = train_and_test([seen for _alone, seen in found])
    assert thief.guesses == 0
    assert watcher.right == watcher.guesses > 0
