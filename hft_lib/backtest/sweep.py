"""A grid of parameter sets over one window; what its best is worth once the choice is counted."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import msgspec

from hft_lib.backtest.selection_bias import deflated_sharpe, sharpe, variance_of_ratios
from hft_lib.evop.design import REAL_PARAMETERS
from hft_lib.parameters import Parameters, check_parameters

Axes = Mapping[str, Sequence[float]]
SETS_MAX = 2_000  # each holds its models and accounts, a tenth of a megabyte, until the end


class Point(msgspec.Struct, frozen=True):
    """One place of a grid; `params` is None where they cannot be run, and `refused` says why."""

    values: dict[str, float]
    params: Parameters | None
    refused: str = ""


class Best(msgspec.Struct, frozen=True):
    """The run with the largest Sharpe ratio; `deflated_sharpe` is the probability that it has skill
    once all `trials` are counted.
    """

    place: int
    trials: int
    deflated_sharpe: float


def parse_axis(text: str) -> tuple[str, tuple[float, ...]]:
    """`strategy.entry_z=1,1.5,2`, or `=1:2:0.5` from, to and step; raises ValueError."""
    name, _, values = text.partition("=")
    if name not in REAL_PARAMETERS:
        known = ", ".join(sorted(REAL_PARAMETERS))
        raise ValueError(f"a sweep must be of a real-valued parameter, was {name!r}: {known}")
    try:
        numbers = _range(values) if ":" in values else [float(one) for one in values.split(",")]
    except ValueError as error:
        raise ValueError(
            f"{name} must be swept over numbers with commas, or FROM:TO:STEP, was {values!r}"
        ) from error
    return name, tuple(dict.fromkeys(numbers))


def _range(text: str) -> list[float]:
    first, last, step = (float(one) for one in text.split(":"))
    if not (step > 0.0 and math.isfinite(step) and first <= last < math.inf):
        raise ValueError(text)
    steps = math.floor((last - first) / step + 1e-9)
    if steps >= SETS_MAX:
        raise ValueError(text)
    # What was typed in decimals is meant in decimals: 0.1 three times is 0.3.
    return [float(f"{first + number * step:.12g}") for number in range(steps + 1)]


def grid(params: Parameters, axes: Axes) -> list[Point]:
    """`params` with every combination of the axes' values, the last axis fastest.

    Raises ValueError where they are more than `SETS_MAX`.
    """
    count = math.prod(len(values) for values in axes.values())
    if count > SETS_MAX:
        raise ValueError(f"a sweep must have at most {SETS_MAX} sets, had {count}")
    return [_point(params, dict(zip(axes, values))) for values in product(*axes.values())]


def _point(params: Parameters, values: dict[str, float]) -> Point:
    for name, value in values.items():
        part, field = name.split(".")
        changed = msgspec.structs.replace(getattr(params, part), **{field: value})
        params = msgspec.structs.replace(params, **{part: changed})
    try:
        check_parameters(params)
    except ValueError as error:
        return Point(values, None, str(error))
    return Point(values, params)


def best_of(daily_quote: Iterable[Sequence[float]]) -> Best | None:
    """The best of the runs by their daily results; None where none has a Sharpe ratio."""
    runs = list(daily_quote)
    found = {place: one for place, days in enumerate(runs) if (one := sharpe(days)) is not None}
    if not found:
        return None
    place = max(found, key=lambda each: found[each].ratio)
    best = found[place]
    variance = variance_of_ratios([one.ratio for one in found.values()], best.periods)
    return Best(place, len(runs), deflated_sharpe(best, len(runs), variance))
