"""From a window of market data to a parameter set: relation, grid, the three models in their order.

Each model is fitted to what the model before it leaves, on the grid on which they will run live,
sampled as live does: Kalman filter -> innovations -> GARCH -> standardised innovations ->
changepoints.
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
from hft_lib.models import garch, kalman
from hft_lib.models.inputs import Counts, Vector, vector
from hft_lib.parameters import (
    BocdParameters,
    GarchParameters,
    KalmanParameters,
    Parameters,
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
    last moment.
    """

    pair: str
    params: Parameters
    relation: Relation
    kalman: Fit[KalmanParameters]
    garch: Fit[GarchParameters]
    bocd: Fit[BocdParameters]
    start_ns: int
    end_ns: int

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
    times = np.asarray(time_ns, dtype=np.int64)
    y, x = vector("log_y", log_y, times.size), vector("log_x", log_x, times.size)
    tell("relation")
    found, grid_ms = relate(times, y, x, cadence_ns_min)
    window = int(times[-1] - times[0])
    indices, steps = grid_moments(times, grid_ms)
    y, x = y[indices], x[indices]
    tell("kalman")
    filtered = fit_kalman(y, x, steps)
    innovations = kalman.run(kalman.params_row(filtered.params), y, x, steps)["innovation"].copy()
    tell("garch")
    volatility = fit_garch_best(innovations, steps)
    track = garch.run(garch.params_row(volatility.params), innovations, steps)
    tell("changepoints")
    detector = fit_bocd(track["standardised"].copy())
    detector = replace(detector, params=held(detector.params, grid_ms))
    strategy = default_strategy(found.half_life_s, grid_ms, window / 1e9)
    params = Parameters(
        grid_ms=grid_ms,
        kalman=filtered.params,
        garch=volatility.params,
        bocd=detector.params,
        strategy=strategy,
    )
    check_parameters(params)
    start_ns, end_ns = int(times[0]), int(times[-1])
    return Calibration(pair, params, found, filtered, volatility, detector, start_ns, end_ns)


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
