"""A grid of parameter sets, and what its best is worth."""

import numpy as np
import pytest

from hft_lib.backtest.sweep import SETS_MAX, best_of, grid, parse_axis
from tests.builders import parameters


@pytest.mark.parametrize(
    "text, values",
    [
        ("strategy.entry_z=1,1.5,2", (1.0, 1.5, 2.0)),
        ("strategy.entry_z=2,1,2", (2.0, 1.0)),
        ("strategy.entry_z=0.1:0.5:0.1", (0.1, 0.2, 0.3, 0.4, 0.5)),
        ("strategy.entry_z=1:1.9:0.5", (1.0, 1.5)),
        ("strategy.entry_z=1:1:1", (1.0,)),
    ],
)
def test_an_axis_is_values_or_a_range(text: str, values: tuple[float, ...]) -> None:
    assert parse_axis(text) == ("strategy.entry_z", values)


@pytest.mark.parametrize(
    "text, said",
    [
        ("entry_z=1", "real-valued parameter, was 'entry_z': .*strategy.entry_z"),
        ("grid_ms=1000", "real-valued parameter, was 'grid_ms'"),
        ("strategy.entry_z", "numbers with commas, or FROM:TO:STEP, was ''"),
        ("strategy.entry_z=1,two", "was '1,two'"),
        ("strategy.entry_z=1:2", "was '1:2'"),
        ("strategy.entry_z=2:1:0.5", "was '2:1:0.5'"),
        ("strategy.entry_z=1:2:0", "was '1:2:0'"),
        ("strategy.entry_z=1:inf:1", "was '1:inf:1'"),
        ("strategy.entry_z=0:1:1e-9", "was '0:1:1e-9'"),
    ],
)
def test_what_is_no_axis_is_refused_with_its_words(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parse_axis(text)


def test_a_grid_is_every_combination_and_says_what_cannot_be_run() -> None:
    base = parameters()
    points = grid(base, {"strategy.entry_z": (1.0, 2.0), "strategy.exit_z": (0.5, 1.5)})
    assert [tuple(point.values.values()) for point in points] == [
        (1.0, 0.5),
        (1.0, 1.5),
        (2.0, 0.5),
        (2.0, 1.5),
    ]
    assert points[1].params is None and "exit_z < entry_z < stop_z" in points[1].refused
    made = points[3].params
    assert made is not None and (made.strategy.entry_z, made.strategy.exit_z) == (2.0, 1.5)
    assert (made.garch, made.kalman, base.strategy.entry_z) == (base.garch, base.kalman, 1.0)


def test_a_number_that_is_none_cannot_be_run() -> None:
    (point,) = grid(parameters(), {"garch.omega": (float("nan"),)})
    assert point.params is None and "garch.omega must be finite, was nan" in point.refused


def test_a_grid_has_a_bound() -> None:
    many = tuple(float(number) for number in range(100))
    with pytest.raises(ValueError, match=f"at most {SETS_MAX} sets, had 10000"):
        grid(parameters(), {"strategy.entry_z": many, "strategy.stop_z": many})


def test_the_best_of_luck_is_worth_less_than_the_same_alone() -> None:
    random = np.random.Generator(np.random.PCG64(4))
    runs = random.normal(0.0, 1.0, (50, 200)).tolist()
    found = best_of(runs)
    assert found is not None and found.trials == 50
    ratios = [np.mean(run) / np.std(run, ddof=1) for run in runs]
    assert found.place == int(np.argmax(ratios))
    alone = best_of([runs[found.place]])
    assert alone is not None and found.deflated_sharpe < 0.7 < 0.95 < alone.deflated_sharpe


def test_a_run_that_never_trades_counts_as_a_trial_and_is_no_best() -> None:
    found = best_of([[0.0] * 5, [1.0, 2.0, -0.5, 1.0, 0.5], []])
    assert found is not None and (found.place, found.trials) == (1, 3)
    assert best_of([[0.0] * 5, []]) is None
