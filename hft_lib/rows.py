"""The rows that facts carry as bytes, one a slot: the dtypes that the compiled kernels share."""

from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[Any]

# `live` is 1 once the slot has a parameter set; a slot without one has zeros and is never read
# further.
HEDGE = np.dtype(
    [
        ("intercept", np.float64),  # log units, forecast for the next grid point
        ("hedge_ratio", np.float64),  # d log Y / d log X
        ("innovation", np.float64),  # log Y less its forecast, at the last grid point
        ("innovation_var", np.float64),  # its forecast variance
        ("live", np.int64),
        ("generation", np.int64),
        ("steps", np.int64),  # grid intervals the filter has seen
    ]
)

VOLATILITY = np.dtype(
    [
        # Standard deviation of the spread at the horizon, log units, forecast before the last grid
        # point's innovation was known.
        ("spread_sd", np.float64),
        ("variance_next", np.float64),  # forecast variance of the next innovation
        # Last innovation over its forecast standard deviation, as the normal value equally far out.
        ("score", np.float64),
    ]
)

RISK = np.dtype(
    [
        ("size", np.float64),  # 0 to 1: the share of the wanted position that risk allows
        ("alarm", np.int64),  # 1 while the relation is held to be breaking
        ("run_length", np.float64),  # expected run length, grid intervals
        ("recent_probability", np.float64),  # P(run length <= alarm_run_length)
    ]
)
