"""A response surface over eight real parameters, for the design to climb.

    gain(u)           = G (1 - q(u - u*) / q(u*))       q a quadratic form with interactions, its
    eigenvalues lognormal(0, 1), u* the optimum, 1.5 units from the first champion
    E (f(a) - f(b))^2 = (0.65 |a - b|^0.55)^2           f a set's daily noise, in champion sds

u are coded units of the first champion, gains champion-Sharpes a year. The noise is fractional
Brownian in u: how fast the difference of two sets grows with their distance is measured on real
pairs.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from hft_lib.backtest.evop_years.market import (
    CHAMPION,
    CHAMPION_SD,
    CLIP,
    DAYS,
    ORDINARY_COST,
    ORDINARY_TURNOVER,
    S0,
)
from hft_lib.backtest.evop_years.noise import T_DOF, Draws, volatilities
from hft_lib.events import SlotAssigned
from hft_lib.evop.design import is_logarithmic
from hft_lib.evop.policy import YEAR_DAYS
from hft_lib.parameters import Parameters

UNITS = {
    "bocd.hazard": 0.5,
    "kalman.hedge_drift_var": 0.7,
    "kalman.intercept_drift_var": 0.7,
    "kalman.noise_var": 0.4,
    "strategy.entry_z": 0.2,
    "strategy.exit_z": 0.1,
    "strategy.horizon_s": 0.3,
    "strategy.risk_fraction": 0.2,
}
NOISE_SCALE, NOISE_POWER = 0.65, 0.55
OPTIMUM_UNITS = 1.5
CLIFF_UNITS = 0.6  # on the way to the optimum: within a step or two of the start
JITTER = 1e-9  # of a variance: two rows may hold one set


@dataclass
class SurfaceMarket:
    """Sets are points of the surface; the design makes them.

    `drift` (d,) moves the optimum over the year; a `cliff_drop` is lost beyond the cliff, which
    stands across the way to the optimum.
    """

    rng: np.random.Generator
    gain_most: float
    form: Draws
    optimum: Draws
    drift: Draws
    volatility: Sequence[float]
    cliff_drop: float = 0.0
    wild: bool = False
    s0: float = S0
    loss_max: float = CLIP * S0
    alarm: Sequence[bool] = (False,) * DAYS
    units: dict[str, float] = field(default_factory=lambda: dict(UNITS))

    def __post_init__(self) -> None:
        self._points: dict[str, Draws] = {}
        self._factors: dict[tuple[str, ...], Draws] = {}
        self._drifts = bool(np.any(self.drift))
        self._scale = _square(self.form, self.optimum)
        self._heights: dict[tuple[str, int], float] = {}

    def sets(self) -> Sequence[Parameters]:
        """The champion alone."""
        return [CHAMPION]

    def results(self, day: int, running: Sequence[SlotAssigned], champion: int) -> Sequence[float]:
        """The champion's own day, and the others' differences, within the limits."""
        base = self.rng.standard_normal()
        noise = self._factor(running, champion) @ self.rng.standard_normal(len(running))
        if self.wild:
            noise *= np.sqrt(1.0 / self.rng.chisquare(T_DOF))
        own = self.gain(day, running[champion])
        means = [(self.gain(day, run) - own) / np.sqrt(YEAR_DAYS) for run in running]
        differences = np.clip(CHAMPION_SD * (means + noise), -self.loss_max, self.loss_max)
        found: list[float] = (CHAMPION_SD * base + differences).tolist()
        return found

    def live_gap(self, day: int) -> float:
        """The fills are right."""
        return 0.0

    def trading(self, run: SlotAssigned) -> tuple[float, float]:
        """All sets trade alike."""
        return ORDINARY_COST, ORDINARY_TURNOVER

    def gain(self, day: int, run: SlotAssigned) -> float:
        """The height of the surface on this day, champion-Sharpes a year over the start."""
        key = (run.parameters_sha256, day if self._drifts else 0)
        if key not in self._heights:
            self._heights[key] = self._height(key[1], self._point(run))
        return self._heights[key]

    def moved(self, day: int, run: SlotAssigned) -> None:
        """The surface does not care who has the capital."""

    def _height(self, day: int, point: Draws) -> float:
        if self.gain_most == 0.0:
            return 0.0
        optimum = self.optimum + self.drift * (day / YEAR_DAYS)
        height = self.gain_most * (1.0 - _square(self.form, point - optimum) / self._scale)
        along = float(point @ self.optimum) / OPTIMUM_UNITS
        return height - (self.cliff_drop if along > CLIFF_UNITS else 0.0)

    def _point(self, run: SlotAssigned) -> Draws:
        if run.parameters_sha256 not in self._points:
            self._points[run.parameters_sha256] = coded(run.parameters)
        return self._points[run.parameters_sha256]

    def _factor(self, running: Sequence[SlotAssigned], champion: int) -> Draws:
        """The Cholesky factor of the differences' covariance, (sets, sets)."""
        key = (running[champion].parameters_sha256, *(run.parameters_sha256 for run in running))
        if key not in self._factors:
            centre = self._point(running[champion])
            steps = np.array([self._point(run) - centre for run in running])
            jittered = covariance(steps) + JITTER * np.eye(len(steps))
            self._factors[key] = np.linalg.cholesky(jittered).astype(np.float64, copy=False)
        return self._factors[key]


def surface(
    rng: np.random.Generator, gain_most: float, drift_units: float = 0.0, cliff_drop: float = 0.0
) -> SurfaceMarket:
    """A surface drawn at random; its optimum wanders `drift_units` a year in a random direction."""
    size = len(UNITS)
    turn, _ = np.linalg.qr(rng.standard_normal((size, size)))
    form: Draws = (turn * np.exp(rng.standard_normal(size))) @ turn.T
    return SurfaceMarket(
        rng=rng,
        gain_most=gain_most,
        form=form,
        optimum=OPTIMUM_UNITS * _direction(rng, size),
        drift=drift_units * _direction(rng, size),
        volatility=volatilities(rng, DAYS).tolist(),
        cliff_drop=cliff_drop,
    )


def covariance(steps: Draws) -> Draws:
    """Daily covariance (sets, sets), in champion variances, of the differences of sets that stand
    at `steps` (sets, d) from the champion.
    """
    power = 2.0 * NOISE_POWER
    own = np.linalg.norm(steps, axis=1) ** power
    apart = np.linalg.norm(steps[:, None, :] - steps[None, :, :], axis=2) ** power
    found: Draws = 0.5 * NOISE_SCALE**2 * (own[:, None] + own[None, :] - apart)
    return found


def coded(params: Parameters) -> Draws:
    """Where a set stands, (d,), in units from the first champion, by sorted name."""
    return np.array([_coded(name, params) for name in sorted(UNITS)])


def _coded(name: str, params: Parameters) -> float:
    here, start = _value(params, name), _value(CHAMPION, name)
    change = float(np.log(here / start)) if is_logarithmic(name) else here - start
    return change / UNITS[name]


def _value(params: Parameters, name: str) -> float:
    part, field_name = name.split(".")
    found: float = getattr(getattr(params, part), field_name)
    return found


def _direction(rng: np.random.Generator, size: int) -> Draws:
    vector = rng.standard_normal(size)
    unit: Draws = vector / np.linalg.norm(vector)
    return unit


def _square(form: Draws, vector: Draws) -> float:
    return float(vector @ form @ vector)
