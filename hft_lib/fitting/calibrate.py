"""From a window of market data to a parameter set: relation, grid, the three models in their order.

Each model is fitted to what the model before it leaves, on the grid on which they will run live,
sampled as live does: Kalman filter -> innovations -> GARCH -> standardised innovations -> normal
scores -> changepoints.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from hft_lib.fitting.bocd import fit_bocd
from hft_lib.fitting.garch import fit_garch_best
from hft_lib.fitting.grid import cadence_ns, choose_grid_ms, grid_moments, regular
from hft_lib.fitting.kalman import fit_kalman
from hft_lib.fitting.relation import Relation, relation
from hft_lib.fitting.result import Fit, require
from hft_lib.health.reference import mean_gaps_s, reference_of
from hft_lib.models import garch, kalman
from hft_lib.models.inputs import Counts, Vector, vector
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Parameters,
    Reference,
    StrategyParameters,
    check_parameters,
)

MOMENTS_MIN = 100
RELATION_SAMPLES_MAX = 20_000
WARMUP_STEPS = 30
WARMUP_WINDOW_FRACTION_MAX = 0.1
RISK_FRACTION = 0.005


@dataclass(frozen=True)
class Calibration:
    """A pair's parameter set and the fits it comes from; times are those of the window's first and
    last moment. `reference` is what the window's data looked like.
    """

    pair: str
    params: Parameters
    relation: Relation
    kalman: Fit[KalmanParameters]
    garch: Fit[GarchParameters]
    bocd: Fit[BocdParameters]
    start_ns: int
    end_ns: int
    reference: Reference

    @property
    def observations(self) -> int:
        """Grid steps that the models were fitted to."""
        return self.kalman.observations

    def document(self) -> dict[str, Any]:
        """What `hft calibrate --json` says of it, but for the tape's hash."""
        return {
            "pair": self.pair,
            "observations": self.observations,
            "start": iso_ms(self.start_ns),
            "end": iso_ms(self.end_ns),
            "grid_ms": self.params.grid_ms,
            "kalman": self.kalman.document(),
            "garch": self.garch.document(),
            "bocd": self.bocd.document(),
            "relation": self.relation.document(),
        }


@dataclass(frozen=True)
class Prepared:
    """A window as the models are fitted to it: log mids and `steps` (time,) on the grid.

    `steps` are the whole grid intervals since the row before, `gaps_s` the mean time between
    complete moments since then.
    """

    pair: str
    relation: Relation
    grid_ms: int
    log_y: Vector
    log_x: Vector
    steps: Counts
    gaps_s: Vector
    start_ns: int
    end_ns: int

    def innovations(self, fitted: KalmanParameters) -> Vector:
        """What the Kalman filter of these parameters leaves, (time,), log units."""
        row = kalman.params_row(fitted)
        return kalman.run(row, self.log_y, self.log_x, self.steps)["innovation"].copy()

    def normal_scores(self, innovations: Vector, fitted: GarchParameters) -> Vector:
        """The innovations as normal scores under this volatility model, (time,)."""
        row = garch.params_row(fitted)
        track = garch.run(row, innovations, self.steps)
        return garch.normal_scores(row, track["standardised"])


def calibrate(
    time_ns: npt.ArrayLike,
    log_y: npt.ArrayLike,
    log_x: npt.ArrayLike,
    pair: str,
    progress: Callable[[str], None] | None = None,
    cadence_ns_min: int = 0,
) -> Calibration:
    """Fit all three models to a pair's complete moments: times, and log mids of both legs (time,).

    `progress` is told each stage's name. `cadence_ns_min` is the slower leg's cadence: between its
    quotes the spread moves by the other leg alone, and comes back with a speed that is not its own.
    Raises FitRefused where the window is too short or a leg does not move.
    """
    tell = progress if progress is not None else _say_nothing
    tell("relation")
    window = prepare(time_ns, log_y, log_x, pair, cadence_ns_min)
    tell("kalman")
    filtered = fit_kalman(window.log_y, window.log_x, window.steps)
    innovations = window.innovations(filtered.params)
    tell("garch")
    volatility = fit_garch_best(innovations, window.steps)
    tell("changepoints")
    detector = fit_bocd(window.normal_scores(innovations, volatility.params))
    return assemble(window, filtered, volatility, detector)


