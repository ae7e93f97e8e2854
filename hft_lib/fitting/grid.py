"""The grid on which the models step, and the moments of a pair that fall on it."""

import numpy as np
import numpy.typing as npt

from hft_lib.fitting.result import FitRefused
from hft_lib.models.inputs import Counts, Vector

LADDER_MS = (
    100, 200, 500, 1_000, 2_000, 5_000, 10_000, 15_000, 30_000, 60_000, 120_000, 300_000, 600_000,
    900_000, 1_800_000, 3_600_000, 7_200_000, 14_400_000,
)  # fmt: skip
HALF_LIVES = 2.0
OBSERVATIONS_WANTED = 100
OBSERVATIONS_MIN = 50
# Of a spread that does not return nothing is known to follow the grid; this many steps describe the
# window.
OBSERVATIONS_WITHOUT_RETURN = 500


def choose_grid_ms(half_life_s: float | None, cadence_s: float, window_s: float) -> int:
    """The models' grid, ms: two half-lives of the spread, while a window keeps 100 observations.

    On a grid well below the half-life the Kalman filter's most likely drift follows the spread
    itself, and the innovation is no longer the deviation from the relation. Two half-lives apart,
    deviations are nearly independent (their correlation is 1/4) and the model says what is so. The
    grid is never finer than the cadence of the data. A shorter grid is taken where the window would
    have fewer than 100 steps; with fewer than 50 it is refused.
    """
    if half_life_s is None:
        wanted_s = window_s / OBSERVATIONS_WITHOUT_RETURN
    else:
        wanted_s = HALF_LIVES * half_life_s
    allowed = [grid for grid in LADDER_MS if grid >= 999.0 * cadence_s]
    fitting = [grid for grid in allowed if window_s * 1e3 / grid >= OBSERVATIONS_WANTED]
    if not fitting:
        fitting = [grid for grid in allowed[:1] if window_s * 1e3 / grid >= OBSERVATIONS_MIN]
    if not fitting:
        rule = f"the window must hold {OBSERVATIONS_MIN} steps of the grid at cadence {cadence_s} s"
        raise FitRefused(rule, f"{window_s} s")
    return next((grid for grid in fitting if grid >= 1e3 * wanted_s), fitting[-1])


def grid_moments(time_ns: npt.NDArray[np.int64], grid_ms: int) -> tuple[Counts, Counts]:
    """Which complete moments step the models, as live: (indices, whole intervals since the last).

    The first moment at or past a grid point (a multiple of `grid_ms` since 1970) steps once; the
    first of all by one interval. `time_ns` (time,) must not fall.
    """
    if time_ns.size and (np.diff(time_ns) < 0).any():
        first = int(np.argmax(np.diff(time_ns) < 0)) + 1
        raise ValueError(f"time_ns must not fall, was {time_ns[first]} at {first}")
    points = time_ns // (grid_ms * 1_000_000)
    passed = np.diff(points, prepend=points[:1] - 1)
    indices: Counts = np.flatnonzero(passed).astype(np.int64)
    return indices, passed[indices].astype(np.int64)


def regular(
    time_ns: npt.NDArray[np.int64], interval_ns: int, *columns: Vector
) -> tuple[Vector, ...]:
    """The last known value of each column at every multiple of `interval_ns` since 1970.

    Bars of both legs close at such multiples: off them one leg would be older than the other.
    """
    first = -(-int(time_ns[0]) // interval_ns) * interval_ns
    points = np.arange(first, time_ns[-1] + 1, interval_ns)
    last = np.searchsorted(time_ns, points, side="right") - 1
    return tuple(column[last] for column in columns)


def cadence_ns(time_ns: npt.NDArray[np.int64]) -> int:
    """The usual time between moments: the median of what is positive."""
    between = np.diff(time_ns)
    between = between[between > 0]
    if between.size == 0:
        raise FitRefused("the moments must be at two times at least", f"{np.unique(time_ns).size}")
    return int(np.median(between))
