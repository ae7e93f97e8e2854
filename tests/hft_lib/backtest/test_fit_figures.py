"""Figures of a calibration."""

import numpy as np

from hft_lib.backtest.fit_figures import fit_figures
from hft_lib.backtest.sampling import Moments
from hft_lib.fitting.calibrate import calibrate

MINUTE_NS = 60 * 10**9


def made_moments(count: int = 6_000) -> Moments:
    random = np.random.default_rng(3)
    x = 4.6 + np.cumsum(random.normal(0.0, 5e-4, count))
    spread = np.zeros(count)
    for i in range(1, count):
        spread[i] = 0.9 * spread[i - 1] + random.normal(0.0, 1e-3)
    times = (1_700_000_000 * 10**9 // MINUTE_NS + np.arange(count)) * MINUTE_NS
    return Moments(times.astype(np.int64), 0.1 + 0.98 * x + spread, x)


def test_figures_of_a_fit_show_every_grid_step_of_its_window() -> None:
    moments = made_moments()
    calibration = calibrate(*moments, pair="A/USDT:USDT~A/USDT")
    figures = fit_figures(calibration, moments)
    assert set(figures) == {"spread.png", "hedge_ratio.png", "volatility.png"}
    hedge = figures["hedge_ratio.png"].axes[0].lines[0].get_ydata()
    assert len(hedge) == calibration.observations
    assert abs(float(hedge[-1]) - 0.98) < 0.05
