"""The relation of a pair: what holds together, what does not, and how fast it returns."""

import math
from typing import Any

import numpy as np
import pytest

from hft_lib.fitting.relation import half_life_s, relation


def pair(size: int, phi: float, seed: int) -> tuple[Any, Any]:
    """Log prices whose spread is an autoregression with `phi` (1: they do not hold together)."""
    rng = np.random.default_rng(seed)
    x, spread = 10.0 + np.cumsum(rng.normal(0.0, 1e-3, size)), np.zeros(size)
    for t in range(1, size):
        spread[t] = phi * spread[t - 1] + rng.normal(0.0, 3e-4)
    return 0.5 + 0.8 * x + spread, x


def test_a_pair_that_holds_together_is_recognised() -> None:
    found = relation(*pair(2000, 0.9, 1), 60.0)
    assert found.cointegrated
    assert found.p_value < 0.001
    assert found.hedge_ratio == pytest.approx(0.8, abs=0.02)
    assert found.half_life_s == pytest.approx(60.0 * math.log(2.0) / -math.log(0.9), rel=0.25)


def test_independent_walks_are_rarely_claimed() -> None:
    rng = np.random.default_rng(2)
    walks = [10.0 + np.cumsum(rng.normal(0.0, 1e-3, (2, 300)), axis=1) for _ in range(60)]
    claimed = sum(relation(y, x, 60.0).cointegrated for y, x in walks)
    assert claimed <= 7  # 5 % of 60 is 3; 8 or more come once in 100 times


def test_both_directions_are_tested_and_counted() -> None:
    y, x = pair(500, 0.95, 3)
    assert relation(y, x, 1.0).p_value == pytest.approx(relation(x, y, 1.0).p_value)


def test_a_spread_that_does_not_return_has_no_half_life() -> None:
    assert half_life_s(np.geomspace(1.0, 1e6, 100), 1.0) is None
    assert half_life_s(np.zeros(10), 1.0) is None


def test_a_spread_that_alternates_is_as_fast_as_the_sampling_shows() -> None:
    assert half_life_s(np.array([1.0, -1.0] * 20), 8.0) == pytest.approx(2.0)


def test_the_document_is_plain() -> None:
    document = relation(*pair(300, 0.5, 4), 1.0).document()
    assert {"hedge_ratio", "half_life_s", "p_value", "cointegrated"} <= set(document)
    assert isinstance(document["cointegrated"], bool)


@pytest.mark.parametrize(
    ("y", "x", "message"),
    [
        (np.arange(29.0), np.arange(29.0), "observations must be at least 30, was 29"),
        (np.zeros(50), np.arange(50.0), "y must move: its range, was 0.0"),
        (np.arange(50.0), np.ones(50), "x must move: its range, was 0.0"),
        (np.arange(50.0), np.ones(49), "x must have 50 values, was 49"),
    ],
)
def test_bad_input_is_refused_with_rule_and_value(y: Any, x: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        relation(y, x, 1.0)
