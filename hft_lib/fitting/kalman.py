"""Maximum likelihood of the Kalman filter's variances, and the priors that a run starts from.

The likelihood is that of a diffuse start (`kalman_likelihood`), the search compiled
(`kalman_search`). x moves little within a window, so that a drift of the intercept and one of the
hedge ratio are often the same thing to the data: the fit then says so, and gives neither a standard
error. The most likely drift is 0 for most pairs whose relation is fixed.
"""

import math
from dataclasses import dataclass

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.fitting import kalman_search as search
from hft_lib.fitting.kalman_likelihood import LANES, LOGS, SQUARES, WORK, likelihoods
from hft_lib.fitting.result import Fit, require
from hft_lib.models.inputs import Counts, Vector, intervals, vector
from hft_lib.models.kalman import log_likelihood, params_row
from hft_lib.parameters import KalmanParameters

OBSERVATIONS_MIN = 20
LAMBDA_MAX = 1e8  # from here on the observation noise is nothing beside the drift
SHARE_GAIN_MIN = 1.92  # nats of a likelihood ratio at 95 %, below which the ends are not told apart
_PRIOR_WIDENING = 100.0  # the residuals of a relation hang together: ordinary errors are too small
_LOG_TWO_PI = 1.8378770664093453
_NAMES = ("intercept_drift_var", "hedge_drift_var", "noise_var")


@dataclass(frozen=True)
class _Window:
    """A window in units of its own: x of mean square one, y the residual of unit variance."""

    y: Vector
    x: Vector
    steps: Counts
    start: KalmanParameters
    y_var: float
    x_square: float


def fit_kalman(
    y: npt.ArrayLike, x: npt.ArrayLike, steps: npt.ArrayLike | None = None
) -> Fit[KalmanParameters]:
    """Most likely variances for log prices `y` on `x` (time,), `steps` grid intervals apart.

    The priors are the window's least squares relation, ten of its standard errors wide. Raises
    FitRefused where there are fewer than 20 observations, x does not move, or y follows it without
    error.
    """
    ys, xs = vector("y", y), vector("x", x)
    counts = intervals(steps, ys.size)
    require(xs.size == ys.size, f"x must have {ys.size} values", xs.size)
    require(
        ys.size >= OBSERVATIONS_MIN, f"observations must be at least {OBSERVATIONS_MIN}", ys.size
    )
    window = _window(ys, xs, counts)
    intervals_seen = int(counts.sum())
    lowest, highest = math.log(1e-3) - 2.0 * math.log(intervals_seen), math.log(LAMBDA_MAX)
    result = np.empty(search.RESULT)
    search.search(window.y, window.x, counts, lowest, highest, result)
    found = _Found(result, highest)
    params = _widened(found.parameters(window), intervals_seen)
    return Fit(
        params=params,
        standard_errors=found.standard_errors(params),
        log_likelihood=log_likelihood(params_row(params), ys, xs, counts),
        converged=found.converged,
        reason=found.reason(),
        observations=ys.size,
    )


def diffuse_log_likelihood(
    params: KalmanParameters,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
) -> float:
    """What `fit_kalman` maximises: log density, in nats, of `y` (time,) at the three variances when
    nothing is known of intercept and hedge ratio before; their priors are not read.
    """
    ys = vector("y", y)
    xs, counts = vector("x", x, ys.size), intervals(steps, ys.size)
    window, noise = _window(ys, xs, counts), params.noise_var
    drifts, found = np.zeros((2, LANES)), np.empty((3, LANES))
    drifts[0] = params.intercept_drift_var / noise
    drifts[1] = params.hedge_drift_var * window.x_square / noise
    likelihoods(window.y, window.x, counts, drifts, np.empty(WORK), found)
    count, logs = ys.size - 2, float(found[LOGS, 0])
    squares = float(found[SQUARES, 0]) * window.y_var / noise
    return -0.5 * (count * (_LOG_TWO_PI + math.log(noise)) + logs + squares)


def _window(y: Vector, x: Vector, steps: Counts) -> _Window:
    start = _least_squares(y, x)
    residual = y - start.intercept_prior_mean - start.hedge_prior_mean * x
    square = float(np.mean(x * x))
    sd = math.sqrt(start.noise_var)
    return _Window(residual / sd, x / math.sqrt(square), steps, start, start.noise_var, square)


