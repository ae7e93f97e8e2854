"""When to hold the spread and how much of it.

    z = (ln Y - intercept - hedge_ratio ln X) / spread_sd

Y and X are mids, the relation and the volatility are the slot's last forecasts. Below -entry buy
the spread, above +entry sell it, leave within exit, give up beyond stop and wait there until z has
come back within exit. The size makes one forecast standard deviation of the position
`risk_fraction` of the capital share.
"""

import numpy as np

from hft_lib.kernel import kernel
from hft_lib.parameters import StrategyParameters
from hft_lib.rows import Rows

HOLD, ENTER, EXIT, STOP, BREAK = 0, 1, 2, 3, 4

Params = np.dtype(
    [
        ("entry_z", np.float64),
        ("exit_z", np.float64),
        ("stop_z", np.float64),
        ("risk_fraction", np.float64),
        ("gross_fraction_max", np.float64),
        ("edge_cost_ratio_min", np.float64),
    ]
)


def params_row(parameters: StrategyParameters) -> Rows:
    """The (1,) row of `Params` that the kernels read."""
    return np.array([tuple(getattr(parameters, name) for name in Params.names or ())], Params)


@kernel
def decide(params, direction, stopped, z, alarm, edge_cost_ratio):
    """(direction, stopped, purpose) wanted next, from those held now.

    `edge_cost_ratio` is the expected gain from z back to the exit over the cost of the round trip.
    """
    if stopped != 0 and abs(z) <= params.exit_z:
        stopped = 0
    if direction == 0:
        if alarm or stopped != 0 or not params.entry_z <= abs(z) < params.stop_z:
            return 0, stopped, HOLD  # as where z is no number
        if not edge_cost_ratio >= params.edge_cost_ratio_min:
            return 0, stopped, HOLD
        return (-1 if z > 0.0 else 1), 0, ENTER
    if alarm:
        return 0, stopped, BREAK
    if -direction * z >= params.stop_z:
        return 0, direction, STOP
    if -direction * z <= params.exit_z:
        return 0, 0, EXIT
    return direction, stopped, HOLD


@kernel
def notional(params, spread_sd, size, capital):
    """Value of the y leg, in the quote currency, that volatility forecast and caps allow."""
    return (
        min(params.risk_fraction * capital / spread_sd, params.gross_fraction_max * capital) * size
    )


@kernel
def edge_cost_ratio(z, exit_z, spread_sd, cost):
    """Expected gain from z to the exit over the round trip's cost, both as a share of the y leg's
    value.
    """
    return (abs(z) - exit_z) * spread_sd / cost if cost > 0.0 else np.inf
