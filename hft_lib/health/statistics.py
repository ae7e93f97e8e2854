"""The tests by which a model's innovations and data are judged; pure functions of arrays.

`scores` are innovations as standard normal values (`garch.normal_score`): where the model is right
they are independent and normal with mean 0 and variance 1.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import special

from hft_lib.models.inputs import Vector, vector

# Five: over the 250 values of a window the chance of p < 0.0001 is then 0.0003 where nothing hangs
# together, with ten 0.0004, and with ten over the 50 that are the least to judge by 0.002.
LAGS = 5


class Tested(NamedTuple):
    """A statistic and the chance of one as large where the model is right; NaN where there is too
    little to test.
    """

    statistic: float
    p_value: float


class Coverage(NamedTuple):
    """How many of `observations` fell into the forecast interval of nominal coverage `nominal`."""

    nominal: float
    inside: int
    observations: int

    @property
    def share(self) -> float:
        """The observed coverage, NaN without observations."""
        return self.inside / self.observations if self.observations else math.nan


_UNKNOWN = Tested(math.nan, math.nan)


def autocorrelations(values: npt.ArrayLike, lags: int = LAGS) -> Vector:
    """Autocorrelation of `values` (time,) about their mean at lags 1 to `lags`, (lags,).

    NaN where there are no more values than lags, or none differs.
    """
    series = vector("values", values)
    centred = series - series.mean() if series.size else series
    total = float(centred @ centred)
    if series.size <= lags or total <= 0.0:
        return np.full(lags, math.nan)
    products = [float(centred[k:] @ centred[:-k]) for k in range(1, lags + 1)]
    return np.array(products) / total


def ljung_box(values: npt.ArrayLike, lags: int = LAGS) -> Tested:
    """Is `values` (time,) without autocorrelation up to `lags`?

        Q = n (n + 2) sum over k of rho_k^2 / (n - k),     chi-squared with `lags` degrees

    Ljung & Box (1978), On a measure of lack of fit in time series models, Biometrika 65, 297. Of
    absolute values it tells sizes that come together, as McLeod & Li (1983), J. Time Series
    Analysis 4, 269, do of squares, whose tails make p < 0.0001 ten times as frequent as it says.
    """
    rho = autocorrelations(values, lags)
    if not np.isfinite(rho).all():
        return _UNKNOWN
    n = np.size(values)
    q = n * (n + 2.0) * float(np.sum(rho * rho / (n - np.arange(1, lags + 1))))
    return Tested(q, float(special.chdtrc(lags, q)))


def mean_zero(scores: npt.ArrayLike) -> Tested:
    """Is the mean of `scores` (time,) 0, their variance being 1? The statistic is the mean."""
    series = vector("scores", scores)
    if not series.size:
        return _UNKNOWN
    mean = float(series.mean())
    return Tested(mean, 2.0 * float(special.ndtr(-abs(mean) * math.sqrt(series.size))))


def variance_one(scores: npt.ArrayLike) -> Tested:
    """Is the variance of `scores` (time,) 1? The statistic is the sample variance; two-sided by the
    chi-squared distribution of (n - 1) times it.
    """
    series = vector("scores", scores)
    if series.size < 2:
        return _UNKNOWN
    variance, degrees = float(series.var(ddof=1)), series.size - 1
    below = float(special.chdtr(degrees, degrees * variance))
    above = float(special.chdtrc(degrees, degrees * variance))
    return Tested(variance, min(1.0, 2.0 * min(below, above)))


def coverage(scores: npt.ArrayLike, nominal: float) -> Coverage:
    """How many of `scores` (time,) lie in the central interval that holds `nominal` of a normal."""
    series = vector("scores", scores)
    bound = float(special.ndtri(0.5 + 0.5 * nominal))
    return Coverage(nominal, int(np.count_nonzero(np.abs(series) <= bound)), series.size)


def kupiec(observed: Coverage) -> Tested:
    """Is the coverage the nominal one? The likelihood ratio of proportions, x misses of n:

        LR = -2 log( p^x (1 - p)^(n - x) / ((x/n)^x (1 - x/n)^(n - x)) ),     chi-squared with 1

    p = 1 - nominal. Kupiec (1995), Techniques for verifying the accuracy of risk measurement
    models, J. Derivatives 3(2), 73.
    """
    n = observed.observations
    if not n:
        return _UNKNOWN
    x, p = n - observed.inside, 1.0 - observed.nominal
    ratio = 2.0 * (
        special.xlogy(x, x / n)
        + special.xlogy(n - x, 1.0 - x / n)
        - special.xlogy(x, p)
        - special.xlogy(n - x, 1.0 - p)
    )
    ratio = max(0.0, float(ratio))
    return Tested(ratio, float(special.chdtrc(1, ratio)))


def uniformity(scores: npt.ArrayLike) -> Tested:
    """Are the probability integral transforms of `scores` (time,) uniform, as those of a forecast
    that is right are (Diebold, Gunther & Tay 1998, International Economic Review 39, 863)?

    Kolmogorov's distance; p by Stephens (1970), J. Royal Statistical Society B 32, 115, within
    0.02 of the exact chance from 20 observations on.
    """
    u = np.sort(special.ndtr(vector("scores", scores)))
    n = u.size
    if not n:
        return _UNKNOWN
    steps = np.arange(n + 1) / n
    distance = max(float((steps[1:] - u).max()), float((u - steps[:-1]).max()))
    root = math.sqrt(n)
    scaled = (root + 0.12 + 0.11 / root) * distance
    return Tested(distance, float(special.kolmogorov(scaled)))


def stability(counts: npt.ArrayLike, shares: npt.ArrayLike, reference_observations: int) -> Tested:
    """The population stability index of `counts` (bins,) against the reference's `shares` (bins,).

        PSI = sum over bins of (a - e) log(a / e)

    a and e: shares now and then, each with half an observation more in every bin, so that an empty
    one has a logarithm. Where nothing changed PSI / (1/n + 1/m) is chi-squared with bins - 1
    degrees: Yurdakul & Naranjo (2020), J. Risk Model Validation 14(4).
    """
    now, then = np.asarray(counts, np.float64), np.asarray(shares, np.float64)
    n, m, bins = float(now.sum()), float(reference_observations), now.size
    if n <= 0.0 or m <= 0.0 or bins < 2:
        return _UNKNOWN
    a = (now + 0.5) / (n + 0.5 * bins)
    e = (m * then + 0.5) / (m + 0.5 * bins)
    psi = float(np.sum((a - e) * np.log(a / e)))
    return Tested(psi, float(special.chdtrc(bins - 1, psi / (1.0 / n + 1.0 / m))))
