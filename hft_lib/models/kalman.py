"""Kalman filter of a pair: log Y against log X with an intercept and a hedge ratio that walk at
random.

    a_t = a_{t-1} + w_t,    w_t ~ N(0, intercept_drift_var * n_t)
    b_t = b_{t-1} + u_t,    u_t ~ N(0, hedge_drift_var * n_t)
    y_t = a_t + b_t x_t + v_t,   v_t ~ N(0, noise_var)

y, x: log prices; a: intercept, b: hedge ratio (d log Y / d log X); n_t: whole grid intervals since
the last observation. P is the covariance of (a, b), D its determinant, r the noise variance, e the
innovation:

    predict   D += qb Paa + qa Pbb + qa qb,   Paa += qa,   Pbb += qb
    forecast  e = y - a - b x,   c = Pab + x Pbb,   T = D + c^2 + r Pbb,   innovation variance S = T
    / Pbb update    (a, b) += e (D + Pab c, c Pbb) / T
              (Paa, Pab, Pbb, D) <- (x^2 D + r Paa, r Pab - x D, D + r Pbb, r D) Pbb / T

Carrying D leaves no subtraction on the diagonal, so P stays positive; and S as (D + c^2) / Pbb + r
cannot cancel below r, as x^2 Pbb + 2 x Pab + Paa + r does for log prices near 11, where a and b are
all but collinear. Durbin & Koopman (2012), Time Series Analysis by State Space Methods, sec. 4.3,
with D substituted.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import kernel
from hft_lib.models.inputs import Counts, Vector, intervals, one_row, vector
from hft_lib.models.special import log
from hft_lib.parameters import KalmanParameters

Rows = npt.NDArray[Any]

Params = np.dtype([(name, np.float64) for name in KalmanParameters.__struct_fields__])

State = np.dtype(
    [
        ("intercept", np.float64),
        ("hedge_ratio", np.float64),
        ("var_aa", np.float64),
        ("cov_ab", np.float64),
        ("var_bb", np.float64),
        ("determinant", np.float64),
        ("innovation", np.float64),
        ("innovation_var", np.float64),
        ("steps", np.int64),  # grid intervals seen
    ]
)

# What `run` returns for each observation: the innovation against the forecast, the state after the
# update.
Track = np.dtype(
    [
        ("innovation", np.float64),
        ("innovation_var", np.float64),
        ("intercept", np.float64),
        ("hedge_ratio", np.float64),
    ]
)

# Outside these an observation is not learned from: products would leave the range of a float64.
_DENOMINATOR_MIN = 1e-290
_DENOMINATOR_MAX = 1e290
_INNOVATION_MAX = 1e100
_LOG_TWO_PI = 1.8378770664093453


def params_row(p: KalmanParameters) -> Rows:
    """The parameters as one row of `Params`."""
    return np.array([tuple(getattr(p, name) for name in Params.names or ())], dtype=Params)


def new_states(slots: int) -> Rows:
    """Rows for `slots` filters, each to be given its priors by `start`."""
    return np.zeros(slots, dtype=State)


@kernel
def start(params: Any, state: Any) -> None:
    """Put the priors into one row of state."""
    state.intercept = params.intercept_prior_mean
    state.hedge_ratio = params.hedge_prior_mean
    state.var_aa = params.intercept_prior_var
    state.cov_ab = 0.0
    state.var_bb = params.hedge_prior_var
    state.determinant = params.intercept_prior_var * params.hedge_prior_var
    state.innovation = 0.0
    state.innovation_var = params.noise_var
    state.steps = 0


@kernel
def advance(
    a: float,
    b: float,
    paa: float,
    pab: float,
    pbb: float,
    d: float,
    qa: float,
    qb: float,
    r: float,
    y: float,
    x: float,
) -> tuple[float, float, float, float, float, float, float, float]:
    """The equations above on numbers: (a, b, Paa, Pab, Pbb, D, e, S) after one observation."""
    # This order, and two divisions rather than one, make the chain from step to step the shortest.
    pbb += qb
    d = (d + qb * paa) + qa * pbb
    paa += qa
    e = y - a - b * x
    c = pab + x * pbb
    t = c * c + (d + r * pbb)
    learnable = _DENOMINATOR_MIN < t < _DENOMINATOR_MAX and -_INNOVATION_MAX < e < _INNOVATION_MAX
    if not learnable:
        return a, b, paa, pab, pbb, d, 0.0, r
    gain = e / t
    scale = pbb / t
    a += gain * (d + pab * c)
    b += gain * (c * pbb)
    s = t / pbb
    paa = (x * x * d + r * paa) * scale
    pab = (r * pab - x * d) * scale
    pbb = (d + r * pbb) * scale
    d = r * d * scale
    return a, b, paa, pab, pbb, d, e, s


@kernel
def step(params: Any, state: Any, y: float, x: float, steps: int) -> None:
    """Predict one row of state over `steps` intervals, then learn from log prices `y` and `x`."""
    (
        state.intercept,
        state.hedge_ratio,
        state.var_aa,
        state.cov_ab,
        state.var_bb,
        state.determinant,
        state.innovation,
        state.innovation_var,
    ) = advance(
        state.intercept,
        state.hedge_ratio,
        state.var_aa,
        state.cov_ab,
        state.var_bb,
        state.determinant,
        steps * params.intercept_drift_var,
        steps * params.hedge_drift_var,
        params.noise_var,
        y,
        x,
    )
    state.steps += steps


@kernel
def step_slots(params: Rows, states: Rows, live: Counts, y: float, x: float, steps: int) -> None:
    """`step` for each slot whose `live` is not 0: all slots of a pair see the same prices."""
    for slot in range(states.shape[0]):
        if live[slot] != 0:
            step(params[slot], states[slot], y, x, steps)


def run(
    params: Rows,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    state: Rows | None = None,
) -> Rows:
    """Filter log prices `y`, `x` (time,), `steps` intervals apart; returns `Track` rows (time,).

    With `state` (one row) it goes on from there and leaves the last state in it. Bit for bit what
    `step` does.
    """
    ys, xs, counts = _checked(params, y, x, steps)
    state = _started(params) if state is None else state
    one_row("state", state, State)
    track = np.empty(ys.size, dtype=Track)
    _run(params, state, ys, xs, counts, track)
    return track


@kernel
def _run(params: Rows, states: Rows, y: Vector, x: Vector, steps: Counts, track: Rows) -> None:
    p, state = params[0], states[0]
    qa, qb, r = p.intercept_drift_var, p.hedge_drift_var, p.noise_var
    a, b, paa, pab = state.intercept, state.hedge_ratio, state.var_aa, state.cov_ab
    pbb, d, e, s = state.var_bb, state.determinant, state.innovation, state.innovation_var
    seen = state.steps
    for t in range(y.shape[0]):
        n = steps[t]
        a, b, paa, pab, pbb, d, e, s = advance(
            a, b, paa, pab, pbb, d, n * qa, n * qb, r, y[t], x[t]
        )
        seen += n
        track[t].innovation = e
        track[t].innovation_var = s
        track[t].intercept = a
        track[t].hedge_ratio = b
    state.intercept, state.hedge_ratio, state.var_aa, state.cov_ab = a, b, paa, pab
    state.var_bb, state.determinant, state.innovation, state.innovation_var = pbb, d, e, s
    state.steps = seen


def log_likelihood(
    params: Rows,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    skip: int = 0,
) -> float:
    """Log density, in nats, of `y[skip:]` given `x` and `y[:skip]`; skip 2 leaves a diffuse prior's
    constants out.
    """
    ys, xs, counts = _checked(params, y, x, steps)
    return _log_likelihood(params, ys, xs, counts, skip)


@kernel
def _log_likelihood(params: Rows, y: Vector, x: Vector, steps: Counts, skip: int) -> float:
    p = params[0]
    qa, qb, r = p.intercept_drift_var, p.hedge_drift_var, p.noise_var
    a, b, paa, pab = p.intercept_prior_mean, p.hedge_prior_mean, p.intercept_prior_var, 0.0
    pbb, d = p.hedge_prior_var, p.intercept_prior_var * p.hedge_prior_var
    squares, logs, product = 0.0, 0.0, 1.0
    for t in range(y.shape[0]):
        n = steps[t]
        a, b, paa, pab, pbb, d, e, s = advance(
            a, b, paa, pab, pbb, d, n * qa, n * qb, r, y[t], x[t]
        )
        if t < skip:
            continue
        squares += e * e / s
        product *= s  # one logarithm for many observations
        if not 1e-100 < product < 1e100:
            logs += log(product)
            product = 1.0
    count = max(y.shape[0] - skip, 0)
    return -0.5 * (count * _LOG_TWO_PI + (logs + log(product)) + squares)


def _checked(
    params: Rows, y: npt.ArrayLike, x: npt.ArrayLike, steps: npt.ArrayLike | None
) -> tuple[Vector, Vector, Counts]:
    one_row("params", params, Params)
    ys = vector("y", y)
    return ys, vector("x", x, ys.size), intervals(steps, ys.size)


def _started(params: Rows) -> Rows:
    state = new_states(1)
    start(params[0], state[0])
    return state
