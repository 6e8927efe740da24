"""Correlations and bounds."""

from __future__ import annotations

import random

import pytest

from undersigned.drills.statistics import (
    correlation_bound,
    guess_bound,
    order_correlation,
    spearman,
)


def test_the_same_order_correlates_fully() -> None:
    assert spearman([1, 5, 9, 20], [2, 3, 4, 5]) == 1.0
    assert spearman([1, 5, 9, 20], [5, 4, 3, 2]) == -1.0


def test_a_published_example_comes_out_the_same() -> None:
    # IQ and hours of television, the worked example of Spearman's rho: -29/165.
    iq = [106, 100, 86, 101, 99, 103, 97, 113, 112, 110]
    hours = [7, 27, 2, 50, 28, 29, 20, 12, 6, 17]
    assert spearman(iq, hours) == pytest.approx(-29 / 165)


def test_items_that_were_not_found_are_left_out() -> None:
    assert order_correlation("abcdef", "acf") == 1.0


def test_random_orders_keep_to_the_bound() -> None:
    rng = random.Random(5)
    worst = max(
        abs(order_correlation(range(30), rng.sample(range(30), 30)))
        for _trial in range(200)
    )
    assert 0.3 < worst < correlation_bound(30, least=0.1)


def test_the_least_bound_holds_for_many_items() -> None:
    assert correlation_bound(10_000, least=0.1) == 0.1


def test_guesses_may_exceed_chance_by_three_sigma() -> None:
    assert guess_bound(9.0) == 18.0
