"""How a model does by its own innovations: standardised, they are white with mean square 1."""

import math
from typing import NamedTuple

# The estimates weigh some 2.9 half-lives of innovations (2 / ln 2): of white ones the
# autocorrelation then strays by 0.026, and the mean square of normal ones by 0.037.
HALF_LIFE = 500.0


class Judged(NamedTuple):
    """The three figures of a run of innovations."""

    mean: float
    autocorrelation: float
    mean_square: float


class Health:
    """Running figures of standardised innovations, each weighing half as much as one `half_life`
    innovations later.

    White: `mean` and `autocorrelation` (of lag 1, about that mean) are 0. Calibrated:
    `mean_square` is 1; above it, forecasts are too narrow.
    """

    __slots__ = ("_decay", "_weight", "_sum", "_squares", "_pairs_weight", "_products", "_last")

    def __init__(self, half_life: float = HALF_LIFE) -> None:
        self._decay = 0.5 ** (1.0 / half_life)
        self._weight = self._sum = self._squares = 0.0
        self._pairs_weight = self._products = 0.0
        self._last = math.nan

    def add(self, z: float) -> None:
        """Take the next innovation over its forecast standard deviation; one that is not finite is
        none, and what follows it has no neighbour.
        """
        if not math.isfinite(z):
            self._last = math.nan
            return
        decay = self._decay
        self._weight = decay * self._weight + 1.0
        self._sum = decay * self._sum + z
        self._squares = decay * self._squares + z * z
        if not math.isnan(self._last):
            self._pairs_weight = decay * self._pairs_weight + 1.0
            self._products = decay * self._products + z * self._last
        self._last = z

    def judged(self) -> Judged:
        """The figures so far; NaN where there is too little for one."""
        if self._weight == 0.0:
            return Judged(math.nan, math.nan, math.nan)
        mean, mean_square = self._sum / self._weight, self._squares / self._weight
        variance = mean_square - mean * mean
        if self._pairs_weight == 0.0 or variance <= 0.0:
            return Judged(mean, math.nan, mean_square)
        covariance = self._products / self._pairs_weight - mean * mean
        return Judged(mean, covariance / variance, mean_square)
