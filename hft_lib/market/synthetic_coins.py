"""Many made-up coins whose truth is known: nothing holds together but a wrapper and its coin.

    r_it = sigma_t (market_t + own_it),   log price_it = sum of r_it
    wrapper_t = log price_jt + s_t,       s_t = phi s_{t-1} + noise

`sigma_t` is the market's volatility: quiet for weeks and wild for days, as recorded hours are. One
seed gives one market.
"""

import math

import numpy as np

from hft_lib.market.panel import Panel, Vector

HOUR_NS = 3_600 * 10**9
START_NS = 1_704_067_200 * 10**9  # 2024-01-01
RETURN_SD = 0.006  # of an hour, in calm
MARKET_SHARE = 0.7
VOLATILITY_PERSISTENCE = 0.99
VOLATILITY_SD = 0.12  # of one step of the log of sigma
SPREAD_SD = 0.001
SPREAD_HALF_LIFE_H = 6.0


def coins(
    seed: int, count: int = 10, wrappers: int = 2, hours: int = 3_000
) -> tuple[Panel, frozenset[str]]:
    """A panel of `count` coins and `wrappers` of the first of them, and the pairs that truly hold.

    Pairs are `wrapper~coin`. Raises ValueError for more wrappers than coins.
    """
    if not 0 <= wrappers <= count:
        raise ValueError(f"wrappers must be from 0 to {count}, was {wrappers}")
    random = np.random.Generator(np.random.PCG64(seed))
    sigma = RETURN_SD * np.exp(
        _autoregression(random, VOLATILITY_PERSISTENCE, VOLATILITY_SD, hours)
    )
    market, own = random.standard_normal(hours), random.standard_normal((count, hours))
    log_price = 3.0 + np.cumsum(sigma * (MARKET_SHARE * market + own), axis=1)
    phi = math.exp(-math.log(2.0) / SPREAD_HALF_LIFE_H)
    noise_sd = SPREAD_SD * math.sqrt(1.0 - phi * phi)
    wrapped = [
        log_price[row] + _autoregression(random, phi, noise_sd, hours) for row in range(wrappers)
    ]
    names = [f"C{number:02}/USDT" for number in range(count)]
    wrapper_names = [f"W{name}" for name in names[:wrappers]]
    panel = Panel(
        symbols=(*names, *wrapper_names),
        time_ns=START_NS + HOUR_NS * np.arange(hours),
        interval_ns=HOUR_NS,
        log_mid=np.vstack((log_price, *wrapped)),
    )
    return panel, frozenset(f"W{name}~{name}" for name in names[:wrappers])


def _autoregression(random: np.random.Generator, phi: float, noise_sd: float, count: int) -> Vector:
    """A path (count,) of x_t = phi x_{t-1} + noise, from 0."""
    path = noise_sd * random.standard_normal(count)
    for t in range(1, count):
        path[t] += phi * path[t - 1]
    return path