def _least_squares(y: Vector, x: Vector) -> KalmanParameters:
    """The window's relation as priors, each as uncertain as ordinary least squares holds it."""
    with np.errstate(over="ignore", invalid="ignore"):
        moves = x - x.mean()
        square = float((moves * moves).sum())
        x_square = float((x * x).sum())
        require(x_square < 1e200, "x's squares must be within range: their sum", x_square)
        require(square > 1e-20 * x_square, "x must move: its variance", square / x.size)
        hedge = float((moves * (y - y.mean())).sum()) / square
        intercept = float(y.mean() - hedge * x.mean())
        errors = y - intercept - hedge * x
        variance = float((errors * errors).sum()) / (x.size - 2)
        y_square = float((y * y).mean())
    rule = "y must not follow x without error: the residual variance"
    require(not variance <= 1e-28 * max(y_square, 1e-200), rule, variance)
    require(variance < 1e200, "the residual variance must be within range", variance)
    hedge_var = variance / square
    return KalmanParameters(
        intercept_drift_var=0.0,
        hedge_drift_var=0.0,
        noise_var=variance,
        intercept_prior_mean=intercept,
        intercept_prior_var=variance / x.size + float(x.mean()) ** 2 * hedge_var,
        hedge_prior_mean=hedge,
        hedge_prior_var=hedge_var,
    )


def _widened(p: KalmanParameters, intervals_seen: int) -> KalmanParameters:
    """Priors wide enough for correlated residuals, and for the drift over a window."""
    return msgspec.structs.replace(
        p,
        intercept_prior_var=_PRIOR_WIDENING * p.intercept_prior_var
        + intervals_seen * p.intercept_drift_var,
        hedge_prior_var=_PRIOR_WIDENING * p.hedge_prior_var + intervals_seen * p.hedge_drift_var,
    )


class _Found:
    """What the search found, in words and in the window's units."""

    def __init__(self, result: Vector, highest: float) -> None:
        self.u, self.w, value, ended, curved, worst, self.var_a, self.var_b, self.var_noise = (
            result[: search.NOISE].tolist()
        )
        self.noise = float(result[search.NOISE])
        self.drifts = self.u > -math.inf
        self.bound = self.u >= highest - 1e-9
        self.ended, self.curved = ended > 0.0, curved > 0.0
        self.ends_apart = max(value - worst, 0.0)
        self.split = not self.drifts or self.ends_apart >= SHARE_GAIN_MIN

    @property
    def converged(self) -> bool:
        """Whether gradient and curvature are a maximum's."""
        return self.ended and self.curved and not self.bound

    def parameters(self, window: _Window) -> KalmanParameters:
        """The window's priors with the variances found."""
        noise = self.noise * window.y_var
        level = math.exp(self.u) * noise
        hedge = 1.0 / (1.0 + math.exp(-self.w)) if self.w > -math.inf else 0.0
        intercept = 1.0 / (1.0 + math.exp(self.w)) if self.w < math.inf else 0.0
        return msgspec.structs.replace(
            window.start,
            intercept_drift_var=level * intercept,
            hedge_drift_var=level * hedge / window.x_square,
            noise_var=noise,
        )

    def standard_errors(self, p: KalmanParameters) -> dict[str, float | None]:
        """Of the variances; None at a bound, where the split of the drift is not identified, and
        where there is no maximum.
        """
        variances = (self.var_a, self.var_b, self.var_noise)
        told = (self.split, self.split, True)
        return {
            name: getattr(p, name) * math.sqrt(v) if self.converged and known and v > 0.0 else None
            for name, v, known in zip(_NAMES, variances, told, strict=True)
        }

    def reason(self) -> str:
        """What was met."""
        if self.bound:
            rule = f"drift over noise is at its bound {LAMBDA_MAX:g}"
            return f"{rule}: the noise variance is not identified"
        if not self.ended:
            return "the search did not come to an end"
        if not self.curved:
            return "the curvature is not a maximum's"
        ends = {math.inf: _NAMES[:1], -math.inf: _NAMES[1:2]}
        names = ends.get(self.w, ()) if self.drifts else _NAMES[:2]
        words = f"at the bound 0: {', '.join(names)}" if names else "maximum"
        if not self.split:
            words += "; how the drift is split between intercept and hedge ratio is not identified"
            words += f": all of it either's costs {self.ends_apart:.2g} nats at most"
        return words
