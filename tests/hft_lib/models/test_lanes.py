"""Lanes against the same sums of plain floats."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hft_lib.kernel import kernel
from hft_lib.models.lanes import (
    WIDTH,
    fused,
    lanes,
    load,
    multiplied,
    pick_negative,
    shifted,
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


@kernel
def _fused_and_shifted(data: Any, count: int, like: Any, fusions: Any, shifts: Any) -> None:
    for t in range(count):
        x = load(data, t, like)
        y = fused(x, x, -0.3) + fused(0.1, x, x)
        store(fusions, t, y)
        store(shifts, t, shifted(y, x + 6755399441055744.0))


@kernel
def _fused_and_shifted_lanes(data: Any, count: int, fusions: Any, shifts: Any) -> None:
    _fused_and_shifted(data, count, lanes(0.0), fusions, shifts)


def test_a_fused_product_is_rounded_once_and_a_shift_is_a_power_of_two() -> None:
    data = 10.0 * np.random.default_rng(2).normal(size=WIDTH * 10)
    one, other = np.empty((2, data.size)), np.empty((2, data.size))
    _fused_and_shifted(data, data.size, 0.0, one[0], one[1])
    _fused_and_shifted_lanes(data, 10, other[0], other[1])
    exact = [Fraction(x) for x in data.tolist()]
    square = np.array([float(x * x - Fraction(0.3)) for x in exact])
    tenth = np.array([float(Fraction(0.1) * x + x) for x in exact])
    assert one[0].tolist() == (square + tenth).tolist()
    assert one[1].tolist() == np.ldexp(one[0], np.rint(data).astype(int)).tolist()
    assert one.tobytes() == other.tobytes()
