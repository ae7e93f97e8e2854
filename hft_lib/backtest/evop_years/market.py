"""What a simulated year is made of: sets, their days, and what each is truly worth.

A market gives every set its result of a day as a fraction of the capital share. The champion that
the registry names earns `base`; every other set earns that and its own difference. What a set is
truly worth is known (`gain`), so a promotion is false where it is not worth more than the champion
that it replaced. Gains are information ratios a year: the annualised mean over the standard
deviation `S0` of the paired daily difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Protocol

import msgspec
import numpy as np

from hft_lib.backtest.evop_years.noise import Draws, Noise
from hft_lib.events import SlotAssigned
from hft_lib.evop.policy import YEAR_DAYS, Policy
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Limits,
    Parameters,
    StrategyParameters,
    parameter_sha256,
)

DAYS = YEAR_DAYS  # the first test begins at the close of the first day
SETS = 9  # the champion and eight candidates: a year takes six tests
S0 = 0.001  # of the capital share: sd of a paired daily difference half a unit from the champion
CHAMPION_SD = S0 / 0.444  # of the champion's own day; 0.444 is measured on real pairs
CLIP = Policy().bets.clip
LEG_CAP = 0.05
ORDINARY_COST = 2e-5  # fees and slippage of a day, of the capital share
ORDINARY_TURNOVER = 0.1  # of the capital share, a day


class Market(Protocol):
    """One pair of a simulated year; `day` counts from 0, a set goes by the slot that runs it."""

    s0: float
    loss_max: float
    units: dict[str, float]
    volatility: Sequence[float]
    alarm: Sequence[bool]

    def sets(self) -> Sequence[Parameters]:
        """What the registry holds: the champion, then candidates in order."""

    def results(self, day: int, running: Sequence[SlotAssigned], champion: int) -> Sequence[float]:
        """Each set's result of the day, of the share; `champion` is an index."""

    def live_gap(self, day: int) -> float:
        """What the champion's shadow account earns more than the live one that day."""

    def trading(self, run: SlotAssigned) -> tuple[float, float]:
        """A set's cost and turnover of a day, of the share."""

    def gain(self, day: int, run: SlotAssigned) -> float:
        """What the set is truly worth over the first champion, a year."""

    def moved(self, day: int, run: SlotAssigned) -> None:
        """The capital goes to this set after `day`."""


@dataclass
class TableMarket:
    """Registered sets in the columns of a table drawn in advance.

    `differences` (days, sets) are fractions of the share, the first column zero; `ir` (sets,) the
    gains; `ir_promoted` is what the first candidate is worth once it has the capital.
    """

    differences: Draws
    base: Draws
    volatility: Sequence[float]
    ir: list[float]
    ir_promoted: float | None = None
    s0: float = S0
    loss_max: float = CLIP * S0
    alarm: Sequence[bool] = (False,) * DAYS
    gaps: Sequence[float] = (0.0,) * DAYS
    costs: Sequence[tuple[float, float]] = ((ORDINARY_COST, ORDINARY_TURNOVER),) * SETS
    units: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._columns = {parameter_sha256(params): k for k, params in enumerate(self.sets())}
        self._results = (self.base[:, None] + self.differences).tolist()

    def sets(self) -> Sequence[Parameters]:
        """One set a column."""
        return [candidate(k) for k in range(self.differences.shape[1])]

    def results(self, day: int, running: Sequence[SlotAssigned], champion: int) -> Sequence[float]:
        """The day's row of the table."""
        row = self._results[day]
        return [row[self._column(run)] for run in running]

    def live_gap(self, day: int) -> float:
        """What `gaps` says."""
        return self.gaps[day]

    def trading(self, run: SlotAssigned) -> tuple[float, float]:
        """What `costs` says."""
        return self.costs[self._column(run)]

    def gain(self, day: int, run: SlotAssigned) -> float:
        """What `ir` says, whatever the day."""
        return self.ir[self._column(run)]

    def moved(self, day: int, run: SlotAssigned) -> None:
        """With the capital the first candidate is worth `ir_promoted`, from the next day on."""
        if self.ir_promoted is None or self._column(run) != 1:
            return
        change = daily(self.ir_promoted - self.ir[1], self.s0)
        for row in self._results[day + 1 :]:
            row[1] += change
        self.ir[1], self.ir_promoted = self.ir_promoted, None

    def _column(self, run: SlotAssigned) -> int:
        return self._columns[run.parameters_sha256]


def table(noise: Noise, rng: np.random.Generator, ir: Sequence[float]) -> TableMarket:
    """A market of `noise` (days, sets - 1) in units of `S0`, whose candidates are worth `ir`."""
    days, candidates = noise.draws.shape
    differences = np.zeros((days, candidates + 1))
    differences[:, 1:] = S0 * noise.draws + [daily(value, S0) for value in ir]
    return TableMarket(
        differences=differences,
        base=np.multiply(CHAMPION_SD, rng.standard_normal(days)),
        volatility=noise.volatility.tolist(),
        ir=[0.0, *ir],
    )


def tighter(market: TableMarket, sds: float) -> TableMarket:
    """The market under limits that stand behind a fall of `sds` standard deviations in a day."""
    return replace(market, loss_max=sds * market.s0)


def daily(ir: float, sd: float) -> float:
    """The daily mean of a difference with standard deviation `sd` a day and this IR a year."""
    return float(ir / np.sqrt(YEAR_DAYS) * sd)


# --- sets and limits ---


def limits(loss_max: float) -> Limits:
    """Limits under which a day's difference falls by at most `loss_max` of the share."""
    return Limits(daily_loss_max=loss_max - LEG_CAP * Policy().spread_stress_move)


@lru_cache(maxsize=None)
def candidate(number: int) -> Parameters:
    """The registered set of this number; 0 is the champion."""
    strategy = msgspec.structs.replace(CHAMPION.strategy, entry_z=2.0 + 0.01 * number)
    return msgspec.structs.replace(CHAMPION, strategy=strategy)


CHAMPION = Parameters(
    grid_ms=60_000,
    kalman=KalmanParameters(
        intercept_drift_var=1e-9,
        hedge_drift_var=1e-9,
        noise_var=1e-6,
        intercept_prior_mean=0.0,
        intercept_prior_var=1.0,
        hedge_prior_mean=1.0,
        hedge_prior_var=0.1,
    ),
    garch=GarchParameters(mean=0.0, omega=1e-8, alpha=0.05, beta=0.9, variance_prior=1e-6),
    bocd=BocdParameters(
        hazard=0.001, prior_mean=0.0, prior_kappa=1.0, prior_alpha=1.0, prior_beta=1.0
    ),
    strategy=StrategyParameters(
        entry_z=2.0,
        exit_z=0.5,
        stop_z=6.0,
        horizon_s=3600.0,
        risk_fraction=0.001,
        gross_fraction_max=LEG_CAP,
        edge_cost_ratio_min=0.0,
        warmup_s=3600.0,
    ),
)
