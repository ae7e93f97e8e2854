"""A made-up market whose relation changes its nature at known times.

    spread_t = phi_t spread_{t-1} + s_t sqrt(g_t) u_t,   phi_t = 2^(-step / half-life of the regime)

s_t is such that a regime left to itself has the standard deviation that it names; g_t is the
GARCH(1,1) of unit mean and the turbulent days of the plain market (`synthetic_paths`). All else,
the leg x, hedge ratio, intercept, outages, fundings, is the plain market's of the same seed.
"""

import math
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.market import synthetic, synthetic_paths
from hft_lib.market.merge import DAY_NS
from hft_lib.market.synthetic import Progress
from hft_lib.market.synthetic_paths import SyntheticMarket, Times
from hft_lib.market.tape import Tape

SPREAD_STREAM = 1  # of the seed: the plain market's own draws are stream 0 and stay what they were


class Regime(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the spread is like from `start_day` of the market on, until the next regime.

    `spread_sd` is in log units; `half_quoted_spread_bp` is what each leg's quotes lie from its mid;
    `name` is what people call it.
    """

    name: str
    start_day: float
    spread_sd: float
    spread_half_life_s: float
    half_quoted_spread_bp: float = 0.5

    def start_ns(self, market: SyntheticMarket) -> int:
        """When it begins."""
        return market.start_ns + round(self.start_day * DAY_NS)


Regimes = tuple[Regime, ...]


def write(
    seed: int,
    out: Path | str,
    market: SyntheticMarket,
    regimes: Regimes,
    progress: Progress | None = None,
) -> Tape:
    """Write the market of `seed` as a tape at `out`, its regimes named in its source.

    `progress` is told the rows of each group written. Raises TapeError where `out` is taken,
    ValueError where the regimes cannot be.
    """
    check(regimes)

    def paths(random: np.random.Generator, market: SyntheticMarket, time_ns: Times) -> Any:
        return regime_paths(random, market, time_ns, regimes, seed)

    source = {"regimes": msgspec.to_builtins(regimes)}
    return synthetic.write(seed, out, market, progress, make_paths=paths, source=source)


def check(regimes: Regimes) -> None:
    """Raise ValueError unless the first regime starts the market and each follows the last."""
    starts = [regime.start_day for regime in regimes]
    if not starts or starts[0] != 0.0:
        raise ValueError(f"the first regime must start on day 0, the days were {starts}")
    if any(after <= before for before, after in zip(starts, starts[1:])):
        raise ValueError(f"each regime must start after the one before it, the days were {starts}")
    for regime in regimes:
        if not (regime.spread_sd > 0.0 and regime.spread_half_life_s > 0.0):
            raise ValueError(f"spread_sd and spread_half_life_s must be positive, was {regime}")


def regime_paths(
    random: np.random.Generator,
    market: SyntheticMarket,
    time_ns: Times,
    regimes: Regimes,
    seed: int,
) -> dict[str, Any]:
    """The plain market's arrays (steps,) with the spread of the regimes in place of its own."""
    paths = synthetic_paths.paths(random, market, time_ns)
    own = np.random.Generator(np.random.PCG64((seed, SPREAD_STREAM)))
    shocks = synthetic_paths.clustered(
        own.standard_normal(len(time_ns)), market.spread_garch_alpha, market.spread_garch_beta
    )
    scale = np.where(paths["turbulent"] > 0.0, market.turbulent_scale, 1.0)
    held = _regime_of(market, time_ns, regimes)
    carries = [2.0 ** (-market.step_s / regime.spread_half_life_s) for regime in regimes]
    shock_sds = [
        regime.spread_sd * math.sqrt(1.0 - carry * carry)
        for regime, carry in zip(regimes, carries, strict=True)
    ]
    shocks *= scale * np.array(shock_sds)[held]
    spread = synthetic_paths.reverting(shocks, np.array(carries)[held])
    quoted = np.array([regime.half_quoted_spread_bp for regime in regimes])[held]
    y_log_price = paths["y_log_price"] - paths["spread"] + spread
    made = {"spread": spread, "y_log_price": y_log_price, "half_quoted_spread_bp": quoted}
    return paths | made


def _regime_of(market: SyntheticMarket, time_ns: Times, regimes: Regimes) -> npt.NDArray[np.intp]:
    """The number of the regime at each step, (steps,)."""
    starts = np.array([regime.start_ns(market) for regime in regimes])
    held: npt.NDArray[np.intp] = np.searchsorted(starts, time_ns, side="right") - 1
    return held
