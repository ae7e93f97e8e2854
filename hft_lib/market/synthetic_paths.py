"""The relation of a made-up market, step by step, and every magnitude of it.

    log x_t = log x_{t-1} + sqrt(h_t) e_t,              h: GARCH(1,1), doubled on turbulent days
    log y_t = intercept_t + hedge_t log x_t + spread_t
    spread_t = phi spread_{t-1} + sqrt(g_t) u_t,        g: GARCH(1,1), phi = 2^(-step / half-life)

`hedge` and `intercept` are random walks, and the intercept jumps once, late.
"""

import math
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.market.merge import DAY_NS

Vector = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]


class SyntheticMarket(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every magnitude of the market; `_sd_day` is of one day's change, in log units.

    `irregular` makes the times between steps exponential with mean `step_s` and quotes one leg, at
    random, a step.
    """

    y_symbol: str = "SYN/USDT:USDT"
    x_symbol: str = "SYN/USDT"
    start_ns: int = 1_704_067_200 * 10**9  # 2024-01-01
    days: float = 360.0
    step_s: float = 60.0
    irregular: bool = False

    price_start: float = 100.0
    price_tick: float = 0.001
    quantity_step: float = 0.001
    half_quoted_spread_bp: float = 0.5
    x_sd_day: float = 0.02
    x_garch_alpha: float = 0.05
    x_garch_beta: float = 0.93

    hedge_start: float = 1.0
    hedge_sd_day: float = 0.0002
    intercept_sd_day: float = 0.0002
    spread_sd: float = 0.0025
    spread_half_life_s: float = 2400.0
    spread_garch_alpha: float = 0.10
    spread_garch_beta: float = 0.85
    turbulent_scale: float = 2.0
    turbulent_start_probability_day: float = 0.04
    turbulent_end_probability_day: float = 0.35
    break_at_fraction: float = 0.94
    break_size: float = 0.015

    outages_per_day: float = 0.03
    outage_hours_min: float = 1.0
    outage_hours_max: float = 6.0
    flaws_per_day: float = 0.15
    size_median: float = 5000.0
    size_log_sd: float = 0.5
    thin_probability: float = 0.01
    thin_size: float = 20.0
    latency_ms_mean: float = 8.0

    taker_fee_rate: float = 0.0003
    maker_fee_rate: float = 0.0
    borrow_rate_annual: float = 0.05
    funding_rate_mean: float = 0.0001
    funding_rate_sd: float = 0.0001
    funding_hours: float = 8.0


def ticks(count: int, quotes_per_s: float = 200.0, **changes: Any) -> SyntheticMarket:
    """A market of `count` irregular quotes, for measurements; `changes` are its other fields."""
    step_s = 1.0 / quotes_per_s
    return SyntheticMarket(
        days=count * step_s / 86_400.0, step_s=step_s, irregular=True, flaws_per_day=0.0, **changes
    )


def times(random: np.random.Generator, market: SyntheticMarket) -> Times:
    """The time of each step in ns, (steps,)."""
    count = max(int(round(market.days * 86_400.0 / market.step_s)), 2)
    step_ns = market.step_s * 1e9
    if not market.irregular:
        return market.start_ns + np.arange(1, count + 1) * round(step_ns)
    gaps = random.standard_exponential(count) * step_ns
    return market.start_ns + np.cumsum(np.maximum(gaps.astype(np.int64), 1))


def paths(random: np.random.Generator, market: SyntheticMarket, time_ns: Times) -> dict[str, Any]:
    """The arrays of `Truth`, (steps,) each, and the time of the break."""
    count = len(time_ns)
    day_fraction = market.step_s / 86_400.0
    day_root = math.sqrt(day_fraction)
    turbulent = _turbulent(random, market, time_ns)
    scale = np.where(turbulent > 0.0, market.turbulent_scale, 1.0)
    x_returns = scale * clustered(
        random.standard_normal(count), market.x_garch_alpha, market.x_garch_beta
    )
    x_log = math.log(market.price_start) + np.cumsum(market.x_sd_day * day_root * x_returns)
    carry = 2.0 ** (-market.step_s / market.spread_half_life_s)
    shock_sd = market.spread_sd * math.sqrt(1.0 - carry * carry)
    shocks = scale * clustered(
        random.standard_normal(count), market.spread_garch_alpha, market.spread_garch_beta
    )
    spread = reverting(shock_sd * shocks, np.full(count, carry))
    walk = np.cumsum(random.standard_normal((2, count)) * day_root, axis=1)
    hedge = market.hedge_start + market.hedge_sd_day * walk[0]
    broken_from = min(int(market.break_at_fraction * count), count - 1)
    intercept = (1.0 - market.hedge_start) * x_log[0] + market.intercept_sd_day * walk[1]
    intercept[broken_from:] += market.break_size
    return {
        "x_log_price": x_log,
        "y_log_price": intercept + hedge * x_log + spread,
        "hedge_ratio": hedge,
        "intercept": intercept,
        "spread": spread,
        "turbulent": turbulent,
        "half_quoted_spread_bp": np.full(count, market.half_quoted_spread_bp),
        "break_ns": int(time_ns[broken_from]),
    }


def _turbulent(random: np.random.Generator, market: SyntheticMarket, time_ns: Times) -> Vector:
    """A two-state Markov chain over UTC days, spread over the steps: 1.0 on turbulent days."""
    day = time_ns // DAY_NS - time_ns[0] // DAY_NS
    state, states = False, []
    for draw in random.random(int(day[-1]) + 1).tolist():
        if state:
            state = draw >= market.turbulent_end_probability_day
        else:
            state = draw < market.turbulent_start_probability_day
        states.append(float(state))
    turbulent: Vector = np.array(states, np.float64)[day]
    return turbulent


@kernel
def clustered(normals: Vector, alpha: float, beta: float) -> Vector:
    """Shocks (steps,) of unit unconditional variance whose variance clusters."""
    shocks = np.empty_like(normals)
    variance = 1.0
    for row in range(len(normals)):
        shocks[row] = math.sqrt(variance) * normals[row]
        variance = 1.0 - alpha - beta + alpha * shocks[row] * shocks[row] + beta * variance
    return shocks


@kernel
def reverting(shocks: Vector, carry: Vector) -> Vector:
    """A first-order autoregression (steps,) from zero; `carry` (steps,) is its coefficient."""
    levels = np.empty_like(shocks)
    level = 0.0
    for row in range(len(shocks)):
        level = carry[row] * level + shocks[row]
        levels[row] = level
    return levels


def outages(
    random: np.random.Generator, market: SyntheticMarket, time_ns: Times
) -> list[tuple[int, int]]:
    """Start and end in ns of each silence; none on the first day, where the models warm."""
    count = int(random.poisson(market.outages_per_day * market.days))
    span = max(int(time_ns[-1]) - market.start_ns - DAY_NS, 0)
    starts = market.start_ns + DAY_NS + np.sort(random.random(count)) * span
    hours = random.uniform(market.outage_hours_min, market.outage_hours_max, count)
    pairs = zip(starts.astype(np.int64).tolist(), (hours * 3.6e12).astype(np.int64).tolist())
    return [(start, start + length) for start, length in pairs] if span else []
