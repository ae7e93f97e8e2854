"""Daily differences whose true mean is known: each family of noise as (days, sets) draws.

Every family has mean zero and, unless it says otherwise, standard deviation 1 a day. Sets are
correlated as the differences of neighbouring parameter sets on real pairs are: the explorers of a
design share 0.27 of their variance, being measured against the same champion.
"""

from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from hft_lib.evop.policy import YEAR_DAYS

Draws: TypeAlias = npt.NDArray[np.float64]

CORRELATION = 0.27  # of two differences against one champion, at right angles in coded units
T_DOF = 3.0
AUTOCORRELATION = 0.2
GARCH_ALPHA, GARCH_BETA = 0.1, 0.85
REGIME_IR, REGIME_DAYS = 5.0, 20.0
TAIL_RATE, TAIL_SDS = 0.01, 30.0
PENNY_HOURS, PENNY_RATE, PENNY_LOSS = 24, 0.005, 200.0
VOLATILITY_PERSISTENCE, VOLATILITY_SD = 0.97, 0.1
BURN_DAYS = 60


class Noise(NamedTuple):
    """`draws` (days, sets), and the pair's mean volatility of each day (days,), of any unit."""

    draws: Draws
    volatility: Draws


def normal(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """Independent days."""
    return Noise(correlated(rng, days, sets), volatilities(rng, days))


def heavy_tails(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """Student's t with 3 degrees of freedom: the sets have their wild days together."""
    mixing = np.sqrt(1.0 / rng.chisquare(T_DOF, (days, 1)))  # variance of t3 is 3: the 3s cancel
    return Noise(correlated(rng, days, sets) * mixing, volatilities(rng, days))


def volatility_clusters(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """GARCH(1,1) of persistence 0.95: all sets have the scale that the first one's days drive."""
    shocks, scale = correlated(rng, days, sets), np.empty(days)
    variance, omega = 1.0, 1.0 - GARCH_ALPHA - GARCH_BETA
    for day in range(days):
        scale[day] = np.sqrt(variance)
        square = variance * shocks[day, 0] * shocks[day, 0]
        variance = omega + GARCH_ALPHA * square + GARCH_BETA * variance
    return Noise(shocks * scale[:, None], scale)


def autocorrelated(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """AR(1) of 0.2: no martingale, so the bound of the e-process is not exact."""
    shocks = correlated(rng, days + BURN_DAYS, sets)
    shocks *= np.sqrt(1.0 - AUTOCORRELATION * AUTOCORRELATION)
    for day in range(1, days + BURN_DAYS):
        shocks[day] += AUTOCORRELATION * shocks[day - 1]
    return Noise(shocks[BURN_DAYS:], volatilities(rng, days))


def regimes(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """A drift of IR +5 or -5 a set that changes its sign about every 20 days; zero on average."""
    turns = rng.random((days, sets)) < 1.0 / REGIME_DAYS
    first = rng.integers(0, 2, sets)
    sign = 1.0 - 2.0 * ((first + np.cumsum(turns, axis=0)) % 2)
    drift = REGIME_IR / np.sqrt(YEAR_DAYS) * sign
    return Noise(correlated(rng, days, sets) + drift, volatilities(rng, days))


def hidden_tail(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """One day in a hundred loses 30 ordinary standard deviations; every other one earns it back."""
    lost = rng.random((days, sets)) < TAIL_RATE
    paid = TAIL_RATE * TAIL_SDS - TAIL_SDS * lost
    return Noise(correlated(rng, days, sets) + paid, volatilities(rng, days))


def penny(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """Of 24 hours each earns 1, or with 0.005 loses 199: pennies before a steam roller."""
    losses = rng.binomial(PENNY_HOURS, PENNY_RATE, (days, sets))
    sd = PENNY_LOSS * np.sqrt(PENNY_HOURS * PENNY_RATE * (1.0 - PENNY_RATE))
    return Noise((PENNY_HOURS - PENNY_LOSS * losses) / sd, volatilities(rng, days))


def sign_flipped(rng: np.random.Generator, days: int, sets: int) -> Noise:
    """Skewed, clustered, heavy-tailed differences with a gain, each day of all sets flipped by a
    coin: whatever the shape, the flip makes it a fair game.
    """
    clustered = volatility_clusters(rng, days, sets)
    wild = clustered.draws * np.sqrt(1.0 / rng.chisquare(T_DOF, (days, 1)))
    return Noise(flipped(rng, wild + 0.3 * np.abs(wild) + 0.3), clustered.volatility)


# --- what the families share ---


def flipped(rng: np.random.Generator, differences: Draws) -> Draws:
    """`differences` (days, sets), the sign of each day drawn anew, the same for all sets."""
    signs = 2.0 * rng.integers(0, 2, (differences.shape[0], 1)) - 1.0
    return signs * differences


def resampled(rng: np.random.Generator, recorded: Draws, days: int, block_days: int) -> Draws:
    """`days` rows of `recorded` (recorded days, sets), in whole blocks drawn with replacement.

    Blocks wrap round the end, so that every day is as likely. Politis & Romano (1992).
    """
    count, blocks = recorded.shape[0], -(-days // block_days)
    starts = rng.integers(0, count, blocks)
    rows = (starts[:, None] + np.arange(block_days)).ravel()[:days] % count
    drawn: Draws = recorded[rows]
    return drawn


def correlated(rng: np.random.Generator, days: int, sets: int) -> Draws:
    """Standard normals (days, sets), any two sets of a day with the same correlation."""
    common = rng.standard_normal((days, 1))
    own = rng.standard_normal((days, sets))
    return np.sqrt(CORRELATION) * common + np.sqrt(1.0 - CORRELATION) * own


def volatilities(rng: np.random.Generator, days: int) -> Draws:
    """A slow volatility with nothing to do with the differences, (days,)."""
    shocks = rng.standard_normal(days)
    level = np.empty(days)
    now = VOLATILITY_SD / np.sqrt(1.0 - VOLATILITY_PERSISTENCE**2) * shocks[0]
    for day in range(days):
        now = VOLATILITY_PERSISTENCE * now + VOLATILITY_SD * shocks[day]
        level[day] = now
    return np.exp(level)
