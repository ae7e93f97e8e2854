"""Lanes against the same sums of plain floats."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from hft_lib.kernel import kernel
from hft_lib.models.lanes import (
    WIDTH,
    align_spills,
    all_negative,
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


@kernel
def _fused_parts(data: Any, count: int, like: Any, out: Any) -> None:
    for t in range(count):
        x = load(data, t, like)
        store(out, t, fused(-x, x, fused(x, 3.0, -1.0)))


@kernel
def _fused_lanes(data: Any, count: int, out: Any) -> None:
    _fused_parts(data, count, lanes(0.0), out)


def test_eight_products_and_sums_are_rounded_once_each() -> None:
    data = np.random.default_rng(2).normal(size=WIDTH * 10)
    one, other = np.empty_like(data), np.empty_like(data)
    _fused_parts(data, data.size, 0.0, one)
    _fused_lanes(data, 10, other)
    assert one.tobytes() == other.tobytes()
    exact = [float(Fraction(float(Fraction(x) * 3 - 1)) - Fraction(x) ** 2) for x in data.tolist()]
    assert one.tolist() == exact


@kernel
def _all_negative(data: Any) -> tuple[bool, bool]:
    return all_negative(load(data, 0, lanes(0.0))), all_negative(data[WIDTH - 1])


@pytest.mark.parametrize("place", range(WIDTH))
@pytest.mark.parametrize("odd", [0.0, -0.0, 1.0, np.nan])
def test_one_lane_that_is_not_negative_is_found_wherever_it_is(place: int, odd: float) -> None:
    data = np.full(WIDTH, -5e-324)
    assert _all_negative(data) == (True, True)
    data[place] = odd
    assert _all_negative(data) == (False, place != WIDTH - 1)


@kernel
def _shifted_parts(data: Any, count: int, like: Any, out: Any) -> None:
    for t in range(count):
        x = load(data, t, like)
        store(out, t, shifted(x * x + 0.1, x + 6755399441055744.0))


@kernel
def _shifted_lanes(data: Any, count: int, out: Any) -> None:
    _shifted_parts(data, count, lanes(0.0), out)


def test_a_shift_is_a_power_of_two() -> None:
    data = 10.0 * np.random.default_rng(3).normal(size=WIDTH * 10)
    one, other = np.empty_like(data), np.empty_like(data)
    _shifted_parts(data, data.size, 0.0, one)
    _shifted_lanes(data, 10, other)
    assert one.tolist() == np.ldexp(data * data + 0.1, np.rint(data).astype(int)).tolist()
    assert one.tobytes() == other.tobytes()
