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

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import direct, kernel
from hft_lib.models.inputs import Counts, Vector, intervals, one_row, vector
from hft_lib.models.special import log
from hft_lib.parameters import KalmanParameters

Rows = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

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
_STATE_MAX = 1e100
_LOG_TWO_PI = 1.8378770664093453
_ONE_EACH = np.ones(1, dtype=np.int64)  # the last of the steps holds for all that follow


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
def predict_and_update(
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
) -> tuple[float, ...]:
    """The equations above on numbers, without a branch: the forecast's (Paa, Pbb, D), what comes
    after the observation (a, b, Paa, Pab, Pbb, D), then e, T, 1 / S, and 1 where all of it is
    within the range of a float64, else 0.
    """
    # This order, and two divisions rather than one, make the chain from step to step the shortest.
    pbb += qb
    d = (d + qb * paa) + qa * pbb
    paa += qa
    e = y - a - b * x
    c = pab + x * pbb
    t = c * c + (d + r * pbb)
    gain = e / t
    scale = pbb / t
    after_a = a + gain * (d + pab * c)
    after_b = b + gain * (c * pbb)
    after_aa = (x * x * d + r * paa) * scale
    # None of these holds for NaN: it is a gap.
    learnable = (_DENOMINATOR_MIN < t) & (t < _DENOMINATOR_MAX) & (after_aa < _DENOMINATOR_MAX)
    learnable &= (-_STATE_MAX < e) & (e < _STATE_MAX)
    learnable &= (-_STATE_MAX < after_a) & (after_a < _STATE_MAX)
    learnable &= (-_STATE_MAX < after_b) & (after_b < _STATE_MAX)
    return (
        paa,
        pbb,
        d,
        after_a,
        after_b,
        after_aa,
        (r * pab - x * d) * scale,
        (d + r * pbb) * scale,
        r * d * scale,
        e,
        t,
        scale,
        learnable,
    )


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
    """(a, b, Paa, Pab, Pbb, D, e, S) after one observation; out of range only time has passed."""
    forecast_aa, forecast_bb, forecast_d, a_, b_, aa, ab, bb, d_, e, t, _, learnable = (
        predict_and_update(a, b, paa, pab, pbb, d, qa, qb, r, y, x)
    )
    if not learnable:
        return a, b, forecast_aa, pab, forecast_bb, forecast_d, 0.0, r
    return a_, b_, aa, ab, bb, d_, e, t / forecast_bb


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


def stepper() -> Callable[[Rows, Rows, Counts, float, float, int], None]:
    """`step_slots` for a caller that counts nanoseconds: the same compiled code, called directly.

    It takes the arrays of `params_row` and `new_states` and an int64 `live`, contiguous, and checks
    none of that.
    """
    return direct(
        step_slots,
        np.zeros(1, dtype=Params),
        np.zeros(1, dtype=State),
        np.zeros(1, dtype=np.int64),
        0.0,
        0.0,
        1,
    )


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
    one_row("params", params, Params)
    ys = vector("y", y)
    xs = vector("x", x, ys.size)
    counts = _ONE_EACH if steps is None else intervals(steps, ys.size)
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
    seen, last = state.steps, steps.shape[0] - 1
    for t in range(y.shape[0]):
        n = steps[min(t, last)]
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


class PanelTrack(NamedTuple):
    """What `run_panel` returns: the columns of `Track`, each (time, pair)."""

    innovation: Matrix
    innovation_var: Matrix
    intercept: Matrix
    hedge_ratio: Matrix


def panel(rows: Rows) -> Matrix:
    """Rows of `Params` or `State`, one a pair, as a panel: float64 (field, pair)."""
    return np.array([rows[name] for name in rows.dtype.names or ()], dtype=np.float64)


def panel_rows(columns: Matrix, dtype: np.dtype[Any]) -> Rows:
    """The inverse of `panel`: a copy as rows of `dtype`, one a pair."""
    rows = np.empty(columns.shape[1], dtype=dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        rows[name] = column
    return rows


@kernel
def step_panel(params: Matrix, states: Matrix, y: Vector, x: Vector, steps: Counts) -> None:
    """`step` for many pairs at once, bit for bit: `params` and `states` are panels, (field, pair),
    the rest (pair,). NaN in `y` or `x` is a gap: time passes, nothing is learned.

    Fields lie side by side and nothing branches, so that vectors of pairs are stepped together.
    """
    for i in range(states.shape[1]):
        a, b, pab = states[0, i], states[1, i], states[3, i]
        n, r = steps[i], params[2, i]
        forecast_aa, forecast_bb, forecast_d, a_, b_, aa, ab, bb, d, e, t, _, learnable = (
            predict_and_update(
                a,
                b,
                states[2, i],
                pab,
                states[4, i],
                states[5, i],
                n * params[0, i],
                n * params[1, i],
                r,
                y[i],
                x[i],
            )
        )
        states[0, i] = a_ if learnable else a
        states[1, i] = b_ if learnable else b
        states[2, i] = aa if learnable else forecast_aa
        states[3, i] = ab if learnable else pab
        states[4, i] = bb if learnable else forecast_bb
        states[5, i] = d if learnable else forecast_d
        states[6, i] = e if learnable else 0.0
        states[7, i] = t / forecast_bb if learnable else r
        states[8, i] += n


def panel_stepper() -> Callable[[Matrix, Matrix, Vector, Vector, Counts], None]:
    """`step_panel`, called directly as `stepper` is."""
    columns, row = np.zeros((1, 1)), np.zeros(1)
    return direct(step_panel, columns, columns, row, row, np.zeros(1, dtype=np.int64))


def run_panel(
    params: Matrix,
    y: npt.ArrayLike,
    x: npt.ArrayLike,
    steps: npt.ArrayLike | None = None,
    states: Matrix | None = None,
) -> PanelTrack:
    """Filter log prices `y`, `x` (time, pair), NaN a gap, `steps` intervals apart (time,).

    With `states` (a panel) it goes on from there and leaves the last states in it. Bit for bit what
    `run` does for each pair.
    """
    ys, xs = np.ascontiguousarray(y, np.float64), np.ascontiguousarray(x, np.float64)
    shape = (ys.shape[0], params.shape[1])
    if ys.shape != shape or xs.shape != shape:
        raise ValueError(f"y and x must have shape {shape}, had {ys.shape} and {xs.shape}")
    states = panel(_started_each(params)) if states is None else states
    if states.shape != (len(State.names or ()), params.shape[1]):
        raise ValueError(f"states must be a panel of {params.shape[1]} pairs, was {states.shape}")
    track = np.empty((4, *shape))
    _run_panel(params, states, ys, xs, intervals(steps, shape[0]), track)
    return PanelTrack(*track)


@kernel
def _run_panel(
    params: Matrix, states: Matrix, y: Matrix, x: Matrix, steps: Counts, track: Rows
) -> None:
    apart = np.empty(y.shape[1], dtype=np.int64)
    for t in range(y.shape[0]):
        apart[:] = steps[t]
        step_panel(params, states, y[t], x[t], apart)
        for column, field in enumerate((6, 7, 0, 1)):  # a loop is copied faster than a slice
            for i in range(y.shape[1]):
                track[column, t, i] = states[field, i]


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


def _started_each(params: Matrix) -> Rows:
    rows = panel_rows(params, Params)
    states = new_states(rows.size)
    for pair in range(rows.size):
        start(rows[pair], states[pair])
    return states
