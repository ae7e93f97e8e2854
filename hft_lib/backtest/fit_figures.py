"""What a calibration looks like: the fitted models over the window that they were fitted to."""

from typing import Any

import numpy as np

from hft_lib.backtest.sampling import Moments
from hft_lib.fitting.calibrate import Calibration
from hft_lib.fitting.grid import grid_moments
from hft_lib.models import garch, kalman
from hft_lib.plots import Levels, hedge_ratio, spread_and_z, volatility


def fit_figures(calibration: Calibration, moments: Moments) -> dict[str, Any]:
    """matplotlib figures by file name: spread and z, hedge ratio, volatility, at the grid points
    of the fitting window.

    `moments` are those that the calibration was made of. What is shown is in sample.
    """
    params = calibration.params
    indices, steps = grid_moments(moments.time_ns, params.grid_ms)
    times = moments.time_ns[indices]
    y, x = moments.log_y[indices], moments.log_x[indices]
    track = kalman.run(kalman.params_row(params.kalman), y, x, steps)
    innovation = track["innovation"].copy()
    forecast = garch.run(garch.params_row(params.garch), innovation, steps)
    forecast_sd = np.sqrt(forecast["variance"])
    strategy = params.strategy
    levels = Levels(int(times[0]), strategy.entry_z, strategy.exit_z, strategy.stop_z)
    return {
        "spread.png": spread_and_z(times, innovation, forecast_sd, levels=[levels]),
        "hedge_ratio.png": hedge_ratio(times, track["hedge_ratio"].copy()),
        "volatility.png": volatility(times, forecast_sd, innovation),
    }
