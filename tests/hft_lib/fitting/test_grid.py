"""The models' grid: two half-lives where the window allows it, and the moments on it as live."""

import numpy as np
import pytest

from hft_lib.events import PairTick, Quote
from hft_lib.fitting.grid import (
    LADDER_MS,
    cadence_ns,
    choose_grid_ms,
    grid_moments,
    regular,
)
from hft_lib.fitting.result import FitRefused
from hft_lib.market.alignment import PairState, tick
from hft_lib.market.cleaning import SymbolState

DAY_S = 86_400.0


@pytest.mark.parametrize(
    ("half_life_s", "cadence_s", "window_s", "grid_ms"),
    [
        (360.0, 300.0, 13 * DAY_S, 900_000),  # perpetual against spot, bars of 5 minutes
        (
            0.6,
            0.005,
            170.0,
            1_000,
        ),  # ticks: 120 ms would do, two half-lives are 1.2 s, cut to 100 steps
        (0.2, 0.005, 170.0, 500),
        (1.0, 60.0, 10 * DAY_S, 60_000),  # never finer than the data
        (10 * DAY_S, 60.0, 10 * DAY_S, 7_200_000),  # 100 steps in the window
        (None, 60.0, 10 * DAY_S, 1_800_000),
        (1e9, 60.0, 10_000 * DAY_S, LADDER_MS[-1]),
        (1.0, 60.0, 60.0 * 70, 60_000),  # fewer than 100 steps, but 50
    ],
)
def test_the_grid_suits_half_life_cadence_and_window(
    half_life_s: float | None, cadence_s: float, window_s: float, grid_ms: int
) -> None:
    assert choose_grid_ms(half_life_s, cadence_s, window_s) == grid_ms


def test_a_window_too_short_for_its_cadence_is_refused() -> None:
    with pytest.raises(FitRefused, match="must hold 50 steps of the grid at cadence 60.0 s"):
        choose_grid_ms(10.0, 60.0, 60.0 * 40)


def line_steps(times: list[int], grid_ms: int) -> list[int]:
    """The steps that the line itself makes of complete moments at these times."""
    pair = PairState("y~x", "y", "x", grid_ms * 1_000_000, 1e18)
    leg = SymbolState("y", 1.0, 1.0, 1.1, 1.0)
    ticks: list[PairTick] = []
    for time_ns in times:
        leg.quote_ns = time_ns
        quote = Quote(time_ns, 0, "y", 1.0, 1.0, 1.1, 1.0)
        ticks.append(tick(pair, leg, leg, "y", quote, False))
    return [t.grid_steps for t in ticks]


def test_the_moments_that_step_are_those_of_the_line() -> None:
    rng = np.random.default_rng(0)
    times = 1_700_000_000_000_000_000 + np.cumsum(rng.integers(1, 900_000_000, 400))
    points = times[::9] // 500_000_000 * 500_000_000
    times = np.unique(np.concatenate([times, points - 1, points, points + 1]))
    indices, steps = grid_moments(times, 500)
    expected = np.array(line_steps(times.tolist(), 500))
    assert indices.tolist() == np.flatnonzero(expected).tolist()
    assert steps.tolist() == expected[expected > 0].tolist()
    assert steps.max() > 1


def test_times_that_fall_are_refused() -> None:
    with pytest.raises(ValueError, match="time_ns must not fall, was 1 at 1"):
        grid_moments(np.array([2, 1]), 100)


def test_regular_sampling_looks_back_only() -> None:
    (values,) = regular(np.array([0, 10, 25]), 10, np.array([1.0, 2.0, 3.0]))
    assert values.tolist() == [1.0, 2.0, 2.0]


def test_regular_sampling_is_at_multiples_where_bars_of_both_legs_close() -> None:
    (values,) = regular(np.array([4, 10, 14, 20, 24]), 10, np.arange(5.0))
    assert values.tolist() == [1.0, 3.0]


def test_the_cadence_is_the_usual_time_between_moments() -> None:
    assert cadence_ns(np.array([0, 0, 10, 20, 30, 500])) == 10
    with pytest.raises(FitRefused, match="at two times at least"):
        cadence_ns(np.array([5, 5]))
