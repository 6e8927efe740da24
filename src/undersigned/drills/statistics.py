"""The few statistics that judges need, from the standard library alone."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def spearman(a: Sequence[float], b: Sequence[float]) -> float:
    """Return Spearman's rank correlation of two sequences without ties.

    0.0 for fewer than three values, of which no order can be told.
    """
    count = len(a)
    if count != len(b):
        raise ValueError("the sequences differ in length")
    if count < 3:
        return 0.0
    difference = sum((x - y) ** 2 for x, y in zip(_ranks(a), _ranks(b), strict=True))
    return 1 - 6 * difference / (count * (count * count - 1))


def _ranks(values: Sequence[float]) -> list[int]:
    ranks = [0] * len(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    for rank, index in enumerate(order):
        ranks[index] = rank
    return ranks


def order_correlation(true_order: Sequence[Item], found_order: Sequence[Item]) -> float:
    """Return how the order in which items were found follows the true one.

    Items found nowhere are left out on both sides.
    """
    place = {item: position for position, item in enumerate(found_order)}
    pairs = [
        (position, place[item])
        for position, item in enumerate(true_order)
        if item in place
    ]
    return spearman([a for a, _b in pairs], [b for _a, b in pairs])


def correlation_bound(count: int, *, least: float, sigmas: float = 4.0) -> float:
    """Return what |rank correlation| of ``count`` items in random order may reach.

    The standard deviation is 1/sqrt(count - 1): thirty items in honest disorder show
    0.18 as a rule, so below some 1,600 items a fixed 0.1 would fail by chance.
    """
    return max(least, sigmas / math.sqrt(max(count - 1, 1)))


def guess_bound(expected: float, *, sigmas: float = 3.0) -> float:
    """Return how many right guesses chance explains, when ``expected`` are expected.

    The number of fixed points of a random permutation is Poisson with mean 1; over
    rounds the means and the variances add.
    """
    return expected + sigmas * math.sqrt(expected)
