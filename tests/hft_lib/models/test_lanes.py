"""Lanes against the same sums of plain floats."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hft_lib.kernel import kernel
from hft_lib.models.lanes import (
    WIDTH,
    align_spills,
    fused,
    lanes,
    load,
    multiplied,
    pick_negative,
    split,
    store,
    total,
)


@kernel
def _mixed(data: Any, count: int, like: Any, out: Any) -> Any:
    """Every operation once, on lanes or on floats."""
    summed, product = like, like + 1.0
    for t in range(count):
        x = load(data, t, like)
        y = pick_negative(x, 1.0 - x, x + 2.0)
        z = (x * y - 0.5) / (1.0 + y * y)
        store(out, t, z)
        summed += z
        product *= y
    mantissa, exponent = split(product)
    return total(summed), multiplied(mantissa), total(exponent)


@kernel
def _mixed_lanes(data: Any, count: int, out: Any) -> Any:
    return _mixed(data, count, lanes(0.0), out)


def test_eight_lanes_compute_what_floats_do_bit_for_bit() -> None:
    data = np.random.default_rng(0).normal(size=WIDTH * 10)
    one, other = np.empty_like(data), np.empty_like(data)
    _mixed(data, data.size, 0.0, one)
    _mixed_lanes(data, 10, other)
    y = np.where(data < 0.0, 1.0 - data, data + 2.0)
    assert one.tolist() == ((data * y - 0.5) / (1.0 + y * y)).tolist()
    assert one.tobytes() == other.tobytes()


@kernel
def _fused_all(data: Any, count: int, like: Any, out: Any) -> None:
    align_spills()
    for t in range(count):
        x = load(data, t, like)
        store(out, 2 * t, fused(x, x, -x))
        store(out, 2 * t + 1, fused(1.0 / 3.0, x, -1.0))


@kernel
def _fused_all_lanes(data: Any, count: int, out: Any) -> None:
    _fused_all(data, count, lanes(0.0), out)


def test_a_fused_multiply_and_add_is_rounded_once_in_lanes_as_in_floats() -> None:
    data = np.random.default_rng(2).normal(size=WIDTH * 6)
    one, other = np.empty(2 * data.size), np.empty(2 * data.size)
    _fused_all(data, data.size, 0.0, one)
    _fused_all_lanes(data, 6, other)
    assert one.reshape(-1, 2).tolist() == [
        [float(Fraction(x) * Fraction(x) - Fraction(x)), float(Fraction(1 / 3) * Fraction(x) - 1)]
        for x in data.tolist()
    ]
    wide = other.reshape(-1, 2, WIDTH).transpose(0, 2, 1).reshape(-1, 2)
    assert wide.tobytes() == one.tobytes()
    assert (one[::2] != data * data - data).any()


def test_lanes_are_added_two_by_two() -> None:
    data = np.random.default_rng(1).normal(size=WIDTH)
    found, _, _ = _mixed_lanes(data, 1, parts := np.empty(WIDTH))
    a, b, c, d, e, f, g, h = parts.tolist()
    assert found == ((a + b) + (c + d)) + ((e + f) + (g + h))


@pytest.mark.parametrize("number", [1.0, 0.75, 3.0, 2.3e-308, 1.7e308, 1e100])
def test_a_number_is_its_mantissa_times_two_to_its_exponent(number: float) -> None:
    _, mantissa, exponent = _mixed(np.array([number - 2.0]), 1, 0.0, np.empty(1))
    y = 1.0 - (number - 2.0) if number < 2.0 else number
    assert 1.0 <= mantissa < 2.0
    assert np.ldexp(mantissa, int(exponent)) == y