def prepare(
    time_ns: npt.ArrayLike,
    log_y: npt.ArrayLike,
    log_x: npt.ArrayLike,
    pair: str,
    cadence_ns_min: int = 0,
) -> Prepared:
    """Relate a pair's complete moments and put them on the grid; arguments as of `calibrate`."""
    times = np.asarray(time_ns, dtype=np.int64)
    y, x = vector("log_y", log_y, times.size), vector("log_x", log_x, times.size)
    found, grid_ms = relate(times, y, x, cadence_ns_min)
    indices, steps = grid_moments(times, grid_ms)
    gaps_s = mean_gaps_s(times, indices)
    start_ns, end_ns = int(times[0]), int(times[-1])
    return Prepared(pair, found, grid_ms, y[indices], x[indices], steps, gaps_s, start_ns, end_ns)


def assemble(
    window: Prepared,
    filtered: Fit[KalmanParameters],
    volatility: Fit[GarchParameters],
    detector: Fit[BocdParameters],
) -> Calibration:
    """The parameter set of three fits to one window, with the default strategy."""
    grid_ms = window.grid_ms
    detector = replace(detector, params=held(detector.params, grid_ms))
    window_s = (window.end_ns - window.start_ns) / 1e9
    params = Parameters(
        grid_ms=grid_ms,
        kalman=filtered.params,
        garch=volatility.params,
        bocd=detector.params,
        strategy=default_strategy(window.relation.half_life_s, grid_ms, window_s),
    )
    check_parameters(params)
    warm = round(params.strategy.warmup_s * 1e3 / grid_ms)
    innovations = window.innovations(filtered.params)[warm:]  # before, a prior speaks
    seen = reference_of(window.log_y, window.log_x, window.steps, window.gaps_s, innovations)
    return Calibration(
        pair=window.pair,
        params=params,
        relation=window.relation,
        kalman=filtered,
        garch=volatility,
        bocd=detector,
        start_ns=window.start_ns,
        end_ns=window.end_ns,
        reference=seen,
    )


def relate(times: Counts, y: Vector, x: Vector, cadence_ns_min: int = 0) -> tuple[Relation, int]:
    """The relation of log prices `y` on `x` (time,) at `times` in ns, and the grid for it, ms.

    Raises FitRefused where the window is too short or a leg does not move.
    """
    require(times.size >= MOMENTS_MIN, f"moments must be at least {MOMENTS_MIN}", times.size)
    cadence, window = max(cadence_ns(times), cadence_ns_min), int(times[-1] - times[0])
    interval = cadence * max(1, -(-window // (RELATION_SAMPLES_MAX * cadence)))
    sampled_y, sampled_x = regular(times, interval, y, x)
    found = relation(sampled_y, sampled_x, interval / 1e9)
    return found, choose_grid_ms(found.half_life_s, cadence / 1e9, window / 1e9)


def default_strategy(
    half_life_s: float | None, grid_ms: int, window_s: float
) -> StrategyParameters:
    """Enter at 2 deviations, leave at a half, give up at 5; the horizon is the half-life or the
    grid.
    """
    grid_s = grid_ms / 1e3
    return StrategyParameters(
        entry_z=2.0,
        exit_z=0.5,
        stop_z=5.0,
        horizon_s=max(half_life_s or 0.0, grid_s),
        risk_fraction=RISK_FRACTION,
        gross_fraction_max=1.0,
        edge_cost_ratio_min=1.0,
        warmup_s=min(WARMUP_STEPS * grid_s, WARMUP_WINDOW_FRACTION_MAX * window_s),
    )


def held(detector: BocdParameters, grid_ms: int) -> BocdParameters:
    """An alarm holds for as many grid intervals as it takes a regime to be no longer recent."""
    hold_s = detector.alarm_run_length * grid_ms / 1e3
    return msgspec.structs.replace(detector, alarm_hold_s=hold_s)


def _say_nothing(_stage: str) -> None:
    """Progress that nobody watches."""


def iso_ms(time_ns: int) -> str:
    """ISO 8601 UTC, to the millisecond."""
    moment = datetime.fromtimestamp(time_ns // 1_000_000 / 1000, UTC)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
