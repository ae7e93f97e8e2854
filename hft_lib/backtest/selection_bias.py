"""What the best of many trials is worth: the deflated Sharpe ratio, and Hansen's test.

    SR0 = sd(SR) ((1 - g) Z^-1(1 - 1/N) + g Z^-1(1 - 1/(N e)))         the best of N without skill
    DSR = Z((SR - SR0) sqrt(T - 1) / sqrt(1 - skew SR + (kurt - 1)/4 SR^2))

SR: Sharpe ratio a period, over T periods; N: trials; sd(SR): standard deviation of the trials'
ratios; g: Euler's constant; Z: the standard normal distribution; kurt: 3 for the normal. DSR is the
probability that the true ratio is positive once the choice of the best is counted.

Bailey & Lopez de Prado (2014), The Deflated Sharpe Ratio, eqs. 1 and 2. Hansen (2005), A Test for
Superior Predictive Ability, by the stationary bootstrap of `arch`.
"""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

SPA_REPETITIONS = 2_000
SPA_SEED = 20_140_701  # a verdict is a function of its data: running again says the same

Matrix = npt.NDArray[np.float64]
Vector = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Sharpe:
    """Moments of results a period: `ratio` is mean over standard deviation, not annualised."""

    ratio: float
    skew: float
    kurtosis: float
    periods: int


def sharpe(results: npt.ArrayLike) -> Sharpe | None:
    """The moments of `results` (time,); None for fewer than three, or results all alike."""
    values = np.asarray(results, dtype=np.float64)
    if values.size < 3:
        return None
    mean = math.fsum(values.tolist()) / values.size
    centred = values - mean
    second, third, fourth = (math.fsum((centred**n).tolist()) / values.size for n in (2, 3, 4))
    if not second > 0.0:
        return None
    unbiased = second * values.size / (values.size - 1)
    return Sharpe(
        ratio=mean / math.sqrt(unbiased),
        skew=third / second**1.5,
        kurtosis=fourth / (second * second),
        periods=values.size,
    )


def expected_best(trials: int, variance: float) -> float:
    """The best Sharpe ratio to expect of `trials` without skill, whose ratios vary by `variance`.

    Raises ValueError for fewer than one trial or a negative variance.
    """
    if trials < 1:
        raise ValueError(f"trials must be at least 1, was {trials}")
    if not variance >= 0.0:
        raise ValueError(f"variance must be at least 0, was {variance}")
    if trials == 1:
        return 0.0
    from scipy.stats import norm

    first = float(norm.ppf(1.0 - 1.0 / trials))
    second = float(norm.ppf(1.0 - 1.0 / (trials * math.e)))
    return math.sqrt(variance) * ((1.0 - np.euler_gamma) * first + np.euler_gamma * second)


def deflated_sharpe(found: Sharpe, trials: int, variance: float) -> float:
    """DSR of the best of `trials`; `variance` is that of the trials' ratios a period."""
    from scipy.stats import norm

    over = found.ratio - expected_best(trials, variance)
    spread = 1.0 - found.skew * found.ratio + (found.kurtosis - 1.0) / 4.0 * found.ratio**2
    # Zero only for results of two values, whose ratio is then known without error.
    scale = math.sqrt(max(spread, 1e-12) / (found.periods - 1))
    return float(norm.cdf(over / scale))


def variance_of_ratios(ratios: npt.ArrayLike, periods: int) -> float:
    """The variance of the trials' ratios, at least that of one ratio without skill, 1 / (T - 1).

    Near copies of one candidate vary little, and say nothing of how far luck carries.
    """
    values = [float(value) for value in np.asarray(ratios, dtype=np.float64)]
    floor = 1.0 / (periods - 1)
    if len(values) < 2:
        return floor
    mean = math.fsum(values) / len(values)
    total = math.fsum((value - mean) * (value - mean) for value in values)
    return max(floor, total / (len(values) - 1))


@dataclass(frozen=True)
class Superiority:
    """p-values that no candidate beats the benchmark; `upper` is White's reality check."""

    lower: float
    consistent: float
    upper: float


def superiority(results: Matrix, benchmark: Vector | None = None) -> Superiority | None:
    """Test whether the best of `results` (time, candidates) beats the benchmark (time,): cash.

    A candidate that never moves against the benchmark cannot be better and is left out; None where
    no other is left.
    """
    from arch.bootstrap import SPA

    base = np.zeros(len(results)) if benchmark is None else benchmark
    differences = results - base[:, None]
    moving = [k for k in range(differences.shape[1]) if np.ptp(differences[:, k]) > 0.0]
    if not moving or len(results) < 3:
        return None
    # It compares losses: what is better loses less.
    test = SPA(-base, -results[:, moving], reps=SPA_REPETITIONS, seed=SPA_SEED)
    test.compute()
    values = test.pvalues
    return Superiority(float(values["lower"]), float(values["consistent"]), float(values["upper"]))
