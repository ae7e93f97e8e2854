"""Kalman filter of a pair: log Y against log X with an intercept and a hedge ratio that walk at
random.

    a_t = a_{t-1} + w_t,    w_t ~ N(0, intercept_drift_var * n_t)
    b_t = b_{t-1} + u_t,    u_t ~ N(0, hedge_drift_var * n_t)
    y_t = a_t + b_t x_t + v_t,   v_t ~ N(0, noise_var)

y, x: log prices; a: intercept, b: hedge ratio (d log Y / d log X); n_t: whole grid intervals since
the last observation. P is the covariance of (a, b), D its determinant, r the noise variance, e the
innovation, S its variance:

    predict   D += qb Paa + qa Pbb + qa qb,   Paa += qa,   Pbb += qb
    forecast  e = y - a - b x,   c = Pab + x Pbb,   T = D + c^2 + r Pbb,   S = T / Pbb
    update    b += e c / S,   a = y - b x - e r / S
              (Paa, Pab, Pbb, D) <- (x^2 D + r Paa, r Pab - x D, D + r Pbb, r D) / S

Carrying D leaves no subtraction on the diagonal, so P stays positive; and S as (D + c^2) / Pbb + r
cannot cancel below r, as x^2 Pbb + 2 x Pab + Paa + r does for log prices near 11, where a and b are
all but collinear. Taking a from y makes y - a - b x = e r / S hold whatever the rounding of b: the
usual a += e (D + Pab c) / T loses a hundred times as much of the next innovation. Durbin & Koopman
(2012), Time Series Analysis by State Space Methods, sec. 4.3, with D substituted.

A step waits for the one before it through one division alone: the right side's bracket and the
scale 1 / S are carried apart, and what the next step needs of the bracket is multiplied while Pbb
is divided by T.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hft_lib.kernel import direct, kernel
from hft_lib.models.inputs import Counts, Vector, finite, intervals, one_row, sequence, vector
from hft_lib.models.lanes import WIDTH, all_negative, fused, lanes, load, pick_negative, store
from hft_lib.models.special import log
from hft_lib.parameters import KalmanParameters

Rows = npt.NDArray[Any]
Matrix = npt.NDArray[np.float64]

Params = np.dtype([(name, np.float64) for name in KalmanParameters.__struct_fields__])

# The covariance is `scale` times the four before it: see `covariance`.
State = np.dtype(
    [
        ("intercept", np.float64),
        ("hedge_ratio", np.float64),
        ("unscaled_aa", np.float64),
        ("unscaled_ab", np.float64),
        ("unscaled_bb", np.float64),
        ("unscaled_determinant", np.float64),
        ("scale", np.float64),
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
_PRODUCT_MIN = 1e-290
_PRODUCT_MAX = 1e290
_STATE_MAX_INVERSE = 1e90  # times the squares of e, a and b, which may reach 1e200
_LOG_TWO_PI = 1.8378770664093453
_A, _B, _AA, _AB, _BB, _D, _SCALE, _E, _S, _STEPS = range(10)  # a panel's rows of states
_LINE_BYTES = 64
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
    state.unscaled_aa = params.intercept_prior_var
    state.unscaled_ab = 0.0
    state.unscaled_bb = params.hedge_prior_var
    state.unscaled_determinant = params.intercept_prior_var * params.hedge_prior_var
    state.scale = 1.0
    state.innovation = 0.0
    state.innovation_var = params.noise_var
    state.steps = 0


def covariance(states: Rows) -> Matrix:
    """Variance of the intercept, covariance with the hedge ratio, its variance: (3, slots)."""
    names = ("unscaled_aa", "unscaled_ab", "unscaled_bb")
    return np.array([states["scale"] * states[name] for name in names])


@kernel
def predict_and_update(
    a: Any,
    b: Any,
    aa: Any,
    ab: Any,
    bb: Any,
    d: Any,
    scale: Any,
    qa: Any,
    qb: Any,
    r: Any,
    y: Any,
    x: Any,
) -> tuple[Any, ...]:
    """The equations above on floats or on lanes, without a branch. (aa, ab, bb, d) times `scale`
    are (Paa, Pab, Pbb, D), before and after.

    Returns the forecast's (Paa, Pab, Pbb, D), then what comes after the observation (a, b, aa, ab,
    bb, d, scale), then e, S, and -1 where all of it is within the range of a float64, else 0.
    """
    # What does not need the scale comes first: it is there before the division is done.
    both, drifts = fused(qb, aa, fused(qa, bb, d)), qa * qb
    c = fused(scale, fused(x, bb, ab), x * qb)
    after_bb = fused(scale, fused(r, bb, both), fused(r, qb, drifts))
    t = fused(c, c, after_bb)
    pbb = fused(scale, bb, qb)
    after_scale = pbb / t
    pd, paa, pab = fused(scale, both, drifts), fused(scale, aa, qa), scale * ab
    e = fused(-b, x, y) - a
    gain = e * after_scale
    after_b = fused(gain, c, b)
    after_a = fused(-r, gain, fused(-after_b, x, y))
    xd = x * pd
    after_aa = fused(x, xd, r * paa)
    s = 1.0 / after_scale
    # Neither of these holds for NaN: it is a gap.
    squares = fused(e, e, fused(after_a, after_a, after_b * after_b))
    largest = fused(_STATE_MAX_INVERSE, squares, (t + after_aa) + s)
    learned = pick_negative(largest - _PRODUCT_MAX, -1.0, 0.0)
    learned = pick_negative(_PRODUCT_MIN - t, learned, 0.0)
    return (
        paa,
        pab,
        pbb,
        pd,
        after_a,
        after_b,
        after_aa,
        fused(r, pab, -xd),
        after_bb,
        r * pd,
        after_scale,
        e,
        s,
        learned,
    )


@kernel
def advance(
    a: float,
    b: float,
    aa: float,
    ab: float,
    bb: float,
    d: float,
    scale: float,
    qa: float,
    qb: float,
    r: float,
    y: float,
    x: float,
) -> tuple[float, float, float, float, float, float, float, float, float, bool]:
    """(a, b, aa, ab, bb, d, scale, e, S) after one observation, and whether it was learned from;
    out of range only time has passed.
    """
    paa, pab, pbb, pd, a_, b_, aa_, ab_, bb_, d_, scale_, e, s, learned = predict_and_update(
        a, b, aa, ab, bb, d, scale, qa, qb, r, y, x
    )
    if not all_negative(learned):
        return a, b, paa, pab, pbb, pd, 1.0, 0.0, r, False
    return a_, b_, aa_, ab_, bb_, d_, scale_, e, s, True


@kernel
def step(params: Any, state: Any, y: float, x: float, steps: int) -> None:
    """Predict one row of state over `steps` intervals, then learn from log prices `y` and `x`."""
    (
        state.intercept,
        state.hedge_ratio,
        state.unscaled_aa,
        state.unscaled_ab,
        state.unscaled_bb,
        state.unscaled_determinant,
        state.scale,
        state.innovation,
        state.innovation_var,
        _,
    ) = advance(
        state.intercept,
        state.hedge_ratio,
        state.unscaled_aa,
        state.unscaled_ab,
        state.unscaled_bb,
        state.unscaled_determinant,
        state.scale,
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
    ys = sequence("y", y)
    xs = sequence("x", x, ys.size)
    counts = _ONE_EACH if steps is None else intervals(steps, ys.size)
    state = _started(params) if state is None else state
    one_row("state", state, State)
    track = np.empty(ys.size, dtype=Track)
    if not _run(params, state, ys, xs, counts, track):
        finite("y", ys)
        finite("x", xs)
    return track


@kernel
def _run(params: Rows, states: Rows, y: Vector, x: Vector, steps: Counts, track: Rows) -> bool:
    """Whether all was finite; where it was not, the state is left as it was."""
    p, state = params[0], states[0]
    qa, qb, r = p.intercept_drift_var, p.hedge_drift_var, p.noise_var
    a, b, aa, ab = state.intercept, state.hedge_ratio, state.unscaled_aa, state.unscaled_ab
    bb, d, scale = state.unscaled_bb, state.unscaled_determinant, state.scale
    e, s, seen, last = state.innovation, state.innovation_var, state.steps, steps.shape[0] - 1
    for t in range(y.shape[0]):
        n = steps[min(t, last)]
        a, b, aa, ab, bb, d, scale, e, s, learned = advance(
            a, b, aa, ab, bb, d, scale, n * qa, n * qb, r, y[t], x[t]
        )
        # What is not finite is never learned from: only there need it be looked for.
        if not learned and not (-np.inf < y[t] < np.inf and -np.inf < x[t] < np.inf):
            return False
        seen += n
        track[t].innovation = e
        track[t].innovation_var = s
        track[t].intercept = a
        track[t].hedge_ratio = b
    state.intercept, state.hedge_ratio, state.unscaled_aa, state.unscaled_ab = a, b, aa, ab
    state.unscaled_bb, state.unscaled_determinant, state.scale = bb, d, scale
    state.innovation, state.innovation_var, state.steps = e, s, seen
    return True


class PanelTrack(NamedTuple):
    """What `run_panel` returns: the columns of `Track`, each (time, pair)."""

    innovation: Matrix
    innovation_var: Matrix
    intercept: Matrix
    hedge_ratio: Matrix


def panel(rows: Rows) -> Matrix:
    """Rows of `Params` or `State`, one a pair, as a panel: float64 (field, pair).

    It begins where a cache line does, which vectors of eight are loaded faster from.
    """
    names = rows.dtype.names or ()
    space = np.empty(len(names) * rows.size + _LINE_BYTES // 8)
    first = -space.ctypes.data % _LINE_BYTES // 8
    columns = space[first : first + len(names) * rows.size].reshape(len(names), rows.size)
    for column, name in zip(columns, names, strict=True):
        column[:] = rows[name]
    return columns


def panel_rows(columns: Matrix, dtype: np.dtype[Any]) -> Rows:
    """The inverse of `panel`: a copy as rows of `dtype`, one a pair."""
    rows = np.empty(columns.shape[1], dtype=dtype)
    for name, column in zip(dtype.names or (), columns, strict=True):
        rows[name] = column
    return rows


@kernel
def step_panel(params: Matrix, states: Matrix, y: Vector, x: Vector, steps: int) -> None:
    """`step` for many pairs at once, bit for bit: `params` and `states` are panels, (field, pair),
    `y` and `x` (pair,). NaN in `y` or `x` is a gap: time passes, nothing is learned.
    """
    wide, like, passed = states.shape[1] // WIDTH, lanes(0.0), float(steps)
    for i in range(wide):
        _step_columns(params, states, y, x, passed, i, like)
    for i in range(wide * WIDTH, states.shape[1]):
        _step_columns(params, states, y, x, passed, i, 0.0)


@kernel
def _step_columns(
    params: Matrix, states: Matrix, y: Vector, x: Vector, steps: float, i: int, like: Any
) -> None:
    """Eight columns at once, or one: as `load` counts them."""
    a, b, r = load(states[_A], i, like), load(states[_B], i, like), load(params[2], i, like)
    paa, pab, pbb, pd, a_, b_, aa, ab, bb, d, scale, e, s, learned = predict_and_update(
        a,
        b,
        load(states[_AA], i, like),
        load(states[_AB], i, like),
        load(states[_BB], i, like),
        load(states[_D], i, like),
        load(states[_SCALE], i, like),
        steps * load(params[0], i, like),
        steps * load(params[1], i, like),
        r,
        load(y, i, like),
        load(x, i, like),
    )
    if not all_negative(learned):  # seldom, so that eleven choices are
        a_, b_ = pick_negative(learned, a_, a), pick_negative(learned, b_, b)
        aa, ab = pick_negative(learned, aa, paa), pick_negative(learned, ab, pab)
        bb, d = pick_negative(learned, bb, pbb), pick_negative(learned, d, pd)
        scale, e = pick_negative(learned, scale, 1.0), pick_negative(learned, e, 0.0)
        s = pick_negative(learned, s, r)
    store(states[_A], i, a_)
    store(states[_B], i, b_)
    store(states[_AA], i, aa)
    store(states[_AB], i, ab)
    store(states[_BB], i, bb)
    store(states[_D], i, d)
    store(states[_SCALE], i, scale)
    store(states[_E], i, e)
    store(states[_S], i, s)
    store(states[_STEPS], i, load(states[_STEPS], i, like) + steps)


def panel_stepper() -> Callable[[Matrix, Matrix, Vector, Vector, int], None]:
    """`step_panel`, called directly as `stepper` is."""
    columns, row = np.zeros((1, 1)), np.zeros(1)
    return direct(step_panel, columns, columns, row, row, 1)


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
    for t in range(y.shape[0]):
        step_panel(params, states, y[t], x[t], steps[t])
        for column, field in enumerate((_E, _S, _A, _B)):  # a loop is copied faster than a slice
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
    a, b, aa, ab = p.intercept_prior_mean, p.hedge_prior_mean, p.intercept_prior_var, 0.0
    bb, d, scale = p.hedge_prior_var, p.intercept_prior_var * p.hedge_prior_var, 1.0
    squares, logs, product = 0.0, 0.0, 1.0
    for t in range(y.shape[0]):
        n = steps[t]
        a, b, aa, ab, bb, d, scale, e, s, _ = advance(
            a, b, aa, ab, bb, d, scale, n * qa, n * qb, r, y[t], x[t]
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
