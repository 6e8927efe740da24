"""The attacker of ``unlink``: raw files and the version key, and a list of who asked.

He knows every address and computes its nullifier; he knows every leaf. What he lacks
is which belongs to which. So he looks for anything in the raw bytes that puts addresses
into an order and leaves into an order, and pairs the first with the first; or, where
one file has both, each leaf with an address just before it. Which of these tells most
he learns from intervals whose answers he is given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

PAGE_BYTES = 4096
Snapshot = dict[str, bytes]
Order = list[bytes]
Pairs = list[tuple[bytes, bytes]]
# Where the addresses' order is from, where the leaves', and how they are paired.
Hypothesis = tuple[str, str, str]


@dataclass(slots=True)
class Case:
    """One look at the files, and the truth that judges the guesses.

    ``addresses``: nullifiers of those who had a token, in no order; ``leaves``: nonces
    of the signatures that could be theirs, as the log lists them.
    """

    snapshot: Snapshot
    addresses: Order
    leaves: Order
    truth: dict[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Score:
    """``right`` of ``guesses``; ``expected`` by chance, one in the crowd each."""

    right: int
    guesses: int
    expected: float

    def __add__(self, other: Score) -> Score:
        return Score(
            self.right + other.right,
            self.guesses + other.guesses,
            self.expected + other.expected,
        )


NOTHING = Score(0, 0, 0.0)


def find_orders(items: Order, snapshot: Snapshot) -> Iterator[tuple[str, Order]]:
    """Yield every order that raw bytes give to items, with where it comes from."""
    for name, data in snapshot.items():
        first = _places(items, data)
        if len(first) < len(items) / 2 or len(first) < 3:
            continue
        yield f"{name}, first offset", [item for _at, item in sorted(first)]
        last = [(data.rfind(item), item) for _at, item in first]
        yield f"{name}, last offset", [item for _at, item in sorted(last)]
        yield f"{name}, filling of pages", _by_filling(first)


def _places(items: Order, data: bytes) -> list[tuple[int, bytes]]:
    found = [(data.find(item), item) for item in items]
    return [(at, item) for at, item in found if at >= 0]


def _by_filling(places: list[tuple[int, bytes]]) -> Order:
    """Order items by how early their page was filled with them.

    SQLite writes cells from a page's end towards its beginning: the item with the
    highest offset came first, as long as nobody wrote the page anew.
    """
    pages: dict[int, list[tuple[int, bytes]]] = {}
    for at, item in places:
        pages.setdefault(at // PAGE_BYTES, []).append((at, item))
    ranked = [
        (rank, -at, item)
        for cells in pages.values()
        for rank, (at, item) in enumerate(sorted(cells, reverse=True))
    ]
    return [item for _rank, _at, item in sorted(ranked)]


def attack(
    case: Case, *, asked: Order
) -> tuple[dict[Hypothesis, Score], dict[Hypothesis, Score]]:
    """Return what each way of pairing scores on one case, for two attackers.

    The first has the files alone. The second also knows in which order people asked:
    ``asked``, nullifiers.
    """
    addresses = list(find_orders(case.addresses, case.snapshot))
    leaves = list(find_orders(case.leaves, case.snapshot))
    # Public or not, this is how a mirror lists them.
    leaves.append(("order of the log", case.leaves))
    scores = _try_orders(case, addresses, leaves)
    for name, pairs in _pair_by_nearness(case):
        scores[name, name, "each leaf with the address before it"] = _score(case, pairs)
    seen = _try_orders(case, [("order of asking", asked)], leaves)
    return scores, {**scores, **seen}


def _try_orders(
    case: Case, addresses: list[tuple[str, Order]], leaves: list[tuple[str, Order]]
) -> dict[Hypothesis, Score]:
    return {
        (one, other, way): _score(case, pairs)
        for (one, order), (other, nonces) in product(addresses, leaves)
        for way, pairs in _pair_by_rank(order, nonces)
    }


def _pair_by_rank(addresses: Order, leaves: Order) -> Iterator[tuple[str, Pairs]]:
    yield "turned", list(zip(addresses[::-1], leaves, strict=False))
    # Who signs late leaves a gap, and everybody after it stands one or two further on.
    for late in range(3):
        yield f"{late} late", list(zip(addresses[late:], leaves, strict=False))


def _pair_by_nearness(case: Case) -> Iterator[tuple[str, Pairs]]:
    for name, data in case.snapshot.items():
        asked, signed = _places(case.addresses, data), _places(case.leaves, data)
        if len(asked) < len(case.addresses) / 2 or len(signed) < len(case.leaves) / 2:
            continue
        waiting: Order = []
        pairs: Pairs = []
        known = set(case.addresses)
        for _at, item in sorted(asked + signed):
            if item in known:
                waiting.append(item)
            elif waiting:
                pairs.append((waiting.pop(), item))
        yield name, pairs


def _score(case: Case, pairs: Pairs) -> Score:
    right = sum(case.truth.get(address) == nonce for address, nonce in pairs)
    return Score(right, len(pairs), len(pairs) / max(1, len(case.leaves)))


def train_and_test(
    scores: list[dict[Hypothesis, Score]],
) -> tuple[Score, list[Hypothesis]]:
    """Choose on one half of the intervals, guess on the other, both ways round.

    Choosing and judging on the same half would call luck a success.
    """
    total, chosen = NOTHING, []
    for half in (0, 1):
        known, unknown = scores[half::2], scores[1 - half :: 2]
        names = set().union(*known) if known else set()
        if not names:
            continue
        right = {
            name: sum(one.get(name, NOTHING).right for one in known)
            for name in sorted(names)
        }
        best = max(right, key=right.__getitem__)
        chosen.append(best)
        for one in unknown:
            total += one.get(best, NOTHING)
    return total, chosen
